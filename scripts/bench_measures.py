"""What scripts/bench measures of a grid, each beside the barest thing that could do the same."""

import argparse
import os
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from bench_bare import bare, bare_chain
from bench_figures import Figure, Goal, percentile
from bench_grid import HERE, Grid, make_files, scratch

BARE = "bare PUSH/PULL"
MEMORY_MB_MAX = 300
ALIKE = 4
"""Inline, so many images are one file. A run is to last for some seconds, for in the first one the kernel gives memory
for the first time, which on a virtual machine takes as long as all else; and the files are to stay in memory."""

LARGE_PHOTOS = 40
"""As many are enlarged; more would only take longer to be made."""

Tell = Callable[[str], None]
"""Told how far a measurement is."""


class Bench:
    """One run of scripts/bench: where its files go, what was asked for, and who is told how far it is."""

    def __init__(self, base: Path, options: argparse.Namespace, tell: Tell) -> None:
        self.base = base
        self.options = options
        self.tell = tell

    def turns(self, unit: str, **sides: Callable[[], float]) -> dict[str, tuple[float, ...]]:
        """Return what each side measured, as often as asked for and in turn."""
        values: dict[str, list[float]] = {name: [] for name in sides}
        for number in range(self.options.repeat):
            for name, side in sides.items():
                values[name].append(side())
            told = ", ".join(f"{name} {values[name][-1]:,.4g}" for name in sides)
            self.tell(f"{number + 1} of {self.options.repeat}: {told} {unit}")
        return {name: tuple(measured) for name, measured in values.items()}

    def folder(self) -> Path:
        """Return an empty folder for one grid, which stays there until everything is measured.

        ext4 gives the place of a file that was deleted to no new one for a minute or more, and whoever makes files
        where thousands were deleted looks at each of those places: that took the next grid's sink as long as its
        pictures did.
        """
        return Path(tempfile.mkdtemp(prefix="grid-", dir=self.base))

    def grid(self, paths: list[Path], chain: list[str], *arguments: str) -> float:
        """Return the jobs per second of a grid with two workers of one child each, from given to stored."""
        with ExitStack() as stack:
            return len(paths) / Grid(stack, self.folder(), chain, *arguments).run(paths)

    def from_ledger(self, paths: list[Path], *arguments: str, peaks: dict[str, float] | None = None) -> float:
        """Return the jobs per second of null jobs that are all in the ledger before any is sent.

        ``peaks``: told the largest memory, in MB, of each role's processes.
        """
        with ExitStack() as stack:
            running = Grid(stack, self.folder(), ["null"], *arguments, workers=0)
            rate = len(paths) / running.run_from_ledger(paths)
            running.memory.look()
            for role, peak in running.memory.largest_mb.items() if peaks is not None else ():
                peaks[role] = max(peaks.get(role, 0.0), peak)
            return rate


def reference(bench: Bench) -> Iterator[Figure]:
    """Null filter, by reference, from the ledger: what it costs to do a job durably."""
    paths = make_files(bench.base / "small", bench.options.jobs, 64)
    both = bench.turns(
        "jobs/s",
        zgrid=lambda: bench.from_ledger(paths, "--by-reference"),
        bare=lambda: bare(paths, inline=False, search=False),
    )
    what = "null filter, by reference, from the ledger"
    yield Figure("grid", "reference", what, "jobs/s", both["zgrid"], BARE, both["bare"], Goal(1.0))


def folder(bench: Bench) -> Iterator[Figure]:
    """The same from files that are looked at and accepted meanwhile: what it costs to find a job and do it."""
    paths = make_files(bench.base / "small", bench.options.jobs, 64)
    both = bench.turns(
        "jobs/s",
        zgrid=lambda: bench.grid(paths, ["null"], "--by-reference"),
        bare=lambda: bare(paths, inline=False, search=True),
    )
    what = "the same, files looked at and accepted meanwhile"
    yield Figure("grid", "folder", what, "jobs/s", both["zgrid"], BARE, both["bare"])


def inline(bench: Bench, name: str, size_kb: int, count: int) -> Iterator[Figure]:
    """Null filter, images in the messages, from the ledger: what a byte costs, and what memory it takes."""
    peaks: dict[str, float] = {}
    size = f"{size_kb} KB" if size_kb < 1000 else f"{size_kb // 1000} MB"
    what = f"null filter, inline {size}, from the ledger"
    with scratch(bench.base) as files:
        paths = make_files(files, count, size_kb * 1000, ALIKE)
        both = bench.turns(
            "MB/s",
            zgrid=lambda: bench.from_ledger(paths, peaks=peaks) * size_kb / 1000,
            bare=lambda: bare(paths, inline=True, search=False) * size_kb / 1000,
        )
        yield Figure("grid", name, what, "MB/s", both["zgrid"], BARE, both["bare"], Goal(0.9))
        role, peak = max(peaks.items(), key=lambda item: item[1])
        bench.tell(f"the largest process was a {role}")
        what = f"inline {size}, largest process"
        goal = Goal(MEMORY_MB_MAX, at_least=False, of_ratio=False)
        yield Figure("grid", f"{name}-memory", what, "MB", (peak,), goal=goal)
        both = bench.turns(
            "MB/s",
            zgrid=lambda: bench.grid(paths, ["null"]) * size_kb / 1000,
            bare=lambda: bare(paths, inline=True, search=True) * size_kb / 1000,
        )
    what = f"inline {size}, files looked at and accepted meanwhile"
    yield Figure("grid", f"{name}-folder", what, "MB/s", both["zgrid"], BARE, both["bare"])


def inline_small(bench: Bench) -> Iterator[Figure]:
    """Null filter, images of 100 KB in the messages, and the largest process."""
    yield from inline(bench, "inline", 100, max(1000, bench.options.jobs // 2))


def inline_large(bench: Bench) -> Iterator[Figure]:
    """The same with images of 1 MB."""
    yield from inline(bench, "inline-large", 1000, max(500, 3 * bench.options.jobs // 50))


def chain(bench: Bench) -> Iterator[Figure]:
    """The real chain on real photographs (--photos), beside the same functions in two processes without sockets."""
    yield from chain_on(bench, "chain", "faces and highlight on photographs", bench.options.images, taken)


def chain_large(bench: Bench) -> Iterator[Figure]:
    """The same with photographs that are enlarged to twelve megapixels, as cameras make them."""
    what = "the same, enlarged to 12 megapixels"
    yield from chain_on(bench, "chain-large", what, max(20, bench.options.images // 5), enlarged)


def chain_on(
    bench: Bench, name: str, what: str, count: int, make: Callable[[list[Path], Path], list[Path]]
) -> Iterator[Figure]:  # fmt: skip
    """Measure the chain on ``count`` images: those that ``make`` writes, again and again, each under its own name."""
    given = bench.options.photos
    photos = sorted(path for path in given.rglob("*") if path.is_file()) if given else []
    if not photos:
        yield Figure("grid", name, what, "images/s", goal=Goal(0.97), error="give a folder with --photos")
        return
    with scratch(bench.base) as files:
        made = make(photos, files / "made")
        paths = [files / f"{number:05d}{made[number % len(made)].suffix}" for number in range(count)]
        for number, path in enumerate(paths):
            shutil.copyfile(made[number % len(made)], path)
        os.sync()  # as make_files does
        took = bench.turns(
            "images/s",
            zgrid=lambda: bench.grid(paths, ["faces", "highlight"]),
            bare=lambda: bare_chain(paths),
            reference=lambda: bench.grid(paths, ["faces", "highlight"], "--by-reference"),
        )
    beside = "bare processes", took["bare"], Goal(0.97)
    yield Figure("grid", name, f"{what}, inline", "images/s", took["zgrid"], *beside)
    yield Figure("grid", f"{name}-reference", f"{what}, by reference", "images/s", took["reference"], *beside)


def taken(photos: list[Path], _: Path) -> list[Path]:
    """Return the photographs as they are."""
    return photos


def enlarged(photos: list[Path], folder: Path) -> list[Path]:
    """Return some of the photographs, enlarged to twelve megapixels."""
    import bench_pictures  # noqa: PLC0415  it sets this process's threads

    return bench_pictures.make(folder, photos, 12.0, LARGE_PHOTOS)


def slow(bench: Bench, name: str, quick_ms: float, count: int) -> Iterator[Figure]:
    """One worker that takes ``quick_ms`` for a job, and one that takes ten times as long."""
    paths = make_files(bench.base / "small", count, 64)
    ideal = count * quick_ms / 1000 / 1.1

    def seconds() -> float:
        with scratch(bench.base) as files, ExitStack() as stack:
            running = Grid(stack, files, ["wait"], "--by-reference", workers=0)
            for number, slower in enumerate((1, 10)):
                wait = {"PYTHONPATH": str(HERE), "BENCH_WAIT_MS": str(quick_ms * slower)}
                running.worker(number, "--filter-module=bench_filters", **wait)
            running.await_workers(2)
            return running.run(paths)

    took = bench.turns("s", zgrid=seconds)["zgrid"]
    what = f"workers of {quick_ms:g} and {quick_ms * 10:g} ms a job, time over the ideal"
    goal = Goal(1.05, at_least=False)
    yield Figure("grid", name, what, "s", took, "ideal", (ideal,) * len(took), goal)


def slow_long(bench: Bench) -> Iterator[Figure]:
    """One worker ten times slower than the other, with jobs as long as a photograph takes."""
    yield from slow(bench, "slow", 25.0, 700)


def slow_short(bench: Bench) -> Iterator[Figure]:
    """The same with short jobs, where handing over to a child weighs more."""
    yield from slow(bench, "slow-short", 10.0, 1500)


def idle(bench: Bench) -> Iterator[Figure]:
    """One 100 KB image through an idle grid: from its acceptance to its last commit, by the ledger's own record."""
    middle, late = [], []
    with scratch(bench.base) as files:
        paths = make_files(files / "single", 200, 100_000)
        for number in range(bench.options.repeat):
            with scratch(bench.base) as folder, ExitStack() as stack:
                times = one_by_one(Grid(stack, folder, ["null"]), paths)
            middle.append(statistics.median(times))
            late.append(percentile(times, 0.99))
            bench.tell(f"{number + 1} of {bench.options.repeat}: p50 {middle[-1]:g} ms, p99 {late[-1]:g} ms")
    for share, values, bound in (("p50", middle, 10), ("p99", late, 40)):
        what = f"one 100 KB image through an idle grid, accepted to stored, {share}"
        goal = Goal(bound, at_least=False, of_ratio=False)
        yield Figure("grid", f"idle-{share}", what, "ms", tuple(values), goal=goal)


def one_by_one(running: Grid, paths: list[Path]) -> list[float]:
    """Return the milliseconds that each of the images takes, given when the grid is idle again."""
    for path in paths:
        running.ventilator.stdin.write(os.fsencode(path) + b"\n")
        running.ventilator.stdin.flush()
        time.sleep(0.1)
    running.give([])
    running.await_end()
    with sqlite3.connect(running.folder / "ledger.sqlite") as ledger:
        return [row[0] for row in ledger.execute("SELECT settled_ms - accepted_ms FROM jobs")]


def pictures(bench: Bench) -> Iterator[Figure]:
    """What a photograph costs one core (--faces), beside the tutorials' way: see scripts/bench-chain."""
    import bench_pictures  # noqa: PLC0415  it sets this process's threads

    if bench.options.faces is None:
        yield Figure("pictures", "pictures", "photographs", "ms", error="give a folder with --faces")
        return
    with scratch(bench.base) as files:
        yield from bench_pictures.figures(bench.options.faces, files, bench.tell)
