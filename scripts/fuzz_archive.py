"""Archives as sources: whatever a file holds is offered or passed over with a reason, and what is offered is read."""

import bz2
import gzip
import io
import lzma
import random
import tarfile
import tempfile
import zipfile
from pathlib import Path

from fuzz_bytes import mutate_bytes

from zgrid.errors import SourceError
from zgrid.protocol.job import Offer
from zgrid.protocol.limits import INT_MAX, URI_CHARS_MAX
from zgrid.sources import scan
from zgrid.sources.reader import Reader

BYTES_MAX = 1 << 15
MEMORY_MIB_MAX = 64
SIZE_BYTES_MAX = 1 << 20
READ_MAX = 20
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
FILE = Path(tempfile.mkdtemp(prefix="zgrid-fuzz-")) / "in"
TIMES = ("inf", "nan", "1e300", "-1e300", "1e10", "-1", "x", "")


def _zip(method: int, comment: bytes = b"") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("a/b.png", PNG)
        archive.writestr("../c.png", PNG)
        archive.writestr("notes.txt", "no image")
        archive.comment = comment
    return out.getvalue()


def _tar(form: int, headers: dict[str, str] | None = None) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form, pax_headers={"comment": "x"}) as archive:
        for name, kind in (
            ("a.png", tarfile.REGTYPE),
            ("b" * 90 + "/" + "c" * 60 + ".png", tarfile.REGTYPE),
            ("l", tarfile.SYMTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(PNG) if kind == tarfile.REGTYPE else 0, "a.png"
            info.pax_headers = headers or {}
            archive.addfile(info, io.BytesIO(PNG))
    return out.getvalue()


def seeds() -> list[bytes]:
    """Return zips and tars of every kind."""
    tars = [_tar(form) for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]
    tars += [_tar(tarfile.PAX_FORMAT, {"mtime": "1.5", "path": "p\u00e9.png", "GNU.sparse.major": "1"})]
    zips = [_zip(method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)]
    packed = [pack(tars[2]) for pack in (gzip.compress, bz2.compress, lzma.compress)]
    return [*tars, *zips, _zip(0, b"hello"), *packed, PNG]


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Change bytes; in a tar, make the header's checksum right again, or say something odd in an extended one."""
    if data[257:262] != b"ustar":
        return mutate_bytes(data, rng)
    out = bytearray(data)
    if rng.random() < 0.2:
        key = rng.choice(("mtime", "size", "path", "linkpath", "GNU.sparse.map", "GNU.sparse.size", "uid"))
        return bytes(_odd(key, rng)) + data
    at = 512 * rng.randrange(max(1, len(out) // 512))
    field, length = rng.choice(
        ((0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155), (386, 60))
    )
    kind = rng.randrange(4)
    if kind == 0:
        out[at + field : at + field + length] = mutate_bytes(bytes(out[at + field : at + field + length]), rng)[
            :length
        ].ljust(length, b"\0")
    elif kind == 1:
        out[at + field] = rng.choice(b"01234567LKxgSDV\x80\xff")
    elif kind == 2:
        out[at + 124 : at + 136] = rng.choice(
            (b"7" * 11 + b"\0", b"\x80" + bytes(3) + b"\x7f" + b"\xff" * 7, b"\xff" * 12)
        )
    else:
        return mutate_bytes(data, rng)
    block = bytes(out[at : at + 512])
    if len(block) == 512:
        total = sum(block[:148]) + 8 * 32 + sum(block[156:])
        out[at + 148 : at + 156] = b"%06o\0 " % total
    return bytes(out)


def _odd(key: str, rng: random.Random) -> bytes:
    """Return an extended header with one strange value."""
    value = rng.choice((*TIMES, "-5", "99999999999999999999", "1,2,3", "../../x", "0,0,5,5"))
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("x.png")
        info.size = len(PNG)
        info.pax_headers = {key: value}
        archive.addfile(info, io.BytesIO(PNG))
    return made.getvalue()[: rng.choice((1024, 2048))]


def attack(data: bytes) -> None:
    """Scan a file with these bytes as a source, and read what it offers."""
    FILE.write_bytes(data)
    offers = []
    for found in scan([str(FILE)], size_bytes_max=SIZE_BYTES_MAX):
        assert len(found.uri) <= URI_CHARS_MAX
        found.uri.encode("utf-8")
        if isinstance(found, Offer):
            assert 0 <= found.size <= SIZE_BYTES_MAX, f"an image of {found.size} bytes is offered"
            assert -INT_MAX - 1 <= found.mtime_ns <= INT_MAX, "a time that no ledger keeps"
            offers.append(found)
        else:
            assert found.reason
    with Reader(SIZE_BYTES_MAX) as reader:
        for offer in offers[:READ_MAX]:
            try:
                assert len(reader.read(offer.uri, offer.size, offer.mtime_ns)) == offer.size
            except SourceError as error:
                assert str(error)
    assert [file.name for file in FILE.parent.iterdir()] == ["in"], "a file was unpacked"
