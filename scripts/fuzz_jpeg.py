"""Drawing into a JPEG: any bytes make a JPEG file or None, through a library that is handed them as they are."""

import io
import random

import numpy as np
import PIL.Image
from fuzz_bytes import mutate_bytes
from fuzz_header import exif, saved

from zgrid.errors import FilterError
from zgrid.filters.header import read_header
from zgrid.filters.jpeg_blocks import draw
from zgrid.filters.lines import Patch

BYTES_MAX = 1 << 14
MEMORY_MIB_MAX = 512


def seeds() -> list[bytes]:
    """Return JPEG files of the usual kinds: samplings, progressive, grey, CMYK, restart markers, EXIF."""
    return [
        saved("JPEG", quality=90), saved("JPEG", quality=90, subsampling=0), saved("JPEG", subsampling=1, quality=80),
        saved("JPEG", progressive=True), saved("JPEG", "L"), saved("JPEG", "CMYK"), saved("JPEG",
        restart_marker_blocks=1),
        saved("JPEG", exif=exif(3), optimize=True),
    ]  # fmt: skip


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change bytes, mostly in the segments before the scan."""
    cut = data.find(b"\xff\xda")
    if cut > 0 and rng.random() < 0.7:
        return mutate_bytes(data[:cut], rng) + data[cut:]
    return mutate_bytes(data, rng)


def attack(data: bytes) -> None:
    """Draw a line, as the chain does for what has a header within the limits."""
    try:
        header = read_header(data, 1_000_000)
    except FilterError:
        return
    width, height = header.stored_size
    patch = Patch(0, 0, np.full((min(9, height), min(9, width), 4), 255, np.uint8))
    made = draw(data, [patch])
    if made is not None:
        with PIL.Image.open(io.BytesIO(made), formats=["JPEG"]) as opened:
            assert opened.size == (width, height), "what was drawn has another size"
