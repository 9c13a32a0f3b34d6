"""What people do with jobs, and what is put: each test runs on both ledgers, on disk and in memory."""

import pytest

from zgrid.protocol.job import Offer, State, job_key
from zgrid.protocol.window import START
from zgrid.store.ledger import Ledger
from zgrid.store.memory import MemoryLedger
from zgrid.store.rows import JobLedger, JobTerms
from zgrid.store.spool import digest_of, put_offer

NOW = 1_700_000_000_000
DUE = JobTerms(due_ms=NOW + 50)


@pytest.fixture(params=["disk", "memory"])
def ledger(request, tmp_path):
    made: JobLedger = Ledger(tmp_path / "ledger.sqlite") if request.param == "disk" else MemoryLedger()
    yield made
    made.close()


def offers(*numbers: int) -> list[Offer]:
    return [Offer(f"file:///photos/{number:04d}.jpg", 1000 + number, number) for number in numbers]


def seqs(rows) -> list[int]:
    return [row.seq for row in rows]


def states(ledger, *jobs: int) -> list[State]:
    return [ledger.find(str(seq)).state for seq in jobs]


def test_what_is_put_is_accepted_with_its_bytes(ledger):
    """One commit makes job and image durable; the URI is made of digest and name, so that it names these bytes."""
    placed = ledger.put([("a b/ä.jpg", b"one"), ("", b"two")], 1, NOW, JobTerms(4, None, 500, 2))
    uri = f"put:{digest_of(b'one')}/a%20b%2F%C3%A4.jpg"
    row = (1, job_key(uri, 3, 0), uri, 3, 0, 4, 0, 1, NOW, 500, 2, 0)
    assert placed[0] == (1, State.READY, row)
    assert placed[1].row.uri == f"put:{digest_of(b'two')}/image"
    assert (ledger.image(1), ledger.image(2), ledger.image(3)) == (b"one", b"two", None)
    assert ledger.next_open(1, START, 9) == [placed[0].row, placed[1].row]
    ledger.commit()
    assert ledger.durable_seq == 2


def test_what_is_put_again_is_the_job_that_is_there(ledger):
    """A put that is repeated answers with the same jobs, whatever became of them; another name is another job."""
    first = ledger.put([("a", b"one"), ("a", b"one"), ("b", b"one")], 1, NOW, DUE)
    assert [(seq, state, row is not None) for seq, state, row in first] == [
        (1, State.DELAYED, True), (1, State.DELAYED, False), (first[2].seq, State.DELAYED, True),
    ]  # fmt: skip
    ledger.settle([1], State.STORED, NOW)
    assert ledger.put([("a", b"one")], 1, NOW) == [(1, State.STORED, None)]
    assert ledger.image(1) is None


def test_put_names_are_cut_and_images_may_be_odd(ledger):
    """A name of any length, and an image of no bytes, are jobs like others."""
    long = put_offer("ä" * 5000, b"")
    assert len(long.uri) < 2000
    placed = ledger.put([("ä" * 5000, b""), ("x", memoryview(b"view").tobytes())], 1, NOW)
    assert placed[0].row.uri == long.uri
    assert (ledger.image(placed[0].seq), ledger.image(placed[1].seq)) == (b"", b"view")


@pytest.mark.parametrize(
    ("close", "kept"),
    [
        (lambda ledger: ledger.settle([1], State.STORED, NOW), False),
        (lambda ledger: ledger.settle([1], State.DISCARDED, NOW, "dull"), False),
        (lambda ledger: ledger.close_by_hand([1], State.CANCELLED, NOW), False),
        (lambda ledger: ledger.close_by_hand([1], State.BURIED, NOW), True),
        (lambda ledger: ledger.bury(1, 1, "broken", {}, NOW), True),
        (lambda ledger: ledger.postpone(1, 1, NOW + 5, "away", {}, NOW), True),
    ],
    ids=["stored", "discarded", "cancelled", "buried by hand", "buried", "postponed"],
)
def test_image_goes_when_its_job_is_closed_for_good(ledger, close, kept):
    """A buried job may be kicked and keeps its image; the others' goes in the same transaction, and may come back."""
    ledger.put([("a", b"one"), ("b", b"two")], 1, NOW)
    ledger.commit()
    close(ledger)
    assert (ledger.image(1) is not None, ledger.image(2)) == (kept, b"two")
    ledger.rollback()
    assert ledger.image(1) == b"one"
    close(ledger)
    ledger.commit()
    assert (ledger.image(1) is not None) is kept
    assert seqs(ledger.reopen([1], NOW)) == ([1] if kept else [])


def test_images_go_with_the_last_of_many(ledger):
    """Images are forgotten with their own jobs only, in whatever order those are settled."""
    placed = ledger.put([(str(number), b"%d" % number) for number in range(20)], 1, NOW)
    for _, _, row in placed[::2]:
        ledger.settle([row.seq, 999], State.STORED, NOW)
    assert [ledger.image(row.seq) for _, _, row in placed] == [
        None if number % 2 == 0 else b"%d" % number for number in range(20)
    ]
    ledger.settle([row.seq for _, _, row in placed], State.STORED, NOW)
    assert [ledger.image(row.seq) for _, _, row in placed] == [None] * 20
    ledger.put([("new", b"new")], 1, NOW)
    assert ledger.image(ledger.find(put_offer("new", b"new").uri).seq) == b"new"


def test_a_late_result_is_true(ledger):
    """What the sink has stored is stored, also where the job was buried, cancelled or discarded meanwhile; once."""
    ledger.accept(offers(*range(1, 6)), 1, NOW)
    ledger.put([("a", b"one")], 1, NOW)
    ledger.close_by_hand([1, 6], State.BURIED, NOW, "by hand")
    ledger.close_by_hand([2], State.CANCELLED, NOW, "by hand")
    ledger.settle([3], State.DISCARDED, NOW, "dull")
    ledger.settle([4], State.STORED, NOW)
    assert ledger.settle([1, 2, 3, 4, 5, 6], State.STORED, NOW + 9) == 5
    assert states(ledger, 1, 2, 3, 4, 5, 6) == [State.STORED] * 6
    assert [ledger.find(str(seq)).settled_ms for seq in (1, 4)] == [NOW + 9, NOW]
    assert (ledger.find("1").reason, ledger.image(6)) == (None, None)
    assert ledger.counts()[State.STORED] == 6
    assert ledger.settle([1, 2], State.DISCARDED, NOW) == 0


def test_bury_and_cancel_by_hand(ledger):
    """Open jobs are buried or cancelled with a reason; buried ones can be cancelled; repeating it changes nothing."""
    ledger.accept(offers(1, 2, 3), 1, NOW)
    ledger.accept(offers(4), 1, NOW, DUE)
    ledger.settle([3], State.STORED, NOW)
    assert ledger.close_by_hand([4, 3, 2, 2, 77], State.BURIED, NOW + 1, "not these") == [2, 4]
    assert ledger.close_by_hand([4, 3, 2], State.BURIED, NOW + 2, "again") == []
    found = ledger.find("4")
    assert (found.state, found.reason, found.settled_ms, found.due_ms) == (State.BURIED, "not these", NOW + 1, None)
    assert ledger.close_by_hand([1, 2, 3, 4], State.CANCELLED, NOW + 3) == [1, 2, 4]
    assert ledger.close_by_hand([1, 2, 3, 4], State.CANCELLED, NOW + 4) == []
    assert (ledger.next_open(1, START, 9), ledger.next_due_ms(), ledger.close_by_hand([], State.BURIED, NOW)) == (
        [],
        None,
        [],
    )
    assert [ledger.counts()[state] for state in (State.BURIED, State.CANCELLED, State.STORED)] == [0, 3, 1]


def test_kick_makes_ready_again(ledger):
    """Buried and delayed jobs are ready at once, begin anew, and no attempt has the number of an earlier one."""
    ledger.accept(offers(1, 2), 1, NOW, JobTerms(priority=3, ttr_ms=500))
    ledger.accept(offers(3), 1, NOW, DUE)
    ledger.bury(1, 3, "broken", {}, NOW)
    ledger.settle([2], State.DISCARDED, NOW, "dull")
    kicked = ledger.kick([1, 2, 3, 3, 99], NOW + 5)
    assert [(row.seq, row.failures, row.spent, row.ttr_ms) for row in kicked] == [(3, 0, 1, None), (1, 0, 3, 500)]
    assert ledger.next_open(1, START, 9) == kicked
    assert ledger.kick([1, 2, 3], NOW) == []
    ledger.bury(1, 2, "broken", {}, NOW)
    assert ledger.kick([1], NOW)[0].spent == 5
    found = ledger.find("1")
    assert (found.spent, found.failures, found.settled_ms, found.reason) == (5, 0, None, None)
    assert ledger.next_due_ms() is None


def test_reopen_takes_up_what_was_closed(ledger):
    """What was discarded or cancelled is done again too; what is stored or open stays; a rollback takes it all back."""
    ledger.accept(offers(1, 2, 3, 4, 5), 1, NOW)
    ledger.settle([1], State.DISCARDED, NOW, "dull")
    ledger.close_by_hand([2], State.CANCELLED, NOW)
    ledger.bury(3, 1, "broken", {}, NOW)
    ledger.settle([4], State.STORED, NOW)
    ledger.commit()
    assert seqs(ledger.reopen([5, 4, 3, 2, 1], NOW)) == [1, 2, 3]
    assert seqs(ledger.next_open(1, START, 9)) == [1, 2, 3, 5]
    ledger.rollback()
    assert states(ledger, 1, 2, 3, 4, 5) == [
        State.DISCARDED, State.CANCELLED, State.BURIED, State.STORED, State.READY,
    ]  # fmt: skip


def test_counts_of_each_chain(ledger):
    """Jobs are counted by chain through everything that happens to them, and a batch may be of several chains."""
    for number, chain in enumerate(("faces", "null", "faces highlight"), 1):
        assert ledger.chain_id(chain) == number
        ledger.accept(offers(number, 10 + number, 20 + number), number, NOW)
    ledger.settle([1, 4, 5, 7], State.STORED, NOW)
    ledger.postpone(2, 1, NOW + 5, "away", {}, NOW)
    ledger.close_by_hand([3, 6], State.CANCELLED, NOW)
    ledger.bury(8, 1, "broken", {}, NOW)
    counts = {
        chain: {state: jobs for state, jobs in found.items() if jobs} for chain, found in ledger.chain_counts().items()
    }
    assert counts == {
        1: {State.STORED: 1, State.DELAYED: 1, State.CANCELLED: 1},
        2: {State.STORED: 2, State.CANCELLED: 1},
        3: {State.STORED: 1, State.BURIED: 1, State.READY: 1},
    }
    ledger.commit()
    ledger.kick([2, 8], NOW)
    ledger.rollback()
    assert ledger.chain_counts()[3][State.BURIED] == 1


def test_tallies_of_each_worker(ledger):
    """What each worker did is summed up as it is recorded, with first and last time; a rollback takes it back."""
    ledger.record("accepted", [1, 2, 3], NOW)
    ledger.record("sent", [1, 2, 3], NOW + 5, "w1", 4)
    ledger.record("sent", [3], NOW + 1, "w1", 4)
    ledger.record("sent", [], NOW - 99, "w1", 4)
    ledger.commit()
    ledger.record("stored", [1, 2], NOW + 9, "w1")
    ledger.record("sent", [3], NOW + 7, "w2", 5)
    w1 = {"first_ms": NOW + 1, "last_ms": NOW + 9, "events": {"sent": 4, "stored": 2}}
    assert ledger.tallies() == {"w1": w1, "w2": {"first_ms": NOW + 7, "last_ms": NOW + 7, "events": {"sent": 1}}}
    ledger.rollback()
    assert ledger.tallies() == {"w1": {"first_ms": NOW + 1, "last_ms": NOW + 5, "events": {"sent": 4}}}


def test_remembered_values(ledger):
    """Plain data is kept under a name until it is forgotten, and only from the commit on."""
    assert ledger.recall("paused") is None
    ledger.remember("paused", {"since_ms": NOW, "chains": ["faces", "ä"], "all": False})
    assert ledger.recall("paused") == {"since_ms": NOW, "chains": ["faces", "ä"], "all": False}
    ledger.commit()
    ledger.remember("paused", None)
    ledger.remember("draining", True)
    assert (ledger.recall("paused"), ledger.recall("draining")) == (None, True)
    ledger.rollback()
    assert (ledger.recall("paused") is not None, ledger.recall("draining")) == (True, None)


def test_pick_goes_through_any_set_in_chunks(ledger):
    """By state, pattern and chain; each chunk begins behind the last, and what changes meanwhile does no harm."""
    ledger.accept(offers(*range(1, 31)), 1, NOW)
    ledger.accept([Offer(f"zip:file:///a.zip!/{number}", 1, 1) for number in range(10)], 2, NOW)
    assert ledger.pick(State.READY, None, None, 0, 3) == [1, 2, 3]
    assert ledger.pick(None, "file:*/000[5-7].jpg", None, 0, 9) == [5, 6, 7]
    assert ledger.pick(None, None, 2, 0, 3) == [31, 32, 33]
    assert ledger.pick(None, "zip:*", 1, 0, 3) == []
    assert ledger.pick(State.BURIED, None, None, 0, 3) == []
    picked, after = [], 0
    while some := ledger.pick(State.READY, "file:*", None, after, 7):
        ledger.close_by_hand(some, State.BURIED, NOW)
        picked += some
        after = some[-1]
    assert picked == list(range(1, 31))
    assert ledger.pick(State.BURIED, "*2?.jpg", None, 20, 99) == list(range(21, 30))


def test_listed_newest_first(ledger):
    """By state, pattern and chain, or all."""
    ledger.accept(offers(1, 2, 3), 1, NOW)
    ledger.put([("a", b"one")], 2, NOW)
    ledger.settle([2], State.STORED, NOW)
    assert seqs(ledger.listed()) == [4, 3, 2, 1]
    assert seqs(ledger.listed(State.READY, 2)) == [4, 3]
    assert seqs(ledger.listed(None, 9, pattern="file:*")) == [3, 2, 1]
    assert seqs(ledger.listed(State.READY, pattern="put:*", chain=2)) == [4]
    assert ledger.listed(State.READY, chain=9) == []
