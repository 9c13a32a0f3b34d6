"""What a worker's agent and its children say to each other over a socket pair, both ends of the format side by side.

    4 bytes   length of the header          4 bytes   length of the body, both little-endian
    header    msgpack list, its kind first  body      pictures end to end, never inside msgpack

The agent trusts nothing that a child says: a hostile image may have taken the child over. Results name no jobs. They
belong to the next jobs of that child in the order given, so that a child cannot speak of a job it does not have.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import msgpack

from zgrid.errors import PeerError
from zgrid.protocol import checks
from zgrid.protocol.limits import BATCH_JOBS_MAX, FILTERS_MAX, TEXT_CHARS_MAX

PICTURE_BYTES_MAX = 64 << 20
"""One picture made by a filter; also bounds what an agent holds for a child whose message is not complete."""

FLUSH_BYTES = 256 << 10
"""A child reports at the latest when it holds so much."""

HEADER_BYTES_MAX = 1 << 20
"""A child's header: what it may hold before it reports, and one more image's notes and reason."""

BODY_BYTES_MAX = FLUSH_BYTES + PICTURE_BYTES_MAX

EXIT_STARVED = 75
"""A child's exit status when it had no memory left for a job that was not its first, and has not done that job."""

EXIT_UNIMPORTED = 78
"""A child's exit status when a module of --filter-module cannot be imported; its last line says which and why."""

_PREFIX = struct.Struct("<II")


class Kind(IntEnum):
    """The first item of every header. START to STOP are the agent's, READY to DONE the child's."""

    START = 1
    CHAIN = 2
    WORK = 3
    STOP = 4
    READY = 5
    MADE = 6
    DONE = 7


class ChildError(PeerError):
    """A child sent what it must not. ``row``: which result is at fault, counted from the last one accepted."""

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


def pack(header: Sequence[Any], body_bytes: int = 0) -> bytes:
    """Return the prefix and header of a message; the body, if any, is to follow as it is."""
    packed: bytes = msgpack.packb(header, unicode_errors="surrogateescape")
    return _PREFIX.pack(len(packed), body_bytes) + packed


class Inbox:
    """Bytes in, messages out. Lengths are checked as soon as they are there, before anything is kept for them."""

    def __init__(self, header_bytes_max: int, body_bytes_max: int, unicode_errors: str = "strict") -> None:
        self._limits = (header_bytes_max, body_bytes_max)
        self._unicode_errors = unicode_errors
        self._bytes: bytes | bytearray = b""
        self.missing_bytes = 0

    def feed(self, data: bytes) -> None:
        """Take what was read from the socket. A message that comes in one piece is never copied."""
        if not self._bytes:
            self._bytes = data
            return
        if isinstance(self._bytes, bytes):
            self._bytes = bytearray(self._bytes)  # it grows in place, in however small pieces the rest may come
        self._bytes += data

    def take(self) -> tuple[list[Any], memoryview] | None:
        """Return header and body of the next whole message, or None until there is one. Raises ChildError.

        ``missing_bytes`` then says how much more it takes, as far as that is known.
        """
        self.missing_bytes = 0
        if len(self._bytes) < _PREFIX.size:
            return None
        header_bytes, body_bytes = _PREFIX.unpack_from(self._bytes)
        if header_bytes > self._limits[0] or body_bytes > self._limits[1]:
            raise ChildError(f"its message is too long ({header_bytes} + {body_bytes} bytes)")
        middle = _PREFIX.size + header_bytes
        end = middle + body_bytes
        if len(self._bytes) < end:
            self.missing_bytes = end - len(self._bytes)
            return None
        whole: bytes | bytearray = self._bytes
        if len(whole) > end:
            rest = bytearray(whole) if isinstance(whole, bytes) else whole
            whole = rest[:end]
            del rest[:end]
            self._bytes = rest
        else:
            self._bytes = b""
        view = memoryview(whole).toreadonly()
        header = unpack(view[_PREFIX.size : middle], self._unicode_errors)
        if type(header) is not list or not header:
            raise ChildError("its message is not a list")
        return header, view[middle:]


def unpack(data: bytes | memoryview, unicode_errors: str = "strict") -> Any:
    """Return the plain data in ``data``; raises ChildError for anything else."""
    try:
        return msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            unicode_errors=unicode_errors,
            max_array_len=BATCH_JOBS_MAX * 4,
            max_map_len=BATCH_JOBS_MAX,
            max_ext_len=0,
        )
    except (ValueError, msgpack.UnpackException, RecursionError) as error:
        raise ChildError(f"its message is not msgpack: {str(error)[:100] or type(error).__name__}") from None


@dataclass(frozen=True, slots=True)
class Made:
    """What a child made of a chain: its ``version``, or the ``problem`` why it cannot run it."""

    chain: int
    version: str | None
    problem: str | None


def read_made(item: Any) -> Made:
    """Return what a child says of one chain; raises ChildError."""
    text = checks.text(TEXT_CHARS_MAX)
    if type(item) is not list or len(item) != 3 or type(item[0]) is not int:
        raise ChildError("what it says of a chain has not the parts it should")
    chain, version, problem = item
    if (version is None) == (problem is None) or not text(problem if version is None else version):
        raise ChildError("what it says of a chain is neither a version nor a problem")
    return Made(chain, version, problem)


def read_ready(header: list[Any]) -> tuple[dict[str, str], dict[str, str], list[Made], list[str]]:
    """Return the filters a new child can run (name to version), those it cannot (name to why), and its chains.

    The last are the parts of its sandbox that the kernel would not give it, in words.
    """
    names, texts = checks.mapping(checks.text(), FILTERS_MAX), checks.texts()
    fits = len(header) == 5 and names(header[1]) and names(header[2]) and type(header[3]) is list and texts(header[4])
    if not fits:
        raise ChildError("its first message has not the parts it should")
    return header[1], header[2], [read_made(item) for item in header[3]], header[4]
