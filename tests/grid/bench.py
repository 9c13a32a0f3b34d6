"""A grid whose processes can be struck at any step, fed with images as often as a test wants, and checked each time."""

import os
import signal
import time
from collections import Counter
from datetime import datetime
from pathlib import Path

import photographs
import steps
from harness import free_port, query
from steps import Action, Charge

from zgrid.protocol.job import OPEN, State

HERE = Path(__file__).parent
BEAT_S = 0.1
QUICK = {"beat_interval_ms": round(BEAT_S * 1000), "beats_missed_max": 5}
"""Settings of a ventilator that notices silence after half a second."""

KEPT, DROPPED = 10, 2
"""Images of one feed: those with a picture, and those that the filter discards."""

WITHIN_S = 60.0
"""Several grids at a time share the machine."""

FINISHED_EVENTS = frozenset({"finished", "discarded"})


class Bench:
    """A grid of its own, with these ``workers``, and a ventilator with these settings besides ``QUICK``."""

    def __init__(self, grid, workers=("w1",), **ventilator):
        self.grid = grid
        self.workers = workers
        if grid.program == ("-m", "zgrid"):
            grid.program = (str(HERE / "at_step.py"),)
        self.steps = grid.folder / "steps"
        steps.prepare(self.steps)
        path = self.grid.environment["PYTHONPATH"]
        self.grid.environment |= {"PYTHONPATH": f"{HERE}{os.pathsep}{path}", steps.FOLDER: str(self.steps)}
        self._fed = {}
        self._list, self._list_end = os.pipe()
        self._settings = {"filter": ["marked:work_ms=10"], **QUICK, **ventilator}
        self.ventilator()
        self.grid.sink(intake_port=free_port())
        for name in self.workers:
            self.grid.worker(name, filter_module=["filters_for_tests", "at_step"])
        self.grid.until_joined(*self.workers, within_s=WITHIN_S)

    def ventilator(self, **settings):
        """Start the ventilator, in whatever it differs from the one before."""
        return self.grid.ventilator("-", stdin=self._list, **{**self._settings, **settings})

    def end(self, *, failed):
        """End the grid; see ``Grid.end``."""
        self.close()
        self.grid.end(failed=failed)

    def close(self):
        """Close the ventilator's standard input."""
        os.close(self._list_end)
        os.close(self._list)

    # -- images

    def feed(self, name, kept=KEPT, dropped=DROPPED, *, strike=None):
        """Offer some new images; return their URIs with the size of the picture that each will have, or None.

        ``strike``: the step to be armed before, and what happens there.
        """
        self.grid.until_joined(*self.workers, within_s=WITHIN_S)
        if strike:  # not sooner: a ventilator that is stopped already cannot say who has joined
            steps.arm(self.steps, *strike)
        folder = self.grid.folder / name
        fed = {}
        for number in range(kept + dropped):
            size = 2000 + number if number < kept else None
            words = f"picture {size}" if size else "discard nobody"
            (path,) = photographs.tiny(folder, 1, words, name=f"{number:03d}")
            fed[path.as_uri()] = size
        self._fed |= fed
        self.offer(fed)
        return fed

    def offer(self, uris):
        """Write paths to the ventilator's standard input; those that it knows are passed over."""
        paths = "".join(uri.removeprefix("file://") + "\0" for uri in uris)
        os.write(self._list_end, paths.encode())

    # -- faults

    def undisturbed(self, fed_as):
        """Leave the grid in peace; return the names of the steps that were passed."""
        self.feed(fed_as)
        self.settle()
        self.check()
        return steps.seen(self.steps)

    def killed_at(self, step, fed_as):
        """Kill who passes the step, have it started again, and see that all is well; return times in ms."""
        fed = self.feed(fed_as, strike=(step, Action.KILL))
        strike = self._until_struck(step)
        self.grid.until(lambda: is_dead(strike.pid), WITHIN_S, "it dies")
        began_ms = self._revive(strike)
        if step.role == "ventilator":
            self.offer(fed)
        self.settle()
        self.check()
        self._check_charges(step, fed)
        return self._times_of_kill(step, strike, began_ms) | {"sent again": self.sent_again(fed)}

    def stopped_at(self, step, fed_as, for_s):
        """Stop who passes the step for some time, and see that all is well; return times in ms."""
        fed = self.feed(fed_as, strike=(step, Action.STOP))
        strike = self._until_struck(step)
        until_s = strike.at_s + for_s
        self.grid.until(lambda: time.monotonic() >= until_s, for_s + 1.0, "the time of the stop is over")
        went_on_ms = now_ms()
        os.kill(strike.pid, signal.SIGCONT)
        self.settle()
        self.check()
        if step.role != "worker":
            assert not self.charged(fed), f"{step.name}: charged for a stop: {self.charged(fed)}\n{self.grid.tails()}"
        return self._times_of_stop(strike, went_on_ms) | {"sent again": self.sent_again(fed)}

    def sent_again(self, fed):
        """Return how many of these images were sent to workers more than once."""
        seqs = {seq for uri, seq in query(self.grid.ledger, "SELECT uri, seq FROM jobs") if uri in fed}
        sent = Counter(seq for one in self.grid.history() if one.event == "sent" for seq in one.seqs if seq in seqs)
        return sum(times > 1 for times in sent.values())

    def _until_struck(self, step):
        return self.grid.until(lambda: steps.struck(self.steps, step), WITHIN_S, f"somebody passes {step.name}")

    def _revive(self, strike):
        """Start the process again that was killed, unless it is a child, which its agent starts; return when, in ms."""
        for process in self.grid.processes.values():
            if process.popen.pid == strike.pid:
                process.wait()
                began_ms = now_ms()
                process.start()
                return began_ms
        return strike.at_ms

    # -- checks

    def settle(self):
        """Wait until all that was ever fed is settled."""

        def settled():
            counts = self.grid.counts()
            return sum(counts.values()) == len(self._fed) and not any(counts[state] for state in OPEN)

        self.grid.until(settled, WITHIN_S, f"all {len(self._fed)} are settled")

    def check(self):
        """See that everything is there exactly once and whole."""
        kept = {uri: size for uri, size in self._fed.items() if size}
        counts = self.grid.counts()
        told = f"\n{self.grid.tails()}"
        assert counts[State.STORED] == len(kept), told
        assert counts[State.DISCARDED] == len(self._fed) - len(kept), told
        rows = self.grid.rows()
        assert rows.keys() == kept.keys(), f"rows without an image, or images without a row{told}"
        for uri, (_, picture) in rows.items():
            data = (self.grid.pictures_folder / picture).read_bytes()
            assert data == b"p" * kept[uri], f"the picture of {uri} is not whole{told}"
        named = {picture for _, picture in rows.values()}
        self.grid.until(lambda: self.grid.pictures() == named, what="no picture is without a row")

    def charged(self, fed):
        """Return URI -> charged attempts of those of the images that have any."""
        found = query(self.grid.ledger, "SELECT uri, failures FROM jobs WHERE failures > 0")
        return {uri: failures for uri, failures in found if uri in fed}

    def _check_charges(self, step, fed):
        charged = self.charged(fed)
        most = {Charge.NOBODY: 0, Charge.ITS_JOB: 1, Charge.LANE_ORDER: 1}[step.charge]
        least = 1 if step.charge is Charge.ITS_JOB else 0
        told = f"{step.name}: {charged}\n{self.grid.tails()}"
        assert least <= len(charged) <= most, f"charged to the wrong number of jobs: {told}"
        assert all(failures == 1 for failures in charged.values()), f"charged more than once: {told}"

    # -- times

    def _times_of_kill(self, step, strike, began_ms):
        history = [one for one in self.grid.history() if one.at_ms >= strike.at_ms]
        sent = [one.at_ms for one in history if one.event == "sent" and one.at_ms >= began_ms]
        stored = [one.at_ms for one in history if one.event == "stored" and one.at_ms >= began_ms]
        if step.role == "worker":
            lost = {seq for one in history if one.event == "lost" for seq in one.seqs}
            again = [one.at_ms for one in history if one.event == "sent" and lost.intersection(one.seqs)]
            return {"killed -> its jobs sent elsewhere": max(again) - strike.at_ms} if again else {}
        if step.role == "child":
            again = [one.at_ms for one in history if one.event in FINISHED_EVENTS]
            return {"killed -> next job done by its successor": min(again) - strike.at_ms} if again else {}
        if step.role == "sink":
            return {"started -> first ack": min(stored) - began_ms} if stored else {}
        return {"started -> first job sent": min(sent) - began_ms} if sent else {}

    def _times_of_stop(self, strike, went_on_ms):
        silent = {"worker_silent", "sink_gone", "ventilator_gone"}
        noticed = [
            at_ms
            for process in self.grid.processes.values()
            for line in process.lines()
            if line["event"] in silent and strike.at_ms <= (at_ms := happened_ms(line)) < went_on_ms
        ]
        after = [
            one.at_ms
            for one in self.grid.history()
            if one.event in FINISHED_EVENTS | {"stored"} and one.at_ms >= went_on_ms
        ]
        times = {"stopped -> noticed": min(noticed) - strike.at_ms} if noticed else {}
        return {**times, "goes on -> next job settled": min(after) - went_on_ms} if after else times


def tell(record_property, fault, measured):
    """Put what a test has measured where a person finds it: into the report, and on standard output (pytest -rP)."""
    for what, value in measured.items():
        record_property(f"{fault}: {what}", value)
        print(f"measured  {fault:45} {what:45} {value}")


def is_dead(pid):
    """Whether a process is gone, or is only waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def now_ms():
    """Return the wall clock, as the ledger's history has it."""
    return time.time_ns() // 1_000_000


def happened_ms(line):
    """Return when that happened of which a line tells, which may have been held back."""
    return ms_of(line) - round(line.get("ago_s", 0.0) * 1000)


def ms_of(line):
    """Return the time of a line of a log, as the wall clock's ms."""
    return round(datetime.fromisoformat(line["time"]).timestamp() * 1000)
