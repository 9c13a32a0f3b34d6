"""Finding images: folders, files, globs, archives and lists of paths, offered one by one with memory that stays flat.

Paths are bytes throughout: what a file is called need not be text. A URI says the path as the operator gave it, links
and all, since a worker that reads by reference may know the pictures only by that path.
"""

# Paths are bytes here, which pathlib has not, and its objects cost more than the system calls.
# ruff: noqa: PTH100, PTH110, PTH111, PTH112, PTH116, PTH118, PTH120, PTH121, PTH207

import glob
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import IO, NamedTuple
from urllib.parse import quote_from_bytes

from zgrid.errors import SettingsError
from zgrid.protocol.job import Offer
from zgrid.protocol.limits import URI_CHARS_MAX
from zgrid.sources import content
from zgrid.sources.archive import DAMAGED, NotATarError, open_archive
from zgrid.sources.changed import bounded_ns
from zgrid.sources.stdin import paths_in
from zgrid.sources.uri import member_to_uri, path_to_uri

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_SINGLES_MAX = 65_536
"""How many files met outside a folder's walk are remembered; beyond, the ledger alone sees that one comes again."""

STDIN = "-"

PICTURES_MARK = b".zgrid-pictures"
"""What marks a sink's folder of pictures (``zgrid.store.pictures``): it may well lie among the photographs."""

NOT_AN_IMAGE = "is not an image"


class Passed(NamedTuple):
    """Something that a source has and that is not offered, and why, in words that follow its name.

    ``unread``: it may well be an image, or hold some, but could not be looked at.
    """

    uri: str
    reason: str
    unread: bool = False


def scan(
    specs: Sequence[str], stdin: IO[str] | IO[bytes] | None = None, *, size_bytes_max: int = 1 << 40
) -> Iterator[Offer | Passed]:
    """Find the images that ``specs`` name, each with its size in bytes and its time of change in ns.

    A spec is a folder (walked in sorted order, hidden files too), a file, a zip or tar archive (also one met in a
    folder), a glob (``**`` too), or ``-`` for a list of paths on ``stdin``, one for each line or ended by NULs. What
    is no image by content, is larger than ``size_bytes_max``, or cannot be read comes as Passed; nothing is raised on
    the way. A sink's folder of pictures is passed over, unless it is named itself. A file reached twice is offered once
    where that is cheap to see: by links between folders, overlapping specs, and links to files; beyond that its key is
    the same, so the ledger takes it once.

    Raises SettingsError before anything is looked at: a spec that does not exist, matches nothing, or may not be read.
    """
    if not specs:
        raise SettingsError("no source was given: name a folder, a file, an archive, a glob, or - for a list on stdin")
    if list(specs).count(STDIN) > (stdin is not None):
        raise SettingsError("the source - can be given once, and only where there is a standard input")
    roots = [_root(spec) for spec in specs]
    return _Scan(size_bytes_max).run(roots, stdin)


def roots_of(specs: Sequence[str]) -> list[str]:
    """Return the paths at or below which everything lies that ``specs`` can name. Raises SettingsError as scan does."""
    roots = []
    for spec in specs:
        root = _root(spec)
        if isinstance(root, bytes):
            roots.append(os.fsdecode(root))
        elif root == STDIN:
            roots.append("/")
        else:
            fixed = spec[: next(at for at, letter in enumerate(spec) if letter in "*?[")]
            roots.append(os.fsdecode(_absolute(os.fsencode(os.path.dirname(fixed)))))
    return roots


def _root(spec: str) -> bytes | str:
    """Return the absolute path of a spec, or the spec itself where it is a glob or ``-``; raises SettingsError."""
    if spec == STDIN:
        return STDIN
    if not spec or "\0" in spec:
        raise SettingsError("a source has an empty name: name a folder, a file, an archive, a glob, or -")
    path = os.fsencode(spec if os.path.lexists(spec) else os.path.expanduser(spec))
    if os.path.lexists(path):
        if not os.path.exists(path):
            raise SettingsError(f"{spec} is a link to something that does not exist")
        if not os.access(path, os.R_OK | (os.X_OK if os.path.isdir(path) else 0)):
            raise SettingsError(f"{spec} may not be read by this user: change its permissions or run as its owner")
        return _absolute(path)
    if not glob.has_magic(spec):
        raise SettingsError(
            f"{spec} does not exist: name a folder, a file, an archive, a glob, or - for a list on stdin"
        )
    if next(glob.iglob(os.fsencode(spec), recursive=True, include_hidden=True), None) is None:
        raise SettingsError(f"{spec} matches nothing")
    return spec


def _absolute(path: bytes) -> bytes:
    """Return an absolute path without ``.`` and ``..``; links stay, unless dropping a ``..`` led elsewhere."""
    absolute = os.path.abspath(path)
    if b".." in path and not (os.path.exists(absolute) and os.path.samefile(path, absolute)):
        return os.path.realpath(path)
    return absolute


def _identity(found: os.stat_result) -> int:
    """Return one number for the device and the inode: half the memory of a pair."""
    return found.st_dev << 64 | found.st_ino


class _Scan:
    """One scan: what it has walked already, and the walk."""

    def __init__(self, size_bytes_max: int) -> None:
        self._size_bytes_max = size_bytes_max
        self._folders: set[int] = set()
        self._singles: set[int] = set()
        self._parent: tuple[bytes, int | None] = (b"", None)

    def run(self, roots: Iterable[bytes | str], stdin: IO[str] | IO[bytes] | None) -> Iterator[Offer | Passed]:
        """Scan the roots in their order."""
        for root in roots:
            if isinstance(root, bytes):
                yield from self._any(root)
            elif root == STDIN:
                assert stdin is not None
                yield from self._list(stdin)
            else:
                for match in glob.iglob(os.fsencode(root), recursive=True, include_hidden=True):
                    path = _absolute(match)
                    if not _is_made(os.path.dirname(path)):
                        yield from self._any(path)

    def _list(self, stdin: IO[str] | IO[bytes]) -> Iterator[Offer | Passed]:
        """Scan every path of a list."""
        for path in paths_in(stdin):
            if path is None:
                yield Passed(STDIN, "has a line that is too long for a path", unread=True)
            else:
                yield from self._any(_absolute(path))

    def _any(self, path: bytes) -> Iterator[Offer | Passed]:
        """Scan a path of which nothing is known yet."""
        try:
            found = os.lstat(path)
            is_link = stat.S_ISLNK(found.st_mode)
            if is_link:
                found = os.stat(path)
        except (OSError, ValueError) as error:
            yield Passed(path_to_uri(path), _reason(error), unread=True)
            return
        if stat.S_ISDIR(found.st_mode):
            yield from self._walk(path)
        elif self._is_new(path, found, is_link=is_link):
            yield from self._file(path, path_to_uri(path), None)

    def _is_new(self, path: bytes, found: os.stat_result, *, is_link: bool) -> bool:
        """Tell whether a file met by itself was not offered before, and will not be by the walk of its folder."""
        real = os.path.realpath(path) if is_link else path
        folder = os.path.dirname(real)
        if self._parent[0] != folder:
            try:
                self._parent = (folder, _identity(os.stat(folder)))
            except OSError:
                self._parent = (folder, None)
        if self._parent[1] in self._folders:
            return False
        identity = _identity(found)
        if found.st_nlink == 1 and identity in self._singles:
            return False
        if len(self._singles) < _SINGLES_MAX:
            self._singles.add(identity)
        return True

    def _walk(self, root: bytes) -> Iterator[Offer | Passed]:
        """Walk a folder: its files in the order of their names, then its folders."""
        waiting = [root]
        while waiting:
            folder = waiting.pop()
            try:
                files, others = self._entries(folder)
            except OSError as error:
                yield Passed(path_to_uri(folder), _reason(error), unread=True)
                continue
            if PICTURES_MARK in files and folder != root:
                yield Passed(path_to_uri(folder), "is a folder of pictures that zgrid made")
                continue
            prefix = folder if folder.endswith(b"/") else folder + b"/"
            uri_prefix = path_to_uri(prefix)
            for name in files:
                yield from self._file(prefix + name, uri_prefix + quote_from_bytes(name), self._singles)
            folders = []
            for name, is_folder in others:
                if is_folder:
                    folders.append(prefix + name)
                else:
                    yield from self._odd(prefix + name, folders)
            waiting.extend(reversed(folders))

    def _entries(self, folder: bytes) -> tuple[list[bytes], list[tuple[bytes, bool]]]:
        """Return the sorted names of a folder's plain files, and of its folders and odd things; both empty if known."""
        identity = _identity(os.stat(folder))
        files: list[bytes] = []
        others: list[tuple[bytes, bool]] = []
        if identity in self._folders:
            return files, others
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    files.append(entry.name)
                else:
                    others.append((entry.name, entry.is_dir(follow_symlinks=False)))
        self._folders.add(identity)
        files.sort()
        others.sort()
        return files, others

    def _odd(self, path: bytes, folders: list[bytes]) -> Iterator[Offer | Passed]:
        """Look where a link leads; a folder is added to ``folders``. Sockets, fifos and devices are told by _file."""
        try:
            found = os.stat(path)
        except OSError as error:
            yield Passed(path_to_uri(path), _reason(error), unread=True)
            return
        if stat.S_ISDIR(found.st_mode):
            folders.append(path)
        elif not stat.S_ISREG(found.st_mode):
            yield Passed(path_to_uri(path), "is not a file")
        elif self._is_new(path, found, is_link=True):
            yield from self._file(path, path_to_uri(path), None)

    def _file(self, path: bytes, uri: str, seen: set[int] | None) -> Iterator[Offer | Passed]:
        """Look into one file; ``seen`` are the files that were offered by themselves before."""
        try:
            handle = os.open(path, _FLAGS)
            try:
                found = os.fstat(handle)
                head = os.read(handle, content.HEAD_BYTES) if stat.S_ISREG(found.st_mode) else b""
            finally:
                os.close(handle)
        except OSError as error:
            yield Passed(uri, _reason(error), unread=True)
            return
        if seen and found.st_nlink == 1 and _identity(found) in seen:
            return
        kind = content.kind_of(head)
        if kind in content.ARCHIVES:
            yield from self._archive(path, uri, kind)
        elif kind is None:
            yield Passed(uri, _why_no_image(found))
        elif found.st_size > self._size_bytes_max:
            yield Passed(uri, f"has {found.st_size} bytes, more than {self._size_bytes_max}", unread=True)
        else:
            yield _offer(uri, found.st_size, found.st_mtime_ns)

    def _archive(self, path: bytes, uri: str, kind: str) -> Iterator[Offer | Passed]:
        """Look into an archive, one level deep."""
        scheme = content.ZIP if kind == content.ZIP else content.TAR
        count = 0
        try:
            archive = open_archive(path, kind)
            try:
                for member in archive.members(self._size_bytes_max):
                    count += 1
                    name = member_to_uri(scheme, path, member.name)
                    inner = content.kind_of(member.head)
                    if member.trouble is not None:
                        yield Passed(name, member.trouble, unread=True)
                    elif inner in content.ARCHIVES:
                        yield Passed(name, "is an archive inside an archive: unpack the outer one", unread=True)
                    elif inner is None:
                        yield Passed(name, NOT_AN_IMAGE if member.size else "is empty")
                    else:
                        yield _offer(name, member.size, member.mtime_ns)
            finally:
                archive.close()
        except NotATarError:
            yield Passed(uri, NOT_AN_IMAGE)
        except DAMAGED as error:
            reason = f"is a damaged archive, {count} members could be looked at: {error}"
            yield Passed(uri, reason, unread=True)
        except MemoryError:
            yield Passed(uri, "is an archive that takes more memory to read than there is", unread=True)
        except OSError as error:
            reason = f"is an archive of which {count} members could be looked at: {_reason(error)}"
            yield Passed(uri, reason, unread=True)


@lru_cache(1024)
def _is_made(folder: bytes) -> bool:
    """Tell whether a folder is a sink's folder of pictures, or one of those in it."""
    above = os.path.dirname(folder)
    return any(os.path.lexists(os.path.join(place, PICTURES_MARK)) for place in (folder, above))


def _offer(uri: str, size: int, mtime_ns: int) -> Offer | Passed:
    """Offer an image, unless its name is too long for a message: an archive can have names of any length."""
    if len(uri) > URI_CHARS_MAX:
        reason = f"has a name of {len(uri)} characters, more than {URI_CHARS_MAX}"
        return Passed(f"{uri[:256]}...", reason, unread=True)
    return Offer(uri, size, bounded_ns(mtime_ns))


def _why_no_image(found: os.stat_result) -> str:
    """Say why a file without an image's first bytes is passed over."""
    if not stat.S_ISREG(found.st_mode):
        return "is not a file"
    return NOT_AN_IMAGE if found.st_size else "is empty"


def _reason(error: OSError | ValueError) -> str:
    """Say in words what the system said."""
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    text = error.strerror if isinstance(error, OSError) else None
    return f"cannot be read: {text or error}"
