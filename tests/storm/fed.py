"""The ventilators of a chaos run: what each has been told of, and what it has made of it by now."""

import os
import sqlite3
import time
from collections import deque

from harness import free_port, query

from zgrid.protocol.job import OPEN

FILES_KEPT_S = 60.0
"""The files of stored images go after this, so that a long run needs little space."""


class Fed:
    """One ventilator at ``host``, and the folder that its images appear in.

    ``listed``: files that it has not been told of yet.
    """

    def __init__(self, name, home, folder, host):
        self.name = name
        self.address = f"tcp://{host}:{free_port()}"
        self.ledger = home / "ledger.sqlite"
        self.folder = folder / "in" / name
        self.folder.mkdir(parents=True)
        self.listed = deque()
        self.unconfirmed = {}
        self.counts = {}
        self._confirmed_seq = 0
        self._rest = b""

    @property
    def open_jobs(self):
        """Return how many jobs were open when they were counted last."""
        return sum(jobs for state, jobs in self.counts.items() if state in OPEN)

    def started(self, process):
        """Its process is a new one: what the old one may not have read of its list is told again."""
        if process.stdin is None:
            return
        os.set_blocking(process.popen.stdin.fileno(), False)
        self._rest = b""
        waiting = set(self.listed)
        self.listed.extendleft(path for path in reversed(self.unconfirmed) if path not in waiting)

    def hand_list(self, process):
        """Tell of new files a process that reads a list, as far as it reads; others find them when they start."""
        if process.stdin is None:
            while self.listed:
                self.unconfirmed[self.listed.popleft()] = None
            return  # whoever feeds may list more at any moment
        while process.alive and (self._rest or self.listed):
            if not self._rest:
                path = self.listed.popleft()
                self.unconfirmed[path] = None
                self._rest = path.encode() + b"\n"
            try:
                self._rest = self._rest[os.write(process.popen.stdin.fileno(), self._rest) :]
            except OSError:
                return  # it is full for now, or nobody reads it any more

    def confirm(self):
        """Note which files have become jobs."""
        for seq, uri in self._asked("SELECT seq, uri FROM jobs WHERE seq > ? ORDER BY seq", self._confirmed_seq):
            self._confirmed_seq = seq
            if uri.startswith("file://"):
                self.unconfirmed.pop(uri.removeprefix("file://"), None)

    def count(self, grid):
        """Count the jobs by state."""
        try:
            self.counts = grid.counts(self.ledger)
        except sqlite3.Error:
            return  # its disk is full

    def tidy(self, flaky):
        """Remove the files of images that are stored for good, and those of ``flaky`` that belong to them."""
        before_ms = round((time.time() - FILES_KEPT_S) * 1000)
        statement = "SELECT uri FROM jobs WHERE state = 2 AND settled_ms < ? AND uri GLOB 'file:*'"
        stored = {uri.rpartition("/")[2] for (uri,) in self._asked(statement, before_ms)}
        for name in stored.intersection(os.listdir(self.folder)):
            (self.folder / name).unlink()
            (flaky / name).unlink(missing_ok=True)

    def _asked(self, statement, *values):
        try:
            return query(self.ledger, statement, *values)
        except sqlite3.Error:
            return []  # its disk is full
