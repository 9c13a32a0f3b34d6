"""One child process as its agent sees it: what it was given, what it has answered, and what it leaves when it dies."""

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

from zgrid.roles.arena import BEGUN, ENDED, PROGRESS, PROGRESS_SCALE, STOP, TOUCHES, Arena, Data, Region
from zgrid.roles.link import BODY_BYTES_MAX, HEADER_BYTES_MAX, ChildError, Inbox, Kind, pack

STDERR_TAIL_BYTES = 4096
"""How much of what a child last wrote to standard error is kept as evidence."""

READ_BYTES_MAX = 4 << 20
"""How much is read from one child before the others have their turn."""

LAST_READ_BYTES_MAX = 4 * READ_BYTES_MAX
"""How much is read from a child that is dead: several times what the socket holds."""

THREADS_ONE = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "MAGICK_THREAD_LIMIT",
)
_QUIET = {"OPENCV_OPENCL_RUNTIME": "disabled", "ORT_DISABLE_TELEMETRY": "1"}
_LOOKS_MAX = 1000  # a child that runs null jobs is caught between two of them at the second look, if not the first
_RECV_BYTES = 1 << 18
_STDERR_READ_BYTES_MAX = 1 << 20

LINK_BYTES = 1 << 20
"""Asked of the kernel for what a child has said and the agent not read; it gives what its ``wmem_max`` allows. A child
waits for the agent in the middle of a picture that does not fit."""


class Chunk(NamedTuple):
    """Jobs that a child is given at once, in columns. Their tokens count from ``token``; ``chain`` runs on all of them.

    ``sizes`` are bytes, ``mtimes_ns`` those of the files. ``images`` has the bytes of each, or is empty where the child
    shall read the URIs.
    """

    token: int
    chain: int
    uris: Sequence[str]
    sizes: Sequence[int]
    mtimes_ns: Sequence[int]
    images: Sequence[Data] = ()


class Progress(NamedTuple):
    """Where a child is. Times are monotonic seconds as its agent observed them.

    ``token``: the job it runs, None between jobs. ``since``: when that job was first seen running. ``moved``: when
    anything was last seen to happen (a job begun or ended, a touch, results). ``fraction``: what the filter last said
    of how much is done, or None. ``owed``: jobs given to it whose results are not in. A child that owes something and
    has not moved for the time-to-run is stuck, whatever it says of itself.
    """

    token: int | None
    since: float
    moved: float
    touches: int
    fraction: float | None
    owed: int


class Member:
    """A child process and the agent's ends of everything it shares with it. Nothing here ever waits for the child."""

    def __init__(self, slot: int, arguments: Sequence[str], chains: Sequence[tuple[int, str]], now: float) -> None:
        self.slot = slot
        self.ready = False
        self.trusted = True
        self.polled_for_write = False
        self.began_at = now
        self.ended_link_at: float | None = None
        self.killed_because: str | None = None
        self.blamed: int | None = None
        self.tokens: deque[int] = deque()
        self._chunks: deque[tuple[int, Region | None]] = deque()
        self._settled = 0
        self._inbox = Inbox(HEADER_BYTES_MAX, BODY_BYTES_MAX)
        self._unsent = bytearray()
        self._tail = bytearray()
        self._mark: tuple[int, int, int, int] | None = None
        self._since = self._moved = now
        with ExitStack() as undo, ExitStack() as given:
            self.arena = Arena()
            undo.callback(self.arena.close)
            self.link, theirs = socket.socketpair()
            undo.callback(self.link.close)
            given.callback(theirs.close)
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LINK_BYTES)
            self.stderr, stderr_theirs = os.pipe2(os.O_CLOEXEC)
            undo.callback(os.close, self.stderr)
            given.callback(os.close, stderr_theirs)
            self.link.setblocking(False)
            os.set_blocking(self.stderr, False)
            self._process = _spawn(arguments, theirs.fileno(), self.arena.fd, stderr_theirs)
            undo.callback(self._process.wait)
            undo.callback(self._process.kill)
            self.pidfd = os.pidfd_open(self._process.pid)
            undo.pop_all()
        self.send(pack((Kind.START, chains)))

    @property
    def pid(self) -> int:
        """The child's process number."""
        return self._process.pid

    @property
    def wants_write(self) -> bool:
        """Whether there are bytes that the socket did not take yet."""
        return bool(self._unsent)

    def send(self, message: bytes) -> None:
        """Queue ``message`` and send what the socket takes now."""
        self._unsent += message
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes now. A child that is gone takes nothing more; its pidfd says so."""
        while self._unsent:
            try:
                sent = self.link.send(self._unsent)
            except BlockingIOError:
                return
            except (BrokenPipeError, ConnectionResetError):
                self._unsent.clear()
                return
            del self._unsent[:sent]

    def assign(self, chunk: Chunk) -> None:
        """Give the child a chunk of jobs, to be run in order after those that it has."""
        jobs, sizes = len(chunk.uris), chunk.sizes
        region: Region | None = None
        offsets: list[int] = []
        if chunk.images:
            region, offsets = self.arena.place(chunk.images)
            sizes = list(map(len, chunk.images))
        if not self.tokens:
            self._mark = None  # it was idle: its clock starts when it is next looked at
        self.tokens.extend(range(chunk.token, chunk.token + jobs))
        self._chunks.append((jobs, region))
        self.send(pack((Kind.WORK, self.arena.size_bytes, chunk.chain, chunk.uris, sizes, chunk.mtimes_ns, offsets)))

    def settle(self, jobs: int) -> list[int]:
        """Return the tokens of the next ``jobs`` jobs, whose results are in, and make room in the arena."""
        done = [self.tokens.popleft() for _ in range(jobs)]
        self._settled += jobs
        while jobs:
            chunk_jobs, region = self._chunks.popleft()
            if chunk_jobs > jobs:
                self._chunks.appendleft((chunk_jobs - jobs, region))
                break
            jobs -= chunk_jobs
            if region is not None:
                self.arena.release(region)
        return done

    def receive(self, accept: Callable[[list[Any], memoryview], None], now: float, *, to_end: bool = False) -> None:
        """Read what the child sent and pass each whole message to ``accept``. Raises ChildError for what is none.

        ``to_end``: all that a dead child left in the socket. A process that it left behind may write on and on.
        """
        taken, most = 0, LAST_READ_BYTES_MAX if to_end else READ_BYTES_MAX
        while taken < most:
            try:
                data = self.link.recv(max(_RECV_BYTES, self._inbox.missing_bytes))
            except BlockingIOError:
                return
            except ConnectionResetError:
                data = b""
            if not data:
                self.ended_link_at = now
                return
            taken += len(data)
            self._inbox.feed(data)
            while (message := self._inbox.take()) is not None:
                accept(*message)

    def listen(self) -> bool:
        """Read what the child wrote to standard error and keep the end of it; return whether there may be more."""
        taken = 0
        while taken < _STDERR_READ_BYTES_MAX:
            try:
                data = os.read(self.stderr, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            taken += len(data)
            self._tail += data
            del self._tail[:-STDERR_TAIL_BYTES]
        return True

    def progress(self, now: float) -> Progress:
        """Return where the child is. Raises ChildError when its counters cannot be true."""
        begun, ended = self._counters()
        words = self.arena.words
        touches, progress = words[TOUCHES], words[PROGRESS]
        mark = (begun, ended, touches, self._settled)
        if self._mark is None or self._mark[0] != begun:
            self._since = now
        if mark != self._mark:
            self._mark, self._moved = mark, now
        token = self.tokens[ended - self._settled] if begun > ended else None
        fraction = None
        if token is not None and 0 < progress <= PROGRESS_SCALE + 1:
            fraction = (progress - 1) / PROGRESS_SCALE
        return Progress(token, self._since, self._moved, touches, fraction, len(self.tokens))

    def running(self) -> int | None:
        """Return the job that the child is at, or was at when it died. Raises ChildError as progress() does."""
        begun, ended = self._counters()
        return self.tokens[ended - self._settled] if begun > ended else None

    def suspect(self, row: int | None = None) -> int | None:
        """Return the job to blame when the child did what it must not: that of result ``row``, or the last begun.

        Whatever made it do so must not come back for ever, so that some job is blamed even where the counters make no
        sense: its oldest then, because jobs are run in order.
        """
        if row is None:
            try:
                row = max(0, self._counters()[0] - self._settled - 1)
            except ChildError:
                row = 0
        return self.tokens[row] if row < len(self.tokens) else None

    def _counters(self) -> tuple[int, int]:
        """Return how many jobs the child has begun and ended: one true pair, though it goes on while we look.

        A job whose result is in has ended, also where its child has not come to say so: its other thread sends results.
        """
        words, settled = self.arena.words, self._settled
        for _ in range(_LOOKS_MAX):
            begun, ended = words[BEGUN], max(words[ENDED], settled)
            possible = ended <= begun <= min(ended + 1, settled + len(self.tokens))
            if possible and words[BEGUN] == begun:
                return begun, ended
        raise ChildError("its counters cannot be true")

    def begun_any(self) -> bool:
        """Say whether the child ever began a job."""
        return bool(self._settled or self.arena.words[BEGUN])

    def ask_to_stop(self) -> None:
        """Let the child end after the job it is at."""
        self.arena.words[STOP] = 1
        self.send(pack((Kind.STOP,)))

    def kill(self, why: str, blamed: int | None) -> None:
        """Kill the child and whatever it started, for the job ``blamed`` or for none. The first reason counts."""
        if self.killed_because is None:
            self.killed_because, self.blamed = why, blamed
        self._kill_group()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def remains(self) -> tuple[int | None, list[int]]:
        """Return, of a dead child, the job to blame for its death or None, and the other jobs that it still had.

        Some of the others may have been run, but not reported; none of them was under way when it died.
        """
        if self.killed_because is None:
            try:
                blamed = self.running()
            except ChildError:
                blamed = self.suspect()
        else:
            blamed = self.blamed if self.blamed in self.tokens else None
        return blamed, [token for token in self.tokens if token != blamed]

    def reap(self) -> tuple[int, str]:
        """Take the dead process off the system; return its exit status (negative: the signal) and the tail of stderr.

        Also kills what its filters may have started: nothing outlives a child. Blocks until the child is dead.
        """
        self._kill_group()  # before the wait, while the number is still its own
        status = self._process.wait()
        self.listen()
        return status, self._tail.decode("utf-8", "replace")

    def close(self) -> None:
        """Give back every descriptor and the shared memory. After reap()."""
        self.link.close()
        os.close(self.stderr)
        os.close(self.pidfd)
        self.arena.close()

    def rss_bytes(self) -> int:
        """Return the memory that the child has in core, the arena's part of it included; 0 when it is gone."""
        try:
            pages = Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _spawn(arguments: Sequence[str], link: int, arena: int, stderr: int) -> subprocess.Popen[bytes]:
    """Start a child: never forked from this process's memory, in a session of its own, with one thread each."""
    command = [sys.executable, "-P", "-X", "faulthandler", "-m", "zgrid.roles.child"]
    command += [f"--link={link}", f"--arena={arena}", f"--parent={os.getpid()}", *arguments]
    environment = os.environ | dict.fromkeys(THREADS_ONE, "1") | _QUIET
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=stderr,
        stderr=stderr,
        pass_fds=(link, arena),
        start_new_session=True,
        env=environment,
    )
