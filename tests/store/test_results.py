"""Results in SQL: on SQLite always, on PostgreSQL where ZGRID_TEST_POSTGRES names a database that may be emptied."""

import os
import sqlite3
from collections.abc import Iterable

import pytest
from sqlalchemy import Engine, create_engine, event, inspect, text

from zgrid.errors import DamagedError, FullError, SettingsError, StoreError
from zgrid.store import tables
from zgrid.store.results import Results
from zgrid.store.sqlite import refusal
from zgrid.store.tables import FaceRow, ImageRow, Sheet, face_rows

LEDGER = b"L" * 16


def key(number: int) -> bytes:
    return number.to_bytes(16)


def image(number: int, **changes) -> ImageRow:
    row = ImageRow(
        key(number), f"file:///photos/{number:04d}.jpg", b"D" * 32, 123, 640, 480, "JPEG", None, "image/jpeg",
        "faces highlight", "faces/1 highlight/1", "w1", 1, 1.5, 2.25, 3.0, '{"faces": []}', LEDGER, number,
        "2026-01-31T23:59:59.123Z",
    )  # fmt: skip
    return row._replace(**changes)


def face(number: int, of: int = 0) -> FaceRow:
    return FaceRow(key(number), of, 1.0, 2.0, 30.5, 40.0, 0.9, "[[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]")


def sheet(numbers: Iterable[int], **changes) -> Sheet:
    """Return the rows of plain results, and in them what image() says under the same names."""
    rows = [image(number)._asdict() for number in numbers]
    own = {name: [row[name] for row in rows] for name in ("key", "uri", "size_bytes", "wait_ms", "seq")}
    names = ("chain", "chain_version", "worker", "attempt", "read_ms", "work_ms", "ledger", "stored_at")
    return Sheet({name: image(0)._asdict()[name] for name in names} | changes, own)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/results.sqlite"
    server = os.environ.get("ZGRID_TEST_POSTGRES")
    if not server:
        pytest.skip("ZGRID_TEST_POSTGRES names no PostgreSQL database")
    engine = create_engine(server)
    tables.metadata.drop_all(engine)
    engine.dispose()
    return server


def read(url: str, statement: str) -> list[tuple]:
    engine = create_engine(url)
    try:
        with engine.connect() as db:
            return [tuple(row) for row in db.execute(text(statement))]
    finally:
        engine.dispose()


def test_rows_come_back_as_they_were(url):
    """Every column of an image and of its faces is stored under its own name."""
    results = Results(url)
    results.insert([image(1), image(2, digest=None, width=None, notes=None)], [face(1), face(1, of=1)])
    results.close()
    columns = ", ".join(ImageRow._fields)
    rows = read(url, f"SELECT {columns} FROM images ORDER BY id")
    assert rows == [image(1), image(2, digest=None, width=None, notes=None)]
    assert read(url, f"SELECT {', '.join(FaceRow._fields)} FROM faces ORDER BY number") == [face(1), face(1, of=1)]


def test_one_row_for_each_key(url):
    """Repeating a batch, alone or among new rows, changes nothing of what is there."""
    results = Results(url)
    results.insert([image(1)], [face(1)])
    results.insert([image(1, worker="w2"), image(2), image(1, worker="w3")], [face(1)._replace(x=9.0), face(2)])
    results.close()
    assert read(url, "SELECT seq, worker FROM images ORDER BY seq") == [(1, "w1"), (2, "w1")]
    assert read(url, "SELECT x FROM faces") == [(1.0,), (1.0,)]


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 65, 1024, 1500])
def test_batches_of_any_size(url, count):
    """Whatever the number of rows, each is inserted once and found again."""
    results = Results(url)
    rows = [image(number) for number in range(1, count + 1)]
    results.insert(rows, [face(number) for number in range(1, count + 1)])
    assert results.known([*rows, image(9999)]) == {row.key for row in rows}
    assert results.stored(LEDGER, [*range(1, count + 1), 9999]) == set(map(key, range(1, count + 1)))
    results.close()
    assert read(url, "SELECT count(*) FROM images") == read(url, "SELECT count(*) FROM faces") == [(count,)]


@pytest.mark.parametrize("count", [1, 2, 64, 65, 1024, 1500])
def test_sheets_of_any_size(url, count):
    """Sheets are inserted as their rows would be, whatever they have in common, and what they do not name is NULL."""
    results = Results(url)
    first, second = range(1, count + 1), range(count + 1, 2 * count + 1)
    assert results.insert_new([sheet(first), sheet(second, worker="w2"), sheet([9998]), sheet([9999], media="image/x")])
    results.close()
    rows = read(url, f"SELECT {', '.join(ImageRow._fields)} FROM images ORDER BY seq")
    nothing = dict.fromkeys(("digest", "width", "height", "format", "picture", "media", "notes"))
    assert rows == [
        *(image(number, **nothing) for number in first),
        *(image(number, **nothing, worker="w2") for number in second),
        image(9998, **nothing),
        image(9999, **nothing | {"media": "image/x"}),
    ]


@pytest.mark.parametrize("known", [[[1]], [[7, 8], [9, 8]], [[7], [1]]])
def test_sheets_with_a_known_row_are_not_inserted(url, known):
    """One row that is there, in the database or earlier in the batch, and none of the batch is inserted."""
    results = Results(url)
    assert results.insert_new([sheet([1, 2])])
    assert not results.insert_new([sheet(numbers) for numbers in known])
    assert results.insert_new([sheet([3])])
    results.close()
    assert read(url, "SELECT seq FROM images ORDER BY seq") == [(1,), (2,), (3,)]


def test_what_is_known(url):
    """Known means the same key; stored means a job of that very ledger; named means that a row has the picture."""
    results = Results(url)
    results.insert([image(1, picture="00/a.jpg"), image(2)], [])
    assert results.known([image(2), image(3), image(1, ledger=b"M" * 16, seq=77)]) == {key(1), key(2)}
    assert results.known([]) == set()
    assert results.stored(LEDGER, [1, 2, 3]) == {key(1), key(2)}
    assert results.stored(b"M" * 16, [1, 2, 3]) == set()
    assert results.named(["00/a.jpg", "00/b.jpg"]) == {"00/a.jpg"}
    results.close()


def test_texts_and_numbers_of_all_kinds(url):
    """NUL, quotes, other letters and the largest numbers do not stop a batch; PostgreSQL cannot hold NUL."""
    odd = image(
        1, uri="file:///'\"%s ä日本", worker="a\0b", seq=2**63 - 1, size_bytes=2**63 - 1, wait_ms=1e300, read_ms=7
    )
    long = image(2, uri="file:///" + "".join(f"{number:x}" for number in range(4000)))
    results = Results(url)
    results.insert([odd, long], [])
    assert results.known([odd, long]) == {key(1), key(2)}
    results.close()
    worker = "a\0b" if url.startswith("sqlite") else "a\ufffdb"
    assert read(url, "SELECT worker, seq, wait_ms FROM images WHERE size_bytes > 1000") == [(worker, 2**63 - 1, 1e300)]


def test_reopened_results_go_on(url):
    """A second start finds the tables and what is in them."""
    results = Results(url)
    results.insert([image(1)], [])
    results.close()
    results.close()
    results = Results(url)
    assert results.known([image(1)]) == {key(1)}
    results.close()


def test_tables_are_made_all_or_none(url):
    """A first start that ends in the middle leaves no table without its unique index: the next makes them all."""

    def fail(_db, _cursor, statement, *_) -> None:
        if "INDEX images_picture" in statement:
            raise RuntimeError("killed")

    event.listen(Engine, "before_cursor_execute", fail)
    try:
        with pytest.raises(RuntimeError, match="killed"):
            Results(url)
    finally:
        event.remove(Engine, "before_cursor_execute", fail)
    engine = create_engine(url)
    assert inspect(engine).get_table_names() == []
    engine.dispose()
    results = Results(url)
    results.insert([image(1), image(1)], [face(1)])
    results.close()
    assert read(url, "SELECT version FROM schema_version") == [(tables.SCHEMA,)]
    assert read(url, "SELECT count(*) FROM images") == [(1,)]


def test_newer_and_foreign_tables_are_refused(url):
    """A later zgrid's database and another program's tables are left alone."""
    Results(url).close()
    engine = create_engine(url)
    with engine.begin() as db:
        db.execute(text("UPDATE schema_version SET version = 99"))
    with pytest.raises(SettingsError, match="has schema 99, but this zgrid knows 1"):
        Results(url)
    with engine.begin() as db:
        db.execute(text("DROP TABLE schema_version"))
    engine.dispose()
    with pytest.raises(SettingsError, match="has a table images or faces of something else"):
        Results(url)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("results.sqlite", "is no database URL"),
        ("nosuch://host/name", "is no database URL|nosuch is not supported"),
        ("mysql://host/name", "mysql is not supported"),
        ("sqlite://", "must be kept on disk"),
        ("sqlite:///:memory:", "must be kept on disk"),
    ],
)
def test_urls_that_cannot_work(url, sentence):
    """A wrong URL is said before anything is stored."""
    with pytest.raises(SettingsError, match=sentence):
        Results(url)


def test_second_sink_is_refused(tmp_path):
    """Two sinks on one SQLite file would each think to be alone."""
    results = Results(f"sqlite:///{tmp_path}/results.sqlite")
    with pytest.raises(SettingsError, match="another sink uses the database"):
        Results(f"sqlite:///{tmp_path}/results.sqlite")
    results.close()
    Results(f"sqlite:///{tmp_path}/results.sqlite").close()


def test_an_index_that_cannot_grow_is_a_full_disk(tmp_path):
    """SQLite calls it a failure of the disk when there is no room for the index of a WAL."""
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    refused = refusal(error, tmp_path)
    assert isinstance(refused, FullError)
    assert "no space is left" in str(refused)


def test_refusals_are_sentences(tmp_path):
    """A damaged file, a full disk and a missing folder say what to do."""
    with pytest.raises(StoreError, match="check that its folder exists"):
        Results(f"sqlite:///{tmp_path}/nowhere/results.sqlite")
    (tmp_path / "damaged.sqlite").write_bytes(b"\1" * 10000)
    with pytest.raises(DamagedError, match="is damaged"):
        Results(f"sqlite:///{tmp_path}/damaged.sqlite")
    results = Results(f"sqlite:///{tmp_path}/results.sqlite")
    with results._engine.connect() as db:
        pages = db.exec_driver_sql("PRAGMA page_count").scalar()
        db.exec_driver_sql(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StoreError, match="no space is left for"):
        results.insert([image(number) for number in range(1000)], [])
    with results._engine.connect() as db:
        db.exec_driver_sql("PRAGMA max_page_count = 100000")
    results.insert([image(number) for number in range(1000)], [])
    results.close()


def test_a_database_server_that_is_away():
    """No server: one sentence, without the password."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    with pytest.raises(StoreError, match="see that it runs") as caught:
        Results("postgresql://zgrid:secret@127.0.0.1:1/zgrid?connect_timeout=2")
    assert "secret" not in str(caught.value)


def test_sqlite_is_durable_and_uses_its_indexes(tmp_path):
    """A commit is on disk, and no question reads the table from end to end."""
    results = Results(f"sqlite:///{tmp_path}/results.sqlite")
    with results._engine.connect() as db:
        assert db.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert db.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        for name, row in (("known", ("uri", b"key")), ("stored", (1,)), ("named", ("name",))):
            values = (b"L",) if name == "stored" else ()
            statement, flat = next(results._batches.of(name, [row] * 50, *values))
            plan = [row[3] for row in db.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", flat)]
            assert any(step.startswith("SEARCH images USING ") for step in plan), plan
            assert not any(step.startswith("SCAN images") for step in plan), plan
    results.close()


def test_readme_sql_runs(tmp_path):
    """Each statement that the README shows for results runs on the tables as they are."""
    readme = (tables.__file__).replace("tables.py", "README.md")
    with open(readme, encoding="utf-8") as file:
        blocks = [block.split("```")[0] for block in file.read().split("```sql\n")[1:]]
    path = tmp_path / "results.sqlite"
    Results(f"sqlite:///{path}").close()
    db = sqlite3.connect(path)
    for block in blocks:
        for statement in filter(str.strip, block.split(";")):
            db.execute(statement).fetchall()
    db.close()
    assert len(blocks) >= 1


def test_faces_of_notes():
    """Well-formed faces become rows; anything else that came over the network is left out."""
    good = {"box": [1, 2.5, 3, 4], "score": 0.75, "landmarks": [[1, 2]] * 5}
    plain = {"box": [1, 2, 3, 4], "score": None, "landmarks": None}
    bad = [
        None, 5, [], {}, {"box": [1, 2, 3]}, {"box": [1, 2, 3, "4"]}, {"box": [True, 2, 3, 4]}, {"box": "abcd"},
        {"box": [float("nan"), 2, 3, 4]}, {"box": [10**400, 1, 1, 1]}, {"box": {0: 1}},
    ]  # fmt: skip
    odd = {"box": [0, 0, 1, 1], "score": "high", "landmarks": [[1, 2]] * 4}
    assert face_rows(key(1), {"faces": [good, *bad, plain, odd]}) == [
        FaceRow(key(1), 0, 1.0, 2.5, 3.0, 4.0, 0.75, "[[1,2],[1,2],[1,2],[1,2],[1,2]]"),
        FaceRow(key(1), len(bad) + 1, 1.0, 2.0, 3.0, 4.0, None, None),
        FaceRow(key(1), len(bad) + 2, 0.0, 0.0, 1.0, 1.0, None, None),
    ]
    for notes in (None, {}, {"faces": None}, {"faces": {"box": 1}}, {"faces": "x"}):
        assert face_rows(key(1), notes) == []
    assert len(face_rows(key(1), {"faces": [plain] * 20_000})) == tables.FACES_MAX
