"""What both ledgers do, on disk and in memory: each test runs on both."""

from pathlib import Path

import pytest

from zgrid.protocol.job import Offer, State, job_key
from zgrid.protocol.window import START
from zgrid.store.ledger import Ledger
from zgrid.store.memory import MemoryLedger
from zgrid.store.rows import Evidence, Happening, JobLedger, JobTerms

NOW = 1_700_000_000_000


@pytest.fixture(params=["disk", "memory"])
def ledger(request, tmp_path):
    made: JobLedger = Ledger(tmp_path / "ledger.sqlite") if request.param == "disk" else MemoryLedger()
    yield made
    made.close()


def offers(*numbers: int) -> list[Offer]:
    return [Offer(f"file:///photos/{number:04d}.jpg", 1000 + number, NOW * 10**6 + number) for number in numbers]


def seqs(rows) -> list[int]:
    return [row.seq for row in rows]


def test_accept_gives_rows_in_order(ledger):
    """New offers become READY rows, numbered from 1, with everything that a worker has to be told."""
    rows = ledger.accept(offers(5, 3), chain=1, now_ms=NOW, terms=JobTerms(priority=7, ttr_ms=500, attempts_max=9))
    assert rows == [
        (1, job_key(*offers(5)[0]), "file:///photos/0005.jpg", 1005, NOW * 10**6 + 5, 7, 0, 1, NOW, 500, 9, 0),
        (2, job_key(*offers(3)[0]), "file:///photos/0003.jpg", 1003, NOW * 10**6 + 3, 7, 0, 1, NOW, 500, 9, 0),
    ]
    assert ledger.next_open(1, START, 10) == rows
    assert ledger.counts()[State.READY] == 2


def test_accept_passes_over_what_is_known(ledger):
    """All known, some known, and twice in one batch: only what is new comes back, and it is counted once."""
    first = ledger.accept(offers(1, 2, 3), 1, NOW)
    assert ledger.accept(offers(1, 2, 3), 1, NOW) == []
    mixed = ledger.accept(offers(2, 4, 3, 5, 4), 1, NOW)
    assert [row.uri for row in mixed] == ["file:///photos/0004.jpg", "file:///photos/0005.jpg"]
    assert ledger.counts()[State.READY] == 5
    last = ledger.accept(offers(6), 1, NOW)
    numbers = seqs(first) + seqs(mixed) + seqs(last)
    assert numbers == sorted(set(numbers))
    assert ledger.next_open(1, START, 10) == first + mixed + last
    assert ledger.accept([], 1, NOW) == []


def test_accept_takes_a_changed_file_as_new(ledger):
    """The same URI with another size or time is another job; `find` gives the newest."""
    ledger.accept([Offer("file:///a.jpg", 1, 1)], 1, NOW)
    assert len(ledger.accept([Offer("file:///a.jpg", 2, 1), Offer("file:///a.jpg", 2, 2)], 1, NOW)) == 2
    assert (ledger.find("/a.jpg").size, ledger.find("/a.jpg").mtime_ns) == (2, 2)


def test_accept_keeps_odd_values(ledger):
    """Quotes, non-Latin letters, sizes of 0 and times before 1970 come back as they went in."""
    odd = [Offer('file:///it\'s%20"ä"日本\n.jpg', 0, -(2**63)), Offer("zip:file:///a.zip!/b", 2**63 - 1, 2**63 - 1)]
    ledger.accept(odd, 1, NOW)
    assert [tuple(row[2:5]) for row in ledger.next_open(1, START, 2)] == [tuple(offer) for offer in odd]


def test_settle_closes_open_jobs_once(ledger):
    """Settling twice, or what nobody knows, changes nothing: the first result wins and the counts stay right."""
    rows = ledger.accept(offers(1, 2, 3), 1, NOW)
    assert ledger.settle([2, 1, 2, 99], State.STORED, NOW + 5) == 2
    assert ledger.settle([1, 2, 3], State.DISCARDED, NOW + 6, "no face") == 1
    assert ledger.settle([], State.STORED, NOW) == 0
    assert ledger.next_open(1, START, 10) == []
    counts = ledger.counts()
    assert (counts[State.READY], counts[State.STORED], counts[State.DISCARDED]) == (0, 2, 1)
    found = ledger.find(str(rows[2].seq))
    assert (found.state, found.settled_ms, found.reason) == (State.DISCARDED, NOW + 6, "no face")


def test_settle_late_tells_the_history_once(ledger):
    """What a sink says again changes nothing and is told to nobody; what was open, or closed otherwise, is stored."""
    ledger.accept(offers(1, 2, 3), 1, NOW)
    ledger.settle([1], State.STORED, NOW)
    ledger.record("stored", [1], NOW)
    ledger.settle([2], State.DISCARDED, NOW, "no face")
    assert ledger.settle_late([3, 1, 2, 99, 3], NOW + 5) == [2, 3]
    assert ledger.settle_late([1, 2, 3], NOW + 6) == []
    assert ledger.counts()[State.STORED] == 3
    assert [[one.at_ms for one in ledger.story(seq)] for seq in (1, 2, 3)] == [[NOW], [NOW + 5], [NOW + 5]]


def test_settle_closes_ready_and_delayed_together(ledger):
    """A batch over both open states counts each where it was."""
    ledger.accept(offers(1, 2), 1, NOW)
    ledger.accept(offers(3, 4), 1, NOW, JobTerms(due_ms=NOW + 100))
    assert ledger.settle([1, 3], State.CANCELLED, NOW) == 2
    assert [ledger.counts()[state] for state in (State.READY, State.DELAYED, State.CANCELLED)] == [1, 1, 2]
    assert ledger.find("3").due_ms is None


def test_next_open_is_in_order_of_priority(ledger):
    """The smaller the priority the sooner, then by number; a page begins behind the place of the last."""
    ledger.accept(offers(1, 2, 3), 1, NOW, JobTerms(priority=5))
    ledger.accept(offers(4, 5), 1, NOW, JobTerms(priority=-1))
    assert seqs(ledger.next_open(1, START, 3)) == [4, 5, 1]
    assert seqs(ledger.next_open(1, (5, 1), 3)) == [2, 3]
    assert seqs(ledger.next_open(1, (5, 3), 3)) == []


def test_delayed_jobs_become_ready_when_due(ledger):
    """A delayed job is not open to be sent before its time; then `due` returns it once, by priority."""
    ledger.accept(offers(1), 1, NOW, JobTerms(priority=3, due_ms=NOW + 10))
    ledger.accept(offers(2), 1, NOW, JobTerms(priority=2, due_ms=NOW + 20))
    ledger.accept(offers(3), 1, NOW, JobTerms(due_ms=NOW + 30))
    assert ledger.next_open(1, START, 10) == []
    assert (ledger.next_due_ms(), ledger.due(NOW + 9)) == (NOW + 10, [])
    assert seqs(ledger.due(NOW + 20)) == [2, 1]
    assert ledger.due(NOW + 20) == []
    assert seqs(ledger.next_open(1, START, 10)) == [2, 1]
    assert ledger.next_due_ms() == NOW + 30
    assert seqs(ledger.due(NOW + 99, limit=1)) == [3]
    assert ledger.next_due_ms() is None
    assert (ledger.counts()[State.READY], ledger.counts()[State.DELAYED]) == (3, 0)


def test_charge_counts_a_failure(ledger):
    """A charged job stays open, with its failures and the evidence; a closed one only gets the evidence."""
    ledger.accept(offers(1), 1, NOW)
    assert ledger.charge(1, 1, "signal 11", {"worker": "w1", "stderr": b"\x00\xff"}, NOW + 1)
    assert ledger.next_open(1, START, 1)[0].failures == 1
    ledger.settle([1], State.STORED, NOW)
    assert not ledger.charge(1, 2, "late", {}, NOW + 2)
    assert ledger.find("1").failures == 1
    assert ledger.evidence(1) == [
        Evidence(1, NOW + 1, 1, "signal 11", {"worker": "w1", "stderr": "00ff"}),
        Evidence(1, NOW + 2, 2, "late", {}),
    ]


def test_postpone_and_bury(ledger):
    """A postponed job is DELAYED with its failures; a buried one is closed with its reason and opens no more."""
    ledger.accept(offers(1), 1, NOW)
    assert ledger.postpone(1, 1, NOW + 50, "share is away", {"worker": "w1"}, NOW)
    assert ledger.next_open(1, START, 1) == []
    assert ledger.postpone(1, 2, NOW + 60, "share is away", {"worker": "w1"}, NOW)
    assert ledger.due(NOW + 60)[0].failures == 2
    assert ledger.bury(1, 3, "not an image", {"worker": "w2"}, NOW + 70)
    assert not ledger.bury(1, 4, "again", {}, NOW + 80)
    assert not ledger.postpone(1, 4, NOW, "again", {}, NOW + 80)
    found = ledger.find("1")
    assert (found.state, found.failures, found.reason, found.due_ms) == (State.BURIED, 3, "not an image", None)
    assert [item.reason for item in ledger.evidence(1)] == [
        "share is away", "share is away", "not an image", "again", "again",
    ]  # fmt: skip
    assert ledger.counts() == {
        **dict.fromkeys((State.READY, State.DELAYED, State.STORED, State.DISCARDED, State.CANCELLED), 0),
        State.BURIED: 1,
    }


def test_find_by_number_key_uri_and_path(ledger):
    """People name a job by whatever they have at hand."""
    chain = ledger.chain_id("faces highlight")
    row = ledger.accept([Offer("file:///my%20photos/%C3%A4.jpg", 5, 6)], chain, NOW)[0]
    found = ledger.find("1")
    assert found == (*row[:7], "faces highlight", NOW, State.READY, None, None, None, None, None, 0)
    for name in (row.key.hex(), row.key.hex().upper(), row.uri, "/my photos/ä.jpg", "/my photos/x/../ä.jpg"):
        assert ledger.find(name) == found
    for name in ("2", "0", "00" * 16, "file:///nowhere", "/nowhere", "", "99999999999999999999"):
        assert ledger.find(name) is None


def test_find_by_key_among_several_blocks(ledger):
    """The index by key is split into blocks of 4096 jobs, and each of them is looked at."""
    rows = ledger.accept(offers(*range(9000)), 1, NOW)
    for number in (0, 4094, 4095, 4096, 8999):
        assert ledger.find(rows[number].key.hex()).seq == rows[number].seq


def test_listed_by_state(ledger):
    """The newest of a state come first, and no more than were asked for."""
    ledger.accept(offers(1, 2, 3, 4), 1, NOW)
    for seq in (3, 1, 4):
        ledger.bury(seq, 1, f"why {seq}", {}, NOW)
    assert [(job.seq, job.reason) for job in ledger.listed(State.BURIED, 2)] == [(4, "why 4"), (3, "why 3")]
    assert [job.seq for job in ledger.listed(State.READY, 9)] == [2]
    assert ledger.listed(State.STORED, 9) == []


def test_story_is_what_happened_to_one_job(ledger):
    """Each event of a batch is told for each of its jobs and for no other, in the order in which it happened."""
    ledger.accept(offers(*range(6)), 1, NOW)
    ledger.record("accepted", range(1, 7), NOW)
    ledger.record("sent", [5, 1, 3], NOW + 1, worker="w1", lane=4)
    ledger.record("lost", [3], NOW, worker="w1", lane=4, note="kill -9")
    ledger.record("sent", [3, 2], NOW + 3, "w2", 5, 2)
    ledger.record("nothing", [], NOW)
    assert ledger.story(3) == [
        Happening(NOW, "accepted", None, None, None, None),
        Happening(NOW + 1, "sent", "w1", 4, None, None),
        Happening(NOW, "lost", "w1", 4, None, "kill -9"),
        Happening(NOW + 3, "sent", "w2", 5, 2, None),
    ]
    assert [event.event for event in ledger.story(4)] == ["accepted"]
    assert [event.event for event in ledger.story(2)] == ["accepted", "sent"]
    assert ledger.story(7) == []


def test_story_of_a_batch_over_several_blocks(ledger):
    """A batch whose jobs are far apart is found for each of them, and for none between."""
    far = [1, 4095, 4096, 4097, 9_000_000_000]
    ledger.record("lost", far, NOW)
    assert [len(ledger.story(seq)) for seq in far] == [1] * 5
    assert [ledger.story(seq) for seq in (2, 4094, 4098, 8_999_999_999)] == [[]] * 4


def test_chain_ids_stay(ledger):
    """The same text has the same number, for good."""
    first, second = ledger.chain_id("faces"), ledger.chain_id("null")
    assert first != second
    assert ledger.chain_id("faces") == first
    assert ledger.chain_texts() == {first: "faces", second: "null"}


def test_rollback_undoes_everything_since_the_commit(ledger):
    """Jobs, states, counts, chains, history and evidence are as at the last commit, and the ledger goes on."""
    ledger.accept(offers(1, 2, 3), ledger.chain_id("faces"), NOW)
    ledger.record("accepted", [1, 2, 3], NOW)
    assert (ledger.dirty, ledger.durable_seq) == (True, 0)
    ledger.commit()
    assert (ledger.dirty, ledger.durable_seq) == (False, 3)
    before = (ledger.counts(), ledger.next_open(1, START, 10), ledger.chain_texts())
    ledger.settle([1], State.STORED, NOW)
    ledger.bury(2, 1, "broken", {}, NOW)
    ledger.postpone(3, 1, NOW + 9, "away", {}, NOW)
    ledger.accept(offers(3, 4), ledger.chain_id("null"), NOW)
    ledger.record("stored", [1], NOW)
    assert ledger.dirty
    ledger.rollback()
    assert (ledger.dirty, ledger.durable_seq) == (False, 3)
    assert (ledger.counts(), ledger.next_open(1, START, 10), ledger.chain_texts()) == before
    assert (len(ledger.story(1)), ledger.evidence(2), ledger.next_due_ms()) == (1, [], None)
    assert seqs(ledger.accept(offers(4), 1, NOW)) == [4]
    ledger.commit()
    assert ledger.counts()[State.READY] == 4


def test_what_changes_nothing_may_still_commit(ledger):
    """A commit with nothing to write is harmless."""
    ledger.commit()
    ledger.rollback()
    ledger.commit()
    assert not ledger.dirty


def test_memory_ledger_crashes_to_its_last_commit():
    """What a power cut leaves is what was committed; the lost numbers are given again."""
    ledger = MemoryLedger(b"0123456789abcdef")
    ledger.accept(offers(1), 1, NOW)
    ledger.commit()
    ledger.settle([1], State.STORED, NOW)
    ledger.accept(offers(2), 1, NOW)
    ledger.crash()
    assert seqs(ledger.next_open(1, START, 10)) == [1]
    assert seqs(ledger.accept(offers(3), 1, NOW)) == [2]
    assert Path(ledger.find("2").uri).name == "0003.jpg"
