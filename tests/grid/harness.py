"""A whole grid of real processes for one test: started by the command line, killed, started again, and asked how it is.

Nothing here sleeps: ``until`` looks again and again until a deadline. Whatever a test leaves behind fails it: a
process, a line of level error, an event that is not in the vocabulary.
"""

import json
import os
import random
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from array import array
from contextlib import closing
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from zgrid.log import EVENTS
from zgrid.protocol.job import State
from zgrid.transport.client import UnansweredError, ask

TESTS = Path(__file__).parents[1]
LOOK_EVERY_MS = 20
WITHIN_S = 25.0
MARKER = "GRID_OF_TEST"
"""In the environment of everything that a grid starts, children of children too."""


class Happened(NamedTuple):
    """One row of a ledger's history. ``at_ms`` is wall clock."""

    at_ms: int
    event: str
    worker: str | None
    lane: int | None
    seqs: list[int]
    note: str | None


class Process:
    """One role, its command line, and its log, which grows over all its lives."""

    def __init__(self, grid, role, name, words, stdin=None):
        self.grid, self.role, self.name, self.words = grid, role, name, words
        self.log = grid.folder / f"{name}.jsonl"
        self.popen = None
        self.begun_at = 0
        self.stdin = stdin

    def start(self):
        """Start it, again if it has ended."""
        self.close()
        self.begun_at = len(self.text())
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, *self.grid.program, self.role, *self.words],
                stdin=self.stdin or subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.role == "run" else log,
                stderr=log,
                cwd=self.grid.folder,
                env=self.grid.environment,
                start_new_session=True,
                text=self.role == "run",
            )
        return self

    def close(self):
        """Close our ends of its pipes."""
        for pipe in (self.popen.stdout, self.popen.stdin) if self.popen else ():
            if pipe:
                pipe.close()

    @property
    def alive(self):
        """Whether it runs (or is stopped)."""
        return self.popen is not None and self.popen.poll() is None

    def send(self, number):
        """Send it a signal."""
        self.popen.send_signal(number)

    def kill(self, number=signal.SIGKILL):
        """Kill it and wait until it is gone; return its exit status."""
        self.send(number)
        return self.wait()

    def wait(self, within_s=WITHIN_S):
        """Return its exit status once it has ended."""
        self.grid.until(lambda: not self.alive, within_s, f"{self.name} ends")
        return self.popen.returncode

    def children(self):
        """Return the process numbers of its children."""
        return [int(pid) for pid in Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").read_text().split()]

    def lines(self):
        """Return the lines of its log that are JSON, as dicts."""
        return [json.loads(line) for line in self.text().splitlines() if line.startswith("{")]

    def events(self, event):
        """Return the lines of its log with one event."""
        return [line for line in self.lines() if line["event"] == event]

    def text(self):
        """Return its whole log."""
        return self.log.read_text("utf-8", "replace") if self.log.exists() else ""

    def said(self):
        """Return the sentences for people in its log, which are no lines of JSON."""
        return [line for line in self.text().splitlines() if not line.startswith("{")]


class Grid:
    """The processes of one test, in ``folder``. ``expected``: parts of lines in their logs that may be errors.

    ``program``: what Python runs for each of them, in front of the role. ``key``: an operator's, where it has keys.
    """

    program = ("-m", "zgrid")

    def __init__(self, folder):
        self.folder = folder
        self.processes = {}
        self.expected = []
        self.ledger = folder / "ledger.sqlite"
        self.database = folder / "results.sqlite"
        self.pictures_folder = folder / "pictures"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ZGRID_")}
        if "ZGRID_MODELS" in os.environ:
            kept["ZGRID_MODELS"] = os.environ["ZGRID_MODELS"]
        path = os.pathsep.join(filter(None, [str(TESTS), os.environ.get("PYTHONPATH")]))
        self.environment = {**kept, "PYTHONPATH": path, MARKER: str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        self.key = None
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.sink_address = f"tcp://127.0.0.1:{free_port()}"

    # -- starting

    def ventilator(self, *sources, name="ventilator", stdin=None, **settings):
        """Start a ventilator over ``sources``."""
        defaults = {"bind": self.address, "sink": [self.sink_address], "ledger": self.ledger, "name": name}
        return self.start("ventilator", name, words_of({**defaults, **settings}, sources), stdin)

    def worker(self, name="w1", to=(), **settings):
        """Start a worker with the filters for tests, for the ventilators ``to``."""
        defaults = {"name": name, "procs": 1, "filter_module": ["filters_for_tests"]}
        defaults |= {"allow": self.folder.parent, "child_write": self.folder}
        return self.start("worker", name, words_of({**defaults, **settings}, to or [self.address]))

    def sink(self, name="sink", **settings):
        """Start a sink."""
        defaults = {"bind": self.sink_address, "intake_port": 0, "name": name, "pictures": self.pictures_folder}
        defaults["db"] = f"sqlite:///{self.database}"
        return self.start("sink", name, words_of({**defaults, **settings}, ()))

    def run(self, *sources, name="run", **settings):
        """Start ``zgrid run``; its standard output is a pipe."""
        defaults = {"out": self.folder / "out"}
        return self.start("run", name, words_of({**defaults, **settings}, sources))

    def start(self, role, name, words, stdin=None):
        """Start a process and remember it under its name."""
        process = self.processes[name] = Process(self, role, name, words, stdin)
        return process.start()

    def kill(self, name, number=signal.SIGKILL):
        """Kill a process by name."""
        return self.processes[name].kill(number)

    def restart(self, name):
        """Start a process that has ended again, as it was."""
        return self.processes[name].start()

    def member(self, run, role):
        """Return the process number of what a ``zgrid run`` has started for this role; None if nothing."""
        for pid in run.children():
            if f" zgrid {role} " in Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode():
                return pid
        return None

    def signal_member(self, run, role, number=signal.SIGKILL):
        """Send a signal to the process of this role that a ``zgrid run`` has started."""
        pid = self.member(run, role)
        assert pid is not None, f"{run.name} has no {role}\n{self.tails()}"
        os.kill(pid, number)

    # -- waiting

    def until(self, condition, within_s=WITHIN_S, what="it comes true"):
        """Look until ``condition()`` is true and return it; fail after the deadline with the ends of all logs."""
        deadline = time.monotonic() + within_s
        poll = select.poll()
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < deadline, f"in vain for {within_s:g} s: {what}\n{self.tails()}"
            poll.poll(LOOK_EVERY_MS)

    def until_settled(self, jobs=None, within_s=WITHIN_S):
        """Wait until the ledger has no open job, and ``jobs`` in all where that is given; return the counts."""

        def settled():
            counts = self.counts()
            enough = sum(counts.values()) >= (jobs or 1)
            return enough and not counts[State.READY] and not counts[State.DELAYED] and counts

        return self.until(settled, within_s, f"all of {jobs or 'the'} jobs are settled")

    def until_joined(self, *names, within_s=WITHIN_S):
        """Wait until the ventilator has ready workers of these names."""

        def joined():
            workers = self.status().get("workers", [])
            return {one["name"] for one in workers if one["state"] == "ready"} >= set(names)

        self.until(joined, within_s, f"{names} are there")

    def until_gone(self):
        """Return what still runs of this grid after a while: nothing, if all is well.

        A worker may try for ten seconds (--stop-ms) to be rid of a last result, where its sink has ended before.
        """
        deadline = time.monotonic() + 15.0
        poll = select.poll()
        while (left := self.running()) and time.monotonic() < deadline:
            poll.poll(LOOK_EVERY_MS)
        return left

    # -- looking

    def status(self, address=None, timeout_ms=2000):
        """Return what a process says of itself; nothing when it does not answer."""
        try:
            return ask(address or self.address, {"what": "status"}, timeout_ms, self.key)
        except UnansweredError:
            return {}

    def counts(self, ledger=None):
        """Return how many jobs of the ledger on disk are in each state; none where there is no ledger yet."""
        rows = query(ledger or self.ledger, "SELECT state, jobs FROM counts")
        return {**dict.fromkeys(State, 0), **{State(state): jobs for state, jobs in rows}}

    def history(self, ledger=None):
        """Return what the ledger has recorded, in order."""
        rows = query(ledger or self.ledger, "SELECT at_ms, event, worker, lane, first, last, seqs, note FROM history")
        return [
            Happened(at_ms, event, worker, lane, numbers(first, last, packed), note)
            for at_ms, event, worker, lane, first, last, packed, note in rows
        ]

    def buried(self):
        """Return URI -> (reason, failures) of the buried jobs."""
        found = query(self.ledger, "SELECT uri, reason, failures FROM jobs WHERE state = ?", State.BURIED)
        return {uri: (reason, failures) for uri, reason, failures in found}

    def rows(self, database=None):
        """Return URI -> (key in hex, picture or None) of all stored images; a URI that is there twice fails."""
        found = query(database or self.database, "SELECT uri, hex(key), picture FROM images")
        rows = {uri: (key.lower(), picture) for uri, key, picture in found}
        assert len(rows) == len(found), "an image has two rows"
        return rows

    def boxes(self, database=None):
        """Return URI -> the boxes of its faces in order."""
        statement = "SELECT uri, x, y, w, h FROM images JOIN faces ON image_key = key ORDER BY uri, number"
        boxes = {}
        for uri, *box in query(database or self.database, statement):
            boxes.setdefault(uri, []).append(tuple(box))
        return boxes

    def pictures(self, folder=None):
        """Return the picture files, as the rows name them."""
        folder = folder or self.pictures_folder
        return {str(path.relative_to(folder)) for path in folder.glob("??/*")}

    def running(self):
        """Return the command lines of every living process that this grid has started, and those that they started."""
        mark = f"{MARKER}={self.folder}".encode()
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdigit() and mark in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it went, or is another user's
        return found

    def tails(self, lines=12):
        """Return the ends of all logs, for a test that fails."""
        parts = []
        for process in self.processes.values():
            status = "alive" if process.alive else f"exit {process.popen.returncode}"
            parts.append(f"--- {process.name} ({status})\n" + "\n".join(process.text().splitlines()[-lines:]))
        return "\n".join([*parts, f"--- counts: {self.counts()}"])

    # -- the end

    def end(self, *, failed):
        """End everything. Unless the test has ``failed``, see that it ends well and that nothing is left behind."""
        if failed:
            self._kill_all()
            return
        try:
            self.stop()
        finally:
            self._kill_all()
        left = self.until_gone()
        assert not left, f"processes are left: {left}"
        self._check_logs()

    def stop(self):
        """Ask whatever still runs to stop, and see that it ends in order."""
        alive = [process for process in self.processes.values() if process.alive]
        for process in alive:
            process.send(signal.SIGCONT)
            process.send(signal.SIGTERM)
        for process in alive:
            status = process.wait(20.0)
            early = status == -signal.SIGTERM and not process.text()[process.begun_at :]  # Python was still starting
            assert early or status in (0, 3), f"{process.name} ended with {status}\n{self.tails()}"

    def _kill_all(self):
        for process in self.processes.values():
            if process.alive:
                process.popen.kill()
                process.popen.wait()
            process.close()

    def _check_logs(self):
        for path in [*self.folder.glob("*.jsonl"), *self.folder.glob("*/logs/*.jsonl")]:
            for line in path.read_text("utf-8", "replace").splitlines():
                if any(part in line for part in self.expected):
                    continue
                assert line.startswith("{"), f"{path.name}: {line}"
                entry = json.loads(line)
                assert entry["event"] in EVENTS, f"{path.name}: {line}"
                assert entry["level"] != "error", f"{path.name}: {line}"


def words_of(settings, arguments):
    """Return a command line from settings by name: a switch for a bool, one flag for each item of a list."""
    words = []
    for name, value in settings.items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif value is not None:
            words += [f"{flag}={one}" for one in (value if isinstance(value, list) else [value])]
    return [*words, "--", *map(str, arguments)] if arguments else words


_RUNNER, _RUNNERS_MAX = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]), 8
"""Tests that run side by side have ports of their own."""

_PORTS = cycle(random.sample(range(20_000 + _RUNNER % _RUNNERS_MAX, 32_000, _RUNNERS_MAX), 1500))


def free_port():
    """Return a TCP port that nobody has now and that was not given out before, below those that the kernel gives out.

    A process binds its port some time after it was told, and another one must not be told the same meanwhile.
    """
    while True:
        port = next(_PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def query(path, statement, *values):
    """Return the rows of a statement on a database that another process uses; none where there is no such table yet."""
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as db:
        try:
            return db.execute(statement, values).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise


def numbers(first, last, packed):
    """Return the numbers of the jobs of one row of the history."""
    if packed is None:
        return list(range(first, last + 1))
    return [first + offset for offset in array("H", packed)]
