"""Results as they come over the wire, made into the rows and pictures that the store keeps."""

from datetime import UTC, datetime
from typing import Any

import orjson

from zgrid.protocol.job import KEY_BYTES
from zgrid.protocol.messages import Results
from zgrid.store.sink_store import Result
from zgrid.store.tables import ImageRow, face_rows


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
        faces = face_rows(key, notes) if notes else ()
        results.append(Result(row, faces, message.images[picture] if picture >= 0 else None))
    return results


def _json(notes: dict[str, Any] | None) -> str | None:
    """Return what filters noted, without the faces, which have rows of their own."""
    rest = {name: value for name, value in notes.items() if name != "faces"} if notes else None
    return orjson.dumps(rest, default=bytes.hex).decode() if rest else None
