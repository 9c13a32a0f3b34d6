"""The sink's picture files: whole and on disk before a row names them, at most one for each key.

A picture of the key ``abcdef...`` is ``ab/abcdef....jpg`` below the root. Everything else below the root is left alone.
``root/.zgrid-pictures`` marks the folder as ours, so that no search of ours takes its pictures for new photographs.
"""

import errno
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any

from zgrid.errors import FullError, StoreError
from zgrid.protocol.job import KEY_BYTES
from zgrid.store.folder import FULL, make_folder
from zgrid.store.lock import FileLock

SUFFIXES = {"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}
"""File name suffix of each media type; any other is `.bin`."""

MARK = ".zgrid-pictures"

_NAME = re.compile(rf"[0-9a-f]{{{2 * KEY_BYTES}}}\.(jpg|png|webp|bin)")
_SWEEP_FILES = 1000
"""How many files one step of a sweep looks at: a few ms, in which nothing is stored."""

_SYNCS_FEW, _SYNCS_MANY = 2, 8
"""Files synced at the same time. A slow disk serves many of them in the time of one; a quick one serves two as soon as
eight, which wait for each other and for the interpreter, and took twice the processor's time."""

_SLOW_SYNC_S = 0.004
"""A disk that takes longer than this for a file is slow: one that turns needs 8 ms and more, flash less than 1 ms."""

Picture = tuple[bytes, str | None, bytes | memoryview]
"""(key, media type, the file's bytes)."""


def picture_name(key: bytes, media: str | None) -> str:
    """Return the path of a key's picture relative to the root, such as ``ab/abcdef....jpg``."""
    assert len(key) == KEY_BYTES, f"a key has {KEY_BYTES} bytes, not {len(key)}"
    name = key.hex()
    return f"{name[:2]}/{name}{SUFFIXES.get(media or '', '.bin')}"


class Pictures:
    """The folder ``root``, which is made if it is not there; ``root/.lock`` keeps other sinks out.

    ``at_step`` is called with a name before each step of a save. What an earlier sink had only begun to write is
    removed at once; see ``sweep`` for the rest. Raises SettingsError where another sink is there or no folder can be,
    StoreError where the disk refuses.
    """

    def __init__(self, root: Path | str, at_step: Callable[[str], None] = lambda _: None) -> None:
        self.root = Path(root)
        self._at_step = at_step
        self._unfinished = self.root / ".tmp"
        make_folder(self._unfinished, "the folder of pictures")
        with self._errors():
            (self.root / MARK).touch()
        self._lock = FileLock(
            self.root / ".lock", f"another sink keeps its pictures in {self.root}: stop it, or name another folder"
        )
        self._folders: set[str] = set()
        self._few = ThreadPoolExecutor(_SYNCS_FEW, thread_name_prefix="picture-sync")
        self._many = ThreadPoolExecutor(_SYNCS_MANY, thread_name_prefix="slow-picture-sync")
        self._slow = False
        try:
            with self._errors(), os.scandir(self._unfinished) as entries:
                for entry in entries:
                    Path(entry.path).unlink()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let other sinks use the folder; a second time does nothing."""
        self._few.shutdown()
        self._many.shutdown()
        self._lock.close()

    def save(self, pictures: Sequence[Picture]) -> list[str]:
        """Write pictures and return their paths relative to the root; they are on disk when this returns.

        A picture that is there already under the same key is replaced. Raises StoreError; then no half picture is left.
        """
        names = [picture_name(key, media) for key, media, _ in pictures]
        # Plain text: paths as objects cost as much as all else that Python does for a picture.
        root, unfinished = str(self.root), str(self._unfinished)
        drafts = [f"{unfinished}/{name[3:]}" for name in names]
        folders = {name[:2] for name in names}
        with self._errors():
            try:
                self._at_step("write pictures")
                took_s = self._by_all(_write, list(zip(drafts, (data for _, _, data in pictures), strict=True)))
                self._slow = took_s > _SLOW_SYNC_S * len(names)
                self._at_step("move pictures")
                self._make_folders(folders - self._folders)
                for draft, name in zip(drafts, names, strict=True):
                    os.replace(draft, f"{root}/{name}")  # noqa: PTH105
            except BaseException:
                for draft in drafts:
                    with suppress(OSError):
                        os.unlink(draft)  # noqa: PTH108
                raise
            self._at_step("sync folders")
            self._by_all(_sync_folder, [(f"{root}/{name}",) for name in folders])
        return names

    def _by_all(self, work: Callable[..., float], items: Sequence[tuple[Any, ...]]) -> float:
        """Have the threads share ``items``; return the seconds of all. Raises what one raises, once all have ended."""
        threads, many = (self._many, _SYNCS_MANY) if self._slow else (self._few, _SYNCS_FEW)
        failed = threading.Event()

        def some(part: Sequence[tuple[Any, ...]]) -> float:
            took_s = 0.0
            for item in part:
                if failed.is_set():  # what is written from here on would be left over
                    break
                try:
                    took_s += work(*item)
                except BaseException:
                    failed.set()
                    raise
            return took_s

        futures = [threads.submit(some, items[first::many]) for first in range(min(many, len(items)))]
        wait(futures)
        return sum(future.result() for future in futures)

    def sweep(self, named: Callable[[Sequence[str]], set[str]]) -> Iterator[int]:
        """Remove pictures that no row names, a few at each step; yield how many of them were removed.

        ``named`` returns those of the paths that a row names. Between two steps, and only there, pictures may be saved,
        but each with its row: a sink runs one step whenever it has nothing to store.
        """
        for folder in range(256):
            with self._errors(), suppress(FileNotFoundError), os.scandir(self.root / f"{folder:02x}") as entries:
                ours = (entry.name for entry in entries if _NAME.fullmatch(entry.name))
                while some := [f"{folder:02x}/{name}" for name in islice(ours, _SWEEP_FILES)]:
                    orphans = set(some) - named(some)
                    for name in orphans:
                        (self.root / name).unlink()
                    yield len(orphans)

    def _make_folders(self, names: set[str]) -> None:
        """Make those that are not there yet, on disk when this returns."""
        for name in names:
            (self.root / name).mkdir(exist_ok=True)
        if names:
            _sync_folder(str(self.root))
        self._folders |= names

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise (FullError if error.errno in FULL else StoreError)(_sentence(error, self.root)) from error


def _write(path: str, data: bytes | memoryview) -> float:
    """Write a whole file and wait until it is on disk; return the seconds that took."""
    began = monotonic()
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    try:
        left = memoryview(data).cast("B")
        while left:
            left = left[os.write(file, left) :]
        os.fsync(file)
    finally:
        os.close(file)
    return monotonic() - began


def _sync_folder(path: str) -> float:
    """Wait until the names in a folder are on disk; return the seconds that took."""
    began = monotonic()
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return monotonic() - began


def _sentence(error: OSError, root: Path) -> str:
    if error.errno in FULL:
        return f"no space is left for the pictures in {root}: free some on its disk, which is full"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"the pictures in {root} cannot be written ({error.strerror}): let this user write to that folder"
    return f"the disk failed under the pictures in {root} ({error}): look at the system's log"
