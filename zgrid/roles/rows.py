"""Results as they come over the wire, made into the rows, faces and pictures that the store keeps, and log lines."""

import struct
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import repeat
from typing import Any

import orjson

from zgrid.protocol.job import KEY_BYTES
from zgrid.protocol.messages import Results
from zgrid.store.sink_store import Result
from zgrid.store.tables import ImageRow, Sheet, face_rows

_KEY = struct.Struct(f"{KEY_BYTES}s")


def is_plain(message: Results) -> bool:
    """Whether a message has rows alone: no pictures, and no notes that could hold faces."""
    return not message.images and not any(message.notes)


def sheet_of(message: Results, wall_ms: int) -> Sheet:
    """Return the rows of a message that is plain. ``wall_ms`` becomes ``stored_at``."""
    own: dict[str, list[Any]] = {
        "key": _keys(message), "uri": message.uris, "size_bytes": message.sizes, "attempt": message.attempts,
        "wait_ms": message.waits, "read_ms": message.reads, "work_ms": message.works, "seq": message.seqs,
        "digest": message.digests, "width": message.widths, "height": message.heights, "format": message.formats,
        "media": message.media,
    }  # fmt: skip
    jobs = len(message.seqs)
    common = {
        "chain": message.chain, "chain_version": message.chain_version, "worker": message.worker,
        "ledger": message.ledger, "stored_at": _stored_at(wall_ms),
    }  # fmt: skip
    return Sheet(common, {name: own[name] for name in own if own[name][0] is not None or own[name].count(None) < jobs})


def rows_of(message: Results, wall_ms: int) -> list[ImageRow]:
    """Return one row for each job of a message, in its order. ``wall_ms`` becomes ``stored_at``."""
    notes: Any = map(_json, message.notes) if any(message.notes) else repeat(None)
    columns = (
        _keys(message), message.uris, message.digests, message.sizes, message.widths, message.heights, message.formats,
        repeat(None), message.media, repeat(message.chain), repeat(message.chain_version), repeat(message.worker),
        message.attempts, message.waits, message.reads, message.works, notes, repeat(message.ledger), message.seqs,
        repeat(_stored_at(wall_ms)),
    )  # fmt: skip
    return list(map(ImageRow._make, zip(*columns, strict=False)))


def results_of(message: Results, rows: list[ImageRow]) -> list[Result]:
    """Return the rows of a message with their faces and pictures."""
    results = []
    for row, notes, picture in zip(rows, message.notes, message.pictures, strict=True):
        faces = face_rows(row.key, notes) if notes else ()
        results.append(Result(row, faces, message.images[picture] if picture >= 0 else None))
    return results


def lines_of(rows: Iterable[ImageRow], faces: Iterable[int]) -> list[dict[str, Any]]:
    """Return what the log says of each stored job; ``faces`` is how many each has."""
    return _lines(
        (row.seq, row.uri, row.worker, row.attempt, count, row.wait_ms, row.work_ms, row.key.hex())
        for row, count in zip(rows, faces, strict=True)
    )


def plain_lines_of(message: Results) -> list[dict[str, Any]]:
    """Return what the log says of each job of a plain message."""
    names = map(bytes.hex, _keys(message))
    worker, faces = repeat(message.worker), repeat(0)
    return _lines(
        zip(message.seqs, message.uris, worker, message.attempts, faces, message.waits, message.works, names)  # noqa: B905
    )


def _lines(jobs: Iterable[tuple[int, str, str, int, int, float, float, str]]) -> list[dict[str, Any]]:
    """Return lines of (seq, uri, worker, attempt, faces, wait in ms, work in ms, key)."""
    return [
        {
            "job": seq, "uri": uri, "worker": worker, "attempt": attempt, "faces": faces,
            # To a tenth; round() takes four times as long, and half of what a line costs.
            "wait_ms": int(wait_ms * 10 + 0.5) / 10, "work_ms": int(work_ms * 10 + 0.5) / 10, "key": key,
        }
        for seq, uri, worker, attempt, faces, wait_ms, work_ms, key in jobs
    ]  # fmt: skip


def _keys(message: Results) -> list[bytes]:
    return [key for (key,) in _KEY.iter_unpack(message.keys)]


def _stored_at(wall_ms: int) -> str:
    return datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(notes: dict[str, Any] | None) -> str | None:
    """Return what filters noted, without the faces, which have rows of their own."""
    rest = {name: value for name, value in notes.items() if name != "faces"} if notes else None
    return orjson.dumps(rest, default=bytes.hex).decode() if rest else None
