"""Other ways to do the same, for scripts/bench --peers: installed, started with their servers, measured and ended.

Their packages go into a virtual environment of their own (.venv-peers), so that none of them becomes one of zgrid's;
their servers come from the system's packages, listen on free ports of loopback, and write where it is removed again.
Each program is in scripts/peers/, written as its own documentation does it.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench_bare import free_ports
from bench_figures import Figure, Goal
from bench_grid import HERE, make_files, scratch
from bench_measures import Bench

VENV = HERE.parent / ".venv-peers"
PROGRAMS = HERE / "peers"
RUN_S_MAX = 600.0
SERVER_S_MAX = 10.0
MARK = "ZGRID_BENCH_PEER"
"""In the environment of every process that a peer starts, wherever it has put it: by this all of them are found."""

ROWS = "rows synced one by one"
OUR_DISK = "ledger and rows, both synced before they count"


@dataclass(frozen=True)
class Peer:
    """One other way: its name, the packages and the system's package that it wants, and what it keeps on disk."""

    name: str
    program: str
    packages: tuple[str, ...]
    keeps: str
    server: Callable[[int, Path], list[str]] | None = None
    """Returns the command of its server, which listens at a port and keeps what it keeps in a folder."""
    debian: str = ""
    goal: Goal | None = None
    queued: bool = False
    """Whether its program can put every job before any is done."""


def beanstalkd(sync_ms: int) -> Callable[[int, Path], list[str]]:
    """Return what starts beanstalkd with its log on disk, which it syncs every so many milliseconds."""

    def command(port: int, folder: Path) -> list[str]:
        return [
            "beanstalkd",
            "-l",
            "127.0.0.1",
            "-p",
            str(port),
            "-b",
            str(folder),
            "-f",
            str(sync_ms),
            "-z",
            "1000000",
        ]

    return command


def redis(port: int, folder: Path) -> list[str]:
    """Return what starts Redis with its log on disk, which it syncs every second."""
    return [
        "redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder),
        "--appendonly", "yes", "--save", "",
    ]  # fmt: skip


PEERS = (
    Peer("beanstalkd", "with_beanstalkd.py", ("greenstalk>=2.1",), f"its log, synced every 50 ms; {ROWS}",
         beanstalkd(50), "beanstalkd", Goal(40.0), queued=True),
    Peer("beanstalkd -f 0", "with_beanstalkd.py", ("greenstalk>=2.1",), f"its log, synced each time; {ROWS}",
         beanstalkd(0), "beanstalkd", queued=True),
    Peer("Celery + Redis", "with_celery.py", ("celery[redis]>=5.5",), f"Redis's log, synced every second; {ROWS}",
         redis, "redis-server"),
    Peer("Dramatiq + Redis", "with_dramatiq.py", ("dramatiq[redis]>=2.0",), f"Redis's log, synced every second; {ROWS}",
         redis, "redis-server"),
    Peer("Dask", "with_dask.py", ("distributed>=2025.1",), f"no jobs; {ROWS}"),
    Peer("Parsl (HTEX)", "with_parsl.py", ("parsl>=2025.1",), f"no jobs; {ROWS}"),
    Peer("ipyparallel", "with_ipyparallel.py", ("ipyparallel>=9.0",), f"no jobs; {ROWS}"),
)  # fmt: skip


# --- installing


def install(say: Callable[[str], None]) -> dict[str, str]:
    """Install what the peers want and is missing, and say so; return why, for each peer that cannot be had."""
    missing: dict[str, str] = {}
    commands = {peer.debian: "" for peer in PEERS if peer.debian and not shutil.which(peer.debian)}
    for package in commands:
        commands[package] = _apt(package, say)
    if not (VENV / "bin" / "python").exists():
        say(f"making {VENV}")
        made = subprocess.run([sys.executable, "-m", "venv", VENV], capture_output=True, text=True, check=False)
        if made.returncode:
            return {peer.name: f"there is no {VENV.name}: {_last_line(made.stderr + made.stdout)}" for peer in PEERS}
    for packages in dict.fromkeys(peer.packages for peer in PEERS):
        why = _pip(packages, say)
        missing |= {peer.name: why for peer in PEERS if why and peer.packages == packages}
    return missing | {peer.name: commands[peer.debian] for peer in PEERS if commands.get(peer.debian)}


def _apt(package: str, say: Callable[[str], None]) -> str:
    """Install a Debian package; return why it could not be, or nothing."""
    if not shutil.which("apt-get"):
        return f"there is no {package} here, and no apt-get to install it"
    as_root = [] if os.geteuid() == 0 else ["sudo"]
    if as_root and not shutil.which("sudo"):
        return f"there is no {package} here: as root, run apt-get install {package}"
    say(f"installing {package} with apt (Debian starts it as a service, too: systemctl disable --now {package})")
    command = [*as_root, "apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode or not shutil.which(package):
        return f"apt could not install {package}: {_last_line(done.stderr)}"
    return ""


def _pip(packages: tuple[str, ...], say: Callable[[str], None]) -> str:
    """Install packages into the peers' environment; return why they could not be, or nothing."""
    stamp = VENV / "zgrid-installed"
    wanted = " ".join(packages)
    if stamp.exists() and wanted in stamp.read_text().splitlines():
        return ""
    say(f"installing {wanted} into {VENV.name}")
    command = [VENV / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"pip could not install {wanted}: {_last_line(done.stderr)}"
    with stamp.open("a") as file:
        file.write(wanted + "\n")
    return ""


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it said nothing"


# --- running


class PeerError(Exception):
    """A peer could not be measured; the text says why, in one line."""


def marked(mark: str) -> Iterator[int]:
    """Yield every process that has this mark in its environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                yield int(folder.name)


@dataclass
class Family:
    """The processes of one run of a peer, all of which end with it."""

    folder: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)

    def start(self, name: str, command: list[str], **environment: str) -> subprocess.Popen[bytes]:
        """Start one, which is told where its programs are and logs into the folder."""
        path = f"{VENV / 'bin'}{os.pathsep}{os.environ['PATH']}"
        variables = {**os.environ, **environment, MARK: self.mark, "PATH": path, "PYTHONPATH": str(PROGRAMS),
                     "HOME": str(self.folder)}  # fmt: skip
        with (self.folder / f"{name}.out").open("wb") as out, (self.folder / f"{name}.err").open("wb") as err:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=variables, cwd=self.folder,
                start_new_session=True,
            )  # fmt: skip

    def end(self) -> None:
        """End what is left of them."""
        for pid in list(marked(self.mark)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def family(base: Path) -> Iterator[Family]:
    """Yield a family in a folder of its own; both are gone afterwards."""
    with scratch(base) as folder:
        one = Family(folder)
        try:
            yield one
        finally:
            one.end()


def run(peer: Peer, base: Path, paths: list[Path], *flags: str) -> float:
    """Return the jobs per second of a peer; ``flags`` are its program's. Raises PeerError where it cannot do it."""
    with family(base) as members, ExitStack() as stack:
        (port,) = free_ports(1)
        if peer.server is not None:
            (members.folder / "server").mkdir()
            server = members.start("server", peer.server(port, members.folder / "server"))
            stack.callback(server.wait)
            stack.callback(server.terminate)
            _await_port(server, port, peer.debian)
        (members.folder / "list").write_text("\n".join(map(str, paths)))
        rows = str(members.folder / "rows.sqlite")
        command = [str(VENV / "bin" / "python"), str(PROGRAMS / peer.program), "list", rows, "--port", str(port)]
        program = members.start("program", [*command, *flags], PEER_PORT=str(port), PEER_ROWS=rows)
        try:
            status = program.wait(RUN_S_MAX)
        except subprocess.TimeoutExpired:
            raise PeerError(f"it was not done after {RUN_S_MAX:.0f} s") from None
        finally:
            if program.poll() is None:
                program.terminate()  # it ends what it started; whatever it cannot, the family does
                with suppress(subprocess.TimeoutExpired):
                    program.wait(5)
            members.end()
            program.wait()
        if status:
            raise PeerError(f"it ended with {status}: {_last_line((members.folder / 'program.err').read_text())}")
        return len(paths) / float((members.folder / "program.out").read_text().split()[-1])


def _await_port(server: subprocess.Popen[bytes], port: int, name: str) -> None:
    """Wait until a server can be reached."""
    deadline = time.monotonic() + SERVER_S_MAX
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise PeerError(f"{name} could not be started")


def peers(bench: Bench) -> Iterator[Figure]:
    """Every peer on the same files as the grid, null filter: by reference, and 100 KB inline, from given to stored.

    Those that can are also measured with every job put before, as the grid is from its ledger.
    """
    missing = install(bench.tell)
    small = make_files(bench.base / "small", bench.options.jobs, 64)
    count = bench.options.peer_jobs

    def found() -> float:
        return bench.grid(small, ["null"], "--by-reference")

    def kept() -> float:
        return bench.from_ledger(small, "--by-reference")

    race = _Race(bench, "folder", "null filter, by reference", "jobs/s", found)
    yield from race.beside(PEERS, small[:count], missing)
    able = tuple(peer for peer in PEERS if peer.queued)
    race = _Race(bench, "reference", "the same, all of them put before", "jobs/s", kept)
    yield from race.beside(able, small[:count], missing, "--queued")
    with scratch(bench.base) as files:
        large = make_files(files, max(1000, bench.options.jobs // 20), 100_000)

        def carried() -> float:
            return bench.grid(large, ["null"]) / 10

        race = _Race(bench, "inline", "inline 100 KB", "MB/s", carried, per_job=0.1)
        yield from race.beside(PEERS, large[: max(100, count * 3 // 10)], missing, "--inline")


@dataclass(frozen=True)
class _Race:
    """One measurement that the grid and peers take in turn. ``per_job``: so many of ``unit`` is a job of a peer's."""

    bench: Bench
    name: str
    what: str
    unit: str
    ours: Callable[[], float]
    per_job: float = 1.0

    def beside(
        self, peers: Sequence[Peer], paths: list[Path], missing: dict[str, str], *flags: str
    ) -> Iterator[Figure]:  # fmt: skip
        """Yield a figure for each of the peers, which do these files, their programs told these flags."""
        errors = dict(missing)
        ours: list[float] = []
        theirs: dict[str, list[float]] = {peer.name: [] for peer in peers}
        repeat = self.bench.options.repeat
        for number in range(repeat):
            ours.append(self.ours())
            self.bench.tell(f"{self.what}, {number + 1} of {repeat}: zgrid {ours[-1]:,.4g} {self.unit}")
            for peer in peers:
                if peer.name not in errors:
                    try:
                        theirs[peer.name].append(run(peer, self.bench.base, paths, *flags) * self.per_job)
                    except PeerError as error:
                        errors[peer.name] = str(error)
                        theirs[peer.name].clear()
                    told = errors.get(peer.name) or f"{theirs[peer.name][-1]:,.4g} {self.unit}"
                    self.bench.tell(f"{self.what}, {number + 1} of {repeat}: {peer.name} {told}")
        for peer in peers:
            measured = peer.name not in errors
            yield Figure(
                "peers", self.name, self.what, self.unit, tuple(ours) if measured else (), peer.name,
                tuple(theirs[peer.name]), peer.goal if self.per_job == 1.0 else None, note=peer.keeps,
                our_note=OUR_DISK, error=errors.get(peer.name, ""),
            )  # fmt: skip
