"""What the peers' programs share: their arguments, the filter that looks at nothing, and the rows that a sink commits.

Each program beside this one does what tutorials of its library do with a folder of images: hand out a job for each
image, look at it in two processes, and store a row for each result. scripts/bench --peers starts them; by hand:

    .venv-peers/bin/python scripts/peers/with_dask.py LIST ROWS [--inline] [--port N]

LIST is a file with one path on each line, ROWS the SQLite file to be made. A program starts what it needs beside its
server, lets a few jobs through so that all is loaded and connected, and prints the seconds from the first job of LIST
handed out to the last row committed.
"""

import argparse
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

WORKERS = 2
WARM_UP = 20
"""Jobs that go before the clock starts."""
WAIT_S_MAX = 600.0


def arguments() -> argparse.Namespace:
    """Return what the program was told; ``paths`` are the images of LIST."""
    parser = argparse.ArgumentParser()
    parser.add_argument("list", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--inline", action="store_true", help="the images' bytes travel with the jobs")
    parser.add_argument("--port", type=int, default=0, help="where the library's server listens, if it has one")
    parser.add_argument("--queued", action="store_true", help="put every job first (beanstalkd alone)")
    given = parser.parse_args()
    given.paths = given.list.read_text().splitlines()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended
    return given


def look(uri: str, image: bytes | None = None) -> dict:
    """Be the null filter: keep the image and say so."""
    return {"uri": uri, "outcome": "keep", "size": len(image) if image is not None else None}


class Rows:
    """The results on disk: one row for each image, and each commit synced, as zgrid's sink has it."""

    def __init__(self, path: Path | str) -> None:
        self._database = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute("CREATE TABLE IF NOT EXISTS results (uri TEXT PRIMARY KEY, outcome TEXT, size INTEGER)")
        self._expected = 0

    def store(self, result: dict) -> None:
        """Commit one row."""
        self._database.execute("INSERT OR REPLACE INTO results VALUES (:uri, :outcome, :size)", result)

    def count(self) -> int:
        """Return how many rows there are."""
        return self._database.execute("SELECT count(*) FROM results").fetchone()[0]

    def wait_for(self, jobs: list[tuple[str, str]]) -> None:
        """Return when somebody else has stored a row for each of these jobs, and of those before."""
        self._expected += len(jobs)
        count, deadline = self._expected, time.monotonic() + WAIT_S_MAX
        while self.count() < count:
            if time.monotonic() > deadline:
                sys.exit(f"only {self.count()} of {count} rows came in {WAIT_S_MAX:.0f} s")
            time.sleep(0.01)


Jobs = list[tuple[str, str]]


def timed(paths: list[str], do: Callable[[Jobs], None], before: Callable[[Jobs], None] = lambda _: None) -> None:
    """Do a few jobs, each an address and a path, and then all of them; print the seconds that these took.

    ``before`` is called with the same jobs before the clock starts.
    """
    few = [(f"warm:{number}", path) for number, path in enumerate(paths[:WARM_UP])]
    before(few)
    do(few)
    jobs = [(f"file://{path}", path) for path in paths]
    before(jobs)
    began = time.monotonic()
    do(jobs)
    print(time.monotonic() - began)


def read(path: str, *, inline: bool) -> bytes | None:
    """Return the image's bytes where they travel."""
    return Path(path).read_bytes() if inline else None


@contextmanager
def running(*commands: list[str]) -> Iterator[None]:
    """Have processes running, and end them."""
    processes = [subprocess.Popen(command, stdout=sys.stderr) for command in commands]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
