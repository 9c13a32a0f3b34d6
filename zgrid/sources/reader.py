"""The bytes of an image that was offered, read again from its URI."""

# ruff: noqa: PTH112, PTH120 - paths are bytes here, which pathlib has not

import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import NoReturn, Self, overload

from zgrid.errors import SourceError
from zgrid.sources import content
from zgrid.sources.archive import DAMAGED, Archive, check_size, open_archive
from zgrid.sources.changed import bounded_ns
from zgrid.sources.roots import FLAGS, Roots
from zgrid.sources.uri import Place, path_to_uri, split_uri

SIZE_BYTES_MAX = 64 << 20
"""How much is read for one image unless told otherwise; the same as the setting job_bytes_max."""

_PERMANENT = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG}
    | {errno.EINVAL, errno.ENXIO, errno.ENODEV}
)
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM})


Room = Callable[[int], memoryview]
"""Makes memory for so many bytes, to be written."""


class Reader:
    """Reads images by URI and keeps a few archives open, so that reading members in order is one pass.

    For one thread: give each its own. Close it, or use it in a ``with``. ``size_bytes_max`` limits one image,
    ``archives_max`` how many archives stay open. With ``roots`` nothing else is read; without, whatever is named.
    """

    def __init__(self, size_bytes_max: int = SIZE_BYTES_MAX, archives_max: int = 4, roots: Roots | None = None) -> None:
        self._roots = roots
        self._size_bytes_max = size_bytes_max
        self._archives_max = archives_max
        self._open: OrderedDict[bytes, tuple[tuple[int, ...], Archive]] = OrderedDict()

    @overload
    def read(self, uri: str, size: int | None = None, mtime_ns: int | None = None) -> bytes: ...

    @overload
    def read(self, uri: str, size: int | None, mtime_ns: int | None, room: Room) -> bytes | memoryview: ...

    def read(
        self, uri: str, size: int | None = None, mtime_ns: int | None = None, room: Room | None = None
    ) -> bytes | memoryview:
        """Return the bytes of the image at ``uri`` (file:, zip:file: or tar:file:).

        ``size`` in bytes and ``mtime_ns`` are what was accepted; where they are given and no longer true, it has
        changed (``mtime_ns`` is compared for plain files). ``room`` makes the memory that a plain file is read into,
        and that is returned then. Raises SourceError, transient where trying again may help.
        """
        place = split_uri(uri)
        try:
            if place.member is None:
                return self._read_file(place.path, size, mtime_ns, room)
            return self._read_member(place, place.member, size)
        except OSError as error:
            _refuse(uri, place.path, error, self._roots)
        except SourceError as error:
            raise SourceError(f"{uri} {error}", transient=error.transient, forbidden=error.forbidden) from None
        except DAMAGED as error:
            self._forget(place.path)
            raise SourceError(f"{uri} cannot be read, the archive is damaged: {error}") from None

    def close(self) -> None:
        """Let go of the archives that are open."""
        while self._open:
            self._open.popitem()[1][1].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read_file(self, path: bytes, size: int | None, mtime_ns: int | None, room: Room | None) -> bytes | memoryview:
        """Return a plain file's bytes, all of them from the one version that was accepted."""
        handle = self._handle(path)
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise SourceError("is not a file")
            check_size(found.st_size, size, self._size_bytes_max)
            if mtime_ns is not None and bounded_ns(found.st_mtime_ns) != mtime_ns:
                raise SourceError("has changed since it was accepted (as long as before, but written again)")
            data = _read_all(handle, found.st_size) if room is None else _fill(handle, room(found.st_size))
        finally:
            os.close(handle)
        if data is None:
            raise SourceError(f"changed while it was read ({found.st_size} bytes at first)", transient=size is None)
        return data

    def _read_member(self, place: Place, member: str, size: int | None) -> bytes:
        """Return the bytes of a member of an archive."""
        return self._archive(place.path).read(member, size, self._size_bytes_max)

    def _archive(self, path: bytes) -> Archive:
        """Return the open archive at ``path``: the one from before if it is still the same file."""
        handle = self._handle(path)
        try:
            found = os.fstat(handle)
            version = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
            known = self._open.get(path)
            if known is not None and known[0] == version:
                self._open.move_to_end(path)
                return known[1]
            self._forget(path)
            kind = content.kind_of(os.pread(handle, content.HEAD_BYTES, 0) if stat.S_ISREG(found.st_mode) else b"")
            if kind not in content.ARCHIVES:
                raise SourceError("has changed since it was accepted: the archive is none any more")
            archive = open_archive(os.dup(handle), kind)  # the very file that was looked at
        finally:
            os.close(handle)
        self._open[path] = (version, archive)
        while len(self._open) > self._archives_max:
            self._open.popitem(last=False)[1][1].close()
        return archive

    def _handle(self, path: bytes) -> int:
        return os.open(path, FLAGS) if self._roots is None else self._roots.open(path)

    def _forget(self, path: bytes) -> None:
        """Close an archive that has changed or is damaged."""
        known = self._open.pop(path, None)
        if known is not None:
            known[1].close()


def read(uri: str, size: int | None = None, size_bytes_max: int = SIZE_BYTES_MAX) -> bytes:
    """Return the bytes of one image; who reads many keeps a ``Reader``. Raises SourceError as ``Reader.read`` does."""
    with Reader(size_bytes_max) as reader:
        return reader.read(uri, size)


def _read_all(handle: int, size: int) -> bytes | None:
    """Return the bytes of a file of ``size`` bytes; None when it has more or less."""
    data = os.read(handle, size + 1)
    while len(data) < size and (more := os.read(handle, size + 1 - len(data))):
        data += more
    return data if len(data) == size else None


def _fill(handle: int, room: memoryview) -> memoryview | None:
    """Read a file that fills ``room`` into it, and return that; None when it has more or less."""
    beyond = bytearray(1)
    count = os.readv(handle, [room, beyond])
    while count < len(room) and (more := os.readv(handle, [room[count:], beyond])):
        count += more
    return room if count == len(room) else None


def _is_empty(folder: bytes) -> bool:
    """Whether a folder holds nothing, as a place does where nothing is mounted; one that may not be read does not."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except OSError:
        return False


def _refuse(uri: str, path: bytes, error: OSError, roots: Roots | None) -> NoReturn:
    """Raise the SourceError that says what ``error`` means for the image.

    That one worker may not read it (``roots``) says nothing of others, to which it can be sent.
    """
    if error.errno is None:  # the decompressors use a bare OSError for damaged bytes
        raise SourceError(f"{uri} cannot be read, the archive is damaged: {error}") from None
    if error.errno == errno.ENOENT:
        folder = os.path.dirname(path)
        if os.path.isdir(folder) and not _is_empty(folder):
            raise SourceError(f"{uri} is gone") from None
        missing = path_to_uri(folder)
        raise SourceError(
            f"{uri} is gone with all of its folder {missing}: is it mounted on this machine?", transient=True
        ) from None
    reason = error.strerror or str(error)
    forbidden = roots is not None and error.errno in _FORBIDDEN
    is_passing = error.errno not in _PERMANENT or forbidden
    raise SourceError(f"{uri} cannot be read: {reason}", transient=is_passing, forbidden=forbidden) from None
