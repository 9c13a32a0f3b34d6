"""How a batch becomes one large statement, on SQLite and on PostgreSQL.

The sink's store step runs beside a busy main loop, where each statement, and each row that is fetched, costs a wait for
Python's lock. So a question has one value as its answer: all that was found, with commas between.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from typing import Any, ClassVar, Protocol

from sqlalchemy import Column, Dialect, Double

from zgrid.store import tables
from zgrid.store.tables import FaceRow, ImageRow, Sheet

Rows = Sequence[tuple[Any, ...]]
Batch = tuple[str, tuple[Any, ...]]
"""A statement and its values."""

_COLUMNS = {"images": ", ".join(ImageRow._fields), "faces": ", ".join(FaceRow._fields)}


class Batches(Protocol):
    """What a database needs to insert rows and to be asked for many at once."""

    def asked(self, rows: Sequence[ImageRow]) -> Rows:
        """Return what "known" is asked with for these rows."""

    def of(self, name: str, rows: Rows, *values: Any) -> Iterator[Batch]:
        """Yield the statements of this name for all the rows; ``values`` stand in front of them."""

    def of_sheet(self, sheet: Sheet) -> Iterator[Batch]:
        """Yield the statements that insert a sheet's rows."""


class SqliteBatches(Batches):
    """Every value is bound by itself, so a statement is made for a number of rows, and filled up with rows of NULL."""

    ROWS_MAX = 512
    """Rows in one statement: with the 20 columns of an image a third of what SQLite binds to one; more gain nothing."""

    ROWS_STEP = 64
    """Statements are made for one row and for multiples of this, so that there are few of them to prepare."""

    INSERT = """
        INSERT INTO {table} ({columns})
        SELECT {common}* FROM (VALUES {values}) WHERE column1 IS NOT NULL ON CONFLICT DO NOTHING"""
    TEXTS: ClassVar[dict[str, str]] = {
        "images": INSERT,
        "faces": INSERT,
        "known": """
            WITH asked (uri, key) AS (VALUES {values})
            SELECT group_concat(hex(images.key)) FROM asked CROSS JOIN images
            ON images.uri = asked.uri AND images.key = asked.key""",
        "stored": "SELECT group_concat(hex(key)) FROM images WHERE ledger = ? AND seq IN ({list})",
        "named": "SELECT group_concat(picture) FROM images WHERE picture IN ({list})",
    }

    def __init__(self) -> None:
        self._statements: dict[tuple[Any, ...], str] = {}

    def asked(self, rows: Sequence[ImageRow]) -> Rows:
        """Return (uri, key) of each row: the index is over both."""
        return [(row.uri, row.key) for row in rows]

    def of(self, name: str, rows: Rows, *values: Any) -> Iterator[Batch]:
        """Yield a statement for each ROWS_MAX rows."""
        return self._filled(name, _COLUMNS.get(name, ""), 0, rows, values)

    def of_sheet(self, sheet: Sheet) -> Iterator[Batch]:
        """Yield a statement for each ROWS_MAX rows; what the rows have in common is bound to each of them once."""
        columns = ", ".join((*sheet.common, *sheet.own))
        rows = list(zip(*sheet.own.values(), strict=True))
        return self._filled("images", columns, len(sheet.common), rows, tuple(sheet.common.values()))

    def _filled(
        self, name: str, columns: str, common: int, rows: Rows, values: tuple[Any, ...]
    ) -> Iterator[Batch]:  # fmt: skip
        for at in range(0, len(rows), self.ROWS_MAX):
            part = rows[at : at + self.ROWS_MAX]
            width, room = len(part[0]), -(-len(part) // self.ROWS_STEP) * self.ROWS_STEP if len(part) > 1 else 1
            padding = repeat(None, (room - len(part)) * width)
            text = self._statement(name, columns, common, room, width)
            yield text, (*values, *chain.from_iterable(part), *padding)

    def _statement(self, name: str, columns: str, common: int, rows: int, width: int) -> str:
        text = self._statements.get((name, columns, common, rows))
        if text is None:
            row = ", ".join(["?"] * width)
            text = self._statements[name, columns, common, rows] = self.TEXTS[name].format(
                table=name,
                columns=columns,
                common="?, " * common,
                values=", ".join([f"({row})"] * rows),
                list=", ".join([row] * rows),
            )
        return text


class PostgresqlBatches(Batches):
    """A column is one value, an array; so there is one statement for any number of rows."""

    INSERT = "INSERT INTO {table} ({columns}) SELECT {common}* FROM unnest({arrays}) ON CONFLICT DO NOTHING"
    TEXTS: ClassVar[dict[str, str]] = {
        "images": INSERT,
        "faces": INSERT,
        "known": "SELECT string_agg(encode(key, 'hex'), ',') FROM images WHERE key = ANY(%s::bytea[])",
        "stored": """
            SELECT string_agg(encode(key, 'hex'), ',') FROM images WHERE ledger = %s AND seq = ANY(%s::bigint[])""",
        "named": "SELECT string_agg(picture, ',') FROM images WHERE picture = ANY(%s::text[])",
    }

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        images = [tables.images.c[name] for name in ImageRow._fields]
        faces = [tables.faces.c[name] for name in FaceRow._fields]
        self._columns: dict[str, list[Column[Any]]] = {"images": images, "faces": faces}

    def asked(self, rows: Sequence[ImageRow]) -> Rows:
        """Return the key of each row."""
        return [(row.key,) for row in rows]

    def of(self, name: str, rows: Rows, *values: Any) -> Iterator[Batch]:
        """Yield one statement, if there are rows."""
        if rows:
            columns = self._columns.get(name, [None])
            arrays = [_array(column, items) for column, items in zip(columns, zip(*rows, strict=True), strict=True)]
            yield self._statement(name, self._columns.get(name, [])), (*values, *arrays)

    def of_sheet(self, sheet: Sheet) -> Iterator[Batch]:
        """Yield one statement."""
        common = [tables.images.c[name] for name in sheet.common]
        own = [tables.images.c[name] for name in sheet.own]
        values = [_array(column, [sheet.common[column.name]])[0] for column in common]
        arrays = [_array(column, sheet.own[column.name]) for column in own]
        yield self._statement("images", own, common), (*values, *arrays)

    def _statement(self, name: str, own: Sequence[Column[Any]], common: Sequence[Column[Any]] = ()) -> str:
        return self.TEXTS[name].format(
            table=name,
            columns=", ".join(column.name for column in (*common, *own)),
            common="".join(f"%s::{column.type.compile(self._dialect)}, " for column in common),
            arrays=", ".join(f"%s::{column.type.compile(self._dialect)}[]" for column in own),
        )


def _array(column: Column[Any] | None, items: Sequence[Any]) -> list[Any]:
    """Return a column's items as PostgreSQL takes them: no NUL in a text, and no whole numbers among others."""
    if column is not None and isinstance(column.type, Double):
        return [None if item is None else float(item) for item in items]
    return [item.replace("\0", "\ufffd") if isinstance(item, str) else item for item in items]
