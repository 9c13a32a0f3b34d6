"""The Haar cascade that comes with OpenCV 4: weak beside YuNet, but always there."""

from functools import lru_cache

import cv2
import cv2.data
import numpy as np
import numpy.typing as npt

from zgrid.errors import FilterError
from zgrid.filters import detector
from zgrid.filters.face import Face

NAME = detector.HAAR
ENGINE = detector.OPENCV

SCALE_STEP = 1.1
"""Each pass searches faces this much larger; OpenCV's default, with which the cascade was measured."""
NEIGHBOURS_MIN = 5
"""How many overlapping hits make a face."""


@lru_cache(maxsize=1)
def _cascade() -> cv2.CascadeClassifier:
    return cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")


def lacks() -> str | None:
    """Return what is missing, in one sentence; None when the cascade can be used."""
    if _cascade().empty():
        return "OpenCV's face cascade is missing: install opencv-python below 5, or: zgrid models fetch yunet"
    return None


def find_faces(pixels: npt.NDArray[np.uint8]) -> list[Face]:
    """Return the faces in 8-bit BGR pixels, largest first, in pixels of that array; they have no score or landmarks."""
    if why := lacks():
        raise FilterError(why)
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    boxes = np.asarray(_cascade().detectMultiScale(grey, scaleFactor=SCALE_STEP, minNeighbors=NEIGHBOURS_MIN))
    faces = [Face((float(x), float(y), float(w), float(h))) for x, y, w, h in boxes.tolist()]
    return sorted(faces, key=lambda face: (-face.box[2] * face.box[3], face.box))
