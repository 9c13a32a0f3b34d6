"""The write-ahead log of an SQLite file, read without SQLite: what SQLite passes over in silence can be seen here.

SQLite recovers a log up to its first frame with a wrong checksum, as it must after a power cut in the middle of a
commit. Each of our commits is synced before the next one begins, so two commits behind such a frame were on disk.
"""

from array import array
from collections.abc import Iterator
from functools import cache
from operator import mul
from pathlib import Path
from struct import Struct
from sys import byteorder
from typing import NamedTuple

_HEADER = Struct(">IIIIIIII")
_FRAME = Struct(">IIIIII")
_MAGIC = 0x377F0682
_MASK = 0xFFFFFFFF
_SHIFT = 96
"""Between two sums of products in one number: a page has fewer words than would carry from one into the other."""

PAGE_BYTES_MAX = 1 << 16
LOOKS = 3


class Frame(NamedTuple):
    """One page of the log: its number, where its bytes begin, and whether a commit ends with it."""

    page: int
    offset: int
    is_commit: bool
    is_sound: bool


def wal_of(path: Path) -> Path:
    """Return where the log of the SQLite file ``path`` is, if it has one."""
    return path.with_name(path.name + "-wal")


def frames(path: Path) -> Iterator[Frame]:
    """Yield the frames of the log at ``path`` that belong to it, in order; ``is_sound`` up to the first that is not.

    Frames that an earlier round of the log has left behind have another salt, and are passed over.
    """
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            return
        magic, _, page_bytes, _, *salts, sum_0, sum_1 = _HEADER.unpack(head)
        if not is_page_size(page_bytes):
            page_bytes = 4096
        swap = (magic & 1) != (byteorder == "big")
        sums = _checksum(head[:24], (0, 0), swap=swap)
        is_sound = magic & ~1 == _MAGIC and sums == (sum_0, sum_1)
        offset = _HEADER.size
        if not is_sound:  # its salt may be what is wrong
            salts = list(_FRAME.unpack(file.read(_FRAME.size).ljust(_FRAME.size, b"\0"))[2:4])
            file.seek(offset)
        while len(frame := file.read(_FRAME.size + page_bytes)) == _FRAME.size + page_bytes:
            page, size, *its_salts, sum_0, sum_1 = _FRAME.unpack_from(frame)
            if is_sound and its_salts == salts:
                sums = _checksum(frame[:8] + frame[_FRAME.size :], sums, swap=swap)
            is_sound = is_sound and its_salts == salts and sums == (sum_0, sum_1)
            if its_salts == salts and page:
                yield Frame(page, offset + _FRAME.size, size > 0, is_sound)
            offset += len(frame)


def lost_commits(path: Path) -> int:
    """Return how many commits of the SQLite file ``path`` were on disk and cannot be read back from its log.

    The last commit may have been cut short, as SQLite is prepared for; so one alone does not count. Who writes at this
    moment can make sound frames look otherwise, but not again and again.
    """
    for _ in range(LOOKS):
        try:
            lost = sum(frame.is_commit and not frame.is_sound for frame in frames(wal_of(path)))
        except FileNotFoundError:
            return 0
        if lost < 2:
            return 0
    return lost


def is_page_size(size: int) -> bool:
    """Whether SQLite could have pages of so many bytes."""
    return 512 <= size <= PAGE_BYTES_MAX and size & (size - 1) == 0


def _checksum(data: bytes, sums: tuple[int, int], *, swap: bool) -> tuple[int, int]:
    """Go on with the two sums of SQLite's checksum: for each two words ``a += x + b; b += y + a``.

    They are linear, so each word has its weight in the result, and one sum of products in C does for a whole page.
    """
    words = array("I", data)
    if swap:
        words.byteswap()
    weights, (a, b, c, d) = _weights(len(words) // 2)
    total = sum(map(mul, words, weights))
    first, second = sums
    return (a * first + b * second + total) & _MASK, (c * first + d * second + (total >> _SHIFT)) & _MASK


@cache
def _weights(pairs: int) -> tuple[list[int], tuple[int, int, int, int]]:
    """Return the weights of so many pairs of words, in the second sum above those in the first, and of both sums."""
    weights: list[int] = []
    a, b, c, d = 1, 0, 0, 1
    for _ in range(pairs):
        weights += b | d << _SHIFT, (a + b) & _MASK | ((c + d) & _MASK) << _SHIFT
        a, b, c, d = (value & _MASK for value in (a + b, a + 2 * b, c + d, c + 2 * d))
    return weights[::-1], (a, b, c, d)
