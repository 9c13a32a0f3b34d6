"""Files and pipes read line by line, to their ends or followed as ``tail -F`` does, in memory that does not grow."""

import os
import select
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from zgrid.cli.output import say
from zgrid.errors import SettingsError

CHUNK_BYTES = 1 << 18
LINE_BYTES_MAX = 1 << 20
"""A longer line is cut: nothing of ours writes one, and memory must stay what it is."""


class Source(Protocol):
    """Where lines come from. ``handle``: what can be polled for more of them; ``ended``: no more will come."""

    handle: int | None
    ended: bool

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that are there, without their ends: all of them, or by now where the source is followed."""

    def close(self) -> None:
        """Close what is open."""


class _Cutter:
    """Cuts what is read into lines, and keeps the beginning of the last one until the rest of it comes."""

    def __init__(self) -> None:
        self._begun = b""

    def cut(self, data: bytes) -> list[bytes]:
        """Return the lines that end in ``data``."""
        lines = (self._begun + data).split(b"\n")
        self._begun = lines.pop()
        if len(self._begun) > LINE_BYTES_MAX:
            lines += self.end()
        return lines

    def end(self) -> list[bytes]:
        """Return what has no end and will have none."""
        begun, self._begun = self._begun, b""
        return [begun] if begun else []


class Pipe:
    """What can be read only once, such as standard input. ``idle`` is called before it waits for more."""

    def __init__(self, handle: int, idle: Callable[[], None], *, follow: bool) -> None:
        self.handle: int | None = handle
        self.ended = False
        self._cutter = _Cutter()
        self._idle = idle
        self._follow = follow
        self._poll = select.poll()
        self._poll.register(handle, select.POLLIN)

    def lines(self) -> Iterator[bytes]:
        """Yield lines to the end; where it is followed, those that are there by now."""
        while self.handle is not None and not self.ended:
            if not self._poll.poll(0):
                if self._follow:
                    return
                self._idle()
                self._poll.poll()
            data = os.read(self.handle, CHUNK_BYTES)
            self.ended = not data
            yield from self._cutter.cut(data) if data else self._cutter.end()

    def close(self) -> None:
        """Leave it alone if it is standard input; close it otherwise."""
        if self.handle is not None and self.handle != sys.stdin.fileno():
            os.close(self.handle)
        self.handle = None


class File:
    """A file on disk. One that is followed may be replaced, cut short, taken away, and not be there yet."""

    def __init__(self, path: Path, *, follow: bool) -> None:
        self.handle: int | None = None  # a file has always something to read, so there is nothing to poll
        self.ended = False
        self._path = path
        self._follow = follow
        self._open: int | None = None
        self._cutter = _Cutter()
        if not self._opened():
            if not follow:
                raise SettingsError(f"{path} cannot be read: there is no such file")
            say(f"zgrid: {path} is not there yet: waiting for it", sys.stderr)

    def lines(self) -> Iterator[bytes]:
        """Yield lines to the end; where it is followed, those that are there by now."""
        while self._opened():
            was_replaced = self._was_replaced()  # looked at before reading: what came before that is read first
            while data := self._read():
                yield from self._cutter.cut(data)
            if not self._follow:
                yield from self._cutter.end()
                self.ended = True
                return
            if was_replaced:
                yield from self._cutter.end()
                self.close()
            elif self._was_cut():
                yield from self._cutter.end()
            else:
                return

    def close(self) -> None:
        """Close it."""
        if self._open is not None:
            os.close(self._open)
            self._open = None

    def _opened(self) -> bool:
        """Open it unless it is; return whether it is there. Raises SettingsError where it cannot be read."""
        if self._open is not None:
            return True
        if self.ended:
            return False
        try:
            self._open = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise SettingsError(f"{self._path} cannot be read: {error.strerror}") from None
        if os.pread(self._open, 2, 0) == b"\x1f\x8b":
            raise SettingsError(f"{self._path} is compressed: zcat {self._path} | zgrid logs")
        return True

    def _read(self) -> bytes:
        assert self._open is not None
        try:
            return os.read(self._open, CHUNK_BYTES)
        except OSError as error:
            raise SettingsError(f"{self._path} cannot be read: {error.strerror}") from None

    def _was_replaced(self) -> bool:
        """Whether its name is another file's by now. A name that is nobody's may come back: until then this is it."""
        assert self._open is not None
        if not self._follow:
            return False
        try:
            return not os.path.samestat(os.stat(self._path), os.fstat(self._open))  # noqa: PTH116  beside fstat
        except OSError:
            return False

    def _was_cut(self) -> bool:
        """Begin anew if it is shorter than what was read of it; return whether it is."""
        assert self._open is not None
        if os.fstat(self._open).st_size >= os.lseek(self._open, 0, os.SEEK_CUR):
            return False
        os.lseek(self._open, 0, os.SEEK_SET)
        return True


def open_source(name: str, idle: Callable[[], None], *, follow: bool) -> Source:
    """Return the file, pipe or (``-``) standard input of this name. Raises SettingsError where it cannot be read."""
    if name == "-":
        return Pipe(sys.stdin.fileno(), idle, follow=follow)
    path = Path(name)
    try:
        mode = path.stat().st_mode
    except OSError:
        return File(path, follow=follow)
    if stat.S_ISDIR(mode):
        raise SettingsError(f"{path} is a folder: name the files in it, such as {path}/*.jsonl")
    if stat.S_ISREG(mode):
        return File(path, follow=follow)
    try:
        return Pipe(os.open(path, os.O_RDONLY | os.O_CLOEXEC), idle, follow=follow)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
