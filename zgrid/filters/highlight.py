"""The filter ``highlight``: draws round the faces that an earlier filter found, with ImageMagick through Wand.

ImageMagick is given only the parts that change, as raw pixels: importing a twelve-megapixel picture to draw four lines
takes it longer than decoding and encoding together. Lines are filled bars, since the price of a stroked rectangle
grows with the area that it encloses.
"""

from typing import Annotated, Any, NamedTuple

import numpy as np
import PIL.ImageColor

from zgrid.errors import FilterError
from zgrid.filters.encode import MEDIA, encode, fits_jpeg, orientation_block
from zgrid.filters.header import Header
from zgrid.filters.image import Image
from zgrid.filters.option import Between, Value
from zgrid.filters.orientation import Pixels, stored_box
from zgrid.filters.outcome import Keep, Outcome
from zgrid.filters.registry import filter  # noqa: A004  the decorator is called so

try:
    from wand.color import Color
    from wand.drawing import Drawing
    from wand.image import Image as MagickImage
    from wand.resource import limits
except ImportError as _error:  # Wand is there, but not the library that it drives
    _WITHOUT_MAGICK: str | None = str(_error).partition("\n")[0]
else:
    _WITHOUT_MAGICK = None

WHOLE_AREA_PX = 40_000
"""Up to this area a box is handed over in one piece: one call (0.35 ms) and its pixels then cost less than four."""
LINES_PER_SIDE = 300
"""The default line is the picture's longest side divided by this: 4 pixels on 1.2 megapixels, 13 on twelve."""
FACES_MAX = 10_000
"""More faces than this were not found by a detector."""


class Rect(NamedTuple):
    """A rectangle of pixels; ``right`` and ``bottom`` are the first ones outside."""

    left: int
    top: int
    right: int
    bottom: int


def _ready() -> str | None:
    """Return what is missing; keep ImageMagick to one thread, since every core has a process of its own already."""
    if _WITHOUT_MAGICK is not None:
        return (
            "highlight needs ImageMagick's MagickWand library: install libmagickwand-6.q16-6 (Debian 12, Ubuntu), "
            f"libmagickwand-7.q16-10 (Debian 13) or ImageMagick ({_WITHOUT_MAGICK})"
        )
    limits["thread"] = 1
    return None


def _is_colour(value: Value) -> None:
    """Check a colour's text, so that a slip is found before the first image and not by each of them."""
    try:
        transparent = len(PIL.ImageColor.getrgb(str(value))) != 3
    except ValueError:
        transparent = True
    if transparent:
        raise ValueError("must be the name of a colour, like red, or #rrggbb")


@filter("highlight", "1", needs=_ready)
def highlight(
    image: Image,
    *,
    colour: Annotated[str, _is_colour] = "#00e640",
    width_px: Annotated[int, Between(0, 1000)] = 0,
    quality: Annotated[int, Between(1, 100)] = 90,
) -> Outcome:
    """Draw a box round every face in the notes and keep the result as the picture.

    The picture keeps orientation, EXIF block, colour profile and format of a JPEG, PNG or WebP, a PNG also its alpha
    and 16 bits per channel, a WebP its alpha; grey becomes colour, and other formats become JPEG. ``width_px`` is the
    line's width in pixels, 0 chooses one that fits the image; ``quality`` is that of JPEG and WebP. The line lies
    outside the face's box as far as the image reaches. Without faces in the notes of an earlier filter it fails;
    where there are none in the list, there is no picture.
    """
    header = image.header
    boxes = _boxes(image.notes.get("faces"))
    if not boxes:
        return Keep()
    pixels = np.require(image.stored(), requirements=["C", "W"])
    line = width_px or max(2, max(header.width, header.height) // LINES_PER_SIDE)
    # A TIFF's or GIF's pixels are upright already: read_header gives 1 or the orientation that is stored.
    red, green, blue = PIL.ImageColor.getrgb(colour)[:3]
    with Color(f"rgb({red},{green},{blue})") as fill:
        for box in boxes:
            outer = _outer(box, line, header)
            if outer.right > outer.left and outer.bottom > outer.top:
                _draw(pixels, Rect(*stored_box(outer, header.orientation, header.width, header.height)), line, fill)
    name = header.format if header.format in MEDIA else "JPEG"
    exif, icc = _kept(header, name)
    return Keep(picture=encode(pixels, name, quality, exif, icc), media=MEDIA[name])


def _boxes(faces: object) -> list[tuple[float, float, float, float]]:
    """Return the boxes (left, top, width, height) of the notes of an earlier filter. Raises FilterError."""
    if not isinstance(faces, list):
        raise FilterError("highlight draws round faces that an earlier filter found: put faces before it in the chain")
    boxes = []
    for face in faces[:FACES_MAX]:
        box: Any = face.get("box") if isinstance(face, dict) else None
        if (
            not isinstance(box, list)
            or len(box) != 4
            or not all(isinstance(v, int | float) and -1e9 < v < 1e9 for v in box)
        ):
            raise FilterError(
                "highlight cannot read the notes of the earlier filter: a face needs box [x, y, width, height]"
            )
        boxes.append((float(box[0]), float(box[1]), float(box[2]), float(box[3])))
    return boxes


def _outer(box: tuple[float, float, float, float], line: int, header: Header) -> Rect:
    """Return the outer edge of the line round a box, cut where the upright image ends."""
    x, y, w, h = box
    return Rect(
        max(0, round(x) - line),
        max(0, round(y) - line),
        min(header.width, round(x + w) + line),
        min(header.height, round(y + h) + line),
    )


def _draw(pixels: Pixels, outer: Rect, line: int, fill: Any) -> None:
    """Draw the four bars within ``outer`` into the pixels.

    Each part is cut out of the pixels as they are by then, and put back before the next one is: so boxes may overlap.
    """
    left, top, right, bottom = outer
    line = min(line, -(-(right - left) // 2), -(-(bottom - top) // 2))
    bars = [
        Rect(left, top, right, top + line),
        Rect(left, bottom - line, right, bottom),
        Rect(left, top + line, left + line, bottom - line),
        Rect(right - line, top + line, right, bottom - line),
    ]
    bars = [bar for bar in bars if bar.bottom > bar.top and bar.right > bar.left]
    whole = (right - left) * (bottom - top) <= WHOLE_AREA_PX
    for part, drawn in [(outer, bars)] if whole else [(bar, [bar]) for bar in bars]:
        region = pixels[part.top : part.bottom, part.left : part.right]
        region[:] = _filled(region, [_within(bar, part) for bar in drawn], fill)


def _within(bar: Rect, part: Rect) -> Rect:
    return Rect(bar.left - part.left, bar.top - part.top, bar.right - part.left, bar.bottom - part.top)


def _filled(region: Pixels, bars: list[Rect], fill: Any) -> Pixels:
    """Return the region with the bars filled by ImageMagick, which knows the right and bottom pixel as inside."""
    height, width, channels = region.shape
    layout = "bgra" if channels == 4 else "bgr"
    bits = region.dtype.itemsize * 8
    with (
        MagickImage(blob=region.tobytes(), format=layout, width=width, height=height, depth=bits) as magick,
        Drawing() as drawing,
    ):
        drawing.fill_color = fill
        for bar in bars:
            drawing.rectangle(left=bar.left, top=bar.top, right=bar.right - 1, bottom=bar.bottom - 1)
        drawing(magick)
        blob = magick.make_blob(layout)
    return np.frombuffer(blob, region.dtype).reshape(region.shape)


def _kept(header: Header, name: str) -> tuple[bytes, bytes]:
    """Return the EXIF block and colour profile that still hold for the result.

    The profile of a grey or CMYK image says nothing about the colours that it has become.
    """
    exif = header.exif if header.format in MEDIA else b""
    if exif and name == "JPEG" and not fits_jpeg(exif):
        exif = orientation_block(header.orientation)
    return exif, header.icc if header.icc[16:20] == b"RGB " else b""
