"""A few hundred files that no decoder should be given, each made here from a few bytes: nothing of it is kept on disk.

``makers()`` are those of which each must end as a failure with a reason. Where one is no image at all by its first
bytes, a scan of a folder passes it over, and ``is_passed_over`` says so.
"""

import functools
import random
import struct

from bad_jpegs import jpegs
from bad_others import avifs, bmps, gifs, pnms, webps
from bad_pngs import pngs
from bad_tiffs import tiffs
from good_files import good
from strange_files import STRANGERS, polyglots

from zgrid.sources import content

ENDS = {
    "JPEG": "jpg",
    "PNG": "png",
    "GIF": "gif",
    "TIFF": "tif",
    "BMP": "bmp",
    "WEBP": "webp",
    "PPM": "ppm",
    "AVIF": "avif",
}


@functools.cache
def makers():
    """Return (name, its bytes or a function that makes them) of every bad file."""
    parts = (_cut_short(), _noise(), jpegs(), pngs(), gifs(), tiffs(), bmps(), webps(), pnms(), avifs(), polyglots())
    strangers = {f"stranger-{name}": data for name, data in STRANGERS.items()}
    found = [(name, make) for part in (*parts, strangers) for name, make in part.items()]
    assert len({name for name, _ in found}) == len(found)
    return found


def whole(make):
    """Return the bytes of one of the makers."""
    return make if isinstance(make, bytes) else make()


def is_passed_over(data):
    """Whether a folder's scan offers nothing for these bytes: no image by its beginning."""
    return content.kind_of(data[: content.HEAD_BYTES]) in {None, *content.ARCHIVES}


def _cut_short():
    """Every format, cut at several places: an interrupted copy."""
    files = {}
    for name, end in ENDS.items():
        data = good(name)
        places = {"magic": 12, "header": 24, "early": 40, "third": len(data) // 3, "half": len(data) // 2}
        places |= {"late": len(data) * 4 // 5, "end": len(data) - 200}
        for place, at in places.items():
            files[f"cut-{place}.{end}"] = data[:at]
        if name in ("JPEG", "PNG"):
            half = len(data) // 2
            files[f"zeros-behind-half.{end}"] = data[:half] + bytes(len(data) - half)
    return files


def _noise():
    """The first bytes of every format, and noise behind them."""
    files = {}
    heads = {
        "jpg": b"\xff\xd8\xff\xe0",
        "png": b"\x89PNG\r\n\x1a\n",
        "gif": b"GIF89a",
        "tif": b"II*\0",
        "big.tif": b"II+\0",
        "bmp": b"BM" + bytes(12) + struct.pack("<I", 40),
        "webp": b"RIFF\xff\xff\0\0WEBPVP8 ",
        "ppm": b"P6\n",
        "pgm": b"P5 ",
        "avif": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miaf",
    }
    for end, head in heads.items():
        for seed in range(4):
            files[f"noise-{seed}.{end}"] = head + random.Random(f"{end}{seed}").randbytes(1500)
    return files
