"""What must hold: cheap things after every event, everything when the grid has settled."""

from collections import Counter
from typing import TYPE_CHECKING

from work import INNOCENT, kind_of

from zgrid.protocol.delivery import Delivery
from zgrid.protocol.effects import Send
from zgrid.protocol.job import CLOSED, State, job_key
from zgrid.protocol.lane import Lane

if TYPE_CHECKING:
    from grid import Grid
    from process import Process
    from ventilator_process import VentilatorProcess


class Checks:
    """The invariants of a grid. ``every``: how many events of ventilators pass between two full looks at a machine."""

    def __init__(self, grid: "Grid", every: int) -> None:
        self.grid = grid
        self.every = every
        self._turn = 0
        self._sent_most = 0
        self._credit_most = 0

    # -- while it runs

    def after(self, process: "Process") -> None:
        """Look at a ventilator's machine after it took in an event."""
        if process in self.grid.ventilators and process.alive:
            self._turn += 1
            delivery = process.machine.delivery  # type: ignore[attr-defined]
            # What a worker may have had when it dies next: its survivors may get as much.
            allowed = (lane.credit(delivery.terms) for lane in delivery.lanes.values())
            self._credit_most = max(self._credit_most, *allowed, 0)
            if self._turn % self.every == 0:
                check_window(delivery, self._sent_most)
                for lane in delivery.lanes.values():
                    check_lane(delivery, lane)

    def sent(self, ventilator: "VentilatorProcess", effect: Send) -> None:
        """Look at a lane when jobs go out on it: credit in jobs and in bytes, and nothing twice at once."""
        delivery = ventilator.machine.delivery
        lane = delivery.lanes.get(effect.lane)
        if lane is None:
            return  # given up on in the same turn: the lane is about to be closed
        self.grid.work.sent(ventilator, effect, lane.peer)
        back = sum(len(lane.sent) for lane in delivery.lanes.values()) + sum(map(len, delivery.finished))
        self._sent_most = max(self._sent_most, back)
        terms = delivery.terms
        # A dead worker's jobs may be given to one that has less credit than that one had.
        credit = self._credit_most = max(self._credit_most, *(one.credit(terms) for one in delivery.lanes.values()))
        assert len(lane.sent) <= 2 * credit, f"{len(lane.sent)} jobs at a worker with a credit of {credit}"
        unsettled = len(lane.sent) + len(lane.finished)
        jobs_max = max(terms.unsettled_jobs_max, 2 * lane.procs)
        assert unsettled <= jobs_max + credit, f"{unsettled} unsettled jobs, {jobs_max} are allowed"
        bytes_max = 2 * terms.unsettled_bytes_max
        few = len(lane.sent) <= lane.procs + 1 and unsettled <= 2 * lane.procs
        assert lane.unsettled_bytes <= bytes_max or few, (
            f"{lane.unsettled_bytes} unsettled bytes in {unsettled} jobs, {bytes_max} are allowed"
        )
        for job in effect.jobs:
            assert job.seq <= ventilator.ledger.durable_seq, f"job {job.seq} was sent before it was on disk"
            assert job.state is State.SENT
            assert job.lane == effect.lane
            assert lane.can(delivery.chains[job.chain]), f"{lane.worker} cannot do {delivery.chains[job.chain]}"

    # -- at the end

    def settled(self) -> None:
        """Look at everything when nothing goes on any more."""
        for ventilator in self.grid.ventilators:
            self._ledger(ventilator)
            self._ventilator(ventilator)
        self._sinks()
        self._workers()

    def _ledger(self, ventilator: "VentilatorProcess") -> None:
        """Every accepted job has ended, once, as it must."""
        entries = {entry.row.key: entry for entry in ventilator.ledger._jobs.values()}
        told = Counter(seq for seqs, one in ventilator.ledger._history if one.event == "stored" for seq in seqs)
        for key in ventilator.accepted:
            assert key in entries, "an accepted job is not in the ledger"
        offered = {job_key(*offer) for offer, _, _ in ventilator.offers}
        assert offered <= entries.keys(), "an offer was never accepted"
        for key, entry in entries.items():
            row = entry.row
            name = f"{ventilator.name} job {row.seq} {row.uri}"
            assert entry.state in CLOSED, f"{name} is still {entry.state.name}"
            assert told[row.seq] == (entry.state is State.STORED), (
                f"{name}: stored {told[row.seq]} times by its history"
            )
            wanted = self._wanted(kind_of(row.uri))
            strikes = self.grid.work.strikes(ventilator, row.seq)
            attempts_max = row.attempts_max or ventilator.terms.attempts_max
            hands = ventilator.hands.touched.get(row.seq, set())
            if entry.state is not wanted and not self._by_hand(entry.state, hands):
                innocent = kind_of(row.uri) in INNOCENT
                charged = attempts_max if innocent else min(1, attempts_max - 1)
                excused = entry.state is State.BURIED and strikes >= charged
                # A poison job's child and agent can die together; nothing else may turn one end into another.
                assert excused, f"{name} is {entry.state.name} instead of {wanted.name}, {strikes} strikes"
            if entry.state is State.BURIED and kind_of(row.uri) != "fail" and "bury" not in hands:
                assert row.failures >= attempts_max, f"{name} was buried after {row.failures} failures"
            if kind_of(row.uri) in INNOCENT:
                assert row.failures <= strikes, f"{name}, innocent, was charged {row.failures} times, {strikes} strikes"
            assert key in ventilator.accepted or entry.state in CLOSED
        counts = ventilator.ledger.counts()
        for state in counts:
            assert counts[state] == sum(entry.state is state for entry in entries.values()), state

    @staticmethod
    def _by_hand(state: State, hands: set[str]) -> bool:
        """Whether people may have brought a job to this end."""
        return (state is State.CANCELLED and "cancel" in hands) or (state is State.BURIED and "bury" in hands)

    @staticmethod
    def _wanted(kind: str) -> State:
        if kind == "discard":
            return State.DISCARDED
        return State.BURIED if kind in ("fail", "crash", "hang") else State.STORED

    def _ventilator(self, ventilator: "VentilatorProcess") -> None:
        """Nothing is left over in memory."""
        machine = ventilator.machine
        delivery = machine.delivery
        check_window(delivery, 0)
        workers = {worker.boot for worker in self.grid.workers if worker.alive}
        assert set(machine.peers) == workers, "peers are not the workers that are alive"
        assert {lane.peer for lane in delivery.lanes.values()} == workers, "lanes are not the workers' that are alive"
        assert set(ventilator.lanes) == set(delivery.lanes), "sockets are not the lanes"
        assert not delivery.window.jobs, f"jobs left in memory: {list(delivery.window.jobs)}"
        assert not delivery.window.ready
        assert not any(delivery.finished)
        assert sum(len(shelf.places) for shelf in delivery.window.shelves.values()) <= 3 * ventilator.terms.ready_max
        assert set(machine._workers._heard) == workers
        for lane in delivery.lanes.values():
            check_lane(delivery, lane)
            assert not lane.sent, f"left in {lane.worker}'s lane: {list(lane.sent)}"
            assert not lane.finished
            assert not lane.singles
            assert not lane.unsettled_bytes

    def _sinks(self) -> None:
        """One row for each stored key, at the sink that the key names, and none for others."""
        stored: set[bytes] = set()
        for ventilator in self.grid.ventilators:
            for entry in ventilator.ledger._jobs.values():
                if entry.state is State.STORED:
                    stored.add(entry.row.key)
        for number, sink in enumerate(self.grid.sinks):
            mine = {key for key in stored if key[0] % len(self.grid.sinks) == number}
            rows = set(sink.store.rows)
            assert mine <= rows, f"{sink.name} lacks {len(mine - rows)} rows of stored jobs"
            assert rows == mine, f"{sink.name} has {len(rows - mine)} rows of jobs that are not stored"
            intake = sink.machine
            assert intake.idle
            assert not intake.held_bytes
            assert not intake._waiting_jobs
            known = {ventilator.boot for ventilator in self.grid.ventilators}
            assert set(intake.peers) == known, f"{sink.name} knows {len(intake.peers)} peers"

    def _workers(self) -> None:
        for worker in self.grid.workers:
            if not worker.alive:
                continue
            assert worker.machine.idle, f"{worker.name}'s children have jobs left"
            for employer in worker.machine.employers:
                assert not employer.queue, f"{worker.name} has jobs left"
                assert not employer.unconfirmed, f"{worker.name} has {len(employer.unconfirmed)} unconfirmed reports"


def check_window(delivery: Delivery, back: int) -> None:
    """Each job in memory is exactly where its state says. ``back``: how many may have come back from workers."""
    window = delivery.window
    ready = sent = finished = 0
    places = {place for shelf in window.shelves.values() for place in shelf.places}
    for seq, job in window.jobs.items():
        if job.state is State.READY:
            ready += 1
            assert (job.priority, seq) in places, f"job {seq} is READY and in no heap"
            assert not job.lane
        elif job.state is State.SENT:
            sent += 1
            assert job.lane in delivery.lanes, f"job {seq} is SENT on no lane"
            assert delivery.lanes[job.lane].sent.get(seq) is job, f"job {seq} is SENT and not in its lane"
        else:
            finished += 1
            assert job.state is State.FINISHED, f"job {seq} is {job.state.name} in memory"
            assert delivery.finished[delivery.sink_of(job)].get(seq) is job
    assert window.ready == ready, f"window.ready is {window.ready}, {ready} jobs are READY"
    assert finished == sum(map(len, delivery.finished)), "finished jobs that are not in memory"
    # And once more what the ledger gives at once for each chain: it is asked while jobs that were handed back wait.
    most = 2 * delivery.terms.ready_max + 3 * window.room * len(window.shelves) + back
    assert ready <= most, f"{ready} ready jobs in memory, at most {most} are allowed"


def check_lane(delivery: Delivery, lane: Lane) -> None:
    """A lane's sums are those of its jobs."""
    size = sum(job.size for job in lane.sent.values()) + sum(lane.carried.values())
    assert lane.carried.keys() <= lane.finished.keys()
    assert lane.unsettled_bytes == size, f"lane {lane.id}: {lane.unsettled_bytes} unsettled bytes, its jobs have {size}"
    assert lane.singles <= lane.sent.keys()
    for job in lane.finished.values():
        assert job.state is State.FINISHED
        assert job.lane == lane.id
