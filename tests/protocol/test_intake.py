"""When a sink stores what has come, and what it says of what it has not stored yet."""

from collections.abc import Iterator
from dataclasses import replace

from zgrid.protocol.effects import Reply
from zgrid.protocol.intake import GATHER_BYTES_MAX, GATHER_TIMES_MAX, Intake, Lookup, Store
from zgrid.protocol.messages import Ask, Beat, Bye, Hello, Holds, Results, Who

LEDGER = b"L" * 16
GATHER_S = 0.025


def results(*seqs: int, ledger: bytes = LEDGER) -> Results:
    """Return plain results of these jobs."""
    jobs = len(seqs)
    nothing = [None] * jobs
    return Results(
        ledger=ledger, worker="w1", chain="null", chain_version="null/1", seqs=list(seqs), attempts=[1] * jobs,
        keys=b"".join(seq.to_bytes(16) for seq in seqs), uris=["file:///a.jpg"] * jobs, sizes=[1] * jobs,
        waits=[0.0] * jobs, reads=[0.0] * jobs, works=[0.0] * jobs, widths=nothing, heights=nothing, formats=nothing,
        digests=nothing, notes=nothing, media=nothing, pictures=[-1] * jobs,
    )  # fmt: skip


def intake() -> Intake:
    """Return a sink's machine that has not seen anything."""
    return Intake("sink", b"S" * 8, "tcp://s:1", GATHER_S, 1 << 20)


def stores(machine: Intake, every_s: float, since: float) -> list[tuple[int, float]]:
    """Let single results come ``every_s`` for three seconds, and let them be stored in no time.

    Return the jobs of each store and how long the first one waited, without the first second: a pace has to be found.
    """
    found: list[tuple[float, int, float]] = []
    arrived: dict[int, float] = {}
    for tick in range(3000):
        now, effects = since + tick / 1000, []
        if tick >= len(arrived) * every_s * 1000:
            seq = int(since * 1000) + len(arrived) + 1
            arrived[seq] = now
            effects = machine.results(results(seq), now)
        for effect in effects or machine.tick(now):
            assert isinstance(effect, Store)
            seqs = [one for message in effect.batch for one in message.seqs]
            found.append((now, len(seqs), now - arrived.get(seqs[0], now)))
            machine.stored(0, now)
    return [(jobs, waited) for at, jobs, waited in found if at > since + 1.0]


def test_a_lone_result_is_stored_at_once():
    """Eleven a second are no load, also after one: each is stored when it comes."""
    machine = intake()
    assert set(stores(machine, 0.09, 0.0)) == {(1, 0.0)}
    stores(machine, 0.005, 10.0)
    assert set(stores(machine, 0.09, 20.0)) == {(1, 0.0)}


def test_few_at_a_time_gather_for_longer():
    """Of two hundred a second many are stored together, and none waits for longer than is allowed."""
    found = stores(intake(), 0.005, 0.0)
    assert min(jobs for jobs, _ in found) >= 0.8 * 200 * GATHER_TIMES_MAX * GATHER_S
    assert max(waited for _, waited in found) <= GATHER_TIMES_MAX * GATHER_S + 0.002


def test_large_pictures_do_not_gather():
    """As soon as they are many bytes they are stored, however few they are: a worker may wait for their room."""
    machine = Intake("sink", b"S" * 8, "tcp://s:1", GATHER_S, 256 << 20)
    stored, at = [], 0.0
    for seq in range(1, 400):
        at += 0.002
        for effect in machine.results(replace(results(seq), images=(bytes(1 << 20),), pictures=[0]), at):
            assert isinstance(effect, Store)
            stored.append(sum(len(message.images) for message in effect.batch))
            machine.stored(0, at)
    assert max(stored) <= GATHER_BYTES_MAX >> 20


def test_many_at_a_time_do_not_wait_for_more():
    """A thousand a second are enough for one store in what is set for it."""
    machine = intake()
    for seq in range(0, 100_000, 100):
        for effect in machine.results(results(*range(seq + 1, seq + 101)), seq / 10_000):
            if isinstance(effect, Store):
                assert seq / 10_000 - machine._stored_at <= 2 * GATHER_S
                machine.stored(0, seq / 10_000)
    assert machine._gather_s == GATHER_S


def test_what_is_held_is_told():
    """Of the jobs that are asked for, those are held whose results wait or are being stored, of that ledger alone."""
    machine = intake()
    machine.received(b"v", Hello(role="ventilator", name="v", boot=b"V" * 8, host="h", ledger=LEDGER), 0.0)
    assert [type(effect) for effect in machine.results(results(1), 1.0)] == [Store]
    assert machine.results(results(2), 1.0) == machine.results(results(3, ledger=b"M" * 16), 1.0) == []
    keys = b"".join(seq.to_bytes(16) for seq in (1, 2, 3, 4))
    (lookup,) = machine.received(b"v", Ask(ledger=LEDGER, seqs=[1, 2, 3, 4], keys=keys), 1.0)
    assert isinstance(lookup, Lookup)
    assert (lookup.held, lookup.seqs) == ([1, 2], [3, 4])
    machine.results(results(4), 1.0)  # while it is looked up
    assert machine.looked_up(lookup, set()) == [Reply(b"v", Holds(ledger=LEDGER, held=[1, 2, 4], unknown=[3]))]


class Counted(list[int]):
    """Numbers of jobs that count how often somebody goes through them."""

    walks = 0

    def __iter__(self) -> Iterator[int]:
        """Go through them."""
        self.walks += 1
        return super().__iter__()


def test_many_questions_cost_one_look() -> None:
    """However often is asked what is here, it is gone through once, and again when results came or were stored."""
    machine = intake()
    machine.received(b"v", Hello(role="ventilator", name="v", boot=b"V" * 8, host="h", ledger=LEDGER), 0.0)
    mine = Counted([1, 2])
    machine.results(replace(results(1, 2), seqs=mine), 1.0)
    ask = Ask(ledger=LEDGER, seqs=[1, 2, 3], keys=bytes(48))

    def held() -> list[list[int]]:
        mine.walks = 0
        return [effect.held for _ in range(20) for effect in machine.received(b"v", ask, 1.0) if type(effect) is Lookup]

    assert (held(), mine.walks) == ([[1, 2]] * 20, 1)
    machine.store_failed("the disk is full", 1.0)
    assert held() == [[1, 2]] * 20
    machine.results(results(3), 1.0)
    assert (held(), mine.walks) == ([[1, 2, 3]] * 20, 1)
    machine.tick(5.0)
    machine.stored(0, 5.0)
    assert held() == [[]] * 20


def test_who_leaves_gathers_nothing() -> None:
    """A sink that leaves stores what it has at once, however long its results may gather else."""
    machine = Intake("sink", b"S" * 8, "tcp://s:1", 5.0, 1 << 20)
    assert [type(effect) for effect in machine.results(results(1, 2, 3), 101.0)] == [Store]
    machine.stored(0, 101.0)
    assert machine.results(results(4, 5, 6), 101.1) == machine.tick(101.2) == []
    machine.leave(101.2)
    assert machine.due_s(101.2) == 0.0
    assert [type(effect) for effect in machine.tick(101.2)] == [Store]
    machine.results(results(7, 8, 9), 101.3)
    assert [type(effect) for effect in machine.stored(0, 101.3)] == [Store]


def test_message_names_its_speaker_by_boot_or_ledger() -> None:
    """Of several ventilators each is told by what it says; who has not said HELLO is nobody yet."""
    machine = intake()
    boots, ledgers = (b"1" * 8, b"2" * 8), (b"A" * 16, b"B" * 16)
    for boot, ledger in zip(boots, ledgers, strict=True):
        machine.received(boot, Hello(role="ventilator", name="v", boot=boot, host="h", ledger=ledger), 1.0)
    for boot, ledger in zip(boots, ledgers, strict=True):
        assert machine.speaker(Beat(boot=boot)) == machine.speaker(Bye(boot=boot)) == boot
        assert machine.speaker(Ask(ledger=ledger, seqs=[1], keys=bytes(16))) == boot
    assert machine.speaker(Beat(boot=b"3" * 8)) is machine.speaker(Who(boot=boots[0])) is None
    assert machine.speaker(Ask(ledger=LEDGER, seqs=[1], keys=bytes(16))) is None
