"""The lines round faces, drawn by ImageMagick through Wand as patches: only what they cover is ever handed over.

Importing a twelve-megapixel picture to draw four lines would take ImageMagick longer than decoding and encoding
together; and a patch may go into pixels or straight into a JPEG file's blocks. Lines are filled bars, since the price
of a stroked rectangle grows with the area that it encloses.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from zgrid.filters import magick
from zgrid.filters.orientation import Pixels

magick.use_own_policy()
magick.name_library()
try:
    from wand.color import Color
    from wand.image import Image as MagickImage
    from wand.resource import limits
except ImportError as _error:  # Wand is there, but not the library that it drives
    _WITHOUT_MAGICK: str | None = str(_error).partition("\n")[0]
else:
    _WITHOUT_MAGICK = None


class Rect(NamedTuple):
    """A rectangle of pixels; ``right`` and ``bottom`` are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def is_empty(self) -> bool:
        """Whether there is no pixel in it."""
        return self.right <= self.left or self.bottom <= self.top


class Patch(NamedTuple):
    """What is drawn over a part of a picture: BGRA of 8 bits, a pixel opaque or clear, and where its corner goes."""

    left: int
    top: int
    pixels: npt.NDArray[np.uint8]


def ready() -> str | None:
    """Return what is missing; keep ImageMagick to one thread, since every core has a process of its own already."""
    if _WITHOUT_MAGICK is not None:
        return (
            "highlight needs ImageMagick's MagickWand library: install libmagickwand-6.q16-6 (Debian 12, Ubuntu), "
            f"libmagickwand-7.q16-10 (Debian 13) or ImageMagick ({_WITHOUT_MAGICK})"
        )
    limits["thread"] = 1
    return None


def drawn(boxes: list[Rect], line: int, red_green_blue: tuple[int, int, int]) -> list[Patch]:
    """Return the lines, ``line`` pixels wide, that lie just within each of the boxes."""
    red, green, blue = red_green_blue
    patches, bars = [], {}
    with Color(f"rgb({red},{green},{blue})") as fill:
        for side in (side for outer in boxes if not outer.is_empty for side in _sides(outer, line)):
            size = (side.right - side.left, side.bottom - side.top)
            if size not in bars:
                bars[size] = _bar(*size, fill)
            patches.append(Patch(side.left, side.top, bars[size]))
    return patches


def paint(pixels: Pixels, patches: list[Patch]) -> None:
    """Paint the patches into pixels (BGR or BGRA, 8 or 16 bits) that are to be changed."""
    for left, top, patch in patches:
        height, width = patch.shape[:2]
        region = pixels[top : top + height, left : left + width]
        channels = patch[:, :, : region.shape[2]].astype(region.dtype)
        if region.dtype == np.uint16:
            channels *= 257
        np.copyto(region, channels, where=patch[:, :, 3:] >= 128)


def _sides(outer: Rect, line: int) -> list[Rect]:
    """Return the four sides of a box: top and bottom as wide as it is, the others between them."""
    left, top, right, bottom = outer
    line = min(line, -(-(right - left) // 2), -(-(bottom - top) // 2))
    sides = [
        Rect(left, top, right, top + line),
        Rect(left, bottom - line, right, bottom),
        Rect(left, top + line, left + line, bottom - line),
        Rect(right - line, top + line, right, bottom - line),
    ]
    return [side for side in sides if not side.is_empty]


def _bar(width: int, height: int, fill: Any) -> npt.NDArray[np.uint8]:
    """Return a bar of one colour: as the ground of a picture it costs a third of a rectangle that is drawn on one."""
    with MagickImage(width=width, height=height, background=fill) as bar:
        bar.depth = 8
        return np.frombuffer(bar.make_blob("bgra"), np.uint8).reshape(height, width, 4)
