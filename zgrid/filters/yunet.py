"""YuNet, a small neural network that finds faces, run by ONNX Runtime where that is installed, else by OpenCV.

Both give the same faces to a thousandth of their score and a hundredth of a pixel; ONNX Runtime takes less than half of
the time.
"""

from functools import cache, lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from zgrid import models
from zgrid.errors import FilterError
from zgrid.filters import detector
from zgrid.filters.detector import ONNX_RUNTIME, OPENCV
from zgrid.filters.face import Face

NAME = detector.YUNET
MODEL = "yunet"

NMS_IOU = 0.3
"""Boxes that overlap more than this are one face (measured with the score of 0.6 on labelled photographs)."""
CANDIDATES_MAX = 5000
"""OpenCV's own bound on boxes before they are thinned out."""
STRIDE_PX = 32
"""The network's coarsest grid: its input's sides are multiples of this."""

Rows = npt.NDArray[np.float32]
"""One row for each face: left, top, width, height, five points (x, y), score."""


class Network(Protocol):
    """YuNet in the hands of one library. ``name`` is the library's."""

    name: str

    def find(self, canvas: npt.NDArray[np.uint8], score_min: float) -> Rows:
        """Return the faces on a BGR canvas, whose sides are multiples of STRIDE_PX; each face once, best first."""
        ...


@lru_cache(maxsize=1)
def model_bytes() -> bytes | None:
    """Return the model file's content, None when it is not there; looked for once per process."""
    path = models.find(MODEL)
    return path.read_bytes() if path else None


@cache
def network(engine: str | None = None) -> Network:
    """Return YuNet, run by the ``engine`` named or by the best there is here; loaded once per process.

    Raises FilterError when the engine that is named cannot be had.
    """
    content = model_bytes()
    assert content is not None, "asked for YuNet without its model"
    if engine != OPENCV and (engine == ONNX_RUNTIME or detector.has_onnx_runtime()):
        try:
            from zgrid.filters.yunet_onnx import OnnxNetwork  # noqa: PLC0415  it may not be installed

            return OnnxNetwork(content)
        except Exception as error:  # another library's code, in a state that we do not know
            if engine == ONNX_RUNTIME:
                raise FilterError(
                    f"ONNX Runtime cannot be used here ({error}): pip install 'zgrid[onnx]', or ask for no engine"
                ) from error
    from zgrid.filters.yunet_opencv import OpenCVNetwork  # noqa: PLC0415  only one of the two is needed

    return OpenCVNetwork(content)


def forget() -> None:
    """Forget the model and the networks: the next call looks for the model file again."""
    model_bytes.cache_clear()
    network.cache_clear()


def find_faces(pixels: npt.NDArray[np.uint8], score_min: float, by: Network | None = None) -> list[Face]:
    """Return the faces with at least ``score_min`` in 8-bit BGR pixels, best first, in pixels of that array."""
    found = by or network()
    height, width = pixels.shape[:2]
    across, down = _side(width), _side(height)
    if (across, down) != (width, height):
        canvas = np.zeros((down, across, 3), np.uint8)
        canvas[:height, :width] = pixels
        pixels = canvas
    faces = [_face(row) for row in found.find(pixels, score_min).tolist()]
    return sorted(faces, key=lambda face: (-(face.score or 0.0), face.box))


def _side(length: int) -> int:
    return -(-length // STRIDE_PX) * STRIDE_PX


def _face(row: list[float]) -> Face:
    x, y, w, h = row[:4]
    return Face((x, y, w, h), row[14], tuple(zip(row[4:14:2], row[5:14:2], strict=True)))
