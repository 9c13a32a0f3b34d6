"""Results on their way from a child to its agent: gathered in the child, checked in the agent.

They go in columns: a code byte and two times for each job, and a row more only for a job that has something to tell.
That keeps a job that has nothing to tell at two microseconds for both ends together.

A job whose image the child may not read is RELEASED here. A worker says that of jobs only when it leaves, so to its
ventilator it is TROUBLED, with ``unread`` beside the reason.
"""

from array import array
from dataclasses import dataclass
from typing import Any

import msgpack

from zgrid.protocol import checks
from zgrid.protocol.assignment import Returned
from zgrid.protocol.checks import Check
from zgrid.protocol.limits import PIXELS_MAX, TEXT_CHARS_MAX
from zgrid.protocol.messages import Code
from zgrid.roles.link import PICTURE_BYTES_MAX, ChildError, Kind, pack, unpack

NOTES_BYTES_MAX = 256 << 10
"""One image's notes, packed: two thousand faces with landmarks."""


@dataclass(slots=True)
class Row:
    """One result in a child; what is None is not there."""

    code: int
    reason: str | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    digest: bytes | None = None
    notes: bytes | None = None
    media: str | None = None
    picture: bytes | None = None


def pack_notes(notes: Any) -> bytes:
    """Return ``notes`` packed; raises ValueError, saying what is wrong, if they are not plain data or too long."""
    try:
        packed: bytes = msgpack.packb(notes)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"notes must be plain data: {error}") from None
    unpack_notes(packed)
    return packed


def unpack_notes(packed: bytes) -> dict[str, Any]:
    """Return the notes in ``packed``; raises ValueError if they are no map of plain data or too long."""
    if len(packed) > NOTES_BYTES_MAX:
        raise ValueError(f"notes have {len(packed)} bytes; {NOTES_BYTES_MAX} are the most")
    try:
        notes = unpack(packed)
    except ChildError as error:
        raise ValueError(f"notes must be plain data: {error}") from None
    if type(notes) is not dict or not checks.plain(notes):
        raise ValueError("notes must be a dict of plain data with texts as keys, nested at most eight deep")
    return notes


class Report:
    """Results that a child has not sent yet. A job that has nothing to tell costs a byte and two numbers."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.size_bytes = 0
        self._codes = bytearray()
        self._reads = array("d")
        self._works = array("d")
        self._rows: list[list[Any]] = []
        self._pictures: list[bytes] = []

    def __len__(self) -> int:
        return len(self._codes)

    def keep_plainly(self, read_ms: float, work_ms: float) -> None:
        """Add an image that is kept, of which nothing is known and nothing noted."""
        self._codes.append(_FINISHED)
        self._reads.append(read_ms)
        self._works.append(work_ms)

    def add(self, row: Row, read_ms: float, work_ms: float) -> None:
        """Add one result."""
        index, picture_bytes = len(self._codes), None
        if row.picture is not None:
            picture_bytes = len(row.picture)
            self._pictures.append(row.picture)
        self._rows.append(
            [index, row.reason, row.width, row.height, row.format, row.digest, row.notes, row.media, picture_bytes]
        )
        self.size_bytes += 64 + (picture_bytes or 0) + len(row.notes or b"") + len(row.reason or "")
        self._codes.append(row.code)
        self._reads.append(read_ms)
        self._works.append(work_ms)

    def take(self) -> list[bytes]:
        """Return all of it as pieces to be sent one after the other, and start anew; MemoryError changes nothing."""
        pictures = self._pictures
        columns = (bytes(self._codes), self._reads.tobytes(), self._works.tobytes(), self._rows)
        pieces = [pack((Kind.DONE, *columns), sum(map(len, pictures))), *pictures]
        self._clear()
        return pieces


def read_report(header: list[Any], body: memoryview, jobs_max: int) -> Returned:
    """Return a child's results, every value checked; raises ChildError. ``jobs_max``: jobs that the child still has.

    The pictures are views of ``body``.
    """
    if len(header) != 5 or any(type(blob) is not bytes for blob in header[1:4]) or type(header[4]) is not list:
        raise ChildError("its results have not the parts they should")
    _, codes, reads, works, rows = header
    jobs = len(codes)
    if not 0 < jobs <= jobs_max:
        raise ChildError(f"it reports {jobs} results and has {jobs_max} jobs")
    if codes.translate(None, bytes(_CODES)):
        raise ChildError("it reports a code that is none")
    returned = Returned.plain(codes, _times(reads, jobs), _times(works, jobs))
    index_next, position = 0, 0
    for row in rows:
        if type(row) is not list or len(row) != 9 or type(row[0]) is not int or not index_next <= row[0] < jobs:
            raise ChildError("its results are out of order", index_next)
        index_next = row[0] + 1
        position = _read_row(returned, row, body, position)
    if position != len(body):
        raise ChildError("its pictures are longer than it says")
    returned.codes = codes.translate(_AS_TOLD)
    return returned


def _times(packed: bytes, jobs: int) -> list[float]:
    times = array("d")
    if len(packed) != jobs * times.itemsize:
        raise ChildError("its times are not as many as its results")
    times.frombytes(packed)
    values = times.tolist()
    # Their sum goes into one field of a message, which has the same limit as each of them.
    if min(values) < 0 or not sum(values) <= 1e15:
        raise ChildError("its times are no times")
    return values


_FINISHED = int(Code.FINISHED)
_CODES = (Code.FINISHED, Code.DISCARDED, Code.FAILED, Code.TROUBLED, Code.RELEASED)
_AS_TOLD = bytes.maketrans(bytes([Code.RELEASED]), bytes([Code.TROUBLED]))

_ROW_CHECKS: tuple[tuple[str, Check], ...] = (
    ("reason", checks.text(TEXT_CHARS_MAX)),
    ("width", checks.integer(0, PIXELS_MAX)),
    ("height", checks.integer(0, PIXELS_MAX)),
    ("format", lambda value: type(value) is str and len(value) <= 32 and value.isascii() and value.isprintable()),
    ("digest", checks.blob(32, 32)),
    ("notes", checks.blob(0, NOTES_BYTES_MAX)),
    ("media", lambda value: type(value) is str and len(value) <= 64 and value.isascii() and value.isprintable()),
    ("picture", checks.integer(0, PICTURE_BYTES_MAX)),
)


def _read_row(returned: Returned, row: list[Any], body: memoryview, position: int) -> int:
    """Put one row into ``returned``; return where the next picture begins in ``body``."""
    index: int = row[0]
    picture_bytes: int | None
    for (name, check), value in zip(_ROW_CHECKS, row[1:], strict=True):
        if value is not None and not check(value):
            raise ChildError(f"its {name} is not what is allowed", index)
    kept = returned.codes[index] == Code.FINISHED
    _, reason, width, height, form, digest, notes, media, picture_bytes = row
    if kept != (reason is None) or (not kept and (notes, media, picture_bytes) != (None, None, None)):
        raise ChildError("its result mixes what is kept with what is not", index)
    if (media is None) != (picture_bytes is None):
        raise ChildError("its picture has no media type, or its media type no picture", index)
    if reason is not None:
        returned.reasons[index] = _evidence(reason, returned.codes[index], digest)
    returned.media[index], returned.digests[index] = media, digest
    returned.widths[index], returned.heights[index], returned.formats[index] = width, height, form
    if notes is not None:
        try:
            returned.notes[index] = unpack_notes(notes)
        except ValueError as error:
            raise ChildError(f"its {error}", index) from None
    if picture_bytes is None:
        return position
    if position + picture_bytes > len(body):
        raise ChildError("its picture is shorter than it says", index)
    end = position + picture_bytes
    returned.pictures[index] = body[position:end]
    return end


def _evidence(reason: str, code: int, digest: bytes | None) -> dict[str, Any]:
    """Return what is told of a job that was not kept; whoever looks at a failure wants to know which bytes failed."""
    if digest is None or code == Code.DISCARDED:
        return {"reason": reason, "unread": True} if code == Code.RELEASED else {"reason": reason}
    return {"reason": reason, "digest": digest.hex()}
