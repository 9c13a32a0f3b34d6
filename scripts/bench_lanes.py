"""What many workers cost a ventilator: real lanes, and behind them workers and a sink that do nothing and keep nothing.

A thousand real workers would be three thousand processes; so a few processes play all of them. They greet, take jobs
off their lanes, report each batch at once, and pass its jobs to the sink, which says that they are stored.
"""

import multiprocessing
import os
import select
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing.synchronize import Event
from pathlib import Path

import zmq
from bench_bare import free_ports
from bench_figures import Figure, Goal
from bench_measures import Bench

from zgrid.errors import ZGridError
from zgrid.protocol.job import Offer
from zgrid.protocol.limits import BATCH_JOBS_MAX
from zgrid.protocol.messages import Acks, Beat, Hello, Jobs, Message, Outcomes, Welcome, Who
from zgrid.store.ledger import Ledger
from zgrid.transport.address import reach
from zgrid.transport.client import Client
from zgrid.transport.clock import host_identity, new_boot
from zgrid.transport.post import Post
from zgrid.transport.sockets import (
    bind,
    control_dealer,
    control_router,
    intake_pull,
    lane_pull,
    open_context,
    results_push,
)

PEER_PROCESSES = 2
START_S_MAX = 300.0


class Player:
    """One worker, played: its control socket, and its lane once it was told where that is."""

    def __init__(
        self, context: zmq.Context, ventilator: str, name: str, results: zmq.Socket, watch: "Watch"
    ) -> None:  # fmt: skip
        self.context = context
        self.ventilator = ventilator
        self.name = name
        self.boot = new_boot()
        self.results = results
        self.watch = watch
        self.control = Post(control_dealer(context, self.boot, ventilator), print)
        self.lane: Post | None = None
        self.welcome: Welcome | None = None
        self.serial = 0
        watch.add(self.control.socket, self.hear)

    def beat(self) -> None:
        """Greet until there is a lane, then give a sign of life."""
        if self.welcome is None:
            filters = {"null": "1"}
            said: Message = Hello(
                role="worker",
                name=self.name,
                boot=self.boot,
                host=host_identity(),
                procs=1,
                filters=filters,
                reads=["file:///"],
            )
        else:
            said = Beat(boot=self.welcome.boot, lane=self.welcome.lane)
        self.control.send(said)
        self.hear()  # to send may have used up what the descriptor had to tell

    def hear(self) -> int:
        """Take in what the ventilator says of the lane."""
        heard = self.control.receive()
        for _, message in heard:
            if isinstance(message, Welcome) and (self.welcome is None or self.welcome.lane != message.lane):
                if self.lane is not None:
                    self.watch.drop(self.lane.socket)
                self.welcome, self.serial = message, 0
                self.lane = Post(lane_pull(self.context, reach(message.address, self.ventilator)), print)
                self.watch.add(self.lane.socket, self.work)
            elif isinstance(message, Who):
                self.welcome = None
        return len(heard)

    def work(self) -> int:
        """Report all jobs that are there, and pass them on; return how many they were."""
        done = 0
        while messages := self.lane.receive() if self.lane is not None else []:
            for _, jobs in messages:
                assert isinstance(jobs, Jobs)
                count = len(jobs.seqs)
                self.serial += 1
                self.control.send(
                    Outcomes(
                        boot=jobs.boot, lane=jobs.lane, serial=self.serial, seqs=jobs.seqs, attempts=jobs.attempts,
                        codes=bytes(count), work_ms=0.01 * count,
                    )
                )  # fmt: skip
                self.results.send(b"".join(seq.to_bytes(8, "little") for seq in jobs.seqs))
                done += count
        if done:
            self.hear()
        return done


class Watch:
    """Which of many sockets have something: one epoll of their descriptors, so that a silent socket costs nothing."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._calls: dict[int, Callable[[], int]] = {}

    def add(self, socket: zmq.Socket, call: Callable[[], int]) -> None:
        """Make ``call`` whenever ``socket`` may have something; it reads until there is nothing."""
        self._calls[socket.fileno()] = call
        self._epoll.register(socket.fileno(), select.EPOLLIN)
        call()  # a descriptor only wakes who has found nothing

    def drop(self, socket: zmq.Socket) -> None:
        """Watch a socket no more."""
        del self._calls[socket.fileno()]
        self._epoll.unregister(socket.fileno())

    def turn(self, patience_s: float) -> None:
        """Wait for something, and make the calls that it needs."""
        for descriptor, _ in self._epoll.poll(patience_s, 256):
            if call := self._calls.get(descriptor):
                call()


def play_workers(ventilator: str, intake: str, names: list[str]) -> None:
    """Be these workers until the parent ends this process."""
    context = open_context()
    results = results_push(context, intake)
    results.sndhwm = 0
    watch = Watch()
    players = [Player(context, ventilator, name, results, watch) for name in names]
    while True:
        beat_at = time.monotonic() + 1.0
        for player in players:
            player.beat()
        while (left_s := beat_at - time.monotonic()) > 0:
            watch.turn(left_s)


def play_sink(control: str, intake: str, open_: Event) -> None:
    """Say of everything that comes that it is stored, until the parent ends this process; greet once it is open."""
    context = open_context()
    post = Post(control_router(context), print, routed=True)
    bind(post.socket, control, "control")
    pull = intake_pull(context)
    pull.rcvhwm = 0
    bind(pull, intake, "intake")
    poller = zmq.Poller()
    poller.register(post.socket, zmq.POLLIN)
    poller.register(pull, zmq.POLLIN)
    boot, ledger, peer = new_boot(), b"", b""
    stored: deque[int] = deque()
    while True:
        poller.poll()
        for sender, message in post.receive():
            if not open_.is_set():
                continue
            if isinstance(message, Hello):
                peer, ledger = sender, message.ledger
                post.send(Welcome(name="sink", boot=boot, address=intake), sender)
            elif isinstance(message, Beat):
                post.send(Beat(boot=boot), sender)
        while pull.poll(0):
            packed = pull.recv()
            stored.extend(memoryview(packed).cast("Q"))
        while stored and peer:
            seqs = [stored.popleft() for _ in range(min(BATCH_JOBS_MAX, len(stored)))]
            post.send(Acks(ledger=ledger, seqs=seqs), peer)


def fill(path: Path, jobs: int) -> None:
    """Make a ledger with so many ready jobs."""
    ledger = Ledger(path)
    chain = ledger.chain_id("null")
    for start in range(0, jobs, 4096):
        numbers = range(start, min(start + 4096, jobs))
        ledger.accept([Offer(f"file:///bench/{number:08d}.jpg", 64, number) for number in numbers], chain, 1)
        ledger.commit()
    ledger.close()


def jobs_per_s(base: Path, jobs: int, lanes: int) -> tuple[float, float]:
    """Return the jobs per second from the first one sent to the last one stored, and the ventilator's us per job."""
    with tempfile.TemporaryDirectory(prefix="lanes-", dir=base) as name, ExitStack() as stack:
        folder = Path(name)
        fill(folder / "ledger.sqlite", jobs)
        address, control, intake = (f"tcp://127.0.0.1:{port}" for port in free_ports(3))
        names = [f"w{number:04d}" for number in range(lanes)]
        spawn = multiprocessing.get_context("spawn")
        players = [
            spawn.Process(target=play_workers, args=(address, intake, names[number::PEER_PROCESSES]), daemon=True)
            for number in range(PEER_PROCESSES)
        ]
        is_open = spawn.Event()
        sink = spawn.Process(target=play_sink, args=(control, intake, is_open), daemon=True)
        for process in (sink, *players):
            process.start()
            stack.callback(process.terminate)
        log = stack.enter_context((folder / "ventilator.jsonl").open("wb"))
        command = [
            sys.executable, "-m", "zgrid", "ventilator", f"--bind={address}", f"--sink={control}", "--filter=null",
            f"--ledger={folder}/ledger.sqlite", "--by-reference",
        ]  # fmt: skip
        ventilator = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        stack.callback(ventilator.wait)
        stack.callback(ventilator.terminate)
        client = stack.enter_context(Client(address))
        wait(client, lambda status: sum(worker["state"] == "ready" for worker in status["workers"]) == lanes)
        before_s = cpu_s(ventilator.pid)
        is_open.set()  # nothing is sent before a sink is there
        await_stored(folder / "ledger.sqlite", jobs)
        spent_s = cpu_s(ventilator.pid) - before_s
        with sqlite3.connect(folder / "ledger.sqlite") as ledger:
            ((first, last),) = ledger.execute(
                "SELECT min(at_ms), max(at_ms) FROM history WHERE event IN ('sent', 'stored')"
            )
        return jobs / max(0.001, (last - first) / 1000), spent_s / jobs * 1e6


def wait(client: Client, is_so) -> None:
    """Ask until the ventilator's status is as wanted."""
    deadline = time.monotonic() + START_S_MAX
    while time.monotonic() < deadline:
        try:
            if is_so(client.ask({"what": "status"}, timeout_ms=5000)):
                return
        except ZGridError:
            pass  # not up yet
        time.sleep(0.2)
    raise SystemExit("lanes: the ventilator did not get there")


def await_stored(path: Path, jobs: int) -> None:
    """Wait until so many jobs are stored. The ledger is asked, for the status of a thousand workers is work, too."""
    deadline = time.monotonic() + START_S_MAX
    with sqlite3.connect(path) as ledger:
        while ledger.execute("SELECT jobs FROM counts WHERE state = 2").fetchone()[0] < jobs:
            if time.monotonic() > deadline:
                raise SystemExit("lanes: not everything was stored")
            time.sleep(0.05)


def cpu_s(pid: int) -> float:
    """Return the user and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lanes(bench: Bench) -> Iterator[Figure]:
    """A thousand workers that do nothing, beside two of them: what one more worker costs the ventilator."""
    jobs = 2 * bench.options.jobs
    both = bench.turns(
        "jobs/s",
        thousand=lambda: jobs_per_s(bench.base, jobs, 1000)[0],
        two=lambda: jobs_per_s(bench.base, jobs, 2)[0],
    )
    what = "a thousand workers that do nothing"
    yield Figure("grid", "lanes", what, "jobs/s", both["thousand"], "two such workers", both["two"], Goal(0.5))
