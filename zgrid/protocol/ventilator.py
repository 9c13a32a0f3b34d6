"""The ventilator's side of every conversation, with workers and sinks. What it decides about jobs is in delivery.py."""

from collections import Counter
from collections.abc import Sequence

from zgrid.protocol.delivery import Delivery
from zgrid.protocol.effects import CloseLane, Effect, Log, OpenLane, Reply, TellSink
from zgrid.protocol.flow import Terms
from zgrid.protocol.lane import Lane, Stage
from zgrid.protocol.liveness import Liveness
from zgrid.protocol.messages import (
    PUBLIC_KEY_BYTES,
    Acks,
    Beat,
    Bye,
    Hello,
    Holds,
    Message,
    Outcomes,
    Refuse,
    Welcome,
    Who,
)  # fmt: skip
from zgrid.protocol.reach import Reach
from zgrid.protocol.survivors import NOTICED_S

LOCAL_HOSTS = ("tcp://127.", "tcp://localhost", "tcp://[::1]", "ipc://", "inproc://")


class Sink:
    """A sink as the ventilator sees it.

    ``intake``: where workers push results; empty until it was heard of. ``leaving``: it was asked to stop, and waits
    for what is under way to it; once there is nothing more it hears BYE, and from then on it is not ``up``.
    ``key``: its public key, 32 bytes, where it has one.
    """

    __slots__ = ("address", "boot", "intake", "key", "leaving", "up")

    def __init__(self, address: str) -> None:
        self.address = address
        self.intake = ""
        self.boot = b""
        self.key = b""
        self.up = False
        self.leaving = False


class Ventilator:
    """Pure: takes messages, lanes' monitors and time; returns what is to be sent, opened, closed and written."""

    def __init__(self, terms: Terms, name: str, boot: bytes, ledger: bytes, host: str, sinks: Sequence[str]) -> None:
        self.terms = terms
        self.name = name
        self.boot = boot
        self.host = host
        self.delivery = Delivery(terms, ledger, len(sinks))
        self.sinks = [Sink(address) for address in sinks]
        self.peers: dict[bytes, int] = {}
        self.unexpected: Counter[str] = Counter()
        self._lanes_opened = 0
        self._workers: Liveness[bytes] = Liveness(terms.beat_interval_ms / 1000, terms.beats_missed_max)
        self._sink_beats: Liveness[int] = Liveness(terms.beat_interval_ms / 1000, terms.beats_missed_max)
        self._beat_at = 0.0
        self._leaving = False
        self.delivery.out.sinks_known = False

    # -- workers

    def received(self, peer: bytes, message: Message, now: float) -> list[Effect]:
        """A message came on the control socket."""
        if type(message) is Hello:
            return self._hello(peer, message, now)
        lane = self.delivery.lanes.get(self.peers.get(peer, 0))
        if lane is None:
            self.unexpected[type(message).__name__] += 1
            return [] if type(message) is Bye else [Reply(peer, Who(boot=self.boot))]
        self._workers.heard(peer, now)
        if type(message) is Outcomes:
            if message.boot == self.boot and message.lane == lane.id:
                return self.delivery.reported(message, now)
            self.delivery.late["outcome"] += len(message.seqs)
            return []
        if type(message) is Beat:
            if message.boot != self.boot or message.lane != lane.id:
                # It works for a lane that is gone, and may have missed where the new one is.
                return [Reply(peer, self._welcome(lane))] if lane.address else []
            self.delivery.touched(lane.id, message.seqs, message.progress, now, message.alive)
            if message.leaving:
                lane.stage = Stage.LEAVING
            return [Reply(peer, Beat(boot=self.boot, lane=lane.id, serial=lane.serial))]
        if type(message) is Bye:
            return self._bye(lane, message, now)
        self.unexpected[type(message).__name__] += 1
        return []

    def speaker(self, message: Message) -> bytes | None:
        """Return the peer whose lane a message names; None where that is nobody's lane, or it names none."""
        if not isinstance(message, Beat | Outcomes | Bye) or message.boot != self.boot:
            return None
        lane = self.delivery.lanes.get(message.lane)
        return None if lane is None else lane.peer

    def lane_bound(self, lane_id: int, address: str) -> list[Effect]:
        """A lane's socket is bound at ``address``, so the worker can be told."""
        lane = self.delivery.lanes.get(lane_id)
        if lane is None:
            return [CloseLane(lane_id)]
        lane.address = address
        return [Reply(lane.peer, self._welcome(lane))]

    def lane_refused(self, lane_id: int, reason: str) -> list[Effect]:
        """A lane could not be opened (no port, no descriptors): the worker is told and asks again later."""
        lane = self.delivery.lanes.pop(lane_id, None)
        if lane is None:
            return []
        self._forget(lane)
        return [Reply(lane.peer, Refuse(reason=reason)), _refused(lane.worker, reason)]

    def lane_up(self, lane_id: int, now: float) -> list[Effect]:
        """A lane's monitor says: connected."""
        lane = self.delivery.lanes.get(lane_id)
        if lane is None or lane.stage is not Stage.OPENING:
            return []
        fields = {"worker": lane.worker, "lane": lane_id, "procs": lane.procs, "host": lane.host}
        return [Log("worker_joined", lane.worker, fields), *self.delivery.lane_up(lane_id, now)]

    def lane_down(self, lane_id: int, now: float, why: str) -> list[Effect]:
        """A lane's monitor says: disconnected. The first and fastest sign of a worker's death."""
        lane = self.delivery.lanes.get(lane_id)
        return [] if lane is None else self._gone("worker_gone", lane, now, why)

    # -- sinks

    def sink_received(self, index: int, message: Message, now: float) -> list[Effect]:
        """A message came from a sink."""
        sink = self.sinks[index]
        self._sink_beats.heard(index, now)
        if type(message) is Welcome:
            return self._sink_welcome(index, sink, message, now)
        if type(message) is Refuse:  # no HELLO at once, or the two would go on for ever
            return [Log("sink_gone", sink.address, {"sink": sink.address, "reason": message.reason})]
        stranger = type(message) is Beat and message.boot != sink.boot  # a new one, and its welcome was overtaken
        if type(message) is Beat and message.leaving and not stranger:
            return self._sink_leaves(index, sink)
        if type(message) is Who or not sink.up or stranger:
            return [TellSink(index, self.hello())]
        mine = getattr(message, "ledger", None) == self.delivery.ledger
        if type(message) is Acks and mine:
            return self.delivery.stored(message.seqs, now) + self._part(index, sink)
        if type(message) is Holds and mine:
            # A worker whose results do not arrive may have missed that the sink has moved: name the sinks again.
            lanes = self.delivery.lanes_of(message.unknown)
            told: list[Effect] = [Reply(lane.peer, self._welcome(lane)) for lane in lanes if lane.address]
            return told + self.delivery.lacking(message.unknown, now, busy=message.busy)
        if type(message) is not Beat:
            self.unexpected[type(message).__name__] += 1
        return []

    def sink_arrived(self, index: int) -> list[Effect]:
        """A sink can be reached, for the first time or again: its answer tells at once whether it is still the same."""
        return [TellSink(index, self.hello())]

    def hello(self) -> Hello:
        """Return what this ventilator says of itself to a sink."""
        return Hello(role="ventilator", name=self.name, boot=self.boot, host=self.host, ledger=self.delivery.ledger)

    # -- time

    def tick(self, now: float) -> list[Effect]:
        """Several times a second: who is silent, what is overdue, and beats to the sinks."""
        effects: list[Effect] = []
        silent = [self.delivery.lanes.get(self.peers.get(peer, 0)) for peer in self._workers.silent(now)]
        gone = [lane for lane in silent if lane is not None]
        for lane in gone:
            if lane.stage is not Stage.LEAVING:
                lane.stage = Stage.GONE  # before the first one's jobs are passed on, so that none of them gets any
        for lane in gone:
            patience_s = self._workers.patience_s
            why = f"silent for {patience_s:g} s"
            effects += self._gone("worker_silent", lane, now, why, patience_s, dispatch=False)  # once, at the end
        for index in self._sink_beats.silent(now):
            sink = self.sinks[index]
            if sink.up:
                sink.up = False
                reason = f"silent for {self._sink_beats.patience_s:g} s"
                effects.append(Log("sink_gone", sink.address, {"sink": sink.address, "reason": reason}))
        if now - self._beat_at >= self.terms.beat_interval_ms / 1000:
            self._beat_at = now
            for index, sink in enumerate(self.sinks):
                effects.append(TellSink(index, Beat(boot=self.boot) if sink.up else self.hello()))
        for index, sink in enumerate(self.sinks):
            effects += self._part(index, sink)
        effects += self.delivery.tick(now)
        if len(self.peers) > len(self.delivery.lanes):  # some were given up as overdue
            self.peers = {peer: lane for peer, lane in self.peers.items() if lane in self.delivery.lanes}
        return effects

    def leave(self) -> None:
        """Stop: send nothing more; what is under way is settled. ``at_rest`` says when."""
        self._leaving = self.delivery.out.stopping = True

    @property
    def at_rest(self) -> bool:
        """Whether nothing is under way any more: no job at a worker, and no result to a sink that is there."""
        return not self.delivery.under_way(index for index, sink in enumerate(self.sinks) if sink.up)

    def waiting(self) -> list[str]:
        """Say, in sentences, what ready jobs wait for: a sink that never answered, or a worker with certain filters."""
        sentences = [
            f"no sink answers at {sink.address} yet: jobs wait for it" for sink in self.sinks if not sink.intake
        ]
        sentences += [
            f"the sink at {sink.address} was asked to stop: jobs wait for its return"
            for sink in self.sinks
            if sink.leaving
        ]
        if self.delivery.out.paused:
            sentences.append("the ventilator is paused: zgrid resume lets it go on")
        if unread := self.delivery.unread:
            images, are = ("1 image", "is") if len(unread) == 1 else (f"{len(unread)} images", "are")
            sentences.append(f"{images} cannot be read for now and {are} looked for again: {unread.reason}")
        return sentences + self.delivery.out.waiting()

    def beat_age_s(self, lane: Lane, now: float) -> float | None:
        """Return the seconds since a worker's last sign of life."""
        return self._workers.age_s(lane.peer, now)

    # -- inside

    def _hello(self, peer: bytes, hello: Hello, now: float) -> list[Effect]:
        problem = self._problem(hello)
        if problem:
            return [Reply(peer, Refuse(reason=problem)), _refused(hello.name, problem)]
        self._workers.heard(peer, now)
        known = self.delivery.lanes.get(self.peers.get(peer, 0))
        if known is not None:
            # Said twice, or its answer was lost: the same lane again, once it is bound.
            return [Reply(peer, self._welcome(known))] if known.address else []
        self._lanes_opened += 1
        lane = Lane(self._lanes_opened, peer, self._name(hello.name), hello.host, hello.procs, hello.filters)
        lane.reads = Reach(hello.reads)
        self.delivery.lanes[lane.id] = lane
        self.peers[peer] = lane.id
        return [*self.delivery.came_back(peer), OpenLane(lane.id, peer, lane.worker)]

    def _problem(self, hello: Hello) -> str | None:
        """Say why this peer cannot work here; None when it can."""
        if hello.role != "worker":
            return f"a {hello.role} has no business here: this is a ventilator"
        if hello.host != self.host:
            for sink in self.sinks:
                if sink.address.startswith(LOCAL_HOSTS):
                    return (
                        f"the sink is named {sink.address}, which a worker on another machine cannot reach: "
                        f"start the ventilator with --sink tcp://HOST:PORT, a name that all workers can reach"
                    )
        return None

    def _name(self, name: str) -> str:
        """Return ``name``, made unique among the workers that are here: two of one name are two workers."""
        taken = {lane.worker for lane in self.delivery.lanes.values()}
        number = 2
        unique = name
        while unique in taken:
            unique = f"{name}#{number}"
            number += 1
        return unique

    def _welcome(self, lane: Lane) -> Welcome:
        known = all(sink.intake for sink in self.sinks)
        keyed = known and any(sink.key for sink in self.sinks)
        return Welcome(
            name=self.name,
            boot=self.boot,
            lane=lane.id,
            address=lane.address,
            sinks=[sink.intake for sink in self.sinks] if known else [],
            # A socket in the file system has no key, but its place among those that have.
            sink_keys=b"".join(sink.key or bytes(PUBLIC_KEY_BYTES) for sink in self.sinks) if keyed else b"",
            limits={
                "beat_interval_ms": self.terms.beat_interval_ms,
                "beats_missed_max": self.terms.beats_missed_max,
                "unsettled_bytes_max": self.terms.unsettled_bytes_max,
            },
        )

    def _bye(self, lane: Lane, bye: Bye, now: float) -> list[Effect]:
        if bye.lane != lane.id:
            return []
        self._forget(lane)
        log = Log("worker_gone", lane.worker, {"worker": lane.worker, "lane": lane.id, "reason": bye.reason or "left"})
        return [log, *self.delivery.lane_down(lane.id, now, bye.reason or "left", innocent=True)]

    def _gone(
        self, event: str, lane: Lane, now: float, why: str, dead_s: float = NOTICED_S, *, dispatch: bool = True
    ) -> list[Effect]:
        self._forget(lane)
        jobs = len(lane.sent)
        log = Log(event, lane.worker, {"worker": lane.worker, "lane": lane.id, "reason": why, "jobs": jobs})
        # If only its link was cut, it is still there and must hear that its lane is gone.
        who = Reply(lane.peer, Who(boot=self.boot))
        # One that leaves closes its lane and says BYE at once; even if the BYE comes second, its jobs are innocent.
        innocent = lane.stage is Stage.LEAVING
        down = self.delivery.lane_down(lane.id, now, why, innocent=innocent, dead_s=dead_s, dispatch=dispatch)
        return [*down, who, log]

    def _forget(self, lane: Lane) -> None:
        self._workers.forget(lane.peer)
        if self.peers.get(lane.peer) == lane.id:
            del self.peers[lane.peer]

    def _sink_welcome(self, index: int, sink: Sink, message: Welcome, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if not sink.up or sink.boot != message.boot:
            effects.append(Log("sink_up", sink.address, {"sink": sink.address, "intake": message.address}))
            effects += self.delivery.sink_came(index, now)
        else:  # a new connection to the same one: what it was asked before may have been lost with the old one
            effects.append(self.delivery.reviews.welcomed(now))
        if sink.leaving and sink.boot != message.boot:
            sink.leaving = False
            self.delivery.out.stopping = self._leaving or any(other.leaving for other in self.sinks)
            effects += self.delivery.dispatch(now)
        moved = sink.intake != message.address
        sink.up, sink.boot, sink.intake = True, message.boot, message.address
        if moved and all(other.intake for other in self.sinks):
            # From now on jobs may go out: every worker knows where each result belongs.
            self.delivery.out.sinks_known = True
            effects += [Reply(lane.peer, self._welcome(lane)) for lane in self.delivery.lanes.values() if lane.address]
            effects += self.delivery.dispatch(now)
        return effects

    def _sink_leaves(self, index: int, sink: Sink) -> list[Effect]:
        """A sink was asked to stop: send nothing more, so that it can store all that is under way to it."""
        if sink.leaving:
            return []
        sink.leaving = self.delivery.out.stopping = True
        log = Log("sink_gone", sink.address, {"sink": sink.address, "reason": "it was asked to stop"})
        parted = self._part(index, sink)
        return [log, *(parted or [TellSink(index, Beat(boot=self.boot))])]  # it is told that somebody is here

    def _part(self, index: int, sink: Sink) -> list[Effect]:
        """Say BYE to a sink that leaves, once nothing is under way to it any more."""
        if not (sink.leaving and sink.up) or self.delivery.under_way((index,)):
            return []
        sink.up = False
        return [TellSink(index, Bye(boot=self.boot, reason="nothing more is under way"))]


def _refused(worker: str, reason: str) -> Log:
    return Log("worker_refused", worker, {"worker": worker, "reason": reason})
