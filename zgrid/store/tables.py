"""The sink's tables, on SQLite and PostgreSQL alike, and the rows as they are inserted. ``README.md`` explains them.

A batch of rows must cost the same with ten million images as with ten thousand. On SQLite an index over the random keys
dirties one page of 4 KB for each row; so there the key is unique together with the URI that it is a digest of, and
neighbours of a folder are neighbours in the index. PostgreSQL cannot index a long URI, so there it is the key alone.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeGuard

import orjson
from sqlalchemy import BigInteger, Column, Double, Index, Integer, LargeBinary, MetaData, Table, Text

SCHEMA = 1
"""The version of these tables. To change it: first write the migration from each older one."""

FACES_MAX = 10_000
"""Rows of `faces` for one image; whatever a filter says beyond that stays in the notes alone."""

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, primary_key=True, autoincrement=False))

images = Table(
    "images",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("key", LargeBinary(16), nullable=False),
    Column("uri", Text, nullable=False),
    Column("digest", LargeBinary(32)),
    Column("size_bytes", BigInteger, nullable=False),
    Column("width", BigInteger),
    Column("height", BigInteger),
    Column("format", Text),
    Column("picture", Text),
    Column("media", Text),
    Column("chain", Text, nullable=False),
    Column("chain_version", Text, nullable=False),
    Column("worker", Text, nullable=False),
    Column("attempt", BigInteger, nullable=False),
    Column("wait_ms", Double, nullable=False),
    Column("read_ms", Double, nullable=False),
    Column("work_ms", Double, nullable=False),
    Column("notes", Text),
    Column("ledger", LargeBinary(16), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("stored_at", Text, nullable=False),
)
Index("images_source", images.c.uri, images.c.key, unique=True).ddl_if(dialect="sqlite")
Index("images_key", images.c.key, unique=True).ddl_if(dialect="postgresql")
Index("images_job", images.c.ledger, images.c.seq)
_has_picture = images.c.picture.is_not(None)
Index("images_picture", images.c.picture, sqlite_where=_has_picture, postgresql_where=_has_picture)

faces = Table(
    "faces",
    metadata,
    Column("image_key", LargeBinary(16), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("x", Double, nullable=False),
    Column("y", Double, nullable=False),
    Column("w", Double, nullable=False),
    Column("h", Double, nullable=False),
    Column("score", Double),
    Column("landmarks", Text),
)


class ImageRow(NamedTuple):
    """One row of ``images``; the fields stand in the order of the columns behind ``id``.

    ``picture`` is set by the store. ``notes`` is JSON. ``stored_at`` is UTC as ``2026-01-31T23:59:59.123Z``.
    """

    key: bytes
    uri: str
    digest: bytes | None
    size_bytes: int
    width: int | None
    height: int | None
    format: str | None
    picture: str | None
    media: str | None
    chain: str
    chain_version: str
    worker: str
    attempt: int
    wait_ms: float
    read_ms: float
    work_ms: float
    notes: str | None
    ledger: bytes
    seq: int
    stored_at: str


@dataclass(slots=True)
class Sheet:
    """Rows of ``images`` in columns, by the columns' names: what they have in common, and what each has of its own.

    ``own`` begins with ``key``. What is in neither is NULL in all of them. A null job's row has 8 values of its own, of
    20 columns: to bind the others again for each row took SQLite as long as to insert it.
    """

    common: dict[str, Any]
    own: dict[str, list[Any]]

    def __len__(self) -> int:
        return len(self.own["key"])


def joined(sheets: Iterable[Sheet]) -> list[Sheet]:
    """Return the same rows in as few sheets as can be."""
    whole: dict[tuple[Any, ...], Sheet] = {}
    for sheet in sheets:
        kind = (*sheet.common.items(), *sheet.own)
        first = whole.get(kind)
        if first is None:
            whole[kind] = Sheet(sheet.common, {name: list(values) for name, values in sheet.own.items()})
        else:
            for name, values in sheet.own.items():
                first.own[name] += values
    return list(whole.values())


class FaceRow(NamedTuple):
    """One row of ``faces``: a box in pixels of the upright original; ``landmarks`` is JSON, five points [x, y]."""

    image_key: bytes
    number: int
    x: float
    y: float
    w: float
    h: float
    score: float | None
    landmarks: str | None


def face_rows(key: bytes, notes: Mapping[str, Any] | None) -> list[FaceRow]:
    """Return the rows of the faces that a filter's notes tell of; what does not look like a face is left out.

    The notes came over the network: only their plainness was checked.
    """
    found = notes.get("faces") if notes else None
    if not isinstance(found, list):
        return []
    rows = [_face_row(key, number, face) for number, face in enumerate(found[:FACES_MAX])]
    return [row for row in rows if row is not None]


def _face_row(key: bytes, number: int, face: Any) -> FaceRow | None:
    if not isinstance(face, Mapping):
        return None
    box, score, points = face.get("box"), face.get("score"), face.get("landmarks")
    if not _are_numbers(box, 4):
        return None
    x, y, w, h = map(float, box)
    marked = isinstance(points, list) and len(points) == 5 and all(_are_numbers(point, 2) for point in points)
    return FaceRow(
        key, number, x, y, w, h, None if score is None or not _are_numbers([score], 1) else float(score),
        orjson.dumps(points).decode() if marked else None,
    )  # fmt: skip


def _are_numbers(values: Any, count: int) -> TypeGuard[list[float]]:
    if not isinstance(values, list) or len(values) != count:
        return False
    return all(type(value) in (int, float) and abs(value) < 1e15 for value in values)  # NaN is not less
