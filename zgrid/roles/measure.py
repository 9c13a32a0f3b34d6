"""What this machine does with pictures: a chain run on some of them by one core and by all, without any grid.

Each core is a process as a worker's child is one. Everything is read where it lies and nothing is kept. What counts is
the time that a picture keeps a core busy and that it takes to read, so that other work on the machine spoils little.
"""

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from zgrid.errors import SettingsError, SourceError, ZGridError
from zgrid.roles.memory import keep_buffers
from zgrid.sources import Passed, Reader, scan

FOUND_MAX = 100_000
"""How many images are found before some of them are taken: more say no more of what a collection is like."""
START_S_MAX = 120.0
GIGABIT_BYTES_S = 117e6
"""What a gigabit link carries of a message's bytes."""
STAGES = ("read", "decode", "detect", "draw", "encode", "other")
_THREADS_ONE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MAGICK_THREAD_LIMIT")

Tell = Callable[[str, float], None]
"""Told what is going on, and how much of it is done (0 to 1)."""


class Picture(NamedTuple):
    """What one picture took: its size, what became of it, the seconds by a core, those of each stage, and by the clock.

    A core's seconds are those of reading, and of processor time for all the rest.
    """

    size_bytes: int
    megapixels: float
    format: str
    outcome: str
    reason: str
    faces: int
    seconds: float
    stages: dict[str, float]
    clock: float


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured. ``stages_ms`` are means of one core working alone; rates are pictures per second.

    ``had`` is the share of its core that the process had, less than 1 on a machine that is busy with other things.
    """

    found: int
    found_all: bool
    measured: int
    chain: str
    detector: str
    engine: str
    advice: str | None
    formats: dict[str, int]
    outcomes: dict[str, int]
    reasons: list[str]
    faces: int
    megapixels: float
    megabytes: float
    stages_ms: dict[str, float]
    ms: float
    ms_p95: float
    cores: int
    core_per_s: float
    machine_per_s: float
    had: float

    def machines_per_s(self, count: int) -> float:
        """Return what so many machines like this one would do: they share nothing but who hands out."""
        return self.machine_per_s * count

    @property
    def link_per_s(self) -> float:
        """How many such pictures a gigabit link carries in a second, where they travel with their jobs."""
        return GIGABIT_BYTES_S / (self.megabytes * 1e6)

    def as_data(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {**asdict(self), "link_per_s": self.link_per_s}


def sample(sources: Sequence[str], count: int) -> tuple[list[str], int, bool]:
    """Return the addresses of ``count`` images taken evenly from the sources, how many there are, and if that is all.

    Raises SettingsError where there is none.
    """
    chance = random.Random(0)  # noqa: S311  the same pictures each time, not a secret
    taken: list[str] = []
    found = 0
    for offer in scan(sources):
        if isinstance(offer, Passed):
            continue
        found += 1
        if len(taken) < count:
            taken.append(offer.uri)
        elif (place := chance.randrange(found)) < count:
            taken[place] = offer.uri
        if found >= FOUND_MAX:
            break
    if not taken:
        raise SettingsError(f"there is no image in {', '.join(sources)}: name a folder, a file or an archive with some")
    chance.shuffle(taken)
    return taken, found, found < FOUND_MAX


def measure(
    sources: Sequence[str], filters: Sequence[str], *, count: int, seconds: float, cores: int, tell: Tell
) -> Report:
    """Run a chain on up to ``count`` images for ``seconds`` by one core, and as long by all ``cores`` at once.

    Raises SettingsError where there is no image or the chain cannot run.
    """
    from zgrid.filters import detector_advice, detector_engine, detector_name  # noqa: PLC0415  heavy

    tell("looking for images", 0.0)
    uris, found, found_all = sample(sources, count)
    alone, rate = _run(uris, filters, 1, seconds, again=False, tell=lambda done: tell("one core", done))
    machine = rate
    if cores > 1:
        _, machine = _run(uris, filters, cores, seconds, again=True, tell=lambda done: tell(f"{cores} cores", done))
    times = sorted(picture.seconds for picture in alone)
    sizes = sorted(picture.megapixels for picture in alone)
    return Report(
        found=found,
        found_all=found_all,
        measured=len(alone),
        chain=" ".join(filters),
        detector=detector_name(),
        engine=detector_engine(),
        advice=detector_advice(),
        formats=dict(Counter(picture.format for picture in alone).most_common()),
        outcomes=dict(Counter(picture.outcome for picture in alone).most_common()),
        reasons=sorted({picture.reason for picture in alone if picture.outcome == "failed"})[:5],
        faces=sum(picture.faces for picture in alone),
        megapixels=sizes[len(sizes) // 2],
        megabytes=sum(picture.size_bytes for picture in alone) / len(alone) / 1e6,
        stages_ms={stage: 1000 * _mean(picture.stages.get(stage, 0.0) for picture in alone) for stage in STAGES},
        ms=1000 * _mean(times),
        ms_p95=1000 * times[int(len(times) * 0.95)],
        cores=cores,
        core_per_s=rate,
        machine_per_s=machine,
        had=min(1.0, sum(times) / sum(picture.clock for picture in alone)),
    )


def _mean(values: Iterable[float]) -> float:
    numbers = list(values)
    return sum(numbers) / len(numbers)


def _run(
    uris: list[str],
    filters: Sequence[str],
    processes: int,
    seconds: float,
    *,
    again: bool,
    tell: Callable[[float], None],
) -> tuple[list[Picture], float]:
    """Return what the pictures took and how many are done in a second, by so many processes at once.

    With ``again`` each begins elsewhere in the list and goes round until the time is over.
    """
    spawn = multiprocessing.get_context("spawn")
    pipes, children = [], []
    try:
        for number in range(processes):
            ours, theirs = spawn.Pipe()
            start = number * len(uris) // processes
            order = (theirs, uris[start:] + uris[:start], list(filters), seconds, again)
            child = spawn.Process(target=_child, args=order, daemon=True)
            child.start()
            theirs.close()
            pipes.append(ours)
            children.append(child)
        for pipe in pipes:
            _begun(pipe)
        for pipe in pipes:
            pipe.send("go")
        return _gather(pipes, len(uris), seconds, again=again, tell=tell)
    finally:
        for child in children:
            child.kill()
            child.join()


def _begun(pipe: Connection) -> None:
    """Wait until a child can work. Raises SettingsError with its reason where it cannot."""
    if not pipe.poll(START_S_MAX):
        raise ZGridError(f"a process took more than {START_S_MAX:.0f} s to start: is this machine out of memory?")
    try:
        why = pipe.recv()
    except EOFError:
        raise ZGridError("a process ended before it could work: its reason stands above") from None
    if why is not None:
        raise SettingsError(why)


def _gather(
    pipes: list[Connection], images: int, seconds: float, *, again: bool, tell: Callable[[float], None]
) -> tuple[list[Picture], float]:
    """Return all that the children send until they end, and the sum of their rates."""
    pictures: list[Picture] = []
    rate, open_pipes = 0.0, list(pipes)
    began = time.monotonic()
    while open_pipes:
        for pipe in wait(open_pipes):
            assert isinstance(pipe, Connection)
            try:
                message = pipe.recv()
            except EOFError:
                raise ZGridError("a process died of a picture: zgrid run buries such a one and goes on") from None
            if isinstance(message, Picture):
                pictures.append(message)
            else:
                rate += message
                open_pipes.remove(pipe)
        passed = (time.monotonic() - began) / seconds
        tell(min(1.0, passed if again else max(passed, len(pictures) / images)))
    return pictures, rate


def _child(pipe: Connection, uris: list[str], filters: list[str], seconds: float, again: bool) -> None:
    """Be one core: load the chain, say so, wait for the word, work, and tell of each picture and the rate at last."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    os.environ.update(dict.fromkeys(_THREADS_ONE, "1"))
    from zgrid.filters import Chain, parse_steps  # noqa: PLC0415  after the variables are set
    from zgrid.filters.threads import use_one_thread  # noqa: PLC0415

    use_one_thread()
    keep_buffers()
    with Reader() as reader:
        try:
            one = _One(Chain(parse_steps(filters)), reader)
        except SettingsError as error:
            pipe.send(str(error))
            return
        one.do(uris[0])  # the first one loads what is loaded late
        pipe.send(None)
        pipe.recv()
        began, done, busy = time.perf_counter(), 0, 0.0
        while not done or (again and time.perf_counter() - began < seconds):
            for uri in uris:
                picture = one.do(uri)
                pipe.send(picture)
                done += 1
                busy += picture.seconds
                if time.perf_counter() - began >= seconds:
                    break
        pipe.send(done / busy)


class _One:
    """A chain, and a clock for its stages."""

    def __init__(self, chain: Any, reader: Reader) -> None:
        from zgrid.filters import stages  # noqa: PLC0415  after the variables are set

        self._chain = chain
        self._reader = reader
        self._spent = stages.Spent()
        stages.listener = self._spent

    def do(self, uri: str) -> Picture:
        """Run the chain on one picture."""
        from zgrid.filters import Discard, Image, Keep  # noqa: PLC0415

        self._spent.reset()
        began = time.perf_counter()
        try:
            data = self._reader.read(uri)
        except SourceError as error:
            read = time.perf_counter() - began
            return Picture(0, 0.0, "-", "failed", str(error), 0, read, {"read": read}, read)
        read, busy = time.perf_counter() - began, time.process_time()
        image = Image(uri, data)
        outcome = self._chain.run(image)
        seconds = read + time.process_time() - busy
        clock = time.perf_counter() - began
        spent = {"read": read, **self._spent.seconds}
        spent["other"] = max(0.0, seconds - sum(spent.values()))
        what = "kept" if isinstance(outcome, Keep) else "discarded" if isinstance(outcome, Discard) else "failed"
        faces = outcome.notes.get("faces", []) if isinstance(outcome, Keep) else []
        megapixels, kind = _described(image)
        return Picture(
            len(data), megapixels, kind, what, getattr(outcome, "reason", ""), len(faces), seconds, spent, clock
        )


def _described(image: Any) -> tuple[float, str]:
    """Return a picture's megapixels and format, as far as it can be told."""
    try:
        header = image.header
    except ZGridError:
        return 0.0, "-"
    return header.width * header.height / 1e6, header.format
