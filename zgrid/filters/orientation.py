"""The eight EXIF orientations: from pixels as the file stores them to pixels as people see them, and back."""

from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[Any]
"""An image's pixels: height x width x channels (BGR or BGRA), 8 or 16 bits each."""


class Turn(NamedTuple):
    """Stored becomes upright by swapping the axes first, then mirroring left-right, then top-bottom."""

    swap: bool
    mirror_x: bool
    mirror_y: bool


TURNS = {
    1: Turn(False, False, False),
    2: Turn(False, True, False),
    3: Turn(False, True, True),
    4: Turn(False, False, True),
    5: Turn(True, False, False),
    6: Turn(True, True, False),
    7: Turn(True, True, True),
    8: Turn(True, False, True),
}
"""EXIF 2.32, tag 0x0112: which edges of the picture the stored first row and first column are."""

_FLIP_CODES = {(True, False): 1, (False, True): 0, (True, True): -1}


def upright(stored: Pixels, orientation: int) -> Pixels:
    """Return the pixels as people see them, of an array stored with this EXIF orientation (1 to 8)."""
    turn = TURNS[orientation]
    turned = np.asarray(cv2.transpose(stored)) if turn.swap else stored
    code = _FLIP_CODES.get((turn.mirror_x, turn.mirror_y))
    return turned if code is None else np.asarray(cv2.flip(turned, code))


def stored_box(box: tuple[int, int, int, int], orientation: int, width: int, height: int) -> tuple[int, int, int, int]:
    """Return where a box (left, top, right, bottom; the last two outside) of an upright image is stored.

    ``width`` and ``height`` are those of the upright image, in pixels.
    """
    left, top, right, bottom = box
    turn = TURNS[orientation]
    if turn.mirror_x:
        left, right = width - right, width - left
    if turn.mirror_y:
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if turn.swap else (left, top, right, bottom)
