"""Chaos: every kind of process killed with -9 at random moments, again and again, and nothing lost, nothing twice."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import photographs
import pytest
from harness import Grid

from zgrid.protocol.job import OPEN, State

pytestmark = [pytest.mark.grid, pytest.mark.timeout(600)]

PHOTOGRAPHS = 500 if os.environ.get("ZGRID_SLOW") else 200
SCRIPT = Path(__file__).parents[2] / "scripts" / "chaos"
VICTIMS = ("w1", "w2", "child", "ventilator", "sink")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Many photographs."""
    folder = tmp_path_factory.mktemp("chaos") / "photos"
    if not photographs.write(folder, PHOTOGRAPHS):
        pytest.skip("no photographs here: pip install scikit-image")
    return folder


@pytest.fixture(scope="module")
def undisturbed(photos, tmp_path_factory):
    """The boxes of every photograph with faces, as a run without any fault finds them."""
    grid = Grid(tmp_path_factory.mktemp("undisturbed"))
    run = grid.run(photos)
    try:
        assert run.wait(300.0) == 0, grid.tails()
        boxes = grid.boxes(grid.folder / "out" / "results.sqlite")
    finally:
        grid.end(failed=run.popen.returncode != 0)
    return boxes


def strike(grid, chance):
    """Kill one process of the grid with -9, and start it again unless its agent does that."""
    victim = chance.choice(VICTIMS)
    if victim == "child":
        children = grid.processes[chance.choice(["w1", "w2"])].children()
        if children:
            os.kill(chance.choice(children), signal.SIGKILL)
    elif grid.processes[victim].alive:
        grid.kill(victim)
        grid.restart(victim)
    return victim


def wait_until_further(grid, chance):
    """Wait until a few more jobs are closed, or for a moment when none can be just now; return whether all is done."""
    goal = closed(grid.counts()) + chance.randrange(1, PHOTOGRAPHS // 20)
    deadline = time.monotonic() + chance.uniform(0.2, 2.5)

    def further():
        counts = grid.counts()
        return closed(counts) >= goal or time.monotonic() >= deadline or is_done(counts)

    grid.until(further, what="time passes")
    return is_done(grid.counts())


def closed(counts):
    """Return how many jobs are not open any more."""
    return sum(jobs for state, jobs in counts.items() if state not in OPEN)


def is_done(counts):
    """Return whether everything was accepted and nothing is open."""
    return sum(counts.values()) == PHOTOGRAPHS and not any(counts[state] for state in OPEN)


def test_nothing_is_lost_and_nothing_is_there_twice(grid, photos, undisturbed):
    """Whatever is killed: one row and one whole picture for each photograph with faces, and no job left open."""
    seed = int(os.environ.get("ZGRID_SEED") or random.randrange(10_000))
    print(f"seed {seed}")
    chance = random.Random(seed)
    # A child that is killed is charged to its image, which cannot know better; that must not bury any.
    grid.ventilator(photos, attempts_max=50)
    grid.sink()
    for name in ("w1", "w2"):
        grid.worker(name, procs=1)
    grid.until(lambda: sum(grid.counts().values()) > 0, what="it has begun")
    strikes = []
    done = False
    while not done:
        done = wait_until_further(grid, chance)
        if not done and len(strikes) < PHOTOGRAPHS // 10:
            strikes.append(strike(grid, chance))
    print(f"{len(strikes)} strikes: {strikes}")
    assert len(strikes) >= 6, "too much was done between two of them"
    counts = grid.counts()
    assert counts[State.BURIED] == counts[State.CANCELLED] == 0
    rows = grid.rows()
    assert len(rows) == counts[State.STORED] == len(undisturbed)
    assert grid.boxes() == undisturbed
    # Pictures that a killed sink left without a row are swept up while it is idle.
    named = {picture for _, picture in rows.values()}
    assert len(named) == len(rows)
    grid.until(lambda: grid.pictures() == named, what="no picture is without a row")
    for picture in named:
        assert cv2.imread(str(grid.pictures_folder / picture)) is not None, f"{picture} does not decode"


def test_short_storm(tmp_path):
    """Under every kind of fault, with work and operations by hand all the time, everything adds up in the end."""
    seed = int(os.environ.get("ZGRID_SEED") or random.randrange(1_000_000))
    words = [sys.executable, SCRIPT, "--minutes", "0.33", "--seed", str(seed), "--keep", tmp_path / "kept"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    assert not done.stderr
    # A slow machine gets through only a part of what was planned.
    known = ("kill", "stop", "restart", "lock", "fill", "strangers", "clock", "readonly", "cut", "bad")
    kinds = [kind for kind in known if f"| - {kind} " in done.stdout]
    assert len(kinds) >= 4, f"only {kinds} were done"
