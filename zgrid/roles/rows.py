"""Results as they come over the wire, made into the rows, faces and pictures that the store keeps, and log lines."""

from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import repeat
from typing import Any

import orjson

from zgrid.protocol.job import KEY_BYTES
from zgrid.protocol.messages import Results
from zgrid.store.sink_store import Result
from zgrid.store.tables import ImageRow, face_rows


def rows_of(message: Results, wall_ms: int) -> list[ImageRow]:
    """Return one row for each job of a message, in its order. ``wall_ms`` becomes ``stored_at``."""
    stored_at = datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    keys = [message.keys[at : at + KEY_BYTES] for at in range(0, len(message.keys), KEY_BYTES)]
    notes: Any = map(_json, message.notes) if any(message.notes) else repeat(None)
    columns = (
        keys, message.uris, message.digests, message.sizes, message.widths, message.heights, message.formats,
        repeat(None), message.media, repeat(message.chain), repeat(message.chain_version), repeat(message.worker),
        message.attempts, message.waits, message.reads, message.works, notes, repeat(message.ledger), message.seqs,
        repeat(stored_at),
    )  # fmt: skip
    return list(map(ImageRow._make, zip(*columns, strict=False)))


def is_plain(message: Results) -> bool:
    """Whether a message has rows alone: no pictures, and no notes that could hold faces."""
    return not message.images and not any(message.notes)


def results_of(message: Results, rows: list[ImageRow]) -> list[Result]:
    """Return the rows of a message with their faces and pictures."""
    results = []
    for row, notes, picture in zip(rows, message.notes, message.pictures, strict=True):
        faces = face_rows(row.key, notes) if notes else ()
        results.append(Result(row, faces, message.images[picture] if picture >= 0 else None))
    return results


def lines_of(rows: Iterable[ImageRow], faces: Iterable[int]) -> list[dict[str, Any]]:
    """Return what the log says of each stored job; ``faces`` is how many each has."""
    return [
        {
            "job": row.seq, "uri": row.uri, "worker": row.worker, "attempt": row.attempt, "faces": count,
            "wait_ms": round(row.wait_ms, 1), "work_ms": round(row.work_ms, 1), "key": row.key.hex(),
        }
        for row, count in zip(rows, faces, strict=False)
    ]  # fmt: skip


def _json(notes: dict[str, Any] | None) -> str | None:
    """Return what filters noted, without the faces, which have rows of their own."""
    rest = {name: value for name, value in notes.items() if name != "faces"} if notes else None
    return orjson.dumps(rest, default=bytes.hex).decode() if rest else None
