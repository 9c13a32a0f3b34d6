"""What keys cost: the same grids with and without them, in turn. Wall time, and what processors were at work."""

import resource
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench_figures import Figure, Goal
from bench_grid import Grid, make_files, scratch
from bench_measures import Bench

from zgrid.transport.enrolment import Enrolment


def curve(bench: Bench) -> Iterator[Figure]:
    """What keys cost: faces and highlight on photographs (--photos), and 100 KB images with the null filter."""
    count = max(200, bench.options.jobs // 25)
    paths = make_files(bench.base / "inline100", count, 100_000)
    yield from _pair(bench, "curve-inline", "null filter, inline 100 KB, with keys", "MB/s", paths, ["null"], None)
    given = bench.options.photos
    photos = sorted(path for path in given.rglob("*") if path.is_file()) if given else []
    if not photos:
        what = "faces and highlight on photographs, with keys"
        yield Figure("grid", "curve", what, "images/s", goal=Goal(0.95), error="give a folder with --photos")
        return
    with scratch(bench.base) as files:
        paths = [files / f"{number:05d}{photos[number % len(photos)].suffix}" for number in range(bench.options.images)]
        for number, path in enumerate(paths):
            shutil.copyfile(photos[number % len(photos)], path)
        what = "faces and highlight on photographs, with keys"
        yield from _pair(bench, "curve", what, "images/s", paths, ["faces", "highlight"], Goal(0.95))


def _pair(
    bench: Bench, name: str, what: str, unit: str, paths: list[Path], chain: list[str], goal: Goal | None
) -> Iterator[Figure]:
    """Measure a grid with keys beside one without, by the wall clock and by processor time for each job."""
    spent: dict[str, list[float]] = {"keys": [], "plain": []}

    def run(side: str) -> float:
        before = _processors_ms()
        folder = bench.folder()
        with ExitStack() as stack:
            seconds = Grid(stack, folder, chain, keys=_enrolled(folder) if side == "keys" else None).run(paths)
        spent[side].append((_processors_ms() - before) / len(paths))
        each = paths[0].stat().st_size / 1e6 if unit == "MB/s" else 1
        return len(paths) * each / seconds

    both = bench.turns(unit, keys=lambda: run("keys"), plain=lambda: run("plain"))
    yield Figure("grid", name, what, unit, both["keys"], "without keys", both["plain"], goal)
    keys, plain = tuple(spent["keys"]), tuple(spent["plain"])
    what += ": processor time for each"
    yield Figure("grid", f"{name}-cpu", what, "ms", keys, "without keys", plain, goal, less_is_faster=True)


def _enrolled(folder: Path) -> Path:
    """Make the keys of a grid with one worker's, which both workers have."""
    enrolment = Enrolment(folder / "keys")
    enrolment.init("bench")
    enrolment.enroll("worker", "worker")
    return folder / "keys"


def _processors_ms() -> float:
    """Return what all processes that have ended, and theirs, have had of processors."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (used.ru_utime + used.ru_stime) * 1000
