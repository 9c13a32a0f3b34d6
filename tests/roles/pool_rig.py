"""Drives a pool the way a worker's main loop does: poll its one descriptor, take events, until something is true."""

import os
import select
import tempfile
import time
from pathlib import Path

from zgrid.roles.member import Chunk
from zgrid.roles.pool import Died, Pool, Ready, Results
from zgrid.roles.sandbox import Sandbox

TESTS = Path(__file__).parents[1]
DEADLINE_S = 30
BASE = os.environ.get("PYTEST_DEBUG_TEMPROOT") or tempfile.gettempdir()
SANDBOX = Sandbox(read=("/proc",), write=(BASE,))
"""What children of these tests may do: write notes where tests have their folders."""


class Rig:
    """A pool of children with the filters for tests, its events so far, and results by token."""

    def __init__(self, monkeypatch, procs=1, **options):
        monkeypatch.setenv("PYTHONPATH", str(TESTS))
        defaults = {"chains": {1: "act"}, "filters": ["filters_for_tests"], "allow": [BASE], "sandbox": SANDBOX}
        self.pool = Pool(procs, **(defaults | options))
        self.events = []
        self.results = {}
        self.pool.start(time.monotonic())

    def step(self, wait_s=0.05):
        """Wait for the pool's descriptor, serve it once, and sort what happened."""
        select.select([self.pool.fileno()], [], [], wait_s)
        events = self.pool.service(time.monotonic())
        self.events += events
        for event in events:
            if isinstance(event, Results):
                for index, token in enumerate(event.tokens):
                    self.results[token] = Result(event.returned, index)
        return events

    def until(self, condition):
        """Serve until ``condition`` of this rig is true; fail after a deadline, saying what happened instead."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition(self):
            assert time.monotonic() < deadline, f"in vain; the events were {self.events}"
            self.step()

    def warm(self):
        """Serve until every child is ready; forget the events."""
        self.until(lambda rig: rig.pool.alive and len(rig.of(Ready)) >= rig.pool.alive)
        self.events.clear()
        return self

    def of(self, kind):
        """Return the events of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def death(self):
        """Serve until a child has died; return that event."""
        self.until(lambda rig: rig.of(Died))
        return self.of(Died)[0]

    def give(self, *contents, child=0, first=100, chain=1):
        """Assign one chunk of inline jobs with these bytes; tokens count from ``first``."""
        assert self.pool.assign(child, inline(first, *contents, chain=chain))


def inline(first, *contents, chain=1):
    """Return a chunk of inline jobs with these bytes; tokens count from ``first``."""
    uris = [f"file:///{first + index}.jpg" for index in range(len(contents))]
    return Chunk(first, chain, uris, list(map(len, contents)), [0] * len(contents), contents)


class Result:
    """One entry of every column, and what is kept by index."""

    def __init__(self, returned, index):
        self.code = returned.codes[index]
        for name in (
            "reads",
            "works",
            "widths",
            "heights",
            "formats",
            "digests",
            "notes",
            "media",
        ):
            setattr(self, name, getattr(returned, name)[index])
        self.reasons, self.pictures = returned.reasons.get(index, {}).get("reason"), returned.pictures.get(index)


def descriptors():
    """Return how many descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))
