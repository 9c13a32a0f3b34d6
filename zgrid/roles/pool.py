"""The worker's pool of child processes that run filters: a chunk of jobs in, results out, whatever becomes of a child.

One thread, and nothing waits: register ``Pool.fileno()`` for reading with any poller, and call ``service()`` when it
is readable or ``wake_at()`` has come. Start the pool from the thread that lives as long as the process: the kernel
kills the children when the thread that started them ends, which is how none of them outlives its agent.
"""

import select
import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from zgrid.protocol.assignment import Returned
from zgrid.protocol.limits import BATCH_JOBS_MAX
from zgrid.roles.link import ChildError, Kind, Made, pack, read_made, read_ready
from zgrid.roles.member import Chunk, Member, Progress
from zgrid.roles.report import read_report
from zgrid.roles.sandbox import Sandbox

START_S_MAX = 60.0
"""A child that has not said in this time that it is ready is killed; a cold cache over a slow network takes ten."""

LINK_CLOSED_S_MAX = 5.0
"""A child that closed its socket is about to end; one that does not is killed. To end with a gigabyte of memory takes
seconds on a busy machine, and how it has ended says whether a job is to blame."""

_READ, _BOTH = select.EPOLLIN, select.EPOLLIN | select.EPOLLOUT


@dataclass(frozen=True, slots=True)
class Ready:
    """A child has started and warmed up: it takes jobs now.

    ``filters`` (name to version) can run in it, ``missing`` (name to why) cannot; ``chains`` is what it made of each.
    ``exposed``: what the kernel would not keep from it.
    """

    child: int
    pid: int
    filters: dict[str, str]
    missing: dict[str, str]
    chains: list[Made]
    exposed: list[str]


@dataclass(frozen=True, slots=True)
class ChainMade:
    """A child that was ready has built a chain it was told of, or says why it cannot."""

    child: int
    made: Made


@dataclass(frozen=True, slots=True)
class Results:
    """Jobs that a child has done, in the order given to it: ``tokens[i]`` belongs to entry i of ``returned``."""

    child: int
    tokens: list[int]
    returned: Returned


@dataclass(frozen=True, slots=True)
class Died:
    """A child is gone; another takes its place after ``again_in_s`` (None: the pool is stopping).

    ``started_token`` is the job to blame: the one under way, None if there was none. ``rest`` are the other jobs it
    had: to be done again, and not to blame. ``signal`` or ``exit`` says how it ended, ``killed_because`` why if it was
    this pool that killed it, ``stderr_tail`` the last it wrote. ``was_ready`` is false for a death in start-up.
    With ``pid`` 0 the child could not even be started.
    """

    child: int
    pid: int
    exit: int | None
    signal: int | None
    started_token: int | None
    rest: list[int]
    stderr_tail: str
    killed_because: str | None
    was_ready: bool
    again_in_s: float | None


PoolEvent = Ready | ChainMade | Results | Died


class Backoff:
    """When to replace a child: at once, but ever more slowly while children die before they have begun any job."""

    DEATHS = 3
    WITHIN_S = 10.0
    DELAY_S_MAX = 30.0

    def __init__(self) -> None:
        self._deaths: deque[float] = deque(maxlen=self.DEATHS)
        self._delay_s = 0.0

    def died_early(self, now: float) -> float:
        """Note that a child died before it began a job; return the seconds to wait before the next one starts."""
        self._deaths.append(now)
        if self._delay_s or (len(self._deaths) == self.DEATHS and now - self._deaths[0] <= self.WITHIN_S):
            self._delay_s = min(max(1.0, self._delay_s * 2), self.DELAY_S_MAX)
        return self._delay_s

    def worked(self) -> None:
        """Note that a child gave a result: whatever was wrong is not wrong any more."""
        self._deaths.clear()
        self._delay_s = 0.0


class Pool:
    """``procs`` children, numbered from 0, each replaced under its number when it dies.

    ``chains``: number to text of the chains known from the start. ``filters``: modules that each child imports first;
    they may register filters. ``sandbox``: what a child may do. It reads images by reference only below the paths
    ``allow``, following links out of them where ``links`` says so.
    """

    def __init__(
        self,
        procs: int,
        *,
        chains: dict[int, str],
        filters: Sequence[str] = (),
        sandbox: Sandbox | None = None,
        allow: Sequence[str] = (),
        links: bool = False,
    ) -> None:
        self._chains = dict(chains)
        self._arguments = [f"--filters={module}" for module in filters]
        self._arguments += [f"--allow={path}" for path in allow] + ["--links"] * links
        self._arguments += (sandbox or Sandbox()).arguments()
        self._members: list[Member | None] = [None] * procs
        self._start_at: dict[int, float] = {}
        self._backoff = Backoff()
        self._stop_at: float | None = None
        self._epoll = select.epoll()
        self._watched: dict[int, tuple[Member, str]] = {}
        self._events: list[PoolEvent] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, now: float) -> None:
        """Start every child. Raises OSError when a process cannot be started."""
        for slot in range(len(self._members)):
            self._start(slot, now)

    def fileno(self) -> int:
        """Return the one descriptor to poll for reading; it stays the same while children come and go."""
        return self._epoll.fileno()

    def wake_at(self) -> float | None:
        """Return the monotonic time at which service() has something to do though nothing is readable, or None."""
        times = list(self._start_at.values())
        for member in filter(None, self._members):
            if member.killed_because is not None:
                continue  # its death will be readable
            if not member.ready:
                times.append(member.began_at + START_S_MAX)
            if member.ended_link_at is not None:
                times.append(member.ended_link_at + LINK_CLOSED_S_MAX)
            if self._stop_at is not None:
                times.append(self._stop_at)
        return min(times, default=None)

    @property
    def alive(self) -> int:
        """How many child processes there are now."""
        return sum(member is not None for member in self._members)

    def chain(self, chain: int, text: str) -> None:
        """Tell every child, and those to come, what chain number ``chain`` is. Holds for chunks assigned after it."""
        self._chains[chain] = text
        for member in filter(None, self._members):
            member.send(pack((Kind.CHAIN, chain, text)))
            self._watch_link(member)

    def assign(self, child: int, chunk: Chunk) -> bool:
        """Give a child jobs to run in order; images are copied before this returns, and nothing waits for the child.

        At most BATCH_JOBS_MAX jobs. Return False, and take none of them, if that child is not ready: it may have died
        since its last event was made. Jobs that a dying child was given come back in Died.
        """
        jobs = len(chunk.uris)
        assert 0 < jobs <= BATCH_JOBS_MAX, f"a chunk has 1 to {BATCH_JOBS_MAX} jobs, not {jobs}"
        member = self._members[child]
        if member is None or not member.ready:
            return False
        member.assign(chunk)
        self._watch_link(member)
        return True

    def progress(self, child: int, now: float) -> Progress:
        """Return where a child is. One whose counters cannot be true is killed, and Died follows."""
        member = self._members[child]
        if member is None:
            return Progress(None, now, now, 0, None, 0)
        try:
            return member.progress(now)
        except ChildError as error:
            _distrust(member, error)
            return Progress(None, now, now, 0, None, len(member.tokens))

    def kill(self, child: int, why: str, token: int | None = None) -> bool:
        """Kill a child; Died follows with ``why``, blaming the job that it runs now. Return whether it was done.

        With ``token``, only if it still runs that job: between seeing that a job overran and killing for it, the child
        may have gone on to another. A child that is stuck between jobs is killed without one.
        """
        member = self._members[child]
        if member is None:
            return False
        try:
            running = member.running()
        except ChildError as error:
            _distrust(member, error)
            return True
        if token is not None and running != token:
            return False
        member.kill(why, running)
        return True

    def service(self, now: float) -> list[PoolEvent]:
        """Do whatever can be done without waiting, and return what has happened, in order."""
        dead = []
        for fd, _ in self._epoll.poll(0):
            member, what = self._watched[fd]
            if what == "link":
                member.flush()
                self._receive(member, now)
                self._watch_link(member)
            elif what == "stderr":
                if not member.listen():
                    self._unwatch(fd)
            else:
                dead.append(member)
        for member in dead:
            self._bury(member, now)
        self._keep_time(now)
        events, self._events = self._events, []
        return events

    def stop(self, now: float, within_s: float) -> None:
        """Ask every child to end after the job it is at; those that have not in ``within_s`` seconds are killed.

        Go on calling service() until ``alive`` is 0: each child's end is a Died, with the jobs that it leaves.
        """
        self._stop_at = now + within_s
        self._start_at.clear()
        for member in filter(None, self._members):
            member.ask_to_stop()
            self._watch_link(member)

    def close(self) -> None:
        """Kill whatever still lives, wait until it is gone, and give everything back. Safe to call twice."""
        self._start_at.clear()
        for slot, member in enumerate(self._members):
            if member is not None:
                member.kill("the pool was closed", None)
                member.reap()
                member.close()
                self._members[slot] = None
        self._watched.clear()
        self._epoll.close()

    def rss_bytes(self) -> dict[int, int]:
        """Return the memory in core of each living child."""
        return {member.slot: member.rss_bytes() for member in self._members if member is not None}

    def _start(self, slot: int, now: float) -> None:
        member = Member(slot, self._arguments, list(self._chains.items()), now)
        self._members[slot] = member
        for fd, what in ((member.link.fileno(), "link"), (member.stderr, "stderr"), (member.pidfd, "pid")):
            self._watched[fd] = (member, what)
            self._epoll.register(fd, _READ)
        self._watch_link(member)

    def _watch_link(self, member: Member) -> None:
        """Poll a child's socket for what it needs now: writing only while something is unsent, nothing once closed."""
        fd = member.link.fileno()
        if fd not in self._watched:
            return
        if member.ended_link_at is not None:
            self._unwatch(fd)
        elif member.wants_write != member.polled_for_write:
            member.polled_for_write = member.wants_write
            self._epoll.modify(fd, _BOTH if member.wants_write else _READ)

    def _unwatch(self, fd: int) -> None:
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def _receive(self, member: Member, now: float, *, to_end: bool = False) -> None:
        if not member.trusted:
            return
        try:
            member.receive(lambda header, body: self._accept(member, header, body), now, to_end=to_end)
        except ChildError as error:
            _distrust(member, error)

    def _accept(self, member: Member, header: list[Any], body: memoryview) -> None:
        """Take one message of a child; raises ChildError for one that it must not send."""
        kind = header[0]
        if kind == Kind.DONE and member.ready:
            returned = read_report(header, body, len(member.tokens))
            self._events.append(Results(member.slot, member.settle(len(returned.codes)), returned))
            self._backoff.worked()
        elif kind == Kind.MADE and member.ready and len(header) == 2:
            made = read_made(header[1])
            self._check_told(made)
            self._events.append(ChainMade(member.slot, made))
        elif kind == Kind.READY and not member.ready:
            said = read_ready(header)
            self._check_told(*said[2])
            member.ready = True
            self._events.append(Ready(member.slot, member.pid, *said))
        else:
            raise ChildError("it sent a message that has no place there")

    def _check_told(self, *chains: Made) -> None:
        """Raise ChildError when a child speaks of a chain that it was not told of."""
        for made in chains:
            if made.chain not in self._chains:
                raise ChildError(f"it speaks of chain {made.chain}, of which it was not told")

    def _bury(self, member: Member, now: float) -> None:
        """Take in the last that a dead child sent, clean up after it, and plan its successor."""
        self._receive(member, now, to_end=True)
        status, tail = member.reap()
        if member.trusted and status != -signal.SIGKILL:
            member.killed_because = None  # it ended by itself before our signal came
        blamed, rest = member.remains()
        again_in_s = None
        if self._stop_at is None:
            again_in_s = 0.0 if member.begun_any() else self._backoff.died_early(now)
            self._start_at[member.slot] = now + again_in_s
        for fd in (member.link.fileno(), member.stderr, member.pidfd):
            self._unwatch(fd)
        member.close()
        self._members[member.slot] = None
        self._events.append(
            Died(
                child=member.slot,
                pid=member.pid,
                exit=status if status >= 0 else None,
                signal=-status if status < 0 else None,
                started_token=blamed,
                rest=rest,
                stderr_tail=tail,
                killed_because=member.killed_because,
                was_ready=member.ready,
                again_in_s=again_in_s,
            )
        )

    def _keep_time(self, now: float) -> None:
        """Start children that are due, and kill those whose time is over."""
        for slot in [slot for slot, at in self._start_at.items() if at <= now]:
            del self._start_at[slot]
            try:
                self._start(slot, now)
            except OSError as error:  # no descriptors, processes or memory left: that may pass
                again_in_s = max(1.0, self._backoff.died_early(now))
                self._start_at[slot] = now + again_in_s
                self._events.append(Died(slot, 0, None, None, None, [], str(error), None, False, again_in_s))
        for member in filter(None, self._members):
            if not member.ready and now - member.began_at >= START_S_MAX:
                member.kill(f"it was not ready after {START_S_MAX:.0f} s", None)
            elif member.ended_link_at is not None and now - member.ended_link_at >= LINK_CLOSED_S_MAX:
                member.kill("it closed its socket", member.suspect())
            elif self._stop_at is not None and now >= self._stop_at:
                member.kill("it did not end in time", None)


def _distrust(member: Member, error: ChildError) -> None:
    """Kill a child that did what none of ours does, and believe nothing more of it."""
    member.trusted = False
    member.kill(str(error), member.suspect(error.row))
