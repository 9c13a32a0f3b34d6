"""Everything on one machine: the real roles as processes of their own, over sockets in a private folder."""

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from zgrid.errors import EXIT_BURIED, EXIT_OK, EXIT_SETTINGS, EXIT_SIGNAL, SettingsError, ZGridError
from zgrid.filters import detector_advice, is_detector_weak, parse_steps
from zgrid.protocol.job import State
from zgrid.roles.household import Member
from zgrid.roles.signals import Signals
from zgrid.roles.supply import SCAN
from zgrid.roles.trial import problem_of
from zgrid.settings import RunSettings, SinkSettings, VentilatorSettings, WorkerSettings
from zgrid.sources import roots_of
from zgrid.store.folder import make_folder
from zgrid.store.ledger import Ledger
from zgrid.store.lock import FileLock
from zgrid.transport.client import Client
from zgrid.transport.clock import now as clock_now
from zgrid.transport.clock import wall_ms
from zgrid.transport.loop import Loop

CHILDREN = ("child_network", "child_read", "child_write", "child_memory_bytes_max", "child_cpu_ms")
"""Settings that its worker gets as they are."""
ASK_EVERY_S = 0.25
STOP_S_MAX = 30.0
"""How long each process may take to end in order; the ledger has whatever it could not finish."""

SETTLED = (State.STORED, State.DISCARDED, State.BURIED)

SINK_S_MAX = 60.0
"""How long a run with nothing new waits for its sink to answer once: on a busy machine it takes seconds to start."""

BURIED_SHOWN_MAX = 10

BURIED_AT_ONCE = 10_000
"""How many buried jobs are changed in one commit."""

SOCKETS_BYTES_MAX = 92
"""The name of a Unix socket has room for 107 bytes, and lanes have longer ones than those of their ventilator."""


@dataclass
class Standing:
    """How a run stands: numbers of images, faces, per second, and of what is not settled.

    ``unread``: of those passed over, how many could not be looked at; ``waiting``: sentences of what it waits for;
    ``scanning``: more images may be found.
    """

    accepted: int = 0
    settled: int = 0
    stored: int = 0
    discarded: int = 0
    buried: int = 0
    faces: int = 0
    passed_over: int = 0
    unread: int = 0
    rate_per_s: float = 0.0
    scanning: bool = True
    waiting: list[str] = field(default_factory=list)

    @property
    def left(self) -> int:
        """How many of those that were found are not settled."""
        return self.accepted - self.settled


@dataclass
class Summary:
    """What a run has come to. ``new``: settled in this run.

    ``buried_why`` and ``unread_why``: (uri, reason) of some of the buried, and of some that could not be looked at;
    ``notes``: sentences about what was lost before, and what would have found more faces.
    """

    standing: Standing
    new: int
    seconds: float
    out: Path
    interrupted: bool
    buried_why: list[tuple[str, str]]
    unread_why: list[tuple[str, str]]
    notes: list[str]


class View(Protocol):
    """Where a run shows how far it is."""

    def show(self, standing: Standing) -> None:
        """Show how it stands; called several times a second."""

    def stopping(self) -> None:
        """Say that it was told to stop, and finishes what has begun."""

    def end(self, summary: Summary) -> None:
        """Show what it has come to."""


def _sockets() -> tempfile.TemporaryDirectory[str]:
    """Make the folder of the sockets. Raises SettingsError where its path is too long for the names of any."""
    folder = tempfile.TemporaryDirectory(prefix="zgrid-")
    if len(os.fsencode(folder.name)) > SOCKETS_BYTES_MAX:
        folder.cleanup()
        where = f"the temporary directory {tempfile.gettempdir()}"
        raise SettingsError(f"the path of {where} is too long for sockets: set TMPDIR to another")
    return folder


def run(settings: RunSettings, view: View) -> int:
    """Run a grid on this machine until everything is settled, or until told to stop; return the exit status.

    Raises SettingsError where it cannot start, and ZGridError where one of its processes cannot live.
    """
    with ExitStack() as stack:
        return Run(settings, view, stack).run()


class Run:
    """One run. ``stack`` ends what it starts."""

    def __init__(self, settings: RunSettings, view: View, stack: ExitStack) -> None:
        self.settings = settings
        self.view = view
        self.loop = Loop()
        stack.callback(self.loop.close)
        self.signals = Signals(self.loop.wake, hangup=True)
        stack.callback(self.signals.restore)
        # With a module of its own the worker may know more filters than this process does.
        steps = parse_steps(settings.filter, checked=not settings.filter_module)
        advice = detector_advice() if is_detector_weak() and any(step.name == "faces" for step in steps) else None
        self.notes = [advice] if advice else []
        self.chain = " ".join(map(str, steps))
        self.out = settings.out.absolute()
        if {"?", "%"} & set(str(self.out)):
            raise SettingsError(f"--out {self.out}: the URL of a database can have no ? and no %: name another folder")
        logs = self.out / "logs"
        make_folder(logs, "--out")
        lock = FileLock(self.out / ".lock", f"another run uses {self.out}: wait for it, or give another --out")
        stack.callback(lock.close)
        sockets = stack.enter_context(_sockets())
        self.address = f"ipc://{sockets}/v"
        self.sink_address = f"ipc://{sockets}/s"
        self._try_chain()
        self.ledger = self.out / "ledger.sqlite"
        if settings.retry_buried:
            self._retry_buried()
        self.before = self._counts()
        self._note_lost()
        self.members: list[Member] = []
        stack.callback(self._end_all)
        for role, arguments in self._arguments().items():
            stdin = role == "ventilator" and "-" in settings.sources
            self.members.append(Member(role, arguments, logs / f"{role}.jsonl", stdin=stdin))
        self.clients = [stack.enter_context(Client(address)) for address in (self.address, self.sink_address)]
        self.standing = Standing()
        self.began = clock_now()
        self.status: int | None = None
        self.sink_began = False
        self.interrupted = False
        self.error: ZGridError | None = None

    def run(self) -> int:
        """Turn until settled or told to stop; show the end; return the exit status."""
        self.loop.every(ASK_EVERY_S, self._look)
        self.loop.on_wake(self._woken)
        self.loop.run()
        if self.error is not None:
            raise self.error
        self._stop_in_order()
        for member in self.members:
            if member.process.returncode == EXIT_SETTINGS:
                raise SettingsError(member.last_words())
        self._close_replaced()
        counts = self._counts()
        self._count(counts)
        unread_why = self._passed_over()
        new = sum(counts[state] - self.before[state] for state in SETTLED)
        seconds = clock_now() - self.began
        whys = (self._buried(), unread_why)
        self._note_other_chains()
        summary = Summary(self.standing, new, seconds, self.out, self.interrupted, *whys, self.notes)
        self.view.end(summary)
        if self.status not in (None, EXIT_OK, EXIT_BURIED):
            return self.status
        if self.standing.left or self.standing.scanning:  # interrupted: what is not settled goes on at the next run
            return EXIT_SIGNAL + (self.signals.first or signal.SIGTERM)  # which somebody else told the ventilator
        return EXIT_BURIED if counts[State.BURIED] or self.standing.unread else EXIT_OK

    def _arguments(self) -> dict[str, list[str]]:
        """Return the command line of each role."""
        settings = self.settings
        common = self._common()
        chain = {
            name: getattr(settings, name)
            for name in ("sources", "filter", "ttr_ms", "attempts_max", "job_bytes_max", "by_reference", "once")
        }
        places = {"bind": self.address, "sink": [self.sink_address], "ledger": self.ledger}
        # Its window has no option here, so that it must fit any time to run.
        window_ms = min(settings.ttr_ms, VentilatorSettings.model_fields["window_ms"].default)
        ventilator = VentilatorSettings.model_validate({**common, **chain, **places, "window_ms": window_ms})
        worker = self._worker()
        sink = SinkSettings.model_validate({**common, "bind": self.sink_address, "pictures": self.out / "pictures"})
        return {"sink": sink.arguments(), "ventilator": ventilator.arguments(), "worker": worker.arguments()}

    def _try_chain(self) -> None:
        """Refuse a chain that no child can run, where they alone know all filters.

        What was accepted for it would wait for ever, and so would the same images with another chain in the next run.
        """
        modules = self.settings.filter_module
        if modules and (problem := problem_of(self.chain, self._worker(), lambda: self.signals.asked > 0)):
            raise SettingsError(f"{problem} (with --filter-module {' and '.join(modules)})")

    def _worker(self) -> WorkerSettings:
        """Return the settings of its worker."""
        settings = self.settings
        # The sources are this user's own, and so are links in them: they lead where the search for images went.
        hands = {name: getattr(settings, name) for name in ("procs", "filter_module", *CHILDREN)}
        allow = {"allow": roots_of(settings.sources) if settings.by_reference else [], "allow_links": True}
        return WorkerSettings.model_validate({**self._common(), **hands, **allow, "ventilators": [self.address]})

    def _common(self) -> dict[str, Any]:
        return {"log_level": self.settings.log_level, "name": "run"}

    # -- while it runs

    def _look(self) -> None:
        try:
            statuses = {member.role: member.watch() for member in self.members}
        except ZGridError as error:
            self.error = error
            self.loop.stop()
            return
        if statuses["ventilator"] is not None:
            self.status = statuses["ventilator"]
            self.standing.scanning = False
            if self.sink_began:  # else it may be one that cannot, which nobody has noticed who had nothing for it
                self.loop.stop()
                return
            if clock_now() - self.began > SINK_S_MAX:
                self.error = ZGridError(f"the sink does not answer: see {self.out / 'logs' / 'sink.jsonl'}")
                self.loop.stop()
                return
        self._ask()
        self.view.show(self.standing)

    def _ask(self) -> None:
        answers: list[dict[str, Any]] = []
        for client in self.clients:
            with contextlib.suppress(ZGridError):  # not up yet, or just being started again
                answers.append(client.ask({"what": "status"}, timeout_ms=100))
        self.standing.waiting = [sentence for answer in answers for sentence in answer["waiting"]]
        for answer in answers:
            if answer.get("role") == "sink":
                self.sink_began = True
                self.standing.faces = max(self.standing.faces, int(answer["faces"]))
                continue
            self._count({State[name.upper()]: number for name, number in answer["counts"].items()})
            self.standing.rate_per_s = answer["rate_per_s"]
            self.standing.scanning = answer["scanning"]
            self.standing.passed_over, self.standing.unread = answer["passed_over"], answer["unread"]

    def _count(self, counts: dict[State, int]) -> None:
        standing = self.standing
        standing.stored, standing.discarded = counts[State.STORED], counts[State.DISCARDED]
        standing.buried = counts[State.BURIED]
        standing.settled = standing.stored + standing.discarded + standing.buried + counts[State.CANCELLED]
        standing.accepted = sum(counts.values())

    def _woken(self) -> None:
        if self.signals.asked:
            self.interrupted = True
            self.view.stopping()
            self.loop.stop()

    # -- the end

    def _stop_in_order(self) -> None:
        """End the worker first, then wait for the sink to have stored what it made, then end the others."""
        self._ask()
        by_role = {member.role: member for member in self.members}
        by_role["worker"].end(STOP_S_MAX, self._is_hurried)
        if self.status is None:
            self._await_sink()
        for role in ("sink", "ventilator"):
            by_role[role].end(STOP_S_MAX, self._is_hurried)

    def _is_hurried(self) -> bool:
        """Whether it was told twice to stop: what is not done then is done at the next run."""
        return self.signals.asked > 1

    def _await_sink(self) -> None:
        """Wait until no result is on its way, at most a few seconds: what is lost now is only done again."""
        deadline = clock_now() + 5.0
        while clock_now() < deadline and not self._is_hurried():
            try:
                if not self.clients[0].ask({"what": "status"}, timeout_ms=500)["counts"]["finished"]:
                    return
            except ZGridError:
                return

    def _end_all(self) -> None:
        """End whatever still lives: only after an error."""
        for member in self.members:
            if member.process.poll() is None:
                member.process.terminate()
        for member in self.members:
            member.end(5.0)

    def _counts(self) -> dict[State, int]:
        """Return how many jobs of the ledger are in each state. It is made if it is not there.

        That the disk has no room for it is better said here than by a ventilator, whose log is on the same disk.
        """
        with closing(Ledger(self.ledger)) as ledger:
            return {**dict.fromkeys(State, 0), **ledger.counts()}

    def _retry_buried(self) -> None:
        """Make everything ready that is buried, with all its attempts, before a ventilator has the ledger."""
        with closing(Ledger(self.ledger)) as ledger:
            for seqs in _buried_in(ledger):
                ledger.kick(seqs, wall_ms())
                ledger.record("kicked", seqs, wall_ms(), note="--retry-buried")
                ledger.commit()

    def _close_replaced(self) -> None:
        """Cancel what is buried of files that were replaced since and are done: trying them again can mend nothing."""
        why = "the file was replaced, and is done"
        with closing(Ledger(self.ledger)) as ledger:
            for seqs in _buried_in(ledger):
                if replaced := [seq for seq in seqs if _is_replaced(ledger, seq)]:
                    ledger.close_by_hand(replaced, State.CANCELLED, wall_ms(), why)
                    ledger.record("cancelled", replaced, wall_ms(), note=why)
                    ledger.commit()

    def _note_lost(self) -> None:
        """Note what is not there any more though images were stored in it; the sink makes it anew, and empty."""
        for name in ("results.sqlite", "pictures"):
            stored = self.before[State.STORED]
            if stored and not (self.out / name).exists():
                lost = f"{self.out / name} was gone, and with it what was stored of {stored} image{'s' * (stored != 1)}"
                self.notes.append(f"{lost}: put a copy back, or do them again with another --out")

    def _note_other_chains(self) -> None:
        """Note how many images were settled with other filters than those of this run: they are not done again."""
        with closing(Ledger(self.ledger)) as ledger:
            texts, counts = ledger.chain_texts(), ledger.chain_counts()
        settled = {texts[chain]: sum(by_state.get(state, 0) for state in SETTLED) for chain, by_state in counts.items()}
        others = {text: number for text, number in settled.items() if number and text != self.chain}
        if others:
            jobs = sum(others.values())
            which, them = ("1 image here was", "it") if jobs == 1 else (f"{jobs} images here were", "them")
            done = f"{which} settled with another chain ({'; '.join(others)})"
            self.notes.append(f"{done}: another --out does {them} with this one ({self.chain})")

    def _passed_over(self) -> list[tuple[str, str]]:
        """Take what the search passed over from the ledger, where it was ended; return why some could not be read."""
        if self.interrupted:
            return []
        with closing(Ledger(self.ledger)) as ledger:
            found = ledger.recall(SCAN) or {}
        self.standing.passed_over, self.standing.unread = found.get("passed_over", 0), found.get("unread", 0)
        return [(uri, reason) for uri, reason in found.get("unread_first", [])]

    def _buried(self) -> list[tuple[str, str]]:
        if not self.standing.buried:
            return []
        with closing(Ledger(self.ledger)) as ledger:
            return [(found.uri, found.reason or "") for found in ledger.listed(State.BURIED, BURIED_SHOWN_MAX)]


def _buried_in(ledger: Ledger) -> Iterator[list[int]]:
    """Yield the numbers of what is buried, so many at a time as one commit takes."""
    seqs = [0]
    while seqs := ledger.pick(State.BURIED, None, None, seqs[-1], BURIED_AT_ONCE):
        yield seqs


def _is_replaced(ledger: Ledger, seq: int) -> bool:
    """Whether a later version of a job's file is stored or discarded."""
    job = ledger.find(str(seq))
    newest = None if job is None else ledger.find(job.uri)
    return newest is not None and newest.seq > seq and newest.state in (State.STORED, State.DISCARDED)
