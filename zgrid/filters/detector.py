"""Which face detector is used here, and what to do about it. Importing this loads neither OpenCV nor a model."""

from zgrid import models

YUNET = "yunet_2023mar"
HAAR = "haar_alt2"


def detector_name() -> str:
    """Return the name of the detector that the filter ``faces`` uses on this machine: it is stored with its results."""
    return YUNET if models.find("yunet") else HAAR


def detector_advice() -> str | None:
    """Return what would make it better, in one sentence; None when the best detector is used."""
    if detector_name() == YUNET:
        return None
    return (
        f"faces are found with the Haar cascade, which misses a quarter of the photographs that have faces, because "
        f"there is no {models.MODELS['yunet'].file} in {models.models_dir()}: run zgrid models fetch yunet"
    )
