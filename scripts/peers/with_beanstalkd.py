"""Images through beanstalkd: put in "images" -> reserve, put in "people", delete -> reserve, store, delete."""

import json
import sys
import time
from pathlib import Path

import greenstalk
from tutorial import WORKERS, Rows, arguments, look, measured, read, running, warm_up


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

        def put(uri: str, path: str) -> None:
            image = read(path, inline=given.inline)
            queue.put(uri.encode() if image is None else uri.encode() + b"\n" + image)

        for job in warm_up(given.paths):
            put(*job)
        rows.wait_for(len(warm_up(given.paths)))
        jobs, before = measured(given.paths), rows.count()
        began = time.monotonic()
        for job in jobs:
            put(*job)
        rows.wait_for(before + len(jobs))
        print(time.monotonic() - began)


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(int(sys.argv[2]))
    elif sys.argv[1] == "sink":
        sink(int(sys.argv[2]), str(Path(sys.argv[3])))
    else:
        main()
