"""The filter ``faces``: finds faces and keeps the images that have any."""

from typing import Annotated, Literal

import numpy as np

from zgrid.filters import haar, look, yunet
from zgrid.filters.image import Image
from zgrid.filters.option import Between, Value
from zgrid.filters.outcome import Discard, Keep, Outcome
from zgrid.filters.registry import filter  # noqa: A004  the decorator is called so
from zgrid.filters.stages import DETECT, stage

WARM_UP_SHAPE = (448, 640, 3)
"""The view of a 3:2 photograph, the commonest there is."""
SIDE_PX_MIN, SIDE_PX_MAX = 32, 4096


def _ready() -> str | None:
    """Load the detector and use it once, so that the first image does not wait for it; return what is missing."""
    if yunet.model_bytes() is None:
        return haar.lacks()
    yunet.find_faces(np.zeros(WARM_UP_SHAPE, np.uint8), 0.6)
    return None


def _is_side(value: Value) -> None:
    """Check a longest side."""
    if value != 0 and not SIDE_PX_MIN <= float(value) <= SIDE_PX_MAX:
        raise ValueError(f"must be 0, or between {SIDE_PX_MIN} and {SIDE_PX_MAX}")


@filter("faces", "2", needs=_ready)
def faces(
    image: Image,
    *,
    score: Annotated[float, Between(0.05, 1.0)] = 0.6,
    longest_px: Annotated[int, _is_side] = 0,
    engine: Literal["auto", "onnxruntime", "opencv"] = "auto",
) -> Outcome:
    """Find faces with YuNet, or with the Haar cascade where YuNet's model file is missing; discard images without.

    ``score`` is the least certainty that counts (YuNet only). ``longest_px`` is the longest side of the first look at
    the image, 0 chooses one that fits it (640, and up to 960 for large photographs): a larger one finds smaller faces
    and takes longer. Where the first look leaves doubt, YuNet looks closer. ``engine`` is the library that runs YuNet:
    ONNX Runtime where it is installed, else OpenCV, which finds the same and takes twice as long. The notes hold
    ``detector``, ``engine`` and ``faces``: box [x, y, width, height] and landmarks in pixels of the upright original,
    and score.
    """
    if yunet.model_bytes() is None:
        return _by_haar(image, longest_px or look.SIDE_PX)
    network = yunet.network(None if engine == "auto" else engine)
    with stage(DETECT):
        found = look.search(image, network, score, longest_px)
    width, height = image.header.width, image.header.height
    notes = [note for face in found if (note := face.note(1.0, 1.0, width, height))]
    if not notes:
        return Discard("no face")
    return Keep({"faces": notes, "detector": yunet.NAME, "engine": network.name})


def _by_haar(image: Image, longest_px: int) -> Outcome:
    """Find faces without a neural network."""
    pixels, _ = image.pixels(longest_px)
    with stage(DETECT):
        found = haar.find_faces(pixels)
    width, height = image.header.width, image.header.height
    scale_x, scale_y = width / pixels.shape[1], height / pixels.shape[0]
    notes = [note for face in found if (note := face.note(scale_x, scale_y, width, height))]
    if not notes:
        return Discard("no face")
    return Keep({"faces": notes, "detector": haar.NAME, "engine": haar.ENGINE})
