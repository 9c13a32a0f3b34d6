"""What a file is, by its first bytes."""

import io
import tarfile

import pytest
from PIL import Image

from zgrid.sources.content import HEAD_BYTES, kind_of

MADE = {
    "JPEG": "jpeg",
    "PNG": "png",
    "GIF": "gif",
    "TIFF": "tiff",
    "BMP": "bmp",
    "WEBP": "webp",
    "PPM": "pnm",
    "JPEG2000": "jpeg2000",
}


@pytest.mark.parametrize("made", MADE)
def test_real_files_are_known(made):
    """What Pillow writes is known for what it is."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, made)
    assert kind_of(file.getvalue()[:HEAD_BYTES]) == MADE[made]


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0", "heic"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0", "heic"),
        (b"\0\0\0\x20ftypavif\0\0\0\0", "avif"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", None),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"),
        (b"\xff\x0a\x00", "jxl"),
        (b"MM\0*\0\0\0\x08", "tiff"),
        (b"P5 10 10 255 ", "pnm"),
        (b"P6\n# a comment", "pnm"),
        (b"P7\nWIDTH 1", "pnm"),
        (b"P1", None),
        (b"P2P is a network", None),
        (b"P3 people", None),
        (b"BM is a bank", None),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (b"RIFF\0\0\0\0WEBPVP8 ", "webp"),
        (b"\xff\xd8", None),
        (b"%PDF-1.7", None),
        (b"<svg xmlns=", None),
        (b"", None),
        (b"PK\x03\x04", "zip"),
        (b"PK\x05\x06", "zip"),
        (bytes(HEAD_BYTES), None),
    ],
)
def test_first_bytes(head, kind):
    """Each kind is told from what only begins like it."""
    assert kind_of(head) == kind


@pytest.mark.parametrize("dialect", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_is_known_by_its_checksum(dialect):
    """Every dialect of tar is known, and one wrong byte makes it none."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=dialect) as made:
        made.addfile(tarfile.TarInfo("x"))
    head = file.getvalue()[:HEAD_BYTES]
    assert kind_of(head) == "tar"
    assert kind_of(b"y" + head[1:]) is None
