"""The filter ``faces``: finds faces and keeps the images that have any."""

from typing import Annotated

import numpy as np

from zgrid.filters import haar, yunet
from zgrid.filters.image import Image
from zgrid.filters.option import Between
from zgrid.filters.outcome import Discard, Keep, Outcome
from zgrid.filters.registry import filter  # noqa: A004  the decorator is called so

WARM_UP_SHAPE = (448, 640, 3)
"""The canvas of a 3:2 photograph, the commonest there is."""


def _ready() -> str | None:
    """Load the detector and use it once, so that the first image does not wait for it; return what is missing."""
    if yunet.model_bytes() is None:
        return haar.lacks()
    yunet.find_faces(np.zeros(WARM_UP_SHAPE, np.uint8), 0.6)
    return None


@filter("faces", "1", needs=_ready)
def faces(
    image: Image,
    *,
    score: Annotated[float, Between(0.05, 1.0)] = 0.6,
    longest_px: Annotated[int, Between(32, 4096)] = 640,
) -> Outcome:
    """Find faces with YuNet, or with the Haar cascade where YuNet's model file is missing; discard images without.

    ``score`` is the least certainty that counts (YuNet only). ``longest_px`` is the longest side that is searched:
    YuNet knows faces of some 10 to 300 pixels, so a larger one finds smaller faces and loses close-ups; 0.6 and 640
    were best on labelled photographs. The notes hold ``detector`` and ``faces``: box [x, y, width, height] and
    landmarks in pixels of the upright original, and score.
    """
    pixels, _ = image.pixels(longest_px)
    by_yunet = yunet.model_bytes() is not None
    found = yunet.find_faces(pixels, score) if by_yunet else haar.find_faces(pixels)
    width, height = image.header.width, image.header.height
    scale_x, scale_y = width / pixels.shape[1], height / pixels.shape[0]
    notes = [note for face in found if (note := face.note(scale_x, scale_y, width, height))]
    if not notes:
        return Discard("no face")
    return Keep({"faces": notes, "detector": yunet.NAME if by_yunet else haar.NAME})
