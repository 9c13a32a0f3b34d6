"""One child of a worker: runs filters on one image after the other, and nothing else.

A filter may crash, hang or eat memory, so it does that here: in a process of its own, on one core, which the agent can
kill and replace. The child never decides anything about a job. It ends when the agent says so or is gone.
"""

import argparse
import importlib
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from itertools import repeat
from typing import Any

from zgrid.errors import SettingsError, SourceError, ZGridError
from zgrid.filters import Chain, Discard, Fail, Image, Keep, available, missing, parse_steps, progress
from zgrid.filters.threads import use_one_thread
from zgrid.kernel import PR_SET_NAME, PR_SET_PDEATHSIG, prctl
from zgrid.protocol.limits import FRAME_BYTES_MAX, TEXT_CHARS_MAX
from zgrid.protocol.messages import Code
from zgrid.roles.arena import BEGUN, ENDED, PROGRESS, PROGRESS_SCALE, STOP, TOUCHES, Window
from zgrid.roles.courier import Courier
from zgrid.roles.link import EXIT_STARVED, EXIT_UNIMPORTED, PICTURE_BYTES_MAX, Inbox, Kind, pack
from zgrid.roles.memory import keep_buffers
from zgrid.roles.report import Row, pack_notes
from zgrid.roles.sandbox import CpuLimit, Sandbox
from zgrid.sources import Reader, Roots

_WORDS_MASK = (1 << 64) - 1


class Reading:
    """The bytes of one image by reference: read when a filter asks, with the time that took.

    ``forbidden``: this worker may not read them.
    """

    __slots__ = ("_reader", "_version", "forbidden", "ms")

    def __init__(self, reader: Reader, version: tuple[str, int, int]) -> None:
        self._reader = reader
        self._version = version
        self.ms = 0.0
        self.forbidden = False

    def __call__(self) -> bytes:
        """Return the image's bytes; raises SourceError."""
        began = time.perf_counter()
        try:
            return self._reader.read(*self._version)
        except SourceError as error:
            self.forbidden = error.forbidden
            raise
        finally:
            self.ms += (time.perf_counter() - began) * 1000


class Child:
    """The child's life, from its first message to its last."""

    def __init__(
        self, link: socket.socket, window: Window, reader: Reader, cpu: CpuLimit, exposed: Sequence[str]
    ) -> None:
        self._link = link
        self._cpu = cpu
        self._exposed = exposed
        self._window = window
        self._words = window.words
        self._reader = reader
        self._inbox = Inbox((1 << 32) - 1, 0, "surrogateescape")
        self._chains: dict[int, Chain] = {}
        self._problems: dict[int, str] = {}
        self._courier = Courier(link)
        self._begun = 0

    def live(self) -> None:
        """Do what the agent says until it says stop or goes."""
        progress.on_touch = self._touch
        self._courier.start()
        while not self._words[STOP]:
            message = self._inbox.take()
            if message is None:
                data = self._link.recv(1 << 18)
                if not data:
                    return
                self._inbox.feed(data)
                continue
            header = message[0]
            if header[0] == Kind.WORK:
                self._work(header)
            elif header[0] == Kind.CHAIN:
                self._courier.send(pack((Kind.MADE, self._make(header[1], header[2]))))
            elif header[0] == Kind.START:
                made = [self._make(chain, text) for chain, text in header[1]]
                self._courier.send(pack((Kind.READY, _bounded(available()), _bounded(missing()), made, self._exposed)))

    def _make(self, chain: int, text: str) -> tuple[int, str | None, str | None]:
        """Build a chain, loading what its filters need; return its number, and its version or why it cannot be."""
        self._chains.pop(chain, None)
        try:
            built = Chain(parse_steps(text.split()))
        except SettingsError as error:
            self._problems[chain] = str(error)[:TEXT_CHARS_MAX]
            return chain, None, self._problems[chain]
        self._chains[chain] = built
        return chain, built.version, None

    def _work(self, header: list[Any]) -> None:
        """Run the jobs of one chunk in order and report them; leave the rest when told to stop."""
        _, arena_bytes, number, uris, sizes, mtimes_ns, offsets = header
        self._window.reach(arena_bytes)
        words = self._words
        chain = self._chains.get(number)
        self._courier.begin(len(uris))
        self._cpu.renew(time.perf_counter())
        for uri, size, mtime_ns, offset in zip(uris, sizes, mtimes_ns, offsets or repeat(-1)):  # noqa: B905
            if words[STOP]:
                break
            self._begun += 1
            words[PROGRESS] = 0
            words[BEGUN] = self._begun
            try:
                if chain is None:
                    ended = self._refuse(number)
                elif offset < 0:
                    reading = Reading(self._reader, (uri, size, mtime_ns))
                    ended = self._run(chain, Image(uri, None, reading), reading)
                else:
                    view = self._window.view(offset, size)
                    ended = self._run(chain, Image(uri, view), None)
                    _let_go(view)
            except MemoryError:
                self._starve()
                raise
            words[ENDED] = self._begun
            if ended >= self._cpu.due_at:  # a call for each job would be a tenth of what a null job takes
                self._cpu.renew(ended)
            if ended >= self._courier.due_at:
                self._courier.flush()
        self._courier.end()

    def _starve(self) -> None:
        """End without the job that found no memory, unless it is the first one: then its own image is to blame.

        Any earlier image may have taken the memory, where a filter leaks. In another process the job shows which.
        """
        if self._begun > 1:
            self._words[BEGUN] = self._begun - 1
            self._courier.flush()
            # At once: while Python tidied up, the socket would be closed and the memory not yet given back, which takes
            # a loaded machine a second, and the agent would kill it for that and blame the image.
            os._exit(EXIT_STARVED)

    def _refuse(self, number: int) -> float:
        """Report a job whose chain cannot be run here; return when."""
        problem = self._problems.get(number, f"chain {number} was never told")
        self._courier.add(_failed(f"this worker cannot run the chain: {problem}", transient=True), 0.0, 0.0)
        return time.perf_counter()

    def _run(self, chain: Chain, image: Image, reading: Reading | None) -> float:
        """Run one chain on one image and add the result to the report; return when the chain ended."""
        began = time.perf_counter()
        outcome = chain.run(image)
        if chain.starved:
            self._starve()
        ended = time.perf_counter()
        read_ms = reading.ms if reading else 0.0
        work_ms = max(0.0, (ended - began) * 1000 - read_ms)
        if type(outcome) is Keep and not image.touched and not outcome.notes and outcome.picture is None:
            self._courier.keep_plainly(read_ms, work_ms)
            return ended
        row = _row(outcome)
        if row.code is Code.TROUBLED and reading is not None and reading.forbidden:
            row.code = Code.RELEASED
        if image.touched or row.code is Code.FAILED:
            _describe(row, image)
        self._courier.add(row, read_ms, work_ms)
        return ended

    def _touch(self, fraction: float | None) -> None:
        """Count a filter's sign of life where the agent sees it."""
        self._cpu.renew(time.perf_counter())
        words = self._words
        words[TOUCHES] = (words[TOUCHES] + 1) & _WORDS_MASK
        if fraction is not None and fraction == fraction:  # noqa: PLR0124  NaN is not equal to itself
            words[PROGRESS] = 1 + int(min(1.0, max(0.0, fraction)) * PROGRESS_SCALE)


def _row(outcome: object) -> Row:
    """Return what to report of ``outcome``; one that no filter may return becomes a failure that says so."""
    if isinstance(outcome, Discard):
        return Row(Code.DISCARDED, _sentence(outcome.reason))
    if isinstance(outcome, Fail):
        return _failed(outcome.reason, transient=outcome.transient)
    if not isinstance(outcome, Keep):
        return _failed(f"the chain returned {type(outcome).__name__} instead of an outcome")
    picture = outcome.picture
    if picture is None:
        media = None
    elif not isinstance(picture, bytes | bytearray | memoryview) or not isinstance(outcome.media, str):
        return _failed("a filter returned a picture that is not bytes with a media type")
    elif memoryview(picture).nbytes > PICTURE_BYTES_MAX:
        found = memoryview(picture).nbytes
        return _failed(f"a filter made a picture of {found} bytes; {PICTURE_BYTES_MAX} are the most")
    else:
        picture, media = bytes(picture), outcome.media[:64].encode("ascii", "replace").decode()
    try:
        notes = pack_notes(outcome.notes) if outcome.notes else None
    except ValueError as error:
        return _failed(str(error))
    return Row(Code.FINISHED, notes=notes, media=media, picture=picture)


def _failed(reason: str, *, transient: bool = False) -> Row:
    return Row(Code.TROUBLED if transient else Code.FAILED, _sentence(reason))


def _sentence(reason: object) -> str:
    """Return ``reason`` as text that any reader can decode, at most as long as a reason may be."""
    return str(reason)[:TEXT_CHARS_MAX].encode("utf-8", "replace").decode()


def _describe(row: Row, image: Image) -> None:
    """Add size, format and digest of an image that the chain looked at, as far as it can be told."""
    try:
        row.digest = image.digest()
        header = image.header
    except ZGridError:
        return  # it failed for this very reason, which the row has already
    row.width, row.height, row.format = header.width, header.height, header.format


def _bounded(sentences: dict[str, str]) -> dict[str, str]:
    return {name[:256]: _sentence(text) for name, text in list(sentences.items())[:256]}


def _let_go(view: memoryview) -> None:
    """Make a view that a filter kept an error to use: its memory will hold another image."""
    try:
        view.release()
    except BufferError:
        return  # an array made from it is still somewhere; it must not be used either, but we cannot enforce it


def tie(parent: int) -> None:
    """Tie this process to its agent, and keep the terminal's signals away from it."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_NAME, b"zgrid-child")
    if os.getppid() != parent:
        sys.exit("the agent was gone before its child had started")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the agent decides: it stops us, kills us, or dies and we with it


def _import(module: str) -> None:
    """Import a module that registers filters; where that fails, end and say why in the last line."""
    try:
        importlib.import_module(module)
    except BaseException as error:  # noqa: BLE001  somebody else's code runs here, and may even exit
        traceback.print_exception(error)
        text = " ".join(f"{type(error).__name__}: {error}".split())
        sys.stderr.write(f"{module} cannot be imported: {text}\n")
        sys.exit(EXIT_UNIMPORTED)


def main(arguments: Sequence[str] | None = None) -> None:
    """Be a child of the agent that started this process. Not for people: ``zgrid worker`` starts it."""
    parser = argparse.ArgumentParser(prog="python -m zgrid.roles.child", description=main.__doc__)
    parser.add_argument("--link", type=int, required=True, help="descriptor of the socket to the agent")
    parser.add_argument("--arena", type=int, required=True, help="descriptor of the memory shared with the agent")
    parser.add_argument("--parent", type=int, required=True, help="process number of the agent")
    parser.add_argument("--allow", action="append", default=[], help="read images by reference at or below this path")
    parser.add_argument("--links", action="store_true", help="follow links that lead out of them")
    parser.add_argument(
        "--filters", action="append", default=[], help="import this module first; it may register filters"
    )
    Sandbox.add_arguments(parser)
    options = parser.parse_args(arguments)
    tie(options.parent)
    for fd in (options.link, options.arena):
        os.set_inheritable(fd, False)  # what a filter starts has no business with them
    if options.filters:
        sys.path.append(str(os.getcwd()))  # noqa: PTH109  last, so that a file there can hide no library
    for name in ("faces", "highlight"):
        # Wand looks for its library in ways that the sandbox forbids, as Python keeps compiled code for the next child.
        importlib.import_module(f"zgrid.filters.{name}")
    sandbox = Sandbox.of(options)
    exposed = sandbox.enter()
    use_one_thread()  # after the limits are set, so that what the libraries allocate counts
    keep_buffers()
    for module in options.filters:
        _import(module)
    roots = Roots(map(os.fsencode, options.allow), links=options.links)
    # The ventilator took the job, so its size is within the limit there; the limit of memory bounds it here.
    with Reader(FRAME_BYTES_MAX, roots=roots) as reader, socket.socket(fileno=options.link) as link:
        try:
            Child(link, Window(options.arena), reader, CpuLimit(sandbox.cpu_ms), exposed).live()
        except (BrokenPipeError, ConnectionResetError):
            return  # the agent is gone


if __name__ == "__main__":
    main()
