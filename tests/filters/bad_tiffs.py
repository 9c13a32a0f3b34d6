"""TIFF files whose directories lead nowhere, round in circles, or to more than there is."""

import random
import struct

from bad_pngs import bomb


def _tiff(entries, data=b"", next_ifd=0, order="<"):
    """Return a TIFF of one directory: (tag, type, count, value or offset); ``data`` lies at offset 1024."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, 8)
    ifd = struct.pack(order + "H", len(entries))
    for tag, kind, count, value in sorted(entries):
        packed = struct.pack(order + "I", value) if kind != 3 or count > 1 else struct.pack(order + "HH", value, 0)
        ifd += struct.pack(order + "HHI", tag, kind, count) + packed
    return (head + ifd + struct.pack(order + "I", next_ifd)).ljust(1024, b"\0") + data


def grey_tiff(data=bytes(48 * 48), next_ifd=0, **changed):
    """Return a grey TIFF with some of its tags changed (by number, as t256=...); None leaves a tag out."""
    tags = {
        256: (4, 1, 48), 257: (4, 1, 48), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 1024),
        277: (3, 1, 1), 278: (4, 1, 48), 279: (4, 1, len(data)),
    }  # fmt: skip
    tags |= {int(name[1:]): value for name, value in changed.items()}
    return _tiff([(tag, *value) for tag, value in tags.items() if value], data, next_ifd)


def _many_directories(count):
    """Return a TIFF of so many pages, one pixel each."""
    size = 2 + 9 * 12 + 4
    out = [b"II" + struct.pack("<HI", 42, 8)]
    for number in range(count):
        here = 8 + number * size
        entries = [(256, 4, 1, 1), (257, 4, 1, 1), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 8)]
        entries += [(277, 3, 1, 1), (278, 4, 1, 1), (279, 4, 1, 1)]
        ifd = struct.pack("<H", 9) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        out.append(ifd + struct.pack("<I", here + size if number + 1 < count else 0))
    return b"".join(out)


def tiffs():
    zeros = bomb(64)
    return {
        "no-width.tif": grey_tiff(t256=(4, 1, 0)),
        "no-height.tif": grey_tiff(t257=(4, 1, 0)),
        "width-missing.tif": grey_tiff(t256=None),
        "height-missing.tif": grey_tiff(t257=None),
        "width-all-ones.tif": grey_tiff(t256=(4, 1, 0xFFFFFFFF)),
        "size-all-ones.tif": grey_tiff(t256=(4, 1, 0xFFFFFFFF), t257=(4, 1, 0xFFFFFFFF)),
        "60000-squared.tif": grey_tiff(t256=(4, 1, 60000), t257=(4, 1, 60000)),
        "width-is-text.tif": grey_tiff(t256=(2, 4, 0x41414141)),
        "width-many.tif": grey_tiff(t256=(4, 1000, 1024)),
        "bits-0.tif": grey_tiff(t258=(3, 1, 0)),
        "bits-64.tif": grey_tiff(t258=(3, 1, 64)),
        "samples-0.tif": grey_tiff(t277=(3, 1, 0)),
        "samples-65535.tif": grey_tiff(t277=(3, 1, 65535)),
        "compression-unknown.tif": grey_tiff(t259=(3, 1, 60000)),
        "compression-jpeg-of-nothing.tif": grey_tiff(t259=(3, 1, 7)),
        "compression-old-jpeg.tif": grey_tiff(t259=(3, 1, 6)),
        "compression-fax-of-noise.tif": grey_tiff(t259=(3, 1, 4), t258=(3, 1, 1), data=b""),
        "compression-lzw-of-noise.tif": grey_tiff(t259=(3, 1, 5), data=random.Random(5).randbytes(500)),
        "compression-deflate-of-noise.tif": grey_tiff(t259=(3, 1, 8), data=random.Random(6).randbytes(500)),
        "photometric-unknown.tif": grey_tiff(t262=(3, 1, 999)),
        "strips-beyond-the-end.tif": grey_tiff(t273=(4, 1, 0x7FFFFFFF)),
        "strips-missing.tif": grey_tiff(t273=None, t279=None),
        "strips-in-crowds.tif": grey_tiff(t273=(4, 1 << 28, 1024), t279=(4, 1 << 28, 1024)),
        "tiles-of-2-to-31.tif": grey_tiff(
            t273=None, t279=None, t278=None, t322=(4, 1, 0x7FFFFFF0), t323=(4, 1, 0x7FFFFFF0), t324=(4, 1, 1024),
            t325=(4, 1, 2304),
        ),
        "tiles-of-0.tif": grey_tiff(
            t273=None, t279=None, t278=None, t322=(4, 1, 0), t323=(4, 1, 0), t324=(4, 1, 1024), t325=(4, 1, 2304),
        ),
        "directory-beyond-the-end.tif": b"II*\0" + struct.pack("<I", 0x7FFFFFFF) + bytes(64),
        "directory-at-0.tif": b"II*\0" + bytes(64),
        "directory-of-65535.tif": b"II*\0" + struct.pack("<IH", 8, 65535) + bytes(64),
        "directories-in-crowds.tif": lambda: _many_directories(20_000),
        "deflate-bomb.tif": lambda: grey_tiff(
            zeros, t256=(4, 1, 20000), t257=(4, 1, 20000), t278=(4, 1, 20000), t259=(3, 1, 8), t279=(4, 1, len(zeros))
        ),
        "short-of-pixels.tif": grey_tiff(bytes(100), t279=(4, 1, 100)),
        "big-tiff-beyond.tif": b"II+\0" + struct.pack("<HHQ", 8, 0, 1 << 62) + bytes(64),
    }  # fmt: skip
