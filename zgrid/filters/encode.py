"""From pixels to an image file that keeps the original's EXIF block (so its orientation) and colour profile.

The blocks are put into the finished file here, since OpenCV's encoders refuse profiles that are long or a little odd,
and would lose the whole picture over them.
"""

import zlib

import cv2

from zgrid.errors import FilterError
from zgrid.filters.orientation import Pixels

MEDIA = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
"""Formats that are written, and their media types."""

_EXTENSIONS = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp"}
_SEGMENT_BYTES_MAX = 65_533
"""A JPEG segment's length has 16 bits and counts itself."""
_ICC_PREFIX = b"ICC_PROFILE\0"
_VP8X_ICC, _VP8X_EXIF = 0x20, 0x08


def encode(pixels: Pixels, name: str, quality: int, exif: bytes = b"", icc: bytes = b"") -> bytes:
    """Return BGR or BGRA pixels as a JPEG, PNG or WEBP file; ``quality`` is 1 to 100, for JPEG and WebP.

    ``exif`` is a TIFF block, ``icc`` a profile; each is left out when empty. Only PNG can hold 16 bits, and JPEG no
    alpha: giving it what it cannot hold raises FilterError.
    """
    options = {
        "JPEG": [cv2.IMWRITE_JPEG_QUALITY, quality],
        "WEBP": [cv2.IMWRITE_WEBP_QUALITY, quality],
    }.get(name, [])
    try:
        done, encoded = cv2.imencode(_EXTENSIONS[name], pixels, options)
    except cv2.error as error:
        raise FilterError(f"the picture cannot be written as {name}: {error.err}") from error
    if not done:
        raise FilterError(f"the picture cannot be written as {name}")
    file = encoded.tobytes()
    if not exif and not icc:
        return file
    if name == "JPEG":
        return with_segments(file, exif, icc)
    return _with_png_chunks(file, exif, icc) if name == "PNG" else _with_webp_chunks(file, pixels, exif, icc)


def orientation_block(orientation: int) -> bytes:
    """Return the smallest EXIF block that names this orientation (1 to 8): one tag in one directory."""
    return b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([orientation]) + b"\0\0\0\0\0\0"


def fits_jpeg(exif: bytes) -> bool:
    """Return whether a JPEG can hold this EXIF block: it must fit into one segment."""
    return len(exif) + len(b"Exif\0\0") + 2 <= _SEGMENT_BYTES_MAX


def with_segments(file: bytes, exif: bytes, icc: bytes) -> bytes:
    """Put EXIF and profile at the start of a JPEG, the profile in as many segments as it needs (ICC.1, annex B.4)."""
    out = [file[:2]]
    if exif:
        out.append(_segment(0xE1, b"Exif\0\0" + exif))
    room = _SEGMENT_BYTES_MAX - len(_ICC_PREFIX) - 2
    parts = [icc[at : at + room] for at in range(0, len(icc), room)]
    if len(parts) <= 255:
        for number, part in enumerate(parts, 1):
            out.append(_segment(0xE2, _ICC_PREFIX + bytes([number, len(parts)]) + part))
    out.append(file[2:])
    return b"".join(out)


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def _with_png_chunks(file: bytes, exif: bytes, icc: bytes) -> bytes:
    """Put profile and EXIF right behind a PNG's header chunk, which is always 25 bytes behind the 8-byte signature."""
    chunks = b""
    if icc:
        chunks += _png_chunk(b"iCCP", b"icc\0\0" + zlib.compress(icc))
    if exif:
        chunks += _png_chunk(b"eXIf", exif)
    return file[:33] + chunks + file[33:]


def _png_chunk(kind: bytes, content: bytes) -> bytes:
    crc = zlib.crc32(kind + content)
    return len(content).to_bytes(4, "big") + kind + content + crc.to_bytes(4, "big")


def _with_webp_chunks(file: bytes, pixels: Pixels, exif: bytes, icc: bytes) -> bytes:
    """Put profile and EXIF into a WebP, whose extended form it takes: header, profile, picture, EXIF in this order.

    A picture that can be seen through has that form already, with a flag for its alpha.
    """
    height, width = pixels.shape[:2]
    body, flags = file[12:], 0
    if body[:4] == b"VP8X":
        flags, body = body[8], body[18:]
    flags |= (_VP8X_ICC if icc else 0) | (_VP8X_EXIF if exif else 0)
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = _webp_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + size)
    chunks += (_webp_chunk(b"ICCP", icc) if icc else b"") + body + (_webp_chunk(b"EXIF", exif) if exif else b"")
    return b"RIFF" + (len(chunks) + 4).to_bytes(4, "little") + b"WEBP" + chunks


def _webp_chunk(kind: bytes, content: bytes) -> bytes:
    return kind + len(content).to_bytes(4, "little") + content + b"\0" * (len(content) % 2)
