"""The chaos run itself: a seed names its plan, a run without faults is well, and each of its checks can fail."""

import os
import shutil
import sqlite3
from contextlib import closing

import pytest
from meddling import Meddler
from plan import CALM_FROM, CALM_TO, FAULTS, LONGEST_S, SHORTEST_OF_KIND_S, SPARED, plan
from storm import Storm, came_and_went
from verdict import Verdict
from vitals import JUDGED_FROM_S, MIB, Sample, Vitals

from zgrid.protocol.job import State
from zgrid.store.sqlite import CACHE_BYTES

SECONDS = 4.0
PARCELS_MIN = 60
"""Of each ventilator, so that some of them are discarded."""


def test_seed_names_the_plan():
    """The same seed makes the same plan, another one another, and every kind comes before any comes again."""
    faults = plan(5, 60.0)
    assert faults == plan(5, 60.0) != plan(6, 60.0)
    assert {(one.kind, one.part) for one in faults[: len(FAULTS)]} == set(FAULTS)
    assert all(one.lasts_s <= LONGEST_S for one in faults)
    assert all(one.lasts_s >= SHORTEST_OF_KIND_S.get(one.kind, 0.0) for one in faults)


def test_some_live_long():
    """In the calm part of a long run some are neither killed nor restarted, and nothing else is left out."""
    faults = [one for one in plan(7, 3600.0) if CALM_FROM * 3600 <= one.at_s < CALM_TO * 3600]
    hit = {one.victim for one in faults if one.kind in {"kill", "restart"} and one.part != "child"}
    assert not hit & SPARED
    assert hit == {"v1", "w1", "w2"}
    assert {(one.kind, one.part) for one in faults} == set(FAULTS) - {("kill", "sink"), ("restart", "sink")}


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """A run without faults that has ended, and a copy of what it left."""
    folder = tmp_path_factory.mktemp("quiet")
    told = []
    storm = Storm(folder / "run", 1, SECONDS, told.append, {})
    try:
        storm.begin()
        storm.blow([])
        while min(len(one.parcels) for one in storm.feeders.values()) < PARCELS_MIN:
            storm.turn()
        assert storm.settle(), "\n".join(told)
        storm.sweep()
        storm.rest()
        storm.end()
        assert storm.problems == []
    finally:
        storm.given_up.set()
        storm.over.set()
        storm.grid._kill_all()
    shutil.copytree(folder / "run", folder / "copy")
    yield storm
    assert Verdict(storm).check() == [], "a test has not put back what it took"


@pytest.fixture
def spoilt(quiet):
    """The run, as it was for every test; what a test does to its files or to it is undone."""
    decided = {name: dict(one.decided) for name, one in quiet.meddlers.items()}
    yield quiet
    shutil.rmtree(quiet.grid.folder)
    shutil.copytree(quiet.grid.folder.parent / "copy", quiet.grid.folder)
    for name, one in quiet.meddlers.items():
        one.decided = decided[name]


@pytest.mark.grid
def test_quiet_run_is_well(quiet):
    """Without faults every check holds; some jobs were stored, with rows and pictures, and some discarded."""
    verdict = Verdict(quiet)
    assert verdict.check() == []
    assert verdict.states[State.STORED] > 20
    assert verdict.states[State.DISCARDED]
    assert 0 < verdict.figures["pictures"] <= verdict.figures["rows"] == verdict.states[State.STORED]


def change(path, statement):
    """Change a database of a run that has ended."""
    with closing(sqlite3.connect(path)) as db, db:
        assert db.execute(statement).rowcount > 0


def row_lost(storm):
    """A row is gone."""
    change(storm.grid.database, "DELETE FROM images WHERE id = (SELECT min(id) FROM images)")


def row_twice(storm):
    """A job has two rows."""
    columns = "key, uri, digest, size_bytes, chain, chain_version, worker, attempt, wait_ms, read_ms, work_ms, ledger"
    change(
        storm.grid.database,
        f"INSERT INTO images ({columns}, seq, stored_at) SELECT {columns.replace('key, uri', 'key, uri || 1')}, seq, ''"
        " FROM images LIMIT 1",
    )


def row_of_another(storm):
    """The results of two images were mixed up."""
    change(storm.grid.database, "UPDATE images SET digest = (SELECT max(digest) FROM images)")


def picture_of(storm):
    """Return the file of a picture."""
    return storm.grid.pictures_folder / min(storm.grid.pictures())


def picture_cut(storm):
    """A picture is not whole."""
    os.truncate(picture_of(storm), 100)


def picture_mixed_up(storm):
    """A picture is whole, but another one's."""
    shutil.copy(storm.grid.pictures_folder / max(storm.grid.pictures()), picture_of(storm))


def picture_lost(storm):
    """A picture is gone."""
    picture_of(storm).unlink()


def picture_left(storm):
    """A picture has no row."""
    shutil.copy(picture_of(storm), storm.grid.pictures_folder / min(storm.grid.pictures())[:2] / ("ab" * 16 + ".png"))


def job_lost(storm):
    """An accepted job is not in the ledger."""
    change(storm.ventilators["v1"].ledger, "DELETE FROM jobs WHERE seq = 3")


def job_open(storm):
    """A job was never closed."""
    change(storm.ventilators["v2"].ledger, "UPDATE jobs SET state = 0 WHERE seq = (SELECT min(seq) FROM jobs)")


def job_closed_wrongly(storm):
    """Something was discarded that should have been stored."""
    change(storm.ventilators["v1"].ledger, "UPDATE jobs SET state = 3 WHERE state = 2")


def history_lost(storm):
    """Something was sent and nobody knows what became of it."""
    change(storm.ventilators["v1"].ledger, "DELETE FROM history WHERE event = 'stored'")


def spool_left(storm):
    """An image that was put is kept although its job is done."""
    change(storm.ventilators["v1"].ledger, "INSERT INTO spool SELECT min(seq), x'' FROM jobs WHERE state = 2")


def error_logged(storm):
    """A process had something to say that wants somebody to look."""
    with (storm.grid.folder / "w1.jsonl").open("a") as log:
        log.write('{"level":"error","event":"stopped","role":"worker"}\n')


def traceback_logged(storm):
    """A process died of a fault in it."""
    with (storm.grid.folder / "v1.jsonl").open("a") as log:
        log.write("Traceback (most recent call last):\n")


def cancelled_in_vain(storm):
    """Somebody was told that a job is cancelled, and then it was done all the same."""
    meddler: Meddler = storm.meddlers["v1"]
    parcel = next(one for one in storm.feeders["v1"].parcels if one.end is State.DISCARDED and not one.asked)
    meddler.decided[parcel.name] = State.CANCELLED


SPOILT = {
    row_lost: "stored jobs without a row",
    row_twice: "jobs with several rows",
    row_of_another: "rows that are not what their image says",
    picture_cut: "rows that are not what their image says",
    picture_mixed_up: "rows that are not what their image says",
    picture_lost: "rows without their picture",
    picture_left: "pictures without a row",
    job_lost: "accepted, but not in v1's ledger",
    job_open: "open in v2's ledger",
    job_closed_wrongly: "jobs of v1 that ended as nothing explains",
    history_lost: "jobs of v1 whose history has no end",
    spool_left: "images kept in v1's ledger",
    error_logged: "lines of level error",
    traceback_logged: "lines of logs that are no JSON",
    cancelled_in_vain: "operations on jobs of v1 that were answered",
}
"""What can be wrong -> how the verdict begins that must find it."""


@pytest.mark.grid
@pytest.mark.parametrize("spoil", SPOILT, ids=lambda spoil: spoil.__name__)
def test_each_check_can_fail(spoilt, spoil):
    """What is wrong is found, and called what it is."""
    spoil(spoilt)
    problems = Verdict(spoilt).check()
    assert any(problem.startswith(SPOILT[spoil]) for problem in problems), problems


def test_lanes_that_change_are_found():
    """A worker that has another lane in the end, or none, is a problem; those that keep theirs are none."""
    before = {"v1": {"w1": 4, "w2": 5}, "v2": {"w1": 2}}
    assert came_and_went(before, before) == []
    assert "w1': 6" in came_and_went(before, {**before, "v1": {"w1": 6, "w2": 5}})[0]
    assert len(came_and_went(before, {"v1": {"w1": 4}, "v2": {}})) == 2


def samples_of(*rows, began=0):
    """Return vitals with samples of one process: (time in s, MiB, files, and MiB of SQLite's cache where there is any).

    ``began``: a function of the time, for processes that have the number one after the other.
    """
    vitals = Vitals(None, {})
    for at_s, mib, files, *cache_mib in rows:
        life = (7, began(at_s) if began else 0)
        vitals.samples.append(Sample(at_s, "sink", life, mib * MIB, files, sum(cache_mib) * MIB))
    return vitals


def test_growth_is_found():
    """A process that grows all the time is found, by its role and by its life; one that is flat is not."""
    seconds = 2 * JUDGED_FROM_S + 600
    times = range(0, int(seconds), 2)
    assert samples_of(*((at, 60 + at % 3, 20 + at % 5) for at in times)).problems(seconds) == []
    grown = samples_of(*((at, 60 + at // 30, 20 + at // 20) for at in times)).problems(seconds)
    assert not [one for one in grown if "memory of sink grew" in one], "its life says so"
    assert [one for one in grown if "open files of sink grew" in one]
    assert [one for one in grown if "in its life" in one]
    cached = [(at, 60 + min(at // 40, 20), 20, min(at // 20, 16)) for at in times]
    assert samples_of(*cached).problems(seconds) == [], "SQLite's cache grew, and stopped at its bound"
    assert [one for one in samples_of((1.0, 500, 9)).problems(10.0) if "a sink had 500 MiB" in one]


def test_a_role_grows_where_each_process_of_it_has_more():
    """Processes that follow each other are compared at one age: an old one has more than a young one."""
    seconds, life_s = 3600.0, 100
    times = range(0, int(seconds), 2)

    def grown(mib_of, began):
        problems = samples_of(*((at, mib_of(at), 20) for at in times), began=began).problems(seconds)
        return [one for one in problems if "memory of sink grew" in one]

    assert grown(lambda at: 60 + at // 60, began=lambda at: at // life_s)
    assert not grown(lambda at: 60 + at % life_s // 10, began=lambda at: at // life_s)
    young_then_old = lambda at: at // life_s if at < 1800 else 18  # noqa: E731
    assert not grown(lambda at: 70 if at < 1800 else 70 + min(25, (at - 1800) // 60), began=young_then_old)


def test_number_used_again_is_another_life():
    """A small process and a larger one that has its number afterwards have not grown; one that was both has."""
    times = range(0, 900, 2)
    rows = [(at, 60 if at < 450 else 75, 20) for at in times]
    assert [one for one in samples_of(*rows).problems(900.0) if "in its life" in one]
    assert samples_of(*rows, began=lambda at: at // 450).problems(900.0) == []


@pytest.mark.grid
def test_looks_at_every_process(quiet):
    """A look notes what each kind of process has, and of those with a database what SQLite's cache may have of it."""
    assert {one.role for one in quiet.vitals.samples} >= {"ventilator", "worker", "sink", "child"}
    assert all(one.life[1] > 0 < one.rss_bytes for one in quiet.vitals.samples)
    cached = {one.role for one in quiet.vitals.samples if one.cache_bytes}
    assert cached == {"ventilator", "sink"}
    assert all(0 <= one.cache_bytes <= CACHE_BYTES for one in quiet.vitals.samples)
