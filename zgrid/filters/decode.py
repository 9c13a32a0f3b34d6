"""From an image file's bytes to pixels: JPEG, PNG and WebP by OpenCV, which is fast; the others by Pillow."""

import io
import re

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image

from zgrid.errors import FilterError
from zgrid.filters.header import FORMATS, UNREADABLE, Header
from zgrid.filters.orientation import Pixels

FAST_FORMATS = ("JPEG", "PNG", "WEBP")
"""Formats that OpenCV decodes, after a look at whether the file is whole: OpenCV would take one that ends in zeros, as
an interrupted copy leaves it, and make up the rest of the picture."""

STRIP_PIXELS = 1 << 20
SCANS_MAX = 200
"""Encoders make ten of them; each costs a walk over the whole picture, however few bytes it has."""
JPEG_END = b"\xff\xd9"
PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
"""The frames of a JPEG that comes in many scans of everything; others have one, or one for each component."""
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BEGIN, _END, _SCAN = 0xD8, 0xD9, 0xDA
_MARK = re.compile(rb"\xff([\xc0-\xcf\xd8-\xfe])")
"""Those that decoders heed. Of the others some have no length and some are refused or, within a scan, ignored."""

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
        if header.format == "PNG":  # where libpng gives up, Pillow would make up what is missing
            raise FilterError("damaged: the PNG cannot be decoded")
        return _by_pillow(data, header)
    if pixels.ndim == 2:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR))
    return pixels


def flat(pixels: Pixels) -> Pixels:
    """Return 8-bit BGR of BGR or BGRA of 8 or 16 bits: the upper byte of each channel, transparent parts over white."""
    if pixels.dtype == np.uint8 and pixels.shape[2] == 3:
        return pixels
    height, width = pixels.shape[:2]
    out = np.empty((height, width, 3), np.uint8)
    rows = _rows(width)
    for top in range(0, height, rows):
        out[top : top + rows] = _flat(pixels[top : top + rows])
    return out


def _rows(width: int) -> int:
    """Return how many rows are changed at once, so that what is made on the way stays small."""
    return max(1, STRIP_PIXELS // width)


def _flat(pixels: Pixels) -> Pixels:
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.shape[2] == 3 or int(pixels[:, :, 3].min()) == 255:
        return pixels[:, :, :3]
    weight = pixels[:, :, 3:].astype(np.uint16)
    return np.asarray((pixels[:, :, :3] * weight + (255 - weight) * 255 + 127) // 255, np.uint8)


def check_whole(data: bytes | memoryview, name: str) -> None:
    """Raise FilterError when a JPEG, PNG or WebP file ends before its picture does.

    And when it is made to keep a decoder busy: a PNG with a chunk that claims to be longer than the file, for which
    OpenCV would find room; a JPEG whose picture is refined thousands of times.
    """
    if name == "WEBP":
        whole = len(data) >= int.from_bytes(bytes(data[4:8]), "little") + 8
    elif name == "PNG":
        whole = _png_is_whole(data)
    else:
        start = _scan_start(data)
        # Mostly the mark ends the file; phones put a film, an editor its notes behind it.
        whole = JPEG_END in bytes(data[max(start, len(data) - 64) :]) or bytes(data[start:]).rfind(JPEG_END) >= 0
    if not whole:
        raise FilterError(f"cut short: the {name} file ends before its picture does; copy it again")


def _scan_start(data: bytes | memoryview) -> int:
    """Return where the first scan of a JPEG starts, its length if there is none. Raises FilterError for too many scans.

    Marks are found as decoders find them: whatever stands between segments is passed over, and what is in a segment is
    no mark: an end mark in the EXIF belongs to a thumbnail. Behind a first scan of all components nothing is read,
    unless the picture is a progressive one.
    """
    start, scans, at = len(data), 0, 2
    is_progressive, components = False, b""
    while (found := _MARK.search(data, at)) is not None and scans <= SCANS_MAX:
        mark, at = data[found.end() - 1], found.end()
        if mark == _END:
            break
        if mark == _SCAN:
            scans += 1
            start = min(start, found.start())
            if not is_progressive and bytes(data[at + 2 : at + 3]) == components:
                break
        elif mark in _FRAMES:
            is_progressive = is_progressive or mark in PROGRESSIVE
            components = bytes(data[at + 7 : at + 8])
        if mark != _BEGIN:
            at += int.from_bytes(bytes(data[at : at + 2]), "big")
    if scans > SCANS_MAX:
        raise FilterError(f"it is refined in more than {SCANS_MAX} scans, which no camera does")
    return start


def _png_is_whole(data: bytes | memoryview) -> bool:
    """Return whether a PNG's chunks follow each other up to the last one; it may have something behind that."""
    at, end = 8, len(data)
    while at + 12 <= end:
        length = int.from_bytes(data[at : at + 4], "big")
        kind = bytes(data[at + 4 : at + 8])
        at += 12 + length
        if kind == b"IEND":
            return at <= end
    return False


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
            plain = opened if opened.mode == "RGB" else opened.convert("RGB")
            return np.asarray(cv2.cvtColor(np.asarray(plain), cv2.COLOR_RGB2BGR))
    except UNREADABLE as error:
        said = str(error) or type(error).__name__
        if "memory" in said.lower():
            raise MemoryError(said) from error
        short = any(word in said.lower() for word in ("truncat", "unexpected end", "eof"))
        raise FilterError(f"{'cut short' if short else 'damaged'}: it cannot be decoded ({said})") from error


def _eight_bits(grey: Pixels, header: Header) -> Pixels:
    """Return deep grey as 8 bits: the upper byte of 16 bits; anything deeper from its darkest to its brightest."""
    height, width = grey.shape
    strips = [slice(top, top + _rows(width)) for top in range(0, height, _rows(width))]
    out = np.empty((height, width), np.uint8)
    if header.depth <= 16 and grey.dtype.kind in "iu":
        for strip in strips:
            out[strip] = np.clip(grey[strip] >> 8, 0, 255)
        return out
    bounds = [(np.min(numbers), np.max(numbers)) for numbers in (_numbers(grey[strip]) for strip in strips)]
    low, high = float(min(bounds)[0]), float(max(bound for _, bound in bounds))
    factor = 255 / (high - low) if high > low else 0
    for strip in strips:
        out[strip] = ((_numbers(grey[strip]) - low) * factor).astype(np.uint8)
    return out


def _numbers(grey: Pixels) -> npt.NDArray[np.float64]:
    return np.nan_to_num(grey.astype(np.float64), posinf=0.0, neginf=0.0)
