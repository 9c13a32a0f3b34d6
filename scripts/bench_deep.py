"""Many jobs in the ledger: what one costs then, and what memory the ventilator takes."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench_figures import Figure, Goal
from bench_grid import Grid, processor_s, scratch
from bench_measures import Bench

from zgrid.store.ledger import Ledger

SHALLOW = 10_000
MEASURED = 50_000
"""So many jobs are done each time, beside however many there are: enough to outweigh how a grid gathers speed."""
AT_ONCE = 50_000
VENTILATOR_MB_MAX = 200
DO_S_MAX = 300.0


def fill(path: Path, count: int, bench: Bench) -> None:
    """Accept so many jobs into a new ledger, of files that nobody will look at."""
    ledger = Ledger(path)
    try:
        chain, now_ms = ledger.chain_id("null"), time.time_ns() // 1_000_000
        for first in range(0, count, AT_ONCE):
            numbers = range(first, min(count, first + AT_ONCE))
            offers = [(f"file:///photos/{number // 10000:04d}/{number:08d}.jpg", 64, 0) for number in numbers]
            ledger.accept(offers, chain, now_ms)
            ledger.commit()
            if first % 1_000_000 == 0 and first:
                bench.tell(f"{first:,} of {count:,} jobs accepted")
    finally:
        ledger.close()


def cost_us(folder: Path) -> tuple[float, float]:
    """Return the ventilator's processor time for each job in microseconds, and the most memory that it had in MB.

    Its ledger is in ``folder``; two workers do the next MEASURED of its jobs, and what the ledger makes of the others
    when it is opened is not counted.
    """
    with ExitStack() as stack:
        running = Grid(stack, folder, ["null"], "--by-reference", workers=0)
        running.give([])
        before, done_before = processor_s(running.ventilator.pid), stored(running)
        for number in range(2):
            running.worker(number)
        deadline = time.monotonic() + DO_S_MAX
        done, spent = done_before, before
        while done - done_before < MEASURED:
            if running.ventilator.poll() is not None:
                raise SystemExit(f"the ventilator ended after {done - done_before} jobs")
            if time.monotonic() > deadline:
                raise SystemExit(f"only {done - done_before} jobs were done in {DO_S_MAX:.0f} s")
            time.sleep(0.02)
            spent, done = processor_s(running.ventilator.pid), stored(running)
        running.memory.look()
        return 1e6 * (spent - before) / (done - done_before), running.memory.largest_mb["ventilator"]


def stored(running: Grid) -> int:
    """Return how many jobs are stored."""
    return running.status()["counts"]["stored"]


def depth(bench: Bench) -> Iterator[Figure]:
    """What a job costs the ventilator with very many of them in the ledger, beside ten thousand, and its memory."""
    peaks: list[float] = []
    with scratch(bench.base) as deep_folder:
        fill(deep_folder / "ledger.sqlite", bench.options.deep, bench)

        def deep() -> float:
            cost, peak = cost_us(deep_folder)
            peaks.append(peak)
            return cost

        def shallow() -> float:
            with scratch(bench.base) as folder:
                fill(folder / "ledger.sqlite", SHALLOW + MEASURED, bench)
                return cost_us(folder)[0]

        both = bench.turns("us", deep=deep, shallow=shallow)
    many = f"{bench.options.deep / 1e6:g} million" if bench.options.deep >= 1e6 else f"{bench.options.deep:,}"
    what = f"ventilator's processor time for a job, {many} more in the ledger"
    goal = Goal(1.2, at_least=False)
    yield Figure("grid", "depth", what, "us", both["deep"], "10 thousand", both["shallow"], goal)
    memory = Goal(VENTILATOR_MB_MAX, at_least=False, of_ratio=False)
    yield Figure("grid", "depth-memory", f"ventilator's memory, {many} in the ledger", "MB", (max(peaks),), goal=memory)
