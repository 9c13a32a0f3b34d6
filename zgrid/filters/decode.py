"""From an image file's bytes to pixels: JPEG, PNG and WebP by OpenCV, which is fast; the others by Pillow."""

import io
import struct

import cv2
import numpy as np
import PIL.Image

from zgrid.errors import FilterError
from zgrid.filters.header import FORMATS, Header
from zgrid.filters.orientation import Pixels

FAST_FORMATS = ("JPEG", "PNG", "WEBP")
"""Formats that OpenCV decodes, after a look at whether the file is whole: OpenCV would take one that ends in zeros, as
an interrupted copy leaves it, and make up the rest of the picture."""

_REDUCED = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4, 8: cv2.IMREAD_REDUCED_COLOR_8}


def decode(data: bytes | memoryview, header: Header, longest_px: int | None = None) -> Pixels:
    """Return 8-bit BGR pixels (height x width x 3) as stored, transparent parts over white.

    With ``longest_px``, a JPEG is decoded at the smallest scale (1/2, 1/4, 1/8) whose longest side is at least that,
    which saves half of the time and more. Raises FilterError when the file is cut short or damaged.
    """
    if header.format == "JPEG":
        check_whole(data, header.format)
        flags = _REDUCED.get(_reduction(header, longest_px), cv2.IMREAD_COLOR)
        fast = _by_opencv(data, flags | cv2.IMREAD_IGNORE_ORIENTATION)
        return fast if fast is not None else _by_pillow(data, header)
    return flat(stored(data, header))


def stored(data: bytes | memoryview, header: Header) -> Pixels:
    """Return the pixels as stored, BGR or BGRA. PNG keeps its alpha and 16 bits, WebP its alpha; others are 8-bit BGR.

    Raises FilterError when the file is cut short or damaged.
    """
    if header.format not in FAST_FORMATS:
        return _by_pillow(data, header)
    check_whole(data, header.format)
    jpeg = header.format == "JPEG"
    pixels = _by_opencv(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION if jpeg else cv2.IMREAD_UNCHANGED)
    if pixels is None:
        return _by_pillow(data, header)
    if pixels.ndim == 2:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR))
    return pixels


def flat(pixels: Pixels) -> Pixels:
    """Return 8-bit BGR of BGR or BGRA of 8 or 16 bits: the upper byte of each channel, transparent parts over white."""
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.shape[2] == 3:
        return pixels
    alpha = pixels[:, :, 3:]
    if int(alpha.min()) == 255:
        return np.ascontiguousarray(pixels[:, :, :3])
    weight = alpha.astype(np.uint16)
    mixed = (pixels[:, :, :3] * weight + (255 - weight) * 255 + 127) // 255
    return np.asarray(mixed, np.uint8)


def check_whole(data: bytes | memoryview, name: str) -> None:
    """Raise FilterError when a JPEG, PNG or WebP file ends before its picture does."""
    if name == "WEBP":
        whole = len(data) >= int.from_bytes(bytes(data[4:8]), "little") + 8
    else:
        end, start = (b"\xff\xd9", _scan_start(data)) if name == "JPEG" else (b"IEND", 8)
        # Mostly the mark ends the file; phones put a film, an editor its notes behind it.
        whole = end in bytes(data[max(start, len(data) - 64) :]) or bytes(data[start:]).rfind(end) >= 0
    if not whole:
        raise FilterError(f"cut short: the {name} file ends before its picture does; copy it again")


def _scan_start(data: bytes | memoryview) -> int:
    """Return where the first scan of a JPEG starts: an end mark before it belongs to a thumbnail within the EXIF."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xDA:
            return at
        at += 1 if marker == 0xFF else 2 + int.from_bytes(bytes(data[at + 2 : at + 4]), "big")
    return len(data) if at + 4 > len(data) else at


def _reduction(header: Header, longest_px: int | None) -> int:
    longest = max(header.width, header.height)
    if longest_px is None:
        return 1
    return next((by for by in (8, 4, 2) if -(-longest // by) >= longest_px), 1)


def _by_opencv(data: bytes | memoryview, flags: int) -> Pixels | None:
    """Return the pixels, None when OpenCV cannot decode them. Raises MemoryError."""
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(error.err) from error
        return None
    return None if pixels is None else np.asarray(pixels)


def _by_pillow(data: bytes | memoryview, header: Header) -> Pixels:
    """Return 8-bit BGR by Pillow, of the file's first picture."""
    try:
        with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            opened.load()
            if opened.mode in ("F", "I") or opened.mode.startswith("I;"):
                grey = _eight_bits(np.asarray(opened), header)
                return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
            if opened.has_transparency_data:
                return flat(np.asarray(cv2.cvtColor(np.asarray(opened.convert("RGBA")), cv2.COLOR_RGBA2BGRA)))
            return np.asarray(cv2.cvtColor(np.asarray(opened.convert("RGB")), cv2.COLOR_RGB2BGR))
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, IndexError, KeyError, TypeError) as error:
        said = str(error) or type(error).__name__
        short = any(word in said.lower() for word in ("truncat", "unexpected end", "eof"))
        raise FilterError(f"{'cut short' if short else 'damaged'}: it cannot be decoded ({said})") from error


def _eight_bits(grey: Pixels, header: Header) -> Pixels:
    """Return deep grey as 8 bits: the upper byte of 16 bits; anything deeper from its darkest to its brightest."""
    if header.depth <= 16 and grey.dtype.kind in "iu":
        return np.asarray(np.clip(grey >> 8, 0, 255), np.uint8)
    numbers = np.nan_to_num(grey.astype(np.float64), posinf=0.0, neginf=0.0)
    low, high = float(np.min(numbers)), float(np.max(numbers))
    stretched = (numbers - low) * (255 / (high - low) if high > low else 0)
    return np.asarray(stretched.astype(np.uint8))
