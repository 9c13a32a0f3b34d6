"""Images through beanstalkd: put in "images" -> reserve, put in "people", delete -> reserve, store, delete."""

import json
import sys
from pathlib import Path

import greenstalk
from tutorial import WORKERS, Jobs, Rows, arguments, look, read, running, timed

PAUSE_S = 3600
"""Longer than it takes to put every job: nobody gets one of a tube that is paused."""


def work(port: int) -> None:
    """Be a worker: take an image, pass on what was found, and only then forget it."""
    with (
        greenstalk.Client(("127.0.0.1", port), encoding=None, watch="images") as images,
        greenstalk.Client(("127.0.0.1", port), encoding=None, use="people") as people,
    ):
        while True:
            job = images.reserve()
            uri, has_image, image = job.body.partition(b"\n")
            people.put(json.dumps(look(uri.decode(), image if has_image else None)).encode())
            images.delete(job)


def sink(port: int, path: str) -> None:
    """Store each result, and only then forget it."""
    rows = Rows(path)
    with greenstalk.Client(("127.0.0.1", port), encoding=None, watch="people") as people:
        while True:
            job = people.reserve()
            rows.store(json.loads(job.body))
            people.delete(job)


def main() -> None:
    """Put every image and wait for its row."""
    given = arguments()
    rows = Rows(given.rows)
    me = [sys.executable, __file__]
    commands = [[*me, "work", str(given.port)]] * WORKERS + [[*me, "sink", str(given.port), str(given.rows)]]
    with running(*commands), greenstalk.Client(("127.0.0.1", given.port), encoding=None, use="images") as queue:

        def put(jobs: Jobs) -> None:
            for uri, path in jobs:
                image = read(path, inline=given.inline)
                queue.put(uri.encode() if image is None else uri.encode() + b"\n" + image)

        def do(jobs: Jobs) -> None:
            put(jobs)
            rows.wait_for(jobs)

        def hold(jobs: Jobs) -> None:
            queue.pause_tube("images", PAUSE_S)
            put(jobs)

        def let_go(jobs: Jobs) -> None:
            queue.pause_tube("images", 0)
            rows.wait_for(jobs)

        if given.queued:
            timed(given.paths, let_go, hold)
        else:
            timed(given.paths, do)


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(int(sys.argv[2]))
    elif sys.argv[1] == "sink":
        sink(int(sys.argv[2]), str(Path(sys.argv[3])))
    else:
        main()
