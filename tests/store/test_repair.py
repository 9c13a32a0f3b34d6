"""Damaged ledgers: they are refused or used, never wrong in silence where that can be known, and repaired."""

import random
import resource
import shutil
import sqlite3
from contextlib import closing

import damage
import pytest
from damage import NOW

from zgrid.errors import DamagedError, ForeignError, SettingsError, StoreError
from zgrid.protocol.job import Offer, State
from zgrid.protocol.window import START
from zgrid.store import opening, wal
from zgrid.store import repair as repairing
from zgrid.store.check import check
from zgrid.store.ledger import Ledger
from zgrid.store.repair import repair

SEEDS = range(3)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Return the file of a ledger with everything in it, and what is in it."""
    path = tmp_path_factory.mktemp("good") / "ledger.sqlite"
    damage.full_ledger(path).close()
    return path, damage.jobs_of(path)


def use(path):
    """Do with a ledger what a ventilator does; raises what it would."""
    ledger = Ledger(path)
    try:
        ledger.next_open(1, START, 9999)
        ledger.accept([Offer("file:///new", 1, 1)], 1, NOW)
        ledger.settle(range(1, 1300), State.STORED, NOW)
        ledger.listed(State.BURIED, 99)
        for seq in range(600, 640):
            ledger.evidence(seq)
            ledger.story(seq)
        ledger.commit()
    finally:
        ledger._db.close()
        ledger._lock.close()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("way", damage.WAYS, ids=lambda way: way.__name__)
def test_damage_is_told_and_repaired(good, tmp_path, way, seed):
    """Whatever is damaged: one of our sentences or none, a check that sees it and changes nothing, and a repair.

    The repaired ledger is sound. Each job in it is what it was, or its source was all that was left of it.
    """
    path, data = damage.damaged_copy(good[0], tmp_path / "used", way, seed)
    try:
        use(path)
    except (DamagedError, ForeignError):
        assert path.exists()
    path, data = damage.damaged_copy(good[0], tmp_path / "repaired", way, seed)
    try:
        found = check(path)
    except ForeignError:
        found = ["it is no ledger"]
    assert path.read_bytes() == data
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    jobs, images = good[1]
    if found:
        told = repaired(path)
        assert told[0].startswith("saved: jobs ")
    assert check(path) == []
    now, its_images = damage.jobs_of(path)
    same = [seq for seq in jobs if jobs[seq] == now.get(seq)]
    changed = [seq for seq in jobs if seq in now and seq not in same]
    assert found or (now, its_images) == good[1], "what is not seen is not there"
    assert len([seq for seq in changed if now[seq][9:] != (0, None, None, None, None, None, 0)]) <= 40
    assert all(image == images[seq] for seq, image in its_images.items() if seq in images)
    if way not in (damage.truncate, damage.overwrite_pages):
        assert len(same) + len(changed) >= len(jobs) - 60
        assert len(same) >= len(jobs) - 400


def repaired(path):
    """Repair a ledger, with an answer to what only a person knows."""
    try:
        return repair(path, NOW)
    except SettingsError as error:
        assert "--chain" in str(error)  # noqa: PT017  nothing else may be asked
        return repair(path, NOW, "faces highlight")


@pytest.mark.parametrize("way", [damage.zero_header, damage.overwrite_first_page])
def test_lost_first_page_loses_nothing_else(good, tmp_path, way):
    """Where everything is was told by the first page alone; but each row proves what it is."""
    path, _ = damage.damaged_copy(good[0], tmp_path / "damaged", way, 1)
    before = Ledger(good[0])
    before.close()
    told = repair(path, NOW)
    assert damage.jobs_of(path) == good[1]
    ledger = Ledger(path)
    assert (ledger.ledger_id == before.ledger_id) is (way is damage.zero_header)  # else how many there were is lost
    assert ledger.recall("paused") == {"since_ms": NOW}
    assert ledger.chain_texts() == {1: "faces highlight", 2: "null"}
    assert [event.event for event in ledger.story(1)] == ["accepted", "sent"]
    assert ledger.tallies()["w0"]["events"] == {"sent": 136}
    assert len(ledger.evidence(639)) == 1
    ledger.close()
    assert told[-1] == f"what it was before is kept as {path}.damaged-20231114T221320"
    assert (path.parent / f"{path.name}.damaged-20231114T221320").exists()


def test_lost_image_buries_its_job(good, tmp_path):
    """A put image comes from nowhere again: its job says so, and is not sent to a worker."""
    path = tmp_path / "ledger.sqlite"
    shutil.copy(good[0], path)
    data = bytearray(path.read_bytes())
    at = data.index(bytes([20]) * 3000)
    data[at : at + 10] = b"0123456789"
    path.write_bytes(data)
    seq = next(seq for seq, image in good[1][1].items() if image[:1] == bytes([20]))
    assert check(path) == [f"the image of job {seq} is not what was put"]
    told = repair(path, NOW)
    assert "images that were put and are lost: 1; their jobs are buried" in told
    ledger = Ledger(path)
    found = ledger.find(str(seq))
    assert (found.state, found.reason) == (State.BURIED, "its image was in a damaged part of the ledger: put it again")
    assert ledger.kick([seq], NOW) == []
    ledger.close()


def test_lost_jobs_cost_the_identity(good, tmp_path):
    """Numbers of lost jobs may be given again, so no sink may take what it has stored for what is new."""
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(good[0].read_bytes()[: 60 * damage.PAGE_BYTES])
    told = repair(path, NOW)
    assert any(sentence.startswith("jobs that are lost: ") for sentence in told)
    assert any("new identity" in sentence for sentence in told)
    ledgers = [Ledger(path), Ledger(good[0])]
    assert ledgers[0].ledger_id != ledgers[1].ledger_id
    for ledger in ledgers:
        ledger.close()


def test_lost_chain_is_asked_for(good, tmp_path):
    """What jobs are for cannot be guessed: the repair says that it needs to know, and changes nothing until it does."""
    path = tmp_path / "ledger.sqlite"
    shutil.copy(good[0], path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("DELETE FROM chains WHERE id = 2")
    before = path.read_bytes()
    with pytest.raises(SettingsError, match=r"filters of chain 2 are lost, .*: repeat this with --chain"):
        repair(path, NOW)
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["ledger.sqlite", "ledger.sqlite.lock"]
    repair(path, NOW, "faces highlight")
    ledger = Ledger(path)
    assert ledger.chain_texts() == {1: "faces highlight"}
    assert sum(ledger.chain_counts()[1].values()) == len(good[1][0])
    ledger.close()


def test_sound_ledger_is_left_alone(good, tmp_path):
    """Who repairs what is sound changes nothing; who names another file is told so; a running one is not touched."""
    path = tmp_path / "ledger.sqlite"
    shutil.copy(good[0], path)
    before = path.read_bytes()
    assert repair(path, NOW) == ["nothing is wrong with it: it is left as it is"]
    assert path.read_bytes() == before
    ledger = Ledger(path)
    with pytest.raises(SettingsError, match="a ventilator uses the ledger"):
        repair(path, NOW)
    assert check(path) == []
    ledger.close()
    (tmp_path / "photograph.jpg").write_bytes(b"\xff\xd8\xff\xe0" * 5000)
    with pytest.raises(ForeignError, match=r"photograph.jpg is no ledger"):
        repair(tmp_path / "photograph.jpg", NOW)
    for nothing in (check, lambda path: repair(path, NOW)):
        with pytest.raises(SettingsError, match="is not there"):
            nothing(tmp_path / "nothing.sqlite")
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE meta SET value = 99 WHERE name = 'schema'")
        db.commit()
    with pytest.raises(SettingsError, match="use the zgrid that made it"):
        repair(path, NOW)


def test_emptied_ledger_with_a_log_is_refused(tmp_path):
    """SQLite would throw the log away with all that was committed; the repair makes a ledger of the log alone."""
    ledger = damage.full_ledger(tmp_path / "good.sqlite")
    path = tmp_path / "ledger.sqlite"
    shutil.copy(wal.wal_of(ledger.path), wal.wal_of(path))
    ledger.close()
    for make in (path.touch, lambda: None):
        make()
        with pytest.raises(DamagedError, match=r"there is nothing in it, but ledger.sqlite-wal is not empty"):
            Ledger(path)
    repair(path, NOW)
    assert damage.jobs_of(path) == damage.jobs_of(ledger.path)


def test_damaged_table_of_tables_is_refused(good, tmp_path):
    """A ledger whose tables seem to be gone is not filled with new ones."""
    path = tmp_path / "ledger.sqlite"
    data = bytearray(good[0].read_bytes())
    data[100:105] = b"\x0d\0\0\0\0"  # the first page is one without any cells
    path.write_bytes(data)
    with pytest.raises(DamagedError, match="its tables are gone"):
        Ledger(path)
    assert check(path) == ["its tables are gone"]
    repair(path, NOW)
    assert damage.jobs_of(path) == good[1]


# -- the log


@pytest.fixture(scope="module")
def crashed(tmp_path_factory):
    """Return the files of a ledger that was killed, and what was in it after each of 20 commits, all in the log."""
    folder = tmp_path_factory.mktemp("crashed")
    ledger = Ledger(folder / "good.sqlite")
    ledger.chain_id("null")
    ledger.commit()
    ledger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()
    states = [{}]
    for number in range(20):
        first = number * 40
        rows = ledger.accept([Offer(f"file:///{one:05d}", one, one) for one in range(first, first + 40)], 1, NOW)
        ledger.settle([row.seq for row in rows[::3]], State.STORED, NOW)
        ledger.commit()
        states.append({row[0]: row for row in ledger._db.execute("SELECT * FROM jobs")})
    for suffix in ("", "-wal"):
        shutil.copy(f"{ledger.path}{suffix}", folder / f"ledger.sqlite{suffix}")
    ledger.close()
    return folder / "ledger.sqlite", states


def with_log(crashed, folder, data):
    """Copy the killed ledger with other bytes as its log."""
    folder.mkdir()
    path = folder / "ledger.sqlite"
    shutil.copy(crashed, path)
    wal.wal_of(path).write_bytes(data)
    return path


@pytest.mark.parametrize("seed", range(8))
def test_log_that_is_cut_short(crashed, tmp_path, seed):
    """A commit that is not whole never was; the ledger is as it was after one before it, and sound."""
    files, states = crashed
    data = wal.wal_of(files).read_bytes()
    path = with_log(files, tmp_path / "cut", data[: random.Random(seed).randrange(100, len(data))])
    assert check(path) == []
    assert damage.jobs_of(path)[0] in states[:-1]


@pytest.mark.parametrize("seed", range(12))
def test_log_with_wrong_bytes(crashed, tmp_path, seed):
    """Commits that were on disk and cannot be read back are not passed over in silence, and can be saved.

    Only the last one may be gone: nothing tells it from one that a power cut has cut short.
    """
    files, states = crashed
    rng, data = random.Random(seed), bytearray(wal.wal_of(files).read_bytes())
    at, size = (rng.randrange(32), 1) if seed % 4 == 0 else (rng.randrange(32, len(data)), rng.choice([1, 2000]))
    data[at : at + size] = bytes(byte ^ 0x55 for byte in data[at : at + size])
    path = with_log(files, tmp_path / "flipped", data)
    found = check(path)
    if not found:
        assert damage.jobs_of(path)[0] in states[-2:]
        return
    with pytest.raises(DamagedError, match=r"commits in ledger\.sqlite-wal cannot be read"):
        Ledger(path)
    assert wal.wal_of(path).read_bytes() == data
    repair(path, NOW)
    assert check(path) == []
    now = damage.jobs_of(path)[0]
    assert sum(now.get(seq) == row for seq, row in states[-1].items()) >= len(states[-1]) - 80
    kept = path.with_name(path.name + ".damaged-20231114T221320")
    assert wal.wal_of(kept).read_bytes() == data


def test_sound_log_is_read_as_sqlite_reads_it(crashed):
    """Frames and commits are those that SQLite itself finds; after a checkpoint the old ones do not count."""
    files, states = crashed
    frames = list(wal.frames(wal.wal_of(files)))
    assert all(frame.is_sound for frame in frames)
    assert sum(frame.is_commit for frame in frames) == len(states) - 1
    assert wal.lost_commits(files) == 0
    assert wal.lost_commits(files.with_name("nothing")) == 0


# -- ended in the middle


@pytest.mark.parametrize("step", range(6))
def test_repair_that_is_killed_is_ended_by_the_next(good, tmp_path, monkeypatch, step):
    """Whichever step of the repair is the last one: no ventilator starts with half a ledger, and nothing is lost."""
    path, _ = damage.damaged_copy(good[0], tmp_path / "damaged", damage.zero_header, 1)
    wal.wal_of(path).write_bytes(b"the log of the old ledger")
    done = []

    def counted(act):
        def acted(*args):
            if len(done) == step:
                raise KeyboardInterrupt
            done.append(act)
            return act(*args)

        return acted

    path_type = type(path)
    monkeypatch.setattr(path_type, "rename", counted(path_type.rename))
    monkeypatch.setattr(repairing, "_sync", counted(repairing._sync))
    try:
        repair(path, NOW)
    except KeyboardInterrupt:
        monkeypatch.undo()
        with pytest.raises(DamagedError):
            Ledger(path)
        repair(path, NOW + 60_000)
    assert damage.jobs_of(path) == good[1]
    kept = [entry.name for entry in path.parent.iterdir() if ".damaged-" in entry.name]
    assert sorted(name.endswith("-wal") for name in kept) == [False, True]
    assert len({name.removesuffix("-wal") for name in kept}) == 1
    assert not opening.repaired_of(path).exists()


def test_repair_without_room_changes_nothing(good, tmp_path):
    """A disk that fills up in the middle leaves the old ledger as it was, and nothing beside it."""
    path, data = damage.damaged_copy(good[0], tmp_path / "damaged", damage.zero_header, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StoreError):
            repair(path, NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == data
    assert sorted(entry.name for entry in path.parent.iterdir()) == ["ledger.sqlite", "ledger.sqlite.lock"]


# -- what a check sees


WRONG = {
    "job 5 has the state 9, which does not exist": "UPDATE jobs SET state = 9 WHERE seq = 5",
    "job 600 is delayed, but until no time": "UPDATE jobs SET due_ms = NULL WHERE seq = 600",
    "job 5 has the chain 7, whose text is not there": "UPDATE jobs SET chain = 7 WHERE seq = 5",
    "line 1 of the history names jobs of another block than its own": "UPDATE history SET block = 9 WHERE id = 1",
    "evidence 1 cannot be read": "UPDATE evidence SET detail = '{' WHERE id = 1",
    "what is remembered as paused cannot be read": "UPDATE meta SET value = '{' WHERE name = 'paused'",
    "an image is kept of job 9999, which is not there": "INSERT INTO spool VALUES (9999, x'00')",
    "an image is kept of job 1, which is closed for good": "INSERT INTO spool VALUES (1, x'00')",
    "the image of job 1205 is not there": "DELETE FROM spool WHERE seq = 1205",
    "the image of job 1205 is not what was put": "UPDATE spool SET image = x'00' WHERE seq = 1205",
    "job 5 has not the key of its source": "UPDATE jobs SET size = 1 WHERE seq = 5",
    "of chain 1 there are 1 jobs in state 5, but 0 were counted": "UPDATE jobs SET state = 5 WHERE seq = 690",
    "its identity is gone": "DELETE FROM meta WHERE name = 'ledger_id'",
    "its schema is None": "DELETE FROM meta WHERE name = 'schema'",
}  # fmt: skip


@pytest.mark.parametrize("sentence", WRONG)
def test_check_says_what_is_wrong(good, tmp_path, sentence):
    """What the tables say of each other is told in sentences, and repaired."""
    path = tmp_path / "ledger.sqlite"
    shutil.copy(good[0], path)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(WRONG[sentence])
    assert sentence in check(path)
    repaired(path)
    assert check(path) == []


def test_check_of_an_earlier_version_and_of_nothing(tmp_path):
    """A ledger that waits for its migration is sound, and so is one without a job; an empty file is no ledger."""
    (tmp_path / "empty.sqlite").touch()
    with pytest.raises(ForeignError, match="is empty, so it is no ledger"):
        check(tmp_path / "empty.sqlite")
    Ledger(tmp_path / "new.sqlite").close()
    assert check(tmp_path / "new.sqlite") == []
