"""The process that searches a ventilator's sources and writes what it finds to a pipe, in batches.

A frame is four bytes of length and msgpack: columns of offers and a list of what was passed over, or a sentence.
"""

import ctypes
import os
import signal
import struct
import sys
import time
from collections.abc import Callable, Sequence
from io import RawIOBase
from typing import IO, cast

import msgpack

from zgrid.errors import SettingsError
from zgrid.protocol.job import Offer
from zgrid.sources import Passed, scan

BATCH_MAX = 512
BATCH_AGE_S_MAX = 0.05
"""The first images of a slow source are on their way after this long, though their batch is not full."""

HEAD = struct.Struct("!I")

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def pack(found: list[Offer | Passed] | str) -> bytes:
    """Return the frame of a batch, or of a sentence that says why a source cannot be read."""
    if isinstance(found, str):
        body = msgpack.packb(found, unicode_errors="surrogateescape")
    else:
        offers = [one for one in found if type(one) is Offer]
        passed = [tuple(one) for one in found if type(one) is Passed]
        columns = [list(column) for column in zip(*offers, strict=True)] if offers else [[], [], []]
        body = msgpack.packb((*columns, passed), unicode_errors="surrogateescape")
    return HEAD.pack(len(body)) + bytes(body)


def unpack(body: bytes) -> list[Offer | Passed] | str:
    """Return what ``pack`` was given; offers come first."""
    found = msgpack.unpackb(body, unicode_errors="surrogateescape")
    if isinstance(found, str):
        return found
    uris, sizes, mtimes_ns, passed = found
    batch: list[Offer | Passed] = list(map(Offer, uris, sizes, mtimes_ns))
    batch += [Passed(*one) for one in passed]
    return batch


class Patient(RawIOBase):
    """Standard input that lets go of what was found before it waits for more, for a list may pause for hours."""

    def __init__(self, flush: Callable[[], None]) -> None:
        self._flush = flush

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Return what is there, up to ``size`` bytes, waiting for the first of them."""
        self._flush()
        return os.read(0, size)


def search(sources: Sequence[str], size_bytes_max: int, out: int) -> int:
    """Write all that is found to the descriptor ``out``; return the exit status."""
    batch: list[Offer | Passed] = []

    def flush() -> None:
        if batch:
            _write(out, pack(batch))
            batch.clear()

    since = time.monotonic()
    stdin = cast("IO[bytes]", Patient(flush)) if "-" in sources else None
    try:
        for found in scan(sources, stdin, size_bytes_max=size_bytes_max):
            batch.append(found)
            if len(batch) >= BATCH_MAX or time.monotonic() - since > BATCH_AGE_S_MAX:
                flush()
                since = time.monotonic()
    except SettingsError as error:
        _write(out, pack(str(error)))
    flush()
    return 0


def _write(out: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(out, rest) :]


def main() -> int:
    """Search as ``roles/scanner.py`` asks. Not for people: ``zgrid ventilator`` starts it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the ventilator decides when to stop
    parent, size_bytes_max, *sources = sys.argv[1:]
    if os.getppid() != int(parent):
        return 1  # it died before we had asked to die with it
    try:
        return search(sources, int(size_bytes_max), sys.stdout.fileno())
    except BrokenPipeError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
