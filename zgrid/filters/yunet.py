"""YuNet, a small neural network that finds faces, through OpenCV."""

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from zgrid import models
from zgrid.filters import detector
from zgrid.filters.face import Face

NAME = detector.YUNET
MODEL = "yunet"

NMS_IOU = 0.3
"""Boxes that overlap more than this are one face (measured with the score of 0.6 on labelled photographs)."""
CANDIDATES_MAX = 5000
"""OpenCV's own bound on boxes before they are thinned out."""
SIDES_PX = (320, 384, 448, 480, 640)
"""Sides of the canvas that an image is put on, multiples of 32. OpenCV plans the network anew whenever the size of its
input changes, so a few fixed sizes, each with a detector of its own, are faster than the image's own size. At a longest
side of 640, photographs of 16:9, 3:2 and 4:3 lose next to nothing on these."""
DETECTORS_MAX = 16
"""Detectors kept, some 10 MB each; making another one costs as much as half an image."""
SIDE_STEP_PX = 128
"""Larger canvases than the list has grow by this much."""


@lru_cache(maxsize=1)
def model_bytes() -> bytes | None:
    """Return the model file's content, None when it is not there; looked for once per process."""
    path = models.find(MODEL)
    return path.read_bytes() if path else None


@lru_cache(maxsize=DETECTORS_MAX)
def _detector(width: int, height: int) -> cv2.FaceDetectorYN:
    """Return a detector for a canvas of this size; making one costs 5 to 30 ms."""
    content = model_bytes()
    assert content is not None, "asked for YuNet without its model"
    model, config = np.frombuffer(content, np.uint8), np.zeros(0, np.uint8)
    return cv2.FaceDetectorYN.create("onnx", model, config, (width, height), 0.6, NMS_IOU, CANDIDATES_MAX)


def forget() -> None:
    """Forget the model and the detectors: the next call looks for the model file again."""
    model_bytes.cache_clear()
    _detector.cache_clear()


def find_faces(pixels: npt.NDArray[np.uint8], score_min: float) -> list[Face]:
    """Return the faces with at least ``score_min`` in 8-bit BGR pixels, best first, in pixels of that array."""
    height, width = pixels.shape[:2]
    across, down = _side(width), _side(height)
    if (across, down) != (width, height):
        canvas = np.zeros((down, across, 3), np.uint8)
        canvas[:height, :width] = pixels
        pixels = canvas
    network = _detector(across, down)
    network.setScoreThreshold(score_min)
    _, rows = network.detect(pixels)
    faces = [_face(row) for row in ([] if rows is None else np.asarray(rows, np.float64).tolist())]
    return sorted(faces, key=lambda face: (-(face.score or 0.0), face.box))


def _side(length: int) -> int:
    return next((side for side in SIDES_PX if side >= length), -(-length // SIDE_STEP_PX) * SIDE_STEP_PX)


def _face(row: list[float]) -> Face:
    """Return the face of one of OpenCV's rows: box, five points, score."""
    x, y, w, h = row[:4]
    return Face((x, y, w, h), row[14], tuple(zip(row[4:14:2], row[5:14:2], strict=True)))
