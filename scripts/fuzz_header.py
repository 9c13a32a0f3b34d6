"""Image headers: bytes are a header within the limits, or a FilterError with a reason."""

import io
import random

import PIL.Image
from fuzz_bytes import mutate_bytes

from zgrid.errors import FilterError
from zgrid.filters.frames import FRAMES_MAX
from zgrid.filters.header import FORMATS, PIXELS_MAX, read_header

BYTES_MAX = 1 << 14
MEMORY_MIB_MAX = 1024
"""A WebP's reader takes two canvases of the size it says before a pixel is read: 200 megapixels are allowed."""


def saved(format: str, mode: str = "RGB", **options: object) -> bytes:  # noqa: A002  Pillow's word
    """Return a picture of 24 x 16 pixels as a file."""
    out = io.BytesIO()
    PIL.Image.linear_gradient("L").resize((24, 16)).convert(mode).save(out, format, **options)
    return out.getvalue()


def exif(orientation: int) -> bytes:
    """Return an EXIF block."""
    tags = PIL.Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def seeds() -> list[bytes]:
    """Return a small picture of each format, and some of the odder kinds."""
    pages = [PIL.Image.new("RGB", (24, 16), (colour, 0, 0)) for colour in range(3)]
    return [
        *(saved(name) for name in FORMATS),
        saved("JPEG", exif=exif(6)), saved("JPEG", "L", progressive=True), saved("JPEG", "CMYK"), saved("WEBP",
        exif=exif(5)),
        saved("PNG", "I;16"), saved("PNG", "P"), saved("PNG", exif=exif(8)),
        saved("GIF", "P", save_all=True, append_images=pages), saved("TIFF", save_all=True, append_images=pages),
        saved("TIFF", compression="tiff_lzw"), saved("TIFF", big_tiff=True), saved("PNG", save_all=True,
        append_images=pages),
        saved("WEBP", save_all=True, append_images=pages), saved("WEBP", lossless=True), saved("BMP", "1"),
        saved("PPM", "L"),
    ]  # fmt: skip


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change bytes; mostly near the start, where headers are."""
    if rng.random() < 0.7:
        cut = rng.choice((32, 64, 200, 600))
        return mutate_bytes(data[:cut], rng) + data[cut:]
    return mutate_bytes(data, rng)


def attack(data: bytes) -> None:
    """Read the header."""
    try:
        header = read_header(data)
    except FilterError as error:
        assert 0 < len(str(error)) < 1000, "a reason that nobody can read"
        return
    assert header.format in FORMATS
    assert header.width > 0
    assert header.height > 0
    assert header.width * header.height <= PIXELS_MAX
    assert 1 <= header.orientation <= 8
    assert 1 <= header.frames <= FRAMES_MAX
    assert isinstance(header.exif, bytes)
    assert isinstance(header.icc, bytes)
    assert header.depth >= 1, f"a depth of {header.depth} bits"
