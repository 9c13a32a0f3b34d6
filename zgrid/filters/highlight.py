"""The filter ``highlight``: draws round the faces that an earlier filter found, with ImageMagick through Wand."""

from typing import Annotated, Any

import numpy as np
import PIL.ImageColor

from zgrid.errors import FilterError
from zgrid.filters import jpeg_blocks, lines
from zgrid.filters.encode import MEDIA, encode, fits_jpeg, orientation_block, with_segments
from zgrid.filters.header import Header
from zgrid.filters.image import Image
from zgrid.filters.lines import Patch, Rect
from zgrid.filters.option import Between, Value
from zgrid.filters.orientation import stored_box
from zgrid.filters.outcome import Keep, Outcome
from zgrid.filters.registry import filter  # noqa: A004  the decorator is called so
from zgrid.filters.stages import DRAW, ENCODE, stage

LINES_PER_SIDE = 300
"""The default line is the picture's longest side divided by this: 4 pixels on 1.2 megapixels, 13 on twelve."""
FACES_MAX = 10_000
"""More faces than this were not found by a detector."""
QUALITY = 90
"""Of a picture that has to be encoded anew, where none is asked for."""


def _is_colour(value: Value) -> None:
    """Check a colour's text, so that a slip is found before the first image and not by each of them."""
    try:
        transparent = len(PIL.ImageColor.getrgb(str(value))) != 3
    except ValueError:
        transparent = True
    if transparent:
        raise ValueError("must be the name of a colour, like red, or #rrggbb")


@filter("highlight", "2", needs=lines.ready)
def highlight(
    image: Image,
    *,
    colour: Annotated[str, _is_colour] = "#00e640",
    width_px: Annotated[int, Between(0, 1000)] = 0,
    quality: Annotated[int, Between(0, 100)] = 0,
) -> Outcome:
    """Draw a box round every face in the notes and keep the result as the picture.

    The picture keeps orientation, EXIF block, colour profile and format of a JPEG, PNG or WebP, a PNG also its alpha
    and 16 bits per channel, a WebP its alpha; grey becomes colour, and other formats become JPEG. ``width_px`` is the
    line's width in pixels, 0 chooses one that fits the image. With ``quality`` 0 nothing of a JPEG changes but the
    blocks of 8 x 8 pixels that the line touches (where libjpeg-turbo is missing, or the file is odd or coarse, it is
    encoded anew with 90); from 1 on, JPEG and WebP are encoded anew with it. The line lies outside the face's box as
    far as the image reaches. Without faces in the notes of an earlier filter it fails; where there are none in the
    list, there is no picture.
    """
    header = image.header
    boxes = _boxes(image.notes.get("faces"))
    if not boxes:
        return Keep()
    line = width_px or max(2, max(header.width, header.height) // LINES_PER_SIDE)
    # A TIFF's or GIF's pixels are upright already: read_header gives 1 or the orientation that is stored.
    outer = [
        Rect(*stored_box(_outer(box, line, header), header.orientation, header.width, header.height)) for box in boxes
    ]
    with stage(DRAW):
        red, green, blue = PIL.ImageColor.getrgb(colour)[:3]
        patches = lines.drawn(outer, line, (red, green, blue))
    name = header.format if header.format in MEDIA else "JPEG"
    exif, icc = _kept(header, name)
    if header.format == "JPEG" and not quality:
        with stage(ENCODE):
            changed = jpeg_blocks.draw(image.data, patches)
        if changed is not None:
            return Keep(picture=with_segments(changed, exif, icc), media=MEDIA[name])
    return Keep(picture=_anew(image, patches, name, quality or QUALITY, exif, icc), media=MEDIA[name])


def _anew(image: Image, patches: list[Patch], name: str, quality: int, exif: bytes, icc: bytes) -> bytes:
    """Return the image as a file of all its pixels, with the patches painted into them."""
    pixels = np.require(image.stored(), requirements=["C", "W"])
    with stage(DRAW):
        lines.paint(pixels, patches)
    with stage(ENCODE):
        return encode(pixels, name, quality, exif, icc)


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
    """Return the outer edge of the line round a box, cut where the upright image ends; empty when it lies outside."""
    x, y, w, h = box
    left, top = max(0, round(x) - line), max(0, round(y) - line)
    right, bottom = min(header.width, round(x + w) + line), min(header.height, round(y + h) + line)
    return Rect(left, top, max(left, right), max(top, bottom))


def _kept(header: Header, name: str) -> tuple[bytes, bytes]:
    """Return the EXIF block and colour profile that still hold for the result.

    The profile of a grey or CMYK image says nothing about the colours that it has become.
    """
    exif = header.exif if header.format in MEDIA else b""
    if exif and name == "JPEG" and not fits_jpeg(exif):
        exif = orientation_block(header.orientation)
    return exif, header.icc if header.icc[16:20] == b"RGB " else b""
