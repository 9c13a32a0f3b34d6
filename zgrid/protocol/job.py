"""What a job is: one image, its place in the ledger, and the key under which its result is stored."""

from enum import IntEnum
from hashlib import blake2b
from typing import NamedTuple

KEY_BYTES = 16
"""Length of a job's key: 128 bits, so that among ten million keys a collision has a chance below 1e-24."""

_NOTHING_HASHED = blake2b(digest_size=KEY_BYTES)
"""Copying it takes half as long as making another one."""


class State(IntEnum):
    """Where a job stands. The numbers are kept on disk: add to them, never change one.

    SENT and FINISHED live in the ventilator's memory only; after a restart such a job is READY again.
    """

    READY = 0
    DELAYED = 1
    STORED = 2
    DISCARDED = 3
    BURIED = 4
    CANCELLED = 5
    SENT = 6
    FINISHED = 7


READY, SENT, FINISHED, STORED = State.READY, State.SENT, State.FINISHED, State.STORED
"""The same for what is done to every job: before Python 3.12, to find a member of an enum takes 0.1 us each time."""

OPEN = frozenset({State.READY, State.DELAYED, State.SENT, State.FINISHED})
CLOSED = frozenset(State) - OPEN


class Offer(NamedTuple):
    """An image that a source offers: not accepted before the ledger has it on disk."""

    uri: str
    size: int
    mtime_ns: int


def job_key(uri: str, size: int, mtime_ns: int) -> bytes:
    """Return the 16-byte key of one version of one image: BLAKE2b over its URI, size in bytes and time of change in ns.

    The same file makes the same key on every run, so a second run over a folder does only what is new or changed.
    """
    hashing = _NOTHING_HASHED.copy()
    hashing.update(f"{uri}\0{size}\0{mtime_ns}".encode("utf-8", "surrogateescape"))
    return hashing.digest()
