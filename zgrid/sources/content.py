"""What a file is, told by its first bytes and never by its name.

The table is our own, from the published formats. It says "image" for everything that people call a photograph or a
picture, whether or not a filter can decode it: a HEIC that no filter reads is buried with a reason, not passed over.
"""

HEAD_BYTES = 512
"""How much of a file is looked at: images show in the first 32 bytes, a tar archive in its first block of 512."""

ZIP = "zip"
TAR = "tar"
GZIP = "gzip"
BZIP2 = "bzip2"
XZ = "xz"
ARCHIVES = frozenset({ZIP, TAR, GZIP, BZIP2, XZ})
"""Kinds that may hold images. The last three are archives only when a tar is inside."""

_PREFIXES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8\xff", "jpeg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
    (b"\xff\x0a", "jxl"),
    (b"II\xbc\x01", "jpegxr"),
    (b"IIRO", "raw"),
    (b"IIU\0", "raw"),
    (b"FUJIFILMCCD-RAW", "raw"),
    (b"8BPS\0", "psd"),
    (b"v/1\x01", "exr"),
    (b"#?RADIANCE", "hdr"),
    (b"#?RGBE", "hdr"),
    (b"\x59\xa6\x6a\x95", "sun"),
    (b"qoif", "qoi"),
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),
    (b"\x1f\x8b\x08", GZIP),
    (b"BZh", BZIP2),
    (b"\xfd7zXZ\0", XZ),
)
_ANY_PREFIX = tuple(prefix for prefix, _kind in _PREFIXES)

_BRANDS = {
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "heic"),
    **dict.fromkeys((b"avif", b"avis"), "avif"),
    b"crx ": "raw",
}
_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})


def kind_of(head: bytes) -> str | None:
    """Return the kind of a file that begins with ``head`` (up to 512 bytes): an image's, an archive's, or None."""
    if head.startswith(_ANY_PREFIX):
        return next(kind for prefix, kind in _PREFIXES if head.startswith(prefix))
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12])
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if head[:1] == b"P" and _is_pnm(head):
        return "pnm"
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "bmp"
    return TAR if _is_tar(head) else None


def _is_pnm(head: bytes) -> bool:
    """Tell a PBM, PGM, PPM, PAM or PFM from a text that begins with a P."""
    if head[1:2] in b"123456":
        return head[2:3].isspace() and (head[3:4].isdigit() or head[3:4] in b"# \t\r\n") and len(head) > 3
    return head.startswith((b"P7\n", b"PF\n", b"Pf\n"))


def _is_tar(head: bytes) -> bool:
    """Tell a tar by its first block: the header's checksum (bytes 148-155, octal) is right, in every dialect of tar."""
    if len(head) < HEAD_BYTES or not head[0]:
        return False
    digits = head[148:156].strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        return False
    return int(digits, 8) == sum(head[:148]) + 8 * 32 + sum(head[156:HEAD_BYTES])
