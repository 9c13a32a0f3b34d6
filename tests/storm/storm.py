"""A chaos run: a whole grid of real processes, fed all the time, under the faults of a plan."""

import heapq
import select
import signal
import subprocess
import threading
import time
import traceback
from collections import Counter
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path
from typing import NamedTuple

import skewed
from fed import Fed
from feed import CHAIN, Feeder
from harness import Grid, free_port, query
from meddling import Meddler, resume
from plan import SINK, VENTILATORS, WORKERS
from strikes import SkippedError, Strikes
from vitals import Vitals

from zgrid.protocol.job import State

TURN_MS = 50
COUNT_EVERY_S, LOOK_EVERY_S, TELL_EVERY_S, TIDY_EVERY_S = 0.5, 2.0, 30.0, 30.0
STOPS_WITHIN_S = 30.0
"""A process that is asked to stop must be gone after this: its 10 s, and those for which it was stopped meanwhile."""

DOWN_S = 0.5
"""Whoever starts processes again that have ended by themselves waits so long, as systemd does."""

TROUBLE_LASTS_S = 15.0
"""A process that starts while its disk is full or its database locked may end with a sentence, until so long after."""

HOSTS = ("people", *VENTILATORS, *WORKERS, SINK)
"""Each process has one of its own; at the first are those who feed, meddle and watch."""

LAST_LINES = 25
SETTLES_WITHIN_S = 600.0
SWEEPS_WITHIN_S = 60.0
RESTS_S = 5.0
"""For so long nobody may come or go in the end: five greetings of a worker that has no lane, and five beats."""

LEDGER_BYTES, SINK_BYTES = 64 << 20, 128 << 20
LEDGER_BYTES_PER_S, SINK_BYTES_PER_S = 200_000, 500_000
"""The disks of ledgers and sink, with several times the space that a run needs when nobody fills them."""

WORKING = {"w1": 2, "w2": 1, "w3": 1}
CHILD_BYTES_MAX = 1 << 30
TTR_MS, ATTEMPTS_MAX, STOP_MS = 2000, 3, 4000


class Fall(NamedTuple):
    """How a process was made to end."""

    how: str
    down_s: float
    at_s: float


class Storm:
    """One run. ``say`` takes each line for people; ``homes``: name -> (folder, bytes) of the small disks there are.

    ``hub``: with a host for each process and for people; where there is none, all are on loopback.
    """

    def __init__(self, folder, seed, seconds, say, homes, hub=None):
        self.grid = Grid(folder)
        self.seed, self.seconds, self.say, self.homes, self.hub = seed, seconds, say, homes, hub
        self.flaky, self.drafts = folder / "flaky", folder / "drafts"
        self.flaky.mkdir(parents=True)
        self.ahead = folder / "clock-ahead"
        skewed.set_ahead(self.ahead, 0)
        self.grid.environment[skewed.AHEAD_FILE] = str(self.ahead)
        self.grid.program = (skewed.__file__,)
        self.drafts.mkdir()
        self.over, self.given_up = threading.Event(), threading.Event()
        self.broken_off = False
        self.problems = []
        self.stopped, self.full, self.protected, self.cut = (set() for _ in range(4))
        self.network_is_bad = False
        self.troubles = []
        self.trouble_until_s = 0.0
        self.falling = {}
        self.up_at_s = {}
        self.faults, self.skipped, self.starts, self.ends, self.notes = (Counter() for _ in range(5))
        self.longest_stall_s, self.stalled_at_s = 0.0, 0.0
        self._undo = []
        self._numbers = count()
        self._due_s = dict.fromkeys(("count", "look", "tell", "tidy"), 0.0)
        self._closed, self._progress_at_s = 0, 0.0
        self._began = time.monotonic()
        self._poll = select.poll()
        self.grid.database = self.home(SINK) / "results.sqlite"
        self.grid.pictures_folder = self.home(SINK) / "pictures"
        self.grid.sink_address = f"tcp://{self.host(SINK)}:{free_port()}"
        self.ventilators = {name: Fed(name, self.home(name), folder, self.host(name)) for name in VENTILATORS}
        ledgers = {name: one.ledger for name, one in self.ventilators.items()}
        self.vitals = Vitals(self.grid, {**ledgers, SINK: self.grid.database})
        self.feeders = {name: Feeder(self, one) for name, one in self.ventilators.items()}
        self.meddlers = {name: Meddler(self, one, self.feeders[name]) for name, one in self.ventilators.items()}
        self.strikes = Strikes(self)

    @property
    def now_s(self):
        """Return the seconds since the beginning."""
        return time.monotonic() - self._began

    def home(self, name):
        """Return the folder of a role's data: on a small disk, where there are any."""
        folder = self.homes[name][0] if name in self.homes else self.grid.folder / f"{name}-data"
        folder.mkdir(exist_ok=True)
        return folder

    def host(self, name):
        """Return the address of a process."""
        return self.hub.addresses[name] if self.hub else "127.0.0.1"

    def at(self, name):
        """What is started inside is at the host of a process."""
        return self.hub.at(name) if self.hub else nullcontext()

    # -- what is told

    def tell(self, text):
        """Say a line with its time."""
        self.say(f"{self.now_s:8.1f} s  {text}")

    def wrong(self, text):
        """Remember what must not be, and go on."""
        self.problems.append(text)
        self.tell(f"WRONG: {text}")

    def note(self, text):
        """Count something that may be, by its words without the numbers."""
        self.notes["".join(sign for sign in text if not sign.isdigit())[:160]] += 1

    @contextmanager
    def watched(self, name):
        """An exception that ends a thread is a problem of the run."""
        try:
            yield
        except Exception:  # noqa: BLE001  a fault of any kind is what we look for
            if not self.broken_off:
                self.wrong(f"the {name} ended:\n{traceback.format_exc()}")

    def share_of(self, name):
        """Return which part of what a short run has of every kind goes to a ventilator."""
        return VENTILATORS.index(name), len(VENTILATORS)

    # -- the course

    def begin(self):
        """Start everything."""
        with self.at(SINK):
            self.grid.sink()
        for name, one in self.ventilators.items():
            by_reference = name == "v2"
            with self.at(name):
                self.grid.ventilator(
                    "-" if by_reference else one.folder, name=name, bind=one.address, ledger=one.ledger,
                    filter=CHAIN.split(), ttr_ms=TTR_MS, attempts_max=ATTEMPTS_MAX, by_reference=by_reference,
                    stdin=subprocess.PIPE if by_reference else None,
                )  # fmt: skip
        modules = ["filters_for_tests", "filters_for_chaos"]
        for name in WORKERS:
            with self.at(name):
                self.grid.worker(
                    name, to=[one.address for one in self.ventilators.values()], procs=WORKING[name],
                    filter_module=modules, child_memory_bytes_max=CHILD_BYTES_MAX, stop_ms=STOP_MS,
                )  # fmt: skip
        for name in self.grid.processes:
            self._started(name)
        for thread in self._threads():
            thread.start()

    def blow(self, faults):
        """Let these happen, each at its time."""
        for fault in faults:
            while self.now_s < fault.at_s:
                self.turn()
            self._strike(fault)
        while self.now_s < self.seconds:
            self.turn()

    def settle(self):
        """Stop the faults, undo them, start everything, and wait until all is closed; return whether it is."""
        self.over.set()
        self.tell("the faults are over")
        self.calm()
        self.up_at_s = dict.fromkeys(self.up_at_s, 0.0)
        for thread in self._threads():
            self._wait(lambda thread=thread: not thread.is_alive(), 90.0, f"the {thread.name} ends")
        self._wait(lambda: not self.falling and not self.up_at_s, 60.0, "everything runs again")
        self.begin_again("v1")  # a folder is looked through when its ventilator starts
        for one in self.ventilators.values():
            self._wait(lambda one=one: resume(one), 60.0, f"nothing is paused at {one.name}")
        return self._wait(self._is_settled, SETTLES_WITHIN_S, "every job is closed", story=self._story)

    def sweep(self):
        """Start the sink once more; wait until every picture has its row, and every row's job is stored."""
        self.begin_again(SINK)
        self._wait(lambda: self.grid.status(timeout_ms=500, address=self.grid.sink_address), 60.0, "the sink answers")

        def swept():
            named = {picture for (picture,) in query(self.grid.database, "SELECT picture FROM images")}
            return self.grid.pictures() <= named

        def heard():
            stored = set()
            for one in self.ventilators.values():
                ((ledger,),) = query(one.ledger, "SELECT hex(value) FROM meta WHERE name = 'ledger_id'")
                numbers = query(one.ledger, f"SELECT seq FROM jobs WHERE state = {State.STORED:d}")
                stored |= {(ledger, seq) for (seq,) in numbers}
            return set(query(self.grid.database, "SELECT hex(ledger), seq FROM images")) == stored

        swept_up = self._wait(swept, SWEEPS_WITHIN_S, "no picture is without a row")
        return self._wait(heard, SWEEPS_WITHIN_S, "the jobs that have a row are those that are stored") and swept_up

    def rest(self):
        """See that every worker has a lane at each ventilator, and keeps it while nothing happens."""
        before = self._lanes_of_all()
        until_s = self.now_s + RESTS_S
        self._wait(lambda: self.now_s > until_s, 2 * RESTS_S, "some time passes")
        for sentence in came_and_went(before, self._lanes_of_all()):
            self.wrong(sentence)

    def _lanes_of_all(self):
        """Return name of a ventilator -> worker -> lane, once every worker has one everywhere and all have answered."""
        found = {}

        def all_there():
            for name, one in self.ventilators.items():
                workers = self.grid.status(one.address).get("workers", ())
                found[name] = {worker["name"]: worker["lane"] for worker in workers}
            return all(len(there) == len(WORKERS) for there in found.values())

        self._wait(all_there, 60.0, "every worker has a lane everywhere")
        return found

    def end(self):
        """Ask everything to stop, and see that it does so in order and leaves nothing behind."""
        self.given_up.set()
        began = time.monotonic()
        for process in self.grid.processes.values():
            if process.alive:
                process.send(signal.SIGTERM)
        for name, process in self.grid.processes.items():
            while process.alive and time.monotonic() - began < STOPS_WITHIN_S:
                self._poll.poll(TURN_MS)
            if process.alive or process.popen.returncode != 0:
                self.wrong(f"{name} did not stop in order: {process.popen.poll()}\n{self._last_lines(process)}")
        self.grid._kill_all()
        left = self.grid.until_gone()
        if left:
            self.wrong(f"processes are left: {left}")

    def begin_again(self, name):
        """Have one process stop in order, and start it again."""
        self.falls(name, "restart", 0.0)
        self.grid.processes[name].send(signal.SIGTERM)
        self._wait(lambda: not self.falling and not self.up_at_s, 60.0, f"{name} is started again")

    def _threads(self):
        return [*self.feeders.values(), *self.meddlers.values()]

    def _wait(self, condition, within_s, what, story=lambda: ""):
        """Go on until a condition holds; return whether it did within so many seconds."""
        deadline = self.now_s + within_s
        while not condition():
            if self.now_s > deadline:
                self.wrong(f"in vain for {within_s:g} s: {what}{story()}")
                return False
            self.turn()
        return True

    def _is_settled(self):
        self._count()
        return all(
            one.counts and not one.open_jobs and sum(one.counts.values()) >= len(self.feeders[name].parcels)
            for name, one in self.ventilators.items()
        )

    def _story(self):
        """Say what still waits, and what each ventilator says of it."""
        lines = []
        for name, one in self.ventilators.items():
            counts = {State(state).name.lower(): jobs for state, jobs in one.counts.items()}
            status = self.grid.status(one.address)
            short = {key: status.get(key) for key in ("waiting", "paused", "paused_chains", "counts", "sinks")}
            workers = [
                {key: worker.get(key) for key in ("name", "state", "sent", "finished", "running")}
                for worker in status.get("workers", [])
            ]
            statement = "SELECT seq, uri, state, failures, due_ms FROM jobs WHERE state IN (0, 1) LIMIT 10"
            jobs = query(one.ledger, statement)
            fed = len(self.feeders[name].parcels)
            lines.append(
                f"\n  {name}: {fed} were fed, {counts}, {len(one.unconfirmed)} files not accepted"
                f"\n    says {short}\n    workers {workers}\n    open {jobs}"
            )
        return "".join(lines)

    # -- a turn

    def turn(self):
        """Do what is due, and wait a moment."""
        now_s = self.now_s
        self._undo_due(now_s)
        self._supervise(now_s)
        self._hand_lists()
        if self._is_due("count", COUNT_EVERY_S):
            self._count()
        if self._is_due("look", LOOK_EVERY_S):
            if not self.over.is_set():
                self.vitals.look(now_s)
            for one in self.ventilators.values():
                one.confirm()
        if self._is_due("tell", TELL_EVERY_S):
            self._tell_progress()
        if self._is_due("tidy", TIDY_EVERY_S):
            for one in self.ventilators.values():
                one.tidy(self.flaky)
        self._poll.poll(TURN_MS)

    def _is_due(self, what, every_s):
        if self.now_s < self._due_s[what]:
            return False
        self._due_s[what] = self.now_s + every_s
        return True

    def _strike(self, fault):
        try:
            undo = self.strikes.strike(fault)
        except SkippedError as error:
            self.skipped[fault.kind, fault.part] += 1
            self.tell(f"{fault}: left out, {error}")
            return
        self.faults[fault.kind, fault.part] += 1
        self.tell(f"{fault}")
        if undo is not None:
            heapq.heappush(self._undo, (self.now_s + fault.lasts_s, next(self._numbers), fault, undo))

    def calm(self):
        """Undo every fault now."""
        self._undo_due(float("inf"))

    def _undo_due(self, until_s):
        while self._undo and self._undo[0][0] <= until_s:
            _, _, fault, undo = heapq.heappop(self._undo)
            undo()
            if fault.kind in {"lock", "fill", "readonly"}:
                self.trouble_until_s = self.now_s + TROUBLE_LASTS_S

    # -- processes

    def falls(self, name, how, down_s):
        """A process is about to be made to end, and stays down for a while."""
        self.falling[name] = Fall(how, down_s, self.now_s)

    def _supervise(self, now_s):
        for name, process in self.grid.processes.items():
            if process.alive:
                fall = self.falling.get(name)
                if fall is not None and now_s - fall.at_s > STOPS_WITHIN_S:
                    self.wrong(
                        f"{name} has not stopped {STOPS_WITHIN_S:g} s after SIGTERM\n{self._last_lines(process)}"
                    )
                    process.kill()
            elif name not in self.up_at_s:
                fall = self.falling.pop(name, None)
                self.stopped.discard(process.popen.pid)
                self._judge(name, process, fall)
                self.up_at_s[name] = now_s + (fall.down_s if fall else DOWN_S)
            elif now_s >= self.up_at_s[name]:
                del self.up_at_s[name]
                with self.at(name):
                    process.start()
                self._started(name)

    def _started(self, name):
        self.starts[name] += 1
        if name in self.ventilators:
            self.ventilators[name].started(self.grid.processes[name])

    def _judge(self, name, process, fall):
        """See that a process ended as it was made to, or had a reason that its sentence tells."""
        status, said = process.popen.returncode, process.text()[process.begun_at :]
        sentences = [line for line in said.splitlines() if line and not line.startswith("{")]
        if fall is not None and fall.how == "kill":
            return
        if fall is not None and (status == 0 or (status == -signal.SIGTERM and not said)):
            return
        troubled = self.troubles or self.now_s < self.trouble_until_s
        if troubled and status in (1, 2) and len(sentences) == 1 and sentences[0].startswith("zgrid: "):
            self.ends[sentences[0]] += 1
            self.tell(f"{name} ended with {status}: {sentences[0]}")
            return
        how = "after SIGTERM" if fall else "by itself"
        self.wrong(f"{name} ended {how} with {status}\n{self._last_lines(process)}")

    def _last_lines(self, process):
        lines = [line for line in process.text().splitlines()[-400:] if '"event":"job_' not in line]
        return "\n".join(f"    {line}" for line in lines[-LAST_LINES:])

    # -- work

    def _hand_lists(self):
        for name, one in self.ventilators.items():
            one.hand_list(self.grid.processes[name])

    def _count(self):
        for one in self.ventilators.values():
            one.count(self.grid)
        closed = sum(sum(one.counts.values()) - one.open_jobs for one in self.ventilators.values())
        now_s = self.now_s
        if closed != self._closed or not any(one.open_jobs for one in self.ventilators.values()):
            self._closed, self._progress_at_s = closed, now_s
        elif now_s - self._progress_at_s > self.longest_stall_s:
            self.longest_stall_s, self.stalled_at_s = now_s - self._progress_at_s, self._progress_at_s

    def _tell_progress(self):
        open_jobs = sum(one.open_jobs for one in self.ventilators.values())
        self.tell(f"{self._closed} jobs closed, {open_jobs} open, {len(self.problems)} problems")


def space_of(seconds):
    """Return the bytes of the small disks of a run, by name."""
    ledger = LEDGER_BYTES + round(seconds * LEDGER_BYTES_PER_S)
    return {**dict.fromkeys(VENTILATORS, ledger), SINK: SINK_BYTES + round(seconds * SINK_BYTES_PER_S)}


def log_files(folder):
    """Return the logs of a run."""
    return sorted(Path(folder).glob("*.jsonl"))


def came_and_went(before, after):
    """Say which workers have other lanes than before, or none; each: name of a ventilator -> worker -> lane."""
    return [
        f"lanes of {name} changed although nothing happened: {before[name]} -> {after[name]}"
        for name in before
        if before[name] != after[name]
    ]
