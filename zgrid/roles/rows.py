"""Results as they come over the wire, made into the rows and pictures that the store keeps."""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import Any

import orjson

from zgrid.protocol.job import KEY_BYTES
from zgrid.protocol.messages import Results
from zgrid.store.sink_store import Result
from zgrid.store.tables import FaceRow, ImageRow

FACES_MAX = 10_000
"""Faces of one image that are kept as rows: a stadium has fewer."""


def results_of(message: Results, wall_ms: int) -> list[Result]:
    """Return one result for each job of a message, in its order. ``wall_ms`` becomes ``stored_at``."""
    stored_at = datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    keys = message.keys
    columns = zip(
        message.uris, message.digests, message.sizes, message.widths, message.heights, message.formats, message.media,
        message.attempts, message.waits, message.reads, message.works, message.notes, message.seqs, message.pictures,
        strict=True,
    )  # fmt: skip
    results = []
    for at, column in enumerate(columns):
        uri, digest, size, width, height, form, media, attempt, wait, read, work, notes, seq, picture = column
        key = keys[at * KEY_BYTES : (at + 1) * KEY_BYTES]
        row = ImageRow(
            key, uri, digest, size, width, height, form, None, media, message.chain, message.chain_version,
            message.worker, attempt, wait, read, work, _json(notes), message.ledger, seq, stored_at,
        )  # fmt: skip
        faces = faces_of(key, notes) if notes else ()
        results.append(Result(row, faces, message.images[picture] if picture >= 0 else None))
    return results


def faces_of(key: bytes, notes: dict[str, Any]) -> Sequence[FaceRow]:
    """Return the rows of the faces in a filter's notes; what is no face by our convention is left out."""
    faces = notes.get("faces")
    rows: list[FaceRow] = []
    for face in faces[:FACES_MAX] if type(faces) is list else ():
        box = face.get("box") if type(face) is dict else None
        if not _is_box(box):
            continue
        x, y, w, h = map(float, box or ())
        score, landmarks = face.get("score"), face.get("landmarks")
        points = orjson.dumps(landmarks).decode() if type(landmarks) is list else None
        rows.append(FaceRow(key, len(rows), x, y, w, h, score if _is_number(score) else None, points))
    return rows


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and isfinite(value)  # type: ignore[arg-type]


def _is_box(value: Any) -> bool:
    return type(value) is list and len(value) == 4 and all(map(_is_number, value))


def _json(notes: dict[str, Any] | None) -> str | None:
    """Return what filters noted, without the faces, which have rows of their own."""
    rest = {name: value for name, value in notes.items() if name != "faces"} if notes else None
    return orjson.dumps(rest, default=bytes.hex).decode() if rest else None
