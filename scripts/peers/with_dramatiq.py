"""Images through Dramatiq and Redis: an actor looks and hands its result to a second one, which stores it."""

import base64
import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from tutorial import WORKERS, Rows, arguments, look, read, running, timed

PORT, ROWS = os.environ.get("PEER_PORT", "6379"), os.environ.get("PEER_ROWS", "rows.sqlite")

dramatiq.set_broker(RedisBroker(url=f"redis://127.0.0.1:{PORT}/0"))


@dramatiq.actor(queue_name="images")
def look_at(uri: str, image: str | None = None) -> None:
    """Look at an image; messages are JSON, so its bytes are text there."""
    store.send(look(uri, None if image is None else base64.b64decode(image)))


@dramatiq.actor(queue_name="people")
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
    worker = [sys.executable, "-m", "dramatiq", "with_dramatiq", "--threads=1"]
    commands = (
        [*worker, f"--processes={WORKERS}", "--queues", "images"],
        [*worker, "--processes=1", "--queues", "people"],
    )

    def do(jobs: list[tuple[str, str]]) -> None:
        for uri, path in jobs:
            image = read(path, inline=given.inline)
            look_at.send(uri, None if image is None else base64.b64encode(image).decode())
        stored.wait_for(jobs)

    with running(*commands):
        timed(given.paths, do)


if __name__ == "__main__":
    main()
