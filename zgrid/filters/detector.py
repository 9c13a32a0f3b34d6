"""Which face detector is used here, and what to do about it. Importing this loads neither OpenCV nor a model."""

import importlib.util

from zgrid import models

YUNET = "yunet_2023mar"
HAAR = "haar_alt2"

OPENCV = "opencv"
ONNX_RUNTIME = "onnxruntime"


def detector_name() -> str:
    """Return the name of the detector that the filter ``faces`` uses on this machine: it is stored with its results."""
    return YUNET if models.find("yunet") else HAAR


def detector_engine() -> str:
    """Return the library that runs it on this machine, unless the filter's option ``engine`` names the other one."""
    return ONNX_RUNTIME if detector_name() == YUNET and has_onnx_runtime() else OPENCV


def has_onnx_runtime() -> bool:
    """Return whether ONNX Runtime is installed."""
    return importlib.util.find_spec("onnxruntime") is not None


def is_detector_weak() -> bool:
    """Return whether faces are missed here that would be found with the model."""
    return detector_name() == HAAR


def detector_advice() -> str | None:
    """Return what would make it better or quicker, in one sentence; None when nothing would."""
    if is_detector_weak():
        return (
            f"faces are found with the Haar cascade, which misses a quarter of the photographs that have faces, since "
            f"there is no {models.MODELS['yunet'].file} in {models.models_dir()}: run zgrid models fetch yunet"
        )
    if not has_onnx_runtime():
        return (
            "OpenCV runs the network that finds faces; ONNX Runtime does it in less than half of the time: "
            "pip install 'zgrid[onnx]'"
        )
    return None
