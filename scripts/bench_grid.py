"""Real grids for scripts/bench to measure: the roles as anybody would start them, on loopback, and what they use."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Self

from bench_bare import free_ports

from zgrid.errors import ZGridError
from zgrid.transport.client import Client
from zgrid.transport.keyring import find_key

HERE = Path(__file__).resolve().parent
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00"
START_S_MAX = 60.0
STOP_S_MAX = 20.0
LOOK_S = 1.0
"""How often memory is looked at: the kernel keeps each process's largest, and looking takes from what is measured."""


def make_files(folder: Path, count: int, size: int, alike: int = 1) -> list[Path]:
    """Write ``count`` files of ``size`` bytes that begin like a JPEG; those that are there will do.

    So many as are ``alike`` are one file under as many names: each is an image of its own, and takes no room.
    """
    paths = [folder / f"{number // 1000:04d}" / f"{number:07d}.jpg" for number in range(count)]
    body = os.urandom(max(0, size - 64))
    different = -(-count // alike)
    for number, path in enumerate(paths):
        if number % 1000 == 0:
            path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            continue
        if number < different:
            path.write_bytes(JPEG + b"%020d" % number + body)
        else:
            path.hardlink_to(paths[number % different])
    os.sync()  # else the kernel writes them out meanwhile, and whoever syncs something else waits for that
    return paths


@contextmanager
def scratch(base: Path) -> Iterator[Path]:
    """Yield an empty folder, and remove it."""
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Memory:
    """The largest memory that any process of some sessions ever had, looked at until it is stopped."""

    def __init__(self) -> None:
        self.sessions: dict[int, str] = {}
        """Session -> whose processes they are."""
        self.largest_mb: dict[str, float] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(LOOK_S):
            self.look()

    def look(self) -> None:
        """Look once at every process."""
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError, ValueError):
                session = int((folder / "stat").read_text().rpartition(")")[2].split()[3])
                who = self.sessions.get(session)
                if who is None:
                    continue
                for line in (folder / "status").read_text().splitlines():  # one that has just ended has no such line
                    if line.startswith("VmHWM"):
                        self.largest_mb[who] = max(self.largest_mb.get(who, 0.0), int(line.split()[1]) / 1000)


def processor_s(pid: int) -> float:
    """Return the seconds that all threads of a process have had of a processor."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


class Grid:
    """A ventilator, workers and a sink. Each is the head of a session of its own: Ctrl-C is ours, and we end them.

    ``keys``: the folder with the keys of all of them; None for a grid without.
    """

    def __init__(
        self,
        stack: ExitStack,
        folder: Path,
        chain: list[str],
        *arguments: str,
        workers: int = 2,
        keys: Path | None = None,
    ) -> None:
        self.folder = folder
        self._safety = ["--insecure"] if keys is None else [f"--keys={keys}"]
        self.memory = Memory()
        self.ports = free_ports(3)
        self.address = f"tcp://127.0.0.1:{self.ports[0]}"
        sink = f"tcp://127.0.0.1:{self.ports[1]}"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        stack.callback(self.stop)
        self._start("sink", f"--bind={sink}", f"--intake-port={self.ports[2]}", f"--pictures={folder}/pictures")
        for number in range(workers):
            self.worker(number)
        filters = [f"--filter={name}" for name in chain]
        self.ventilator = self._start(
            "ventilator", "-", f"--bind={self.address}", f"--sink={sink}", f"--ledger={folder}/ledger.sqlite", "--once",
            *filters, *arguments, stdin=subprocess.PIPE,
        )  # fmt: skip
        self.client = stack.enter_context(Client(self.address, find_key("operator", keys) if keys else None))
        stack.enter_context(self.memory)
        self.await_workers(workers)

    def _start(self, name: str, *arguments: str, stdin: int = subprocess.DEVNULL, role: str = "", **environment: str):
        command = [sys.executable, "-m", "zgrid", role or name, *self._safety, *arguments]
        with (self.folder / f"{name}.jsonl").open("wb") as log:
            process = subprocess.Popen(
                command, stdin=stdin, stdout=log, stderr=log, env={**os.environ, **environment}, start_new_session=True
            )
        self.processes[name] = process
        self.memory.sessions[process.pid] = role or name
        return process

    def worker(self, number: int, *arguments: str, **environment: str) -> None:
        """Start a worker with one child."""
        name = f"worker{number}"
        self._start(
            name, self.address, "--procs=1", f"--name={name}", "--allow=/", *arguments, role="worker", **environment
        )

    def status(self, timeout_ms: int = 5000) -> dict:
        """Return what the ventilator says of itself."""
        return self.client.ask({"what": "status"}, timeout_ms=timeout_ms)

    def await_workers(self, count: int) -> None:
        """Wait until the workers can take jobs and the sink results."""
        deadline = time.monotonic() + START_S_MAX
        while time.monotonic() < deadline:
            try:
                status = self.status(500)
            except ZGridError:
                continue
            ready = sum(worker["state"] == "ready" for worker in status["workers"])
            if ready == count and all(sink["state"] == "up" for sink in status["sinks"]):
                return
            time.sleep(0.02)
        raise SystemExit(f"the grid did not come up: see the logs in {self.folder}")

    def give(self, paths: list[Path]) -> None:
        """Give the ventilator all that it shall do."""
        self.ventilator.stdin.write(b"\n".join(os.fsencode(path) for path in paths))
        self.ventilator.stdin.close()

    def await_end(self) -> None:
        """Wait until the ventilator has ended, with everything settled."""
        if status := self.ventilator.wait():
            said = (self.folder / "ventilator.jsonl").read_text().splitlines()[-3:]
            raise SystemExit("\n".join([f"the ventilator ended with {status}:", *said]))

    def run(self, paths: list[Path]) -> float:
        """Return the seconds from the first path given to the ventilator to the last job settled, all on disk."""
        began = time.time()
        self.give(paths)
        self.await_end()
        for line in (self.folder / "ventilator.jsonl").read_text().splitlines():
            event = json.loads(line)
            if event["event"] == "settled":
                return datetime.fromisoformat(event["time"]).timestamp() - began
        raise SystemExit("the ventilator ended, and nothing was settled")

    def run_from_ledger(self, paths: list[Path], workers: int = 2) -> float:
        """Return the seconds from the first job sent to the last one stored, by the ledger's own record.

        All of them are in the ledger, and the workers are there, before any is sent.
        """
        self.client.ask({"what": "pause"})
        self.give(paths)
        while self.status()["scanning"]:
            time.sleep(0.1)
        for number in range(workers):
            self.worker(number)
        self.await_workers(workers)
        time.sleep(0.5)  # nothing is left to be done but the jobs
        self.client.ask({"what": "resume"})
        self.await_end()
        with sqlite3.connect(self.folder / "ledger.sqlite") as ledger:
            ((first, last),) = ledger.execute(
                "SELECT min(at_ms), max(at_ms) FROM history WHERE event IN ('sent', 'stored')"
            )
        return (last - first) / 1000

    def stop(self) -> None:
        """End every process of this grid."""
        for process in self.processes.values():
            process.terminate()
        deadline = time.monotonic() + STOP_S_MAX
        try:
            for process in self.processes.values():
                with suppress(subprocess.TimeoutExpired):
                    process.wait(max(0.1, deadline - time.monotonic()))
        finally:
            for process in self.processes.values():
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # whatever is left of its session
                process.wait()
