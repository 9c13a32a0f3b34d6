"""The only places from which images are read for somebody else: all else that a message names is never opened.

A worker is told by messages what to read. Whoever can send it one must not be able to have it read /etc, follow a link
that a stranger put among the pictures, or hang at a fifo. So a path must lie below a folder that the worker's own
operator named, and the kernel itself resolves it without ever leaving that folder: there is no moment between looking
and opening in which somebody could change what is there.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from typing import NoReturn

from zgrid.errors import SourceError
from zgrid.kernel import system_call

FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
"""O_NONBLOCK: a fifo put in a file's place must not hang us."""

_OPENAT2 = 437  # on every architecture
_NO_MAGIC_LINKS, _BENEATH = 0x02, 0x08  # linux/openat2.h
_HOW = ctypes.create_string_buffer(struct.pack("=QQQ", FLAGS, 0, _NO_MAGIC_LINKS | _BENEATH), 24)
_FOLDER = os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY


class Roots:
    """Folders, or single files such as archives, that may be read: absolute paths.

    ``links``: also follow links that lead out of them, which is right only where nobody else can make links there.
    """

    def __init__(self, paths: Iterable[bytes], *, links: bool = False) -> None:
        # The widest first: a link from one folder to another below the same root stays below it.
        self._roots = sorted({os.path.normpath(path) for path in paths}, key=len)
        self._links = links

    def open(self, path: bytes) -> int:
        """Return a descriptor of what is at ``path``, to be read.

        Raises SourceError (in words that follow its name) where it is not below a root, forbidden and transient since
        another worker may be allowed more; OSError where it cannot be opened.
        """
        if not self._roots:
            raise _forbidden("is not sent but named, and this worker reads no files: give it --allow")
        if b".." in path.split(b"/"):
            raise SourceError("has .. in its path, which nobody is to follow")
        for root in self._roots:
            if path == root:
                return os.open(path, FLAGS)
            prefix = root if root == b"/" else root + b"/"
            if path.startswith(prefix):
                return os.open(path, FLAGS) if self._links else _below(root, path[len(prefix) :].lstrip(b"/"))
        raise _forbidden("is not at or below a path that this worker may read (--allow)")


def _below(root: bytes, rest: bytes) -> int:
    """Open ``rest`` without leaving ``root``, links and all."""
    folder = os.open(root, _FOLDER)
    try:
        return system_call(_OPENAT2, folder, ctypes.c_char_p(rest), _HOW, len(_HOW))
    except OSError as error:
        if error.errno in {errno.EXDEV, errno.ELOOP}:
            _leads_out()
        if error.errno not in {errno.ENOSYS, errno.EPERM}:
            raise
        return _step_by_step(folder, rest)
    finally:
        os.close(folder)


def _step_by_step(folder: int, rest: bytes) -> int:
    """Do the same where the kernel is older than 5.6 or forbids it: one name after the other, and no links at all."""
    at = os.dup(folder)
    try:
        *folders, name = [part for part in rest.split(b"/") if part not in {b"", b"."}] or [b"."]
        for part in folders:
            inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = inner
        return os.open(name, FLAGS | os.O_NOFOLLOW, dir_fd=at)
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.ENOTDIR}:  # what a link in a folder's place says, with these flags
            _leads_out()
        raise
    finally:
        os.close(at)


def _leads_out() -> NoReturn:
    raise _forbidden("is a link that leads out of what this worker may read (--allow)")


def _forbidden(sentence: str) -> SourceError:
    return SourceError(sentence, transient=True, forbidden=True)
