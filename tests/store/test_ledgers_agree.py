"""The ledger on disk and the one in memory are the same to whoever uses them, whatever is done to them."""

import shutil
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zgrid.errors import StoreError
from zgrid.protocol.job import Offer, State
from zgrid.protocol.window import START
from zgrid.store.ledger import Ledger
from zgrid.store.memory import MemoryLedger
from zgrid.store.reader import LedgerReader
from zgrid.store.rows import KEPT, JobTerms
from zgrid.store.spool import put_offer

NOW = 1_700_000_000_000
NUMBERS = range(1, 13)
IMAGES = [(f"{number}.jpg", b"image %d" % (number // 2)) for number in range(4)]


def offers(*numbers: int) -> list[Offer]:
    return [Offer(f"file:///photos/{number:04d}.jpg", 1000, number) for number in numbers]


URIS = [offer.uri for offer in offers(*NUMBERS)] + [put_offer(*image).uri for image in IMAGES]

few = st.lists(st.sampled_from(URIS), max_size=6)
terms = st.builds(
    JobTerms,
    st.integers(0, 2),
    st.sampled_from([None, None, 3, 8]),
    st.sampled_from([None, 500]),
    st.sampled_from([None, 7]),
)
closed = st.sampled_from([State.STORED, State.STORED, State.DISCARDED, State.CANCELLED])
by_hand = st.sampled_from([State.BURIED, State.CANCELLED])
chains = st.integers(1, 2)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("accept"), st.lists(st.sampled_from(NUMBERS), max_size=6), chains, terms),
        st.tuples(st.just("accept"), st.lists(st.sampled_from(NUMBERS), max_size=6), chains, terms),
        st.tuples(st.just("put"), st.lists(st.sampled_from(IMAGES), max_size=4), chains, terms),
        st.tuples(st.just("settle"), few, closed),
        st.tuples(st.just("settle_late"), few),
        st.tuples(st.just("close"), few, by_hand),
        st.tuples(st.just("kick"), few),
        st.tuples(st.just("reopen"), few),
        st.tuples(st.just("charge"), st.sampled_from(URIS), st.integers(1, 3)),
        st.tuples(st.just("postpone"), st.sampled_from(URIS), st.integers(0, 9)),
        st.tuples(st.just("bury"), st.sampled_from(URIS)),
        st.tuples(st.just("due"), st.integers(0, 9)),
        st.tuples(st.just("record"), few, st.sampled_from([None, "w1", "w2"]), st.integers(0, 5)),
        st.tuples(st.just("remember"), st.sampled_from(["paused", "draining"]), st.sampled_from([None, {"a": [1]}])),
        st.tuples(st.just("commit")),
        st.tuples(st.just("rollback")),
    ),
    max_size=25,
)


def take(ledger, step):  # noqa: C901  one line for each operation
    """Perform one step and return what the caller sees of it, without the numbers."""
    match step:
        case ("accept", numbers, chain, terms):
            return [row[1:] for row in ledger.accept(offers(*numbers), chain, NOW, terms)]
        case ("put", images, chain, terms):
            placed = ledger.put(images, chain, NOW, terms)
            return [(state, row and row[1:], ledger.find(str(seq)).uri) for seq, state, row in placed]
        case ("settle", uris, state):
            return ledger.settle(numbers_of(ledger, uris), state, NOW, None if state is State.STORED else "why")
        case ("settle_late", uris):
            late = ledger.settle_late(numbers_of(ledger, uris), NOW)
            return [(ledger.find(str(seq)).uri, [one.event for one in ledger.story(seq)]) for seq in late]
        case ("close", uris, state):
            changed = ledger.close_by_hand(numbers_of(ledger, uris), state, NOW, "by hand")
            return [ledger.find(str(seq)).uri for seq in changed]
        case ("kick" | "reopen", uris):
            return [row[1:] for row in getattr(ledger, step[0])(numbers_of(ledger, uris), NOW)]
        case ("charge", uri, failures):
            return [ledger.charge(seq, failures, "why", {}, NOW) for seq in numbers_of(ledger, [uri])]
        case ("postpone", uri, due_ms):
            return [ledger.postpone(seq, 1, due_ms, "why", {}, NOW) for seq in numbers_of(ledger, [uri])]
        case ("bury", uri):
            return [ledger.bury(seq, 1, "why", {}, NOW) for seq in numbers_of(ledger, [uri])]
        case ("due", now_ms):
            return [row[1:] for row in ledger.due(now_ms)]
        case ("record", uris, worker, at_ms):
            return ledger.record("seen", numbers_of(ledger, uris), at_ms, worker)
        case ("remember", name, value):
            return ledger.remember(name, value)
        case _:
            return getattr(ledger, step[0])()


def numbers_of(ledger, uris):
    """Return the numbers of these jobs, which may differ between two ledgers: a refused offer may use one up."""
    found = [ledger.find(uri) for uri in uris]
    return [job.seq for job in found if job is not None]


def asked(ledger):
    """Return what both a ledger and its reader answer, without the numbers."""
    jobs = [ledger.find(uri) for uri in URIS]
    return (
        ledger.counts(),
        {chain: {state: jobs for state, jobs in states.items() if jobs} for chain, states in numbers(ledger)},
        ledger.tallies(),
        [ledger.recall(name) for name in ("paused", "draining")],
        [job and (job[1:], ledger.story(job.seq), len(ledger.evidence(job.seq))) for job in jobs],
        [job and ledger.image(job.seq) for job in jobs],
        [[ledger.find(str(seq)).uri for seq in ledger.pick(*which, 0, 99)] for which in SETS],
        [
            [job[1:] for job in ledger.listed(state, 5, pattern=pattern, chain=chain)]
            for state, pattern, chain in SETS
        ],
    )  # fmt: skip


def numbers(ledger):
    """Return the counts of each chain that has jobs."""
    return [(chain, states) for chain, states in ledger.chain_counts().items() if any(states.values())]


SETS = [
    (None, None, None), (None, "file:*/000[1-5].jpg", None), (State.READY, "*", 1), (State.BURIED, None, 2),
    (State.DELAYED, "put:*", None), (State.STORED, None, None), (None, "file:///photos/0001.jpg", 1),
]  # fmt: skip


def seen(ledger):
    """Return all that can be asked of a ledger, without the numbers."""
    return asked(ledger), ledger.next_due_ms(), [row[1:] for row in ledger.next_open(1, START, 99)]


@settings(max_examples=60, deadline=None)
@given(steps)
def test_both_ledgers_agree(tmp_path_factory, sequence):
    """Whatever is done to both, memory and disk say the same, and so do a reader and the disk when opened again."""
    path = tmp_path_factory.mktemp("agree") / "ledger.sqlite"
    disk, memory = Ledger(path), MemoryLedger()
    try:
        for step in sequence:
            assert take(disk, step) == take(memory, step)
            assert seen(disk) == seen(memory)
        disk.commit()
        real = disk._db.execute("SELECT state, count(*) FROM jobs GROUP BY state").fetchall()
        assert {state: jobs for state, jobs in disk.counts().items() if jobs} == dict(real)
        assert disk._db.execute("SELECT state, jobs FROM counts").fetchall() == [*disk.counts().items()]
        reader = LedgerReader(path)
        assert asked(reader) == asked(disk)
        reader.close()
        before = seen(disk)
        disk.close()
        disk = Ledger(path)
        assert seen(disk) == before
    finally:
        disk.close()


def prepared(ledger):
    """Bring a ledger into a state in which every operation has something to do."""
    for chain in ("faces", "null"):
        ledger.chain_id(chain)
    for number in NUMBERS:
        ledger.accept(offers(number), 1 + number % 2, NOW, JobTerms(due_ms=5 if number % 5 == 0 else None))
    ledger.put(IMAGES, 1, NOW)
    ledger.settle([1], State.DISCARDED, NOW, "no face")
    ledger.bury(2, 2, "broken", {}, NOW)
    ledger.close_by_hand([3], State.CANCELLED, NOW, "by hand")
    ledger.settle([4], State.STORED, NOW)
    ledger.record("sent", [1, 2, 3], NOW, "w1")
    ledger.remember("paused", {"since_ms": 1})
    ledger.commit()


ALL = list(range(1, 17))
OPERATIONS = {
    "accept": lambda ledger: ledger.accept(offers(*range(10, 40)), 2, NOW, JobTerms(3, 7, 500, 2)),
    "put": lambda ledger: ledger.put([*IMAGES, ("new.jpg", b"x" * 20_000)], 1, NOW),
    "settle stored": lambda ledger: ledger.settle(ALL, State.STORED, NOW),
    "settle late": lambda ledger: ledger.settle_late(ALL, NOW),
    "settle discarded": lambda ledger: ledger.settle(ALL, State.DISCARDED, NOW, "dull"),
    "bury by hand": lambda ledger: ledger.close_by_hand(ALL, State.BURIED, NOW, "by hand"),
    "cancel": lambda ledger: ledger.close_by_hand(ALL, State.CANCELLED, NOW),
    "kick": lambda ledger: ledger.kick(ALL, NOW),
    "reopen": lambda ledger: ledger.reopen(ALL, NOW),
    "charge": lambda ledger: ledger.charge(6, 1, "crashed", {}, NOW),
    "postpone": lambda ledger: ledger.postpone(6, 1, 9, "away", {}, NOW),
    "bury": lambda ledger: ledger.bury(6, 1, "broken", {}, NOW),
    "due": lambda ledger: ledger.due(5),
    "record": lambda ledger: ledger.record("stored", ALL, NOW + 1, "w1"),
    "remember": lambda ledger: ledger.remember("paused", {"since_ms": 2}),
    "forget": lambda ledger: ledger.remember("paused", None),
    "chain": lambda ledger: ledger.chain_id("faces highlight"),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_undone_by_rollback_and_crash(tmp_path, name):
    """What was not committed is not there after a rollback, nor after a power cut; what was committed is."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    prepared(ledger)
    before = seen(ledger), ledger.chain_texts()
    OPERATIONS[name](ledger)
    assert after_a_crash(ledger, tmp_path / "crashed") == before
    assert ledger.dirty
    ledger.rollback()
    assert (seen(ledger), ledger.chain_texts()) == before
    OPERATIONS[name](ledger)
    ledger.commit()
    after = seen(ledger), ledger.chain_texts()
    assert after != before
    assert after_a_crash(ledger, tmp_path / "committed") == after
    ledger.close()


def after_a_crash(ledger, folder):
    """Return what a new process finds that opens the files as they are on the disk now."""
    folder.mkdir()
    for name in ("ledger.sqlite", "ledger.sqlite-wal"):
        shutil.copy(ledger.path.with_name(name), folder / name)
    crashed = Ledger(folder / "ledger.sqlite")
    found = seen(crashed), crashed.chain_texts()
    crashed.close()
    return found


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_done_whole_or_not_at_all(tmp_path, name):
    """Wherever SQLite gives up, everything since the last commit is undone, and the ledger can be used again."""
    ledger = Ledger(tmp_path / "ledger.sqlite")
    prepared(ledger)
    before = seen(ledger), ledger.chain_texts()
    for patience in range(1, 400, 7):
        ledger._db.set_progress_handler(partial(next, iter([*[0] * patience, 1]), 0), 10)
        try:
            OPERATIONS[name](ledger)
        except StoreError:
            ledger._db.set_progress_handler(None, 0)
            assert not ledger.dirty
        else:
            ledger._db.set_progress_handler(None, 0)
            break
        assert (seen(ledger), ledger.chain_texts()) == before
    ledger.commit()
    assert (seen(ledger), ledger.chain_texts()) != before
    ledger.close()


@pytest.mark.parametrize("name", OPERATIONS)
def test_both_ledgers_agree_on_every_operation(tmp_path, name):
    """Each operation gives back the same and leaves the same, where jobs of several chains are in all the states."""
    disk, memory = Ledger(tmp_path / "ledger.sqlite"), MemoryLedger()
    results = []
    for ledger in (disk, memory):
        prepared(ledger)
        results.append((OPERATIONS[name](ledger), seen(ledger), ledger.chain_texts()))
    disk.close()
    if name in ("accept", "put"):  # the numbers may differ, and nothing else
        assert results[0][1:] == results[1][1:]
        assert len(results[0][0]) == len(results[1][0])
    else:
        assert results[0] == results[1]


def test_all_states_are_in_the_tests():
    """The ledgers know the states that are kept on disk, and no other."""
    assert set(MemoryLedger().counts()) == set(KEPT) == {State(number) for number in range(6)}
