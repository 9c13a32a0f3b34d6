"""Images through Celery and Redis: a task looks and hands its result to a second one, which stores it; acks_late."""

import os
import sys

from celery import Celery
from tutorial import WORKERS, Rows, arguments, look, read, running, timed

PORT, ROWS = os.environ.get("PEER_PORT", "6379"), os.environ.get("PEER_ROWS", "rows.sqlite")

app = Celery("with_celery", broker=f"redis://127.0.0.1:{PORT}/0")
app.conf.task_acks_late = True  # else a worker that dies takes its jobs with it
app.conf.task_ignore_result = True  # the row is the result
app.conf.task_routes = {"with_celery.look_at": "images", "with_celery.store": "people"}


@app.task
def look_at(uri: str, image: bytes | None = None) -> None:
    """Look at an image."""
    store.delay(look(uri, image))


@app.task
def store(result: dict) -> None:
    """Store a result. One process does this, which keeps the file open."""
    global rows  # noqa: PLW0603
    rows = rows or Rows(ROWS)
    rows.store(result)


rows: Rows | None = None


def main() -> None:
    """Send every image and wait for its row."""
    given = arguments()
    stored = Rows(given.rows)
    celery = [sys.executable, "-m", "celery", "-A", "with_celery", "worker", "--loglevel=WARNING"]
    commands = (
        [*celery, f"--concurrency={WORKERS}", "--queues=images", "--hostname=images@%h"],
        [*celery, "--concurrency=1", "--queues=people", "--hostname=people@%h"],
    )

    def do(jobs: list[tuple[str, str]]) -> None:
        for uri, path in jobs:
            look_at.delay(uri, read(path, inline=given.inline))
        stored.wait_for(jobs)

    with running(*commands):
        timed(given.paths, do)


if __name__ == "__main__":
    main()
