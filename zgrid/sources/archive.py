"""The members of zip and tar archives: listed in order, and read by name. Nothing is ever unpacked to disk.

An archive is hostile until shown otherwise: no member is inflated beyond a limit, no name is used as a path, and
encrypted members, links and damaged parts are told with a reason.
"""

# ruff: noqa: PTH123, SIM115 - paths are bytes here, which pathlib has not; TarArchive closes what the openers open

import bz2
import calendar
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple, Protocol, cast

from zgrid.errors import SourceError
from zgrid.sources import content
from zgrid.sources.changed import bounded_ns

DAMAGED = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    IndexError,  # tarfile's, for a sparse header that is cut short
    ValueError,  # an impossible number in a header
    OverflowError,  # an endless one
    NotImplementedError,  # a way of compressing that Python does not have
    RuntimeError,  # zipfile's word for a wrong password
)
"""What the readers of archives raise, beside OSError, when the bytes are not what they should be."""

ZIP_MEMBERS_MAX = 300_000
"""A zip's table of contents is in memory as a whole: some 600 bytes for each member."""
_ZIP_TAIL_BYTES = 22 + 65_535 + 76
"""Where the end of a zip is: its last record, the longest comment, and the records of a large one."""

PIECE_BYTES_MAX = 1 << 20
"""How much of a tar is read at once. Real headers have a few kilobytes."""

_OPENERS: dict[str, Callable[[IO[bytes]], IO[bytes]]] = {
    content.TAR: lambda file: file,
    content.GZIP: lambda file: cast("IO[bytes]", gzip.open(file)),
    content.BZIP2: lambda file: cast("IO[bytes]", bz2.open(file)),
    content.XZ: lambda file: cast("IO[bytes]", lzma.open(file)),
}


class Member(NamedTuple):
    """One file in an archive: its size in bytes, its time of change in ns, its first bytes, or why it has none."""

    name: str
    size: int
    mtime_ns: int
    head: bytes
    trouble: str | None = None


class Archive(Protocol):
    """An open archive."""

    def members(self, size_bytes_max: int) -> Iterator[Member]:
        """List the files in it, in its own order; a damaged archive raises one of DAMAGED or OSError on the way."""

    def read(self, name: str, size: int | None, size_bytes_max: int) -> bytes:
        """Return the bytes of one member; raises SourceError, one of DAMAGED, or OSError."""

    def close(self) -> None:
        """Let go of the file."""


def open_archive(place: bytes | int, kind: str) -> Archive:
    """Open the archive at a path, or of a descriptor that is closed with it.

    ``kind`` is what ``content.kind_of`` said of its first bytes. Raises one of DAMAGED or OSError; NotATarError when a
    compressed file has no tar inside.
    """
    file = open(place, "rb")
    try:
        return ZipArchive(file) if kind == content.ZIP else TarArchive(file, kind)
    except BaseException:
        file.close()
        raise


class NotATarError(ValueError):
    """A gzip, bzip2 or xz file with something else than a tar inside."""


def check_size(size: int, accepted: int | None, size_bytes_max: int) -> None:
    """Raise SourceError when ``size`` is not the one that was accepted, or is more than may be read at once."""
    if accepted is not None and size != accepted:
        raise SourceError(f"has changed since it was accepted ({accepted} bytes then, {size} now)")
    if size > size_bytes_max:
        raise SourceError(f"has {size} bytes and at most {size_bytes_max} are read: raise --job-bytes-max")


class ZipArchive:
    """A zip, through the standard library; its table of contents is held in memory (some 600 bytes for a member)."""

    def __init__(self, file: IO[bytes]) -> None:
        _check_directory(file)
        self._file = file
        self._zip = zipfile.ZipFile(file)

    def members(self, size_bytes_max: int) -> Iterator[Member]:
        """List the files in it; folders are left out."""
        for info in self._zip.infolist():
            if not info.filename.endswith("/"):
                head, trouble = self._head(info, size_bytes_max)
                yield Member(info.filename, info.file_size, _zip_time_ns(info), head, trouble)

    def _head(self, info: zipfile.ZipInfo, size_bytes_max: int) -> tuple[bytes, str | None]:
        """Return a member's first bytes and None, or nothing and why it cannot be an image of ours."""
        if not info.filename:
            return b"", "has no name"
        if info.flag_bits & 0x1:
            return b"", "is encrypted"
        if stat.S_ISLNK(info.external_attr >> 16):
            return b"", "is a link inside an archive"
        if self._zip.NameToInfo.get(info.filename) is not info:
            return b"", "is replaced by a later member of the same name"
        if info.file_size > size_bytes_max:
            return b"", f"has {info.file_size} bytes, more than {size_bytes_max}"
        try:
            with self._zip.open(info) as member:
                return member.read(content.HEAD_BYTES), None
        except DAMAGED as error:
            return b"", f"is damaged: {error}"

    def read(self, name: str, size: int | None, size_bytes_max: int) -> bytes:
        """Return the bytes of one member, its checksum verified."""
        try:
            info = self._zip.getinfo(name)
        except KeyError:
            raise SourceError("is gone: the archive has no such member") from None
        check_size(info.file_size, size, size_bytes_max)
        if info.flag_bits & 0x1:
            raise SourceError("is encrypted: unpack the archive and give the folder")
        with self._zip.open(info) as member:
            data = member.read()
        if len(data) != info.file_size:
            raise zipfile.BadZipFile(f"a member of {info.file_size} bytes by its table has {len(data)}")
        return data

    def close(self) -> None:
        """Let go of the file."""
        self._zip.close()
        self._file.close()


def _check_directory(file: IO[bytes]) -> None:
    """Raise BadZipFile when a zip's table of contents is larger than we would hold in memory.

    How many members there are is counted, for what the archive says of it need not be true. Where no table is found
    (one with a long comment, or none), zipfile says the rest.
    """
    end = file.seek(0, os.SEEK_END)
    tail_at = max(0, end - _ZIP_TAIL_BYTES)
    file.seek(tail_at)
    tail = file.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + 22 > len(tail):
        return
    size = int.from_bytes(tail[at + 12 : at + 16], "little")
    stop = tail_at + at
    large = tail.rfind(b"PK\6\6", 0, at)
    if size == 0xFFFFFFFF and large >= 0:
        size, stop = int.from_bytes(tail[large + 40 : large + 48], "little"), tail_at + large
    if size > stop:
        raise zipfile.BadZipFile("its table of contents begins before the file does")
    members = 0
    file.seek(stop - size)
    left = b""
    while size > 0 and (piece := file.read(min(size, PIECE_BYTES_MAX))):
        size -= len(piece)
        members += (left + piece).count(b"PK\1\2")
        left = piece[-3:]
    if members > ZIP_MEMBERS_MAX:
        raise zipfile.BadZipFile(f"it has more than {ZIP_MEMBERS_MAX} members: unpack it and give the folder")
    file.seek(0)


def _zip_time_ns(info: zipfile.ZipInfo) -> int:
    """Return a member's time as if it were UTC: a zip does not say which zone, and every run must say the same."""
    try:
        return calendar.timegm((*info.date_time, 0, 0, 0)) * 1_000_000_000
    except (ValueError, OverflowError):  # month 13, as some cameras write
        return 0


class TarArchive:
    """A tar, plain or compressed, read forwards.

    Reading in the order of ``members`` is one pass. Going back in a compressed one starts it again from its beginning:
    that is the price of the format, so whoever reads at random should be given a zip or a folder.
    """

    def __init__(self, file: IO[bytes], kind: str) -> None:
        self._beneath = file
        self._file = _Bounded(_OPENERS[kind](file))
        try:
            head = self._file.read(content.HEAD_BYTES)
            if content.kind_of(head) != content.TAR:
                raise NotATarError("holds no tar")  # noqa: TRY301 - the file is closed below, as for any other error
            self._file.seek(0)
            self._tar: Any = tarfile.TarFile(  # Any: what is told of it below is public but not in its stubs
                fileobj=cast("IO[bytes]", self._file), mode="r", encoding="utf-8", errors="surrogateescape"
            )
        except BaseException:
            self._file.close()
            raise
        self._offsets: dict[str, int] = {}
        self._end = 0

    def members(self, size_bytes_max: int) -> Iterator[Member]:
        """List the files in it; folders, devices and links are left out, for they have no bytes of their own."""
        self._go_to(0)
        while (info := self._next()) is not None:
            if info.isreg():
                trouble = f"has {info.size} bytes, more than {size_bytes_max}" if info.size > size_bytes_max else None
                head = self._bytes(info, content.HEAD_BYTES) if trouble is None else b""
                yield Member(info.name, info.size, bounded_ns(info.mtime * 1e9), head, trouble)

    def read(self, name: str, size: int | None, size_bytes_max: int) -> bytes:
        """Return the bytes of one member; of several with one name, that of the ``size`` looked for."""
        info = self._find(name, size)
        if info is None:
            if name not in self._offsets:
                raise SourceError("is gone: the archive has no such member")
            raise SourceError(f"has changed since it was accepted: no member of this name has {size} bytes now")
        check_size(info.size, size, size_bytes_max)
        return self._bytes(info, info.size)

    def close(self) -> None:
        """Let go of the file."""
        self._tar.close()
        self._file.close()
        self._beneath.close()

    def _find(self, name: str, size: int | None) -> tarfile.TarInfo | None:
        """Return the member, looking first where it was seen before, then onwards from the last one seen."""
        if name in self._offsets:
            self._go_to(self._offsets[name])
            info = self._next()
            if info is not None and info.name == name and size in {None, info.size}:
                return info
        self._go_to(self._end)
        while (info := self._next()) is not None:
            self._end = self._tar.offset
            if info.isreg():
                self._offsets[info.name] = info.offset
                if info.name == name and size in {None, info.size}:
                    return info
        return None

    def _go_to(self, offset: int) -> None:
        """Make the header at ``offset`` the next one."""
        self._file.seek(offset)
        self._tar.offset = offset
        self._tar.firstmember = None  # else tarfile gives its first one again, wherever it was told to go

    def _next(self) -> tarfile.TarInfo | None:
        """Return the member whose header comes next, and make tarfile forget it, so that memory stays flat."""
        begin = self._tar.offset
        info: tarfile.TarInfo | None = self._tar.next()
        self._tar.members.clear()
        if info is None:
            self._check_end(begin)
        elif self._tar.offset <= info.offset:
            raise tarfile.ReadError(f"a header that points backwards, {info.offset} bytes into it")
        return info

    def _check_end(self, begin: int) -> None:
        """Raise ReadError where tarfile took a damaged header for the end: the real end is a block of zeros or none.

        ``begin``: where it looked for a header. It may have gone on from there behind an extended one that it refused.
        """
        self._file.seek(begin)
        if self._file.read(tarfile.BLOCKSIZE).strip(b"\0"):
            raise tarfile.ReadError(f"no header where one should be, {begin} bytes into it")

    def _bytes(self, info: tarfile.TarInfo, length: int) -> bytes:
        """Return the first ``length`` bytes of a member."""
        member: IO[bytes] | None = self._tar.extractfile(info)
        if member is None:
            raise tarfile.ReadError(f"{info.name} has no bytes")
        wanted = min(length, info.size)
        pieces: list[bytes] = []
        with member:
            while wanted > 0 and (piece := member.read(min(wanted, PIECE_BYTES_MAX))):
                pieces.append(piece)
                wanted -= len(piece)
        if wanted:
            raise tarfile.ReadError("unexpected end of data")
        return b"".join(pieces)


class _Bounded(io.RawIOBase):
    """A file that refuses to hand out more than a limit at once.

    tarfile reads an extended header in one piece, however long it says it is: in a compressed archive of a few
    kilobytes that can be gigabytes.
    """

    def __init__(self, inner: IO[bytes]) -> None:
        self._inner = inner

    def read(self, size: int | None = -1, /) -> bytes:
        """Return up to ``size`` bytes."""
        if size is None or not 0 <= size <= PIECE_BYTES_MAX:
            raise tarfile.ReadError(f"a header claims to be {size} bytes long")
        return self._inner.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Go to a place."""
        return self._inner.seek(offset, whence)

    def tell(self) -> int:
        """Say where it is."""
        return self._inner.tell()

    def seekable(self) -> bool:
        """Say that it can seek."""
        return True

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def close(self) -> None:
        """Let go of the file."""
        self._inner.close()
        super().close()
