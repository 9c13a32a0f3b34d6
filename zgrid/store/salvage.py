"""What can still be read of a damaged ledger, page by page: its rows, each proven as far as a row can prove itself.

Pages that a tree leads to come first. Where trees are broken, pages that nothing leads to are looked at too; those that
SQLite lists as free are not, for they hold what was deleted.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from zgrid.protocol.job import Offer, State, job_key
from zgrid.store.history import block_of
from zgrid.store.pages import INDEX_INNER, INDEX_LEAF, TABLE_INNER, TABLE_LEAF, Pages, Record
from zgrid.store.rows import KEPT

Row = tuple[Any, ...]

JOB_COLUMNS = """
    seq, key, uri, size, mtime_ns, chain, priority, failures, accepted_ms, state, due_ms, settled_ms, reason,
    ttr_ms, attempts_max, spent"""

CHAINS_INDEX = "sqlite_autoindex_chains_1"
SOURCES_INDEX = "jobs_source"


class Salvage:
    """Reads ``pages`` once, to know what belongs where; then ``rows`` gives what is in a table.

    ``unread`` counts, by table, cells and pages that cannot be read.
    """

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._leaves: defaultdict[str, list[int]] = defaultdict(list)
        self._reached = bytearray(pages.count + 1)
        self.unread: Counter[str] = Counter()
        for name, root in self._roots().items():
            self._walk(name, root)
        if self.unread:
            self._sort_again()
        self._find_strays()

    def rows(self, name: str) -> Iterator[Row]:
        """Yield the rows of a table, or the entries of an index, that are what such rows have to be."""
        fits = FITS[name]
        for number in self._leaves[name]:
            for record in self._records(number, name):
                row = None if record is None else _tried(fits, record)
                if row is None:
                    self.unread[name] += 1
                else:
                    yield row

    def _records(self, number: int, name: str) -> Iterator[Record | None]:
        try:
            yield from self._pages.records(number)
        except ValueError:
            self.unread[name] += 1

    def _roots(self) -> dict[str, int]:
        """Return where the tree of each table and index begins, as far as the first page tells it."""
        self._walk("schema", 1)
        roots: dict[str, int] = {}
        for number in self._leaves["schema"]:
            for record in self._records(number, "schema"):
                if record is None or len(record.values) != 5:
                    self.unread["schema"] += 1
                    continue
                _, name, _, root, _ = record.values
                if type(root) is int and 1 < root <= self._pages.count:
                    roots[str(name)] = root  # also of what is not read, so that its pages are nothing else's
        return roots

    def _walk(self, name: str, root: int) -> None:
        """Note the pages of one tree, in the order of its rows."""
        waiting = [root]
        while waiting:
            number = waiting.pop()
            if self._reached[number]:
                self.unread[name] += 1  # two trees lead here
                continue
            kind = self._pages.kind(number)
            if kind in (TABLE_LEAF, INDEX_LEAF, INDEX_INNER):
                self._leaves[name].append(number)
            if kind in (TABLE_INNER, INDEX_INNER):
                try:
                    waiting += reversed(self._pages.children(number))
                except ValueError:
                    self.unread[name] += 1
            elif kind not in (TABLE_LEAF, INDEX_LEAF):
                self.unread[name] += 1
                continue
            self._reached[number] = 1

    def _sort_again(self) -> None:
        """A tree that is damaged may lead anywhere: tell by what is in the pages where they belong."""
        pages = [number for name in (*TABLES, *INDEXES) for number in self._leaves.pop(name, [])]
        for number in pages:
            self._sort(number)

    def _find_strays(self) -> None:
        """Find pages that are in use, and that no tree leads to any more."""
        free = self._pages.free()
        for number in range(2, self._pages.count + 1):
            if not self._reached[number] and number not in free:
                self._sort(number)

    def _sort(self, number: int) -> None:
        kind = self._pages.kind(number)
        if kind in (TABLE_LEAF, INDEX_LEAF, INDEX_INNER):
            name = self._belongs(number, TABLES if kind == TABLE_LEAF else INDEXES)
            if name is not None:
                self._leaves[name].append(number)

    def _belongs(self, number: int, names: tuple[str, ...]) -> str | None:
        for record in self._records(number, "stray"):
            for name in names:
                if record is not None and _tried(FITS[name], record) is not None:
                    return name
        return None


def _tried(fits: Callable[..., Row | None], record: Record) -> Row | None:
    """Return the row that a record is, None where it is none."""
    try:
        return fits(record.rowid, *record.values)
    except (TypeError, ValueError, OverflowError):  # another number of values, or others than belong there
        return None


def _is_int(*values: Any) -> bool:
    return all(type(value) is int for value in values)


def _is_int_or_none(*values: Any) -> bool:
    return all(value is None or type(value) is int for value in values)


def _is_text_or_none(*values: Any) -> bool:
    return all(value is None or type(value) is str for value in values)


def _job(
    seq: int, alias: None, key: bytes, uri: str, size: int, mtime_ns: int, chain: int, priority: int, failures: int,
    accepted_ms: int, state: int, due_ms: int | None, settled_ms: int | None, reason: str | None,
    ttr_ms: int | None = None, attempts_max: int | None = None, spent: int = 0,
) -> Row | None:  # fmt: skip
    if not (_is_int(size, mtime_ns, chain, priority, failures, accepted_ms, state, spent) and state in KEPT):
        return None
    if not (alias is None and seq > 0 and chain > 0 and key == job_key(uri, size, mtime_ns)):
        return None
    if not (_is_int_or_none(due_ms, settled_ms, ttr_ms, attempts_max) and _is_text_or_none(reason)):
        return None
    due_ms = (due_ms or accepted_ms) if state == State.DELAYED else None
    return (
        seq, key, uri, size, mtime_ns, chain, priority, failures, accepted_ms, state, due_ms, settled_ms, reason,
        ttr_ms, attempts_max, spent,
    )  # fmt: skip


def _source(_: int, uri: str, size: int, mtime_ns: int, seq: int) -> Row | None:
    if not (_is_int(size, mtime_ns, seq) and seq > 0 and type(uri) is str and ":" in uri):
        return None
    return seq, Offer(uri, size, mtime_ns)


def _image(seq: int, alias: None, image: bytes) -> Row | None:
    return (seq, image) if alias is None and type(image) is bytes and seq > 0 else None


def _happening(
    number: int, alias: None, at_ms: int, event: str, worker: str | None, lane: int | None, attempt: int | None,
    block: int, first: int, last: int, seqs: bytes | None, note: str | None,
) -> Row | None:  # fmt: skip
    if not (_is_int(at_ms, block, first, last) and _is_int_or_none(lane, attempt) and _is_text_or_none(worker, note)):
        return None
    if not (alias is None and type(event) is str and block == block_of(first) == block_of(last) and 0 < first <= last):
        return None
    if not (seqs is None or (type(seqs) is bytes and len(seqs) % 2 == 0)):
        return None
    return number, at_ms, event, worker, lane, attempt, block, first, last, seqs, note


def _evidence(number: int, alias: None, seq: int, at_ms: int, failures: int, reason: str, detail: str) -> Row | None:
    if not (
        alias is None and _is_int(seq, at_ms, failures) and type(reason) is str and type(json.loads(detail)) is dict
    ):
        return None
    return number, seq, at_ms, failures, reason, detail


def _chain(number: int, alias: None, text: str) -> Row | None:
    return (number, text) if alias is None and number > 0 and type(text) is str else None


def _chain_entry(_: int, text: str, number: int) -> Row | None:
    return (number, text) if _is_int(number) and number > 0 and type(text) is str else None


def _meta(_: int, name: str, value: Any) -> Row | None:
    return (name, value) if type(name) is str and type(value) in (int, bytes, str) else None


def _tally(_: int, worker: str, event: str, jobs: int, first_ms: int, last_ms: int) -> Row | None:
    if not (_is_int(jobs, first_ms, last_ms) and type(worker) is type(event) is str):
        return None
    return worker, event, jobs, first_ms, last_ms


def _pruned(_: int, chain: int, state: int, jobs: int) -> Row | None:
    return (chain, state, jobs) if _is_int(chain, state, jobs) and state in KEPT else None


FITS: dict[str, Callable[..., Row | None]] = {
    "jobs": _job, "history": _happening, "evidence": _evidence, "chains": _chain, "spool": _image, "meta": _meta,
    "tallies": _tally, "pruned": _pruned, "chain_counts": _pruned, SOURCES_INDEX: _source, CHAINS_INDEX: _chain_entry,
}  # fmt: skip
"""What a record has to be, as a row of each table or an entry of each index; None where it is something else."""

TABLES = ("jobs", "history", "evidence", "spool", "chains", "meta", "tallies")
"""Those whose rows can be told from each other without their tree."""

INDEXES = (SOURCES_INDEX, CHAINS_INDEX)
