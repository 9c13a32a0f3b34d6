"""The sink's store step, killed wherever it hurts: one row and one whole picture for each key in the end."""

import os
import signal
import subprocess
import sys

import pytest
from sqlalchemy import create_engine, text

from zgrid.store.pictures import MARK, Pictures, picture_name
from zgrid.store.results import Results
from zgrid.store.sink_store import Put, Result, SinkStore
from zgrid.store.tables import FaceRow, ImageRow

STEPS = ["write pictures", "move pictures", "sync folders", "insert rows", "commit", "done"]


def result(number: int, worker: str = "w1") -> Result:
    key = number.to_bytes(16)
    row = ImageRow(
        key, f"file:///{number}.jpg", None, 1, 2, 3, "JPEG", None, "image/jpeg", "faces", "faces/1", worker, 1, 0.0,
        0.0, 0.0, None, b"L" * 16, number, "2026-01-31T23:59:59.123Z",
    )  # fmt: skip
    picture = None if number % 3 == 0 else f"picture {number} by {worker} ".encode() * 5000
    return Result(row, [FaceRow(key, 0, 1.0, 2.0, 3.0, 4.0, None, None)], picture)


def open_store(folder, at_step=lambda _: None) -> SinkStore:
    return SinkStore(Results(f"sqlite:///{folder}/results.sqlite", at_step), Pictures(f"{folder}/pictures", at_step))


def rows(folder) -> list[tuple]:
    engine = create_engine(f"sqlite:///{folder}/results.sqlite")
    with engine.connect() as db:
        found = [tuple(row) for row in db.execute(text("SELECT key, worker, picture FROM images ORDER BY seq"))]
        assert len(found) == db.execute(text("SELECT count(*) FROM faces")).scalar()
    engine.dispose()
    return found


def check(folder, numbers: range) -> None:
    """Assert one row for each number, and exactly the pictures that the rows name, whole."""
    found = rows(folder)
    assert [int.from_bytes(key) for key, _, _ in found] == list(numbers)
    for key, worker, picture in found:
        content = result(int.from_bytes(key), worker).picture
        if content is None:
            assert picture is None
        else:
            assert (folder / "pictures" / picture).read_bytes() == content
    there = [path for path in (folder / "pictures").rglob("*") if path.is_file() and path.name not in {".lock", MARK}]
    assert sorted(str(path.relative_to(folder / "pictures")) for path in there) == sorted(
        picture for _, _, picture in found if picture
    )


def test_put_tells_new_from_known(tmp_path):
    """The first result of a key wins, within a batch and between batches; all may be acknowledged."""
    store = open_store(tmp_path)
    assert store.put([result(1), result(2), result(1, "w2")]) == Put({result(1).row.key, result(2).row.key}, set())
    again = store.put([result(2, "w3"), result(3), result(1, "w3")])
    assert again == Put({result(3).row.key}, {result(1).row.key, result(2).row.key})
    assert store.put([]) == Put(set(), set())
    store.close()
    check(tmp_path, range(1, 4))
    assert {worker for _, worker, _ in rows(tmp_path)} == {"w1"}


def test_steps_come_in_order(tmp_path):
    """Pictures are written, then in place, then on disk, before a row is inserted."""
    steps: list[str] = []
    store = open_store(tmp_path, steps.append)
    store.put([result(1)])
    assert [*steps, "done"] == STEPS
    store.close()


def kill_at(folder, step: str, worker: str) -> None:
    """Put a batch in another process that is killed at the step."""
    arguments = [sys.executable, __file__, str(folder), step, worker]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, f"{step}\n"), done.stderr


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step(tmp_path, step):
    """After kill -9 at the step, the same batch from another worker gives one row and one picture for each key."""
    kill_at(tmp_path, step, "w1")
    store = open_store(tmp_path)
    put = store.put([result(number, "w2") for number in range(1, 21)])
    assert (len(put.new), len(put.known)) == ((0, 20) if step == "done" else (20, 0))
    assert sum(store.sweep()) == 0
    store.close()
    check(tmp_path, range(1, 21))


@pytest.mark.parametrize("step", STEPS)
def test_sweep_after_a_kill(tmp_path, step):
    """If the batch never comes again, the next sink's sweep leaves the pictures of the rows, and no other."""
    store = open_store(tmp_path)
    store.put([result(number) for number in range(1, 11)])
    store.close()
    kill_at(tmp_path, step, "w1")
    store = open_store(tmp_path)
    removed = sum(store.sweep())
    store.close()
    assert (removed > 0) == (step in ("sync folders", "insert rows", "commit"))
    check(tmp_path, range(1, 21 if step == "done" else 11))


def test_known_pictures_are_not_written_again(tmp_path):
    """A late result of another attempt does not touch the picture that the row names."""
    store = open_store(tmp_path)
    store.put([result(1, "w1")])
    picture = tmp_path / "pictures" / picture_name(result(1).row.key, "image/jpeg")
    before = picture.stat().st_ino
    store.put([result(1, "w2")])
    store.close()
    assert picture.stat().st_ino == before


def main(folder: str, step: str, worker: str) -> None:
    """Be the sink that is killed: put jobs 1 to 20, and die when the step is reached."""

    def at_step(name: str) -> None:
        if name == step:
            print(step, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    store = open_store(folder, at_step)
    store.put([result(number, worker) for number in range(1, 21)])
    at_step("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
