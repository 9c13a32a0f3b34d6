"""GIF, BMP, WebP, PNM and AVIF files that say what is not so."""

import functools
import random
import struct

from good_files import good

# -- GIF


def _gif(width, height, *blocks):
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6) + b"".join(blocks) + b";"


def _gif_frame(width=4, height=4, left=0, top=0, bits=2, data=b"\x84\x8f\xa9\xcb\x05"):
    place = struct.pack("<HHHHB", left, top, width, height, 0)
    return b"," + place + bytes([bits, len(data)]) + data + b"\0"


def gifs():
    return {
        "no-size.gif": _gif(0, 0, _gif_frame(0, 0)),
        "no-width.gif": _gif(0, 9, _gif_frame(0, 9)),
        "65535-squared.gif": _gif(65535, 65535, _gif_frame()),
        "20000-squared.gif": _gif(20000, 20000, _gif_frame(20000, 20000)),
        "frame-beyond-the-canvas.gif": _gif(8, 8, _gif_frame(60000, 60000, 60000, 60000)),
        "no-frame.gif": _gif(8, 8),
        "no-frame-but-comments.gif": _gif(8, 8, b"!\xfe\x03abc\0" * 50),
        "frames-in-crowds.gif": lambda: _gif(8, 8, _gif_frame(1, 1, data=b"\x44\x01") * 20_000),
        "code-size-0.gif": _gif(8, 8, _gif_frame(8, 8, bits=0, data=b"")),
        "code-size-13.gif": _gif(8, 8, _gif_frame(8, 8, bits=13)),
        "data-too-short.gif": _gif(400, 400, _gif_frame(400, 400)),
        "data-missing.gif": _gif(8, 8, _gif_frame(8, 8, data=b"")),
        "data-is-noise.gif": _gif(90, 90, _gif_frame(90, 90, bits=8, data=random.Random(3).randbytes(200))),
        "block-of-no-kind.gif": _gif(8, 8, b"\x99" * 100),
    }


# -- BMP


def bmp(
    width=48, height=48, bits=24, *, compression=0, colours=0, header=40, offset=54, planes=1, data=bytes(48 * 48 * 3)
):
    info = struct.pack("<IiiHHIIiiII", header, width, height, planes, bits, compression, 0, 0, 0, colours, 0)
    return b"BM" + struct.pack("<IHHI", 0x7FFFFFFF, 0, 0, offset) + info + data


def bmps():
    return {
        "no-width.bmp": bmp(0),
        "no-height.bmp": bmp(48, 0),
        "width-negative.bmp": bmp(-48),
        "height-least.bmp": bmp(48, -(1 << 31)),
        "size-greatest.bmp": bmp(0x7FFFFFFF, 0x7FFFFFFF),
        "30000-squared-one-bit.bmp": bmp(30000, 30000, 1, colours=2),
        "10000-squared-no-data.bmp": bmp(10000, 10000),
        "bits-0.bmp": bmp(bits=0),
        "bits-3.bmp": bmp(bits=3),
        "bits-64.bmp": bmp(bits=64),
        "bits-65535.bmp": bmp(bits=65535),
        "compression-jpeg.bmp": bmp(compression=4),
        "compression-png.bmp": bmp(compression=5),
        "compression-99.bmp": bmp(compression=99),
        "run-length-of-24-bits.bmp": bmp(compression=1),
        "masks-of-24-bits.bmp": bmp(compression=3),
        "colours-2-to-31.bmp": bmp(bits=8, colours=1 << 31),
        "offset-beyond-the-end.bmp": bmp(offset=0x7FFFFFFF),
        "header-of-124-cut.bmp": bmp(header=124, data=b""),
        "header-of-12.bmp": bmp(header=12),
        "data-missing.bmp": bmp(data=b""),
        "data-short.bmp": bmp(data=bytes(1000)),
    }


# -- WebP


def _riff(*chunks, size=None):
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def _part(kind, body, length=None):
    return kind + struct.pack("<I", len(body) if length is None else length) + body + b"\0" * (len(body) % 2)


def _vp8x(width, height, flags=0):
    return _part(
        b"VP8X", bytes([flags, 0, 0, 0]) + struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    )


def _vp8l(width, height, data=b"\x88\x88\x08"):
    bits = (width - 1) | (height - 1) << 14
    return _part(b"VP8L", b"\x2f" + struct.pack("<I", bits) + data)


def _vp8(width, height, data=bytes(60)):
    return _part(b"VP8 ", b"\x10\x02\0\x9d\x01\x2a" + struct.pack("<HH", width, height) + data)


def _anmf(width, height, left=0, top=0):
    place = b"".join(struct.pack("<I", value)[:3] for value in (left, top, width - 1, height - 1, 100))
    return _part(b"ANMF", place + b"\0" + _vp8l(width, height))


def webps():
    data = good("WEBP")
    anim = _part(b"ANIM", bytes(6))
    return {
        "canvas-2-to-24.webp": _riff(_vp8x(1 << 24, 1 << 24), data[12:]),
        "canvas-16383-squared.webp": _riff(_vp8x(16383, 16383, 2), anim, _anmf(16383, 16383)),
        "lossless-16384-squared.webp": _riff(_vp8l(16384, 16384)),
        "lossy-16383-squared.webp": _riff(_vp8(16383, 16383)),
        "lossy-no-size.webp": _riff(_vp8(0, 0)),
        "lossy-of-nothing.webp": _riff(_vp8(48, 48, b"")),
        "lossless-of-noise.webp": _riff(_vp8l(48, 48, random.Random(7).randbytes(100))),
        "size-0.webp": _riff(data[12:], size=0),
        "size-4-GiB.webp": _riff(data[12:], size=0xFFFFFFFE),
        "chunk-of-4-GiB.webp": _riff(_part(b"VP8 ", data[20:100], length=0xFFFFFFF0)),
        "no-picture.webp": _riff(_vp8x(48, 48)),
        "nothing.webp": _riff(),
        "moving-without-frames.webp": _riff(_vp8x(48, 48, 2), anim),
        "frame-beyond-the-canvas.webp": _riff(_vp8x(48, 48, 2), anim, _anmf(48, 48, 1000, 1000)),
        "canvas-unlike-picture.webp": _riff(_vp8x(4000, 4000), data[12:]),
        "chunk-of-no-kind.webp": _riff(_part(b"XXXX", bytes(40))),
    }


# -- PNM, AVIF


def pnms():
    pixels = bytes(48 * 48 * 3)
    return {
        "no-width.ppm": b"P6\n0 48\n255\n" + pixels,
        "no-height.ppm": b"P6\n48 0\n255\n" + pixels,
        "size-negative.ppm": b"P6\n-48 -48\n255\n" + pixels,
        "size-of-19-digits.ppm": b"P6\n9999999999999999999 9999999999999999999\n255\n" + pixels,
        "40000-squared.ppm": b"P6\n40000 40000\n255\n" + pixels,
        "10000-squared-no-data.pgm": b"P5\n10000 10000\n255\n",
        "most-is-0.ppm": b"P6\n48 48\n0\n" + pixels,
        "most-is-70000.ppm": b"P6\n48 48\n70000\n" + pixels,
        "size-is-words.ppm": b"P6\n 1a 48\n255\n" + pixels,
        "comment-without-end.ppm": b"P6\n#" + b"x" * 100_000,
        "plain-short.ppm": b"P3\n48 48\n255\n1 2 3",
        "plain-words.ppm": b"P3\n48 48\n255\n" + b"one two " * 100,
        "plain-beyond-most.pgm": b"P2\n2 2\n10\n1 2 99 4\n",
        "plain-bits.pbm": b"P1\n48 48\n2 2 2 2",
        "float-of-nothing.pfm": b"PF\n48 48\n-1.0\n",
        "digits-without-end.ppm": b"P6\n" + b"1" * 100_000,
    }


def _box(kind, body, size=None):
    return struct.pack(">I", len(body) + 8 if size is None else size) + kind + body


def avifs():
    data = good("AVIF")
    ftyp = data[: int.from_bytes(data[:4], "big")]
    rest = data[len(ftyp) :]
    ispe = data.index(b"ispe") + 8
    mdat = data.index(b"mdat")
    return {
        "nothing-but-its-name.avif": ftyp,
        "size-all-ones.avif": data[:ispe] + b"\xff" * 8 + data[ispe + 8 :],
        "60000-squared.avif": data[:ispe] + struct.pack(">II", 60000, 60000) + data[ispe + 8 :],
        "no-size.avif": data[:ispe] + bytes(8) + data[ispe + 8 :],
        "no-pixels.avif": data[: mdat - 4],
        "pixels-are-noise.avif": data[: mdat + 4] + random.Random(8).randbytes(len(data) - mdat - 4),
        "pixels-are-zeros.avif": data[: mdat + 4] + bytes(len(data) - mdat - 4),
        "box-of-0.avif": ftyp + struct.pack(">I", 0) + rest[4:40],
        "box-of-2-to-63.avif": ftyp + struct.pack(">I", 1) + b"meta" + struct.pack(">Q", 1 << 63) + rest[8:],
        "boxes-in-boxes.avif": ftyp + functools.reduce(lambda inner, _: _box(b"meta", inner), range(500), b""),
        "index-missing.avif": data.replace(b"iloc", b"free", 1),
        "properties-missing.avif": data.replace(b"iprp", b"free", 1),
    }
