"""PNG files with wrong sums, lengths and sizes, and with much in little."""

import functools
import random
import struct
import zlib


def _chunk(kind, body, crc=None, length=None):
    crc = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body) if length is None else length) + kind + body + struct.pack(">I", crc)


def ihdr(width=48, height=48, depth=8, colour=2, method=0, filtering=0, interlace=0):
    return _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, method, filtering, interlace))


_IEND = _chunk(b"IEND", b"")


def _idat(raw):
    return _chunk(b"IDAT", zlib.compress(raw, 9))


def _png(*chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + _IEND


ROWS = (b"\0" + bytes(48 * 3)) * 48


@functools.cache
def bomb(mib):
    """Return so many MiB of zeros, compressed."""
    deflate = zlib.compressobj(9)
    return b"".join(deflate.compress(bytes(1 << 20)) for _ in range(mib)) + deflate.flush()


def pngs():
    pixels = _idat(ROWS)
    return {
        "no-width.png": _png(ihdr(0), pixels),
        "no-height.png": _png(ihdr(48, 0), pixels),
        "width-2-to-31.png": _png(ihdr(1 << 31), pixels),
        "size-all-ones.png": _png(ihdr(0xFFFFFFFF, 0xFFFFFFFF), pixels),
        "50000-squared.png": _png(ihdr(50000, 50000), pixels),
        "30000-squared-one-bit.png": lambda: _png(ihdr(30000, 30000, 1, 0), _chunk(b"IDAT", bomb(108))),
        "14000-squared-16-bit-no-data.png": _png(ihdr(14000, 14000, 16, 6), pixels),
        "a-long-strip.png": _png(ihdr(250_000_000, 1, 8, 0), pixels),
        "a-high-strip.png": _png(ihdr(1, 1_000_000, 8, 0), pixels),
        "depth-0.png": _png(ihdr(depth=0), pixels),
        "depth-3.png": _png(ihdr(depth=3), pixels),
        "depth-32.png": _png(ihdr(depth=32), pixels),
        "colour-1.png": _png(ihdr(colour=1), pixels),
        "colour-5.png": _png(ihdr(colour=5), pixels),
        "colour-255.png": _png(ihdr(colour=255), pixels),
        "method-9.png": _png(ihdr(method=9), pixels),
        "filtering-9.png": _png(ihdr(filtering=9), pixels),
        "palette-missing.png": _png(ihdr(colour=3), _idat((b"\0" + bytes(48)) * 48)),
        "palette-too-long.png": _png(ihdr(colour=3), _chunk(b"PLTE", bytes(3 * 300)), _idat((b"\0" + bytes(48)) * 48)),
        "palette-odd.png": _png(ihdr(colour=3), _chunk(b"PLTE", bytes(7)), _idat((b"\0" + bytes(48)) * 48)),
        "no-pixels.png": _png(ihdr()),
        "pixels-too-few.png": _png(ihdr(), _idat(ROWS[: len(ROWS) // 3])),
        "pixels-not-zlib.png": _png(ihdr(), _chunk(b"IDAT", b"not zlib" * 20)),
        "pixels-cut.png": _png(ihdr(), _chunk(b"IDAT", zlib.compress(random.Random(1).randbytes(len(ROWS)))[:2000])),
        "row-filter-9.png": _png(ihdr(), _idat(b"\x09".join([b""] + [bytes(48 * 3)] * 48))),
        "crc-of-header.png": b"\x89PNG\r\n\x1a\n" + ihdr()[:-4] + b"\1\2\3\4" + pixels + _IEND,
        "crc-of-pixels.png": _png(ihdr(), _chunk(b"IDAT", zlib.compress(ROWS), crc=1)),
        "chunk-of-4-GiB.png": _png(ihdr(), _chunk(b"IDAT", b"abc", length=0xFFFFFFFF)),
        "chunk-beyond-the-end.png": b"\x89PNG\r\n\x1a\n" + ihdr() + _chunk(b"IDAT", b"abc", length=1 << 20),
        "header-too-short.png": _png(_chunk(b"IHDR", bytes(5)), pixels),
        "header-missing.png": _png(pixels),
        "header-not-first.png": _png(_chunk(b"tEXt", b"a\0b"), ihdr(0), pixels),
        "ztxt-bomb.png": lambda: _png(ihdr(), _chunk(b"zTXt", b"a\0\0" + bomb(200)), pixels),
        "itxt-bomb.png": lambda: _png(ihdr(), _chunk(b"iTXt", b"a\0\1\0\0\0" + bomb(200)), pixels),
        "ztxt-in-crowds.png": lambda: _png(ihdr(), _chunk(b"zTXt", b"a\0\0" + bomb(1)) * 100, pixels),
        "icc-bomb.png": lambda: _png(ihdr(), _chunk(b"iCCP", b"a\0\0" + bomb(200)), pixels),
        "chunk-name-is-noise.png": _png(ihdr(), _chunk(b"\1\2\3\4", b"abc"), pixels),
        "frames-2-to-31.png": _png(ihdr(), _chunk(b"acTL", struct.pack(">II", 0x7FFFFFFF, 0)), pixels),
        "mng.png": b"\x8aMNG\r\n\x1a\n" + ihdr() + pixels + _IEND,
    }
