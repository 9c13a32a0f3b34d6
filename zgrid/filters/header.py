"""What an image file says about itself, read without decoding a pixel."""

import io
import struct
import warnings
from dataclasses import dataclass, field

import PIL.Image
from PIL import TiffImagePlugin

from zgrid.errors import FilterError
from zgrid.filters.frames import FRAMES_MAX, count_frames

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF", "PPM")
"""Formats that are opened, by Pillow's names; every other decoder is attack surface for nothing."""
PIXELS_MAX = 200_000_000
"""Largest image that is decoded: 600 MB as 8-bit BGR. The largest cameras make 150 megapixels."""
SIDE_PX_MAX = (1 << 20) - 1
"""Longest side: OpenCV takes no longer one."""
DECODED_BYTES_MAX = 1 << 30
"""Largest image as the file stores it, all channels in their full depth: 16-bit colour of 178 megapixels."""

UNREADABLE = (
    *(OSError, SyntaxError, ValueError, struct.error, IndexError, KeyError, TypeError, OverflowError, EOFError),
    *(AssertionError, AttributeError, RuntimeError, ZeroDivisionError),
)
"""What Pillow's decoders raise, each in its way, for bytes that they cannot read."""

ORIENTATION_TAG = 0x0112
_EXIF_PREFIX = b"Exif\0\0"

PIL.Image.MAX_IMAGE_PIXELS = PIXELS_MAX  # the limit that we check, instead of Pillow's warning at half of it
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # what is wrong with a file, its reason says


@dataclass(frozen=True, slots=True)
class Header:
    """What an image file says about itself.

    ``width`` and ``height`` are pixels of the upright image, after ``orientation`` (EXIF, 1 to 8) is applied;
    ``depth`` is bits per channel; ``exif`` (a TIFF block) and ``icc`` are the file's own bytes, empty when absent.
    """

    format: str
    width: int
    height: int
    orientation: int
    depth: int
    frames: int
    exif: bytes = field(default=b"", repr=False)
    icc: bytes = field(default=b"", repr=False)

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height in pixels as the file stores them."""
        return (self.height, self.width) if self.orientation > 4 else (self.width, self.height)


def read_header(data: bytes | memoryview, pixels_max: int = PIXELS_MAX) -> Header:
    """Return the header of an image file's bytes.

    Raises FilterError, with a sentence that says what to do where something can be done, when the bytes are no image,
    when their format is not one of FORMATS, or when the image has no pixels, more than ``pixels_max`` of them, or more
    bytes, frames or a longer side than this module allows.
    """
    start = bytes(data[:64])
    _check_webp_size(start, pixels_max)
    try:
        with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            width, height = opened.size
            _check_size(width, height, pixels_max)
            depth = _depth(opened, start)
            _check_bytes(width * height * len(opened.getbands()) * (-(-depth // 8)))
            exif = _exif(opened)
            # Pillow turns a TIFF by itself and tells the size after that.
            orientation = 1 if opened.format == "TIFF" else _orientation(exif)
            if orientation > 4:
                width, height = height, width
            name = "JPEG" if opened.format == "MPO" else opened.format or ""
            icc = opened.info.get("icc_profile")
            return Header(
                name,
                width,
                height,
                orientation,
                depth,
                _frames(opened, name, data),
                exif,
                icc if isinstance(icc, bytes) else b"",
            )
    except FilterError:
        raise
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        raise FilterError(f"more than the {pixels_max / 1e6:.0f} megapixels allowed") from None
    except PIL.UnidentifiedImageError:
        raise FilterError(_unknown(start)) from None
    except UNREADABLE as error:
        raise FilterError(f"damaged: its header cannot be read ({error or type(error).__name__})") from error


def _check_size(width: int, height: int, pixels_max: int) -> None:
    if width < 1 or height < 1:
        raise FilterError(f"damaged: it says that it has {width} x {height} pixels")
    if max(width, height) > SIDE_PX_MAX:
        raise FilterError(f"{width} x {height} pixels: a side of more than {SIDE_PX_MAX} is not allowed")
    if width * height > pixels_max:
        raise FilterError(f"{width} x {height} pixels are more than the {pixels_max / 1e6:g} megapixels allowed")


def _check_bytes(size: int) -> None:
    if size > DECODED_BYTES_MAX:
        raise FilterError(f"it would take {size >> 20} MiB decoded, more than the {DECODED_BYTES_MAX >> 20} allowed")


def _check_webp_size(start: bytes, pixels_max: int) -> None:
    """Check the canvas of a WebP before Pillow's decoder allocates two of that size."""
    if start[:4] != b"RIFF" or start[8:12] != b"WEBP" or len(start) < 30:
        return
    kind = start[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(start[at : at + 3], "little") + 1 for at in (24, 27))
    elif kind == b"VP8L":
        bits = int.from_bytes(start[21:25], "little")
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = (int.from_bytes(start[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    else:
        return
    _check_size(width, height, pixels_max)


def _exif(opened: PIL.Image.Image) -> bytes:
    """Return the file's EXIF block without the prefix that only JPEG needs."""
    exif = opened.info.get("exif")
    return exif.removeprefix(_EXIF_PREFIX) if isinstance(exif, bytes) else b""


def _orientation(exif: bytes) -> int:
    """Return the orientation that the EXIF block names, 1 when it names none that exists or cannot be read."""
    if not exif:
        return 1
    try:
        tags = PIL.Image.Exif()
        tags.load(_EXIF_PREFIX + exif)
        found = tags.get(ORIENTATION_TAG, 1)
    except UNREADABLE:
        return 1  # the pixels are no worse for a broken EXIF block
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


_DEPTHS = {"1": 1, "I": 32, "F": 32}


def _depth(opened: PIL.Image.Image, start: bytes) -> int:
    if opened.format == "PNG" and len(start) > 24:
        return start[24]  # IHDR's bit depth; Pillow shows a 16-bit colour PNG as 8 bits
    if isinstance(opened, TiffImagePlugin.TiffImageFile):
        bits = opened.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, 1)
        return int(bits[0] if isinstance(bits, tuple) else bits)
    return 16 if opened.mode.startswith("I;16") else _DEPTHS.get(opened.mode, 8)


def _frames(opened: PIL.Image.Image, name: str, data: bytes | memoryview) -> int:
    """Return the number of pictures in the file; 1 for a JPEG, whatever a phone has put behind the photograph."""
    if name == "JPEG":
        return 1
    told = 1 if name in {"GIF", "TIFF"} else int(getattr(opened, "n_frames", 1))  # those would go through the file
    frames = count_frames(data, name, told)
    if frames > FRAMES_MAX:
        raise FilterError(f"it holds more than {FRAMES_MAX} pictures")
    return frames


_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_KNOWN_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"BM": "BMP",
}
_OTHERS = {b"%PDF": "PDF", b"8BPS": "Photoshop", b"\x76\x2f\x31\x01": "OpenEXR", b"\0\0\0\x0cjP": "JPEG 2000"}


def _unknown(start: bytes) -> str:
    """Return why these first bytes are not an image that can be opened."""
    if not start:
        return "not an image: the file is empty"
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS:
        return "HEIC is not supported: convert it to JPEG"
    for sign, name in _OTHERS.items():
        if start.startswith(sign):
            return f"{name} is not supported: convert it to JPEG"
    for sign, name in _KNOWN_STARTS.items():
        if start.startswith(sign):
            return f"cut short or damaged: it begins like a {name} file, but its header is not whole"
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "cut short or damaged: it begins like a WebP file, but its header is not whole"
    return "not an image"
