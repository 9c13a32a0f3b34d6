"""The pages of an SQLite file, read without SQLite, so that one bad page does not hide the good ones.

The format is described in https://www.sqlite.org/fileformat2.html. Nothing here is trusted: whatever does not fit is
a ``ValueError`` of one cell or page, and the rest is read all the same.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zgrid.store.wal import frames, is_page_size, wal_of

INDEX_INNER, TABLE_INNER, INDEX_LEAF, TABLE_LEAF = 2, 5, 10, 13
_HEADER_BYTES = 100
"""Of the file, at the beginning of its first page."""

_INTEGER_BYTES = {0: 0, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8, 8: 0, 9: 0}
"""By the kinds below 12; our tables have no floats."""

Value = bytes | int | str | None


class Record(NamedTuple):
    """One row of a table, or one entry of an index, which has no ``rowid``."""

    rowid: int
    values: list[Value]


class Pages:
    """The pages of the file ``path``, and of its log, as they were after the last commit. Close it after use."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        head = self._file.read(_HEADER_BYTES)
        size = int.from_bytes(head[16:18]) if len(head) == _HEADER_BYTES else 0
        self._bytes = size if is_page_size(size) else 4096
        count = -(-path.stat().st_size // self._bytes)
        self._log = wal_of(path).open("rb") if wal_of(path).exists() else None
        self._logged = self._from_log(wal_of(path), count)
        self.count = max([count, *self._logged])

    @property
    def first(self) -> bytes:
        """The file's own header, which begins its first page."""
        return self.page(1)[:_HEADER_BYTES]

    def close(self) -> None:
        """Close the files."""
        self._file.close()
        if self._log is not None:
            self._log.close()

    def page(self, number: int) -> bytes:
        """Return a page, filled up with zeros where the file ends before it."""
        if number in self._logged and self._log is not None:
            self._log.seek(self._logged[number])
            page = self._log.read(self._bytes)
        else:
            self._file.seek((number - 1) * self._bytes)
            page = self._file.read(self._bytes)
        return page.ljust(self._bytes, b"\0")

    def free(self) -> set[int]:
        """Return the pages that are not in use, as far as their list can be followed."""
        found: set[int] = set()
        trunk = int.from_bytes(self.first[32:36])
        while 1 < trunk <= self.count and trunk not in found:
            page = self.page(trunk)
            found.add(trunk)
            leaves = min(int.from_bytes(page[4:8]), self._bytes // 4 - 2)
            found.update(int.from_bytes(page[at : at + 4]) for at in range(8, 8 + 4 * leaves, 4))
            trunk = int.from_bytes(page[:4])
        return found

    def kind(self, number: int) -> int:
        """Return what a page says it is: one of the four kinds of a tree, or anything."""
        return self.page(number)[_start(number)]

    def children(self, number: int) -> list[int]:
        """Return the pages that an inner page of a tree points to. Raises ValueError where it is none."""
        page, start = self.page(number), _start(number)
        if page[start] not in (INDEX_INNER, TABLE_INNER):
            raise ValueError("no inner page")
        places = [int.from_bytes(page[at : at + 4]) for at in self._cells(page, start)]
        places.append(int.from_bytes(page[start + 8 : start + 12]))
        if not all(1 < place <= self.count for place in places):
            raise ValueError("it points out of the file")
        return places

    def records(self, number: int) -> Iterator[Record | None]:
        """Yield what is in the cells of a page of a tree; None for each cell that cannot be read.

        Raises ValueError where the page is none that has any.
        """
        page, start = self.page(number), _start(number)
        kind = page[start]
        if kind not in (INDEX_INNER, INDEX_LEAF, TABLE_LEAF):
            raise ValueError("no page with records")
        for at in self._cells(page, start):
            try:
                yield self._record(page, at + 4 if kind == INDEX_INNER else at, kind)
            except (ValueError, LookupError):
                yield None

    def _cells(self, page: bytes, start: int) -> list[int]:
        """Return where the cells of a page begin."""
        first = start + (12 if page[start] in (INDEX_INNER, TABLE_INNER) else 8)
        count = int.from_bytes(page[start + 3 : start + 5])
        if first + 2 * count > self._bytes:
            raise ValueError("more cells than fit")
        return [int.from_bytes(page[at : at + 2]) for at in range(first, first + 2 * count, 2)]

    def _record(self, page: bytes, at: int, kind: int) -> Record:
        size, at = _varint(page, at)
        rowid = 0
        if kind == TABLE_LEAF:
            rowid, at = _varint(page, at)
        local = self._local(size, kind)
        payload = page[at : at + local]
        if local < size:
            payload += self._overflow(int.from_bytes(page[at + local : at + local + 4]), size - local)
        if len(payload) != size:
            raise ValueError("a cell that is cut short")
        return Record(rowid, _values(payload))

    def _local(self, size: int, kind: int) -> int:
        """Return how many bytes of a payload are in its own page."""
        usable = self._bytes
        most = usable - 35 if kind == TABLE_LEAF else (usable - 12) * 64 // 255 - 23
        if size <= most:
            return size
        least = (usable - 12) * 32 // 255 - 23
        local = least + (size - least) % (usable - 4)
        return local if local <= most else least

    def _overflow(self, number: int, size: int) -> bytes:
        if size > self.count * self._bytes:
            raise ValueError("longer than the file")
        parts: list[bytes] = []
        while size > 0:
            if not 1 < number <= self.count:
                raise ValueError("it goes on outside of the file")
            page = self.page(number)
            parts.append(page[4 : 4 + size])
            size -= self._bytes - 4
            number = int.from_bytes(page[:4])
        return b"".join(parts)

    def _from_log(self, log: Path, count: int) -> dict[int, int]:
        """Return where the log has newer pages, by number. Frames that only seem wrong are better than older pages."""
        if self._log is None:
            return {}
        most = count + log.stat().st_size // self._bytes  # a file grows by what was logged, and not further
        newer: dict[int, int] = {}
        uncommitted: dict[int, int] = {}
        for frame in frames(log):
            if frame.page <= most:
                uncommitted[frame.page] = frame.offset
            if frame.is_commit:
                newer |= uncommitted
                uncommitted.clear()
        return newer


def _start(number: int) -> int:
    return _HEADER_BYTES if number == 1 else 0


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return a number of 1 to 9 bytes, and where it ends."""
    value = 0
    for place in range(at, at + 8):
        byte = data[place]
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, place + 1
    value = value << 8 | data[at + 8]
    return (value - (1 << 64) if value >> 63 else value), at + 9


def _values(payload: bytes) -> list[Value]:
    """Return the values of a record. There may be ten million, so this calls nothing where it need not."""
    head, at = _varint(payload, 0)
    kinds: list[int] = []
    while at < head:
        kind = payload[at]
        at += 1
        if kind >= 0x80:
            kind, at = _varint(payload, at - 1)
        kinds.append(kind)
    values: list[Value] = []
    for kind in kinds:
        end = at + (_INTEGER_BYTES[kind] if kind < 12 else (kind - 12) // 2)
        if kind >= 12:
            part = payload[at:end]
            values.append(part if kind % 2 == 0 else part.decode("utf-8"))
        elif kind == 0:
            values.append(None)
        elif kind in (8, 9):
            values.append(kind - 8)
        else:
            values.append(int.from_bytes(payload[at:end], signed=True))
        at = end
    if at != len(payload):
        raise ValueError("a record of another length")
    return values
