"""Who may come in: the judge of every connection (ZAP), and of every message that a connection brings.

The judge sits in the process's own loop, and not in a thread as pyzmq's ready-made one does. Where no ZAP handler is,
libzmq lets in whoever knows the server's public key; a thread can die and leave just that. Here the loop that judges is
the one that the watchdog looks after, and while it does not turn nobody is let in: a connection waits, and is dropped.
Also, a name that is not known yet can be kept waiting for a moment, until the list that may have it has come.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Container, Iterable
from typing import NamedTuple

import zmq
from zmq.utils import z85

from zgrid.errors import PeerError
from zgrid.protocol import wire
from zgrid.protocol.messages import Frame, Hello, Message, Put, Question
from zgrid.protocol.rights import AT_SINK, RIGHTS, objection
from zgrid.transport.clock import now as clock_now
from zgrid.transport.doors import Door, cut, descriptor_of
from zgrid.transport.keyring import Key, Member
from zgrid.transport.post import MESSAGES_PER_TURN_MAX, Post, receive

PATIENCE_S = 2.5
"""How long somebody unknown may wait for a list that names it; libzmq gives a handshake 5 s."""

WAITING_MAX = 256
"""Of them; who comes when so many wait is refused at once."""

PEERS_MAX = 8192
"""Processes whose connections are remembered; the one not heard for longest is forgotten, and asked who it is."""

REQUESTS_PER_TURN_MAX = 256

ROUTE_BYTES = 5
"""Of the names that a ROUTER gives to connections without one. A boot has eight, so neither can pass for the other."""

_VERSION = b"1.0"

Speaker = Callable[[Message], bytes | None]
"""Returns the process that a message can only be from, by what it names; None where it names nothing of anybody's."""

Refused = Callable[[str, str, str], None]
"""Called with a subject for the log's rate limit, who it was, and why it is refused."""


class _Waiting(NamedTuple):
    until: float
    route: list[bytes]
    domain: str
    address: str
    public: str


class Guard:
    """The judge of one process that others come to. Make it before any socket is bound, and close it after all are.

    ``patient``: who is allowed is learnt from others, so that somebody unknown waits for their word. ``look_again`` is
    called before somebody unknown is refused. ``members``: who is allowed, by public key (Z85).
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        key: Key,
        refused: Refused,
        *,
        patient: bool = False,
        look_again: Callable[[], object] = lambda: None,
    ) -> None:
        self.key = key
        self.members: dict[str, Member] = {}
        self.counts: Counter[str] = Counter()
        self.invited: dict[str, float] = {}
        self.refused = refused
        self._patient = patient
        self._look_again = look_again
        self._owners: dict[str, str] = {}
        self._waiting: list[_Waiting] = []
        self.zap = context.socket(zmq.ROUTER)
        self.zap.linger = 0
        self.zap.bind("inproc://zeromq.zap.01")

    def close(self) -> None:
        """Stop judging; only when no socket is bound any more."""
        self.zap.close(0)

    def protect(self, socket: zmq.Socket[bytes], domain: str) -> None:
        """Let in at this socket only who may come to ``domain``, a gate or a lane; before it is bound."""
        if socket.type == zmq.ROUTER:
            socket.router_handover = False  # or whoever is in could take over the connection of another by its name
        socket.curve_server = True
        socket.curve_secretkey = self.key.secret.encode()
        socket.zap_domain = domain.encode()

    def open_lane(self, socket: zmq.Socket[bytes], lane: int, owner: str) -> None:
        """Let in at the socket of a lane only the worker with the public key ``owner``."""
        self._owners[f"lane-{lane}"] = owner
        self.protect(socket, f"lane-{lane}")

    def close_lane(self, lane: int) -> None:
        """Let nobody in there any more."""
        self._owners.pop(f"lane-{lane}", None)

    def allow(self, members: Iterable[Member]) -> list[Member]:
        """Take a new list of who is allowed; return who was on the old one and is not, with that key and role."""
        old, self.members = self.members, {one.public: one for one in members}
        self.tick()
        changed = [one for one in old.values() if one.public not in self.members]
        return changed + [one for one in old.values() if self.members.get(one.public, one).role != one.role]

    # -- connections

    def read(self) -> None:
        """Judge the connections that ask to be let in."""
        for _ in range(REQUESTS_PER_TURN_MAX):
            try:
                frames = self.zap.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self._judge(frames)

    def tick(self) -> None:
        """Judge those who wait again: they are known by now, or their time is over."""
        now, waiting, self._waiting = clock_now(), self._waiting, []
        for one in waiting:
            verdict = self._verdict(one.domain, one.public)
            if verdict is None and now < one.until:
                self._waiting.append(one)
            else:
                self._answer(one.route, one.domain, one.address, one.public, allowed=bool(verdict))

    def _judge(self, frames: list[bytes]) -> None:
        if len(frames) < 8 or frames[2] != _VERSION:
            return  # not from libzmq; who asked stays out
        route, domain, address = frames[:4], frames[4].decode("ascii", "replace"), frames[5].decode("ascii", "replace")
        address = address.removeprefix("::ffff:")
        if frames[7] != b"CURVE" or len(frames) != 9 or len(frames[8]) != 32:
            self._answer(route, domain, address, "", allowed=False)
            return
        public = z85.encode(frames[8]).decode()
        verdict = self._verdict(domain, public)
        if not verdict and public not in self.members:
            self._look_again()
            verdict = self._verdict(domain, public)
        if verdict is None and len(self._waiting) < WAITING_MAX:
            self._waiting.append(_Waiting(clock_now() + PATIENCE_S, route, domain, address, public))
            return
        self._answer(route, domain, address, public, allowed=bool(verdict))

    def _verdict(self, domain: str, public: str) -> bool | None:
        """Return whether the holder of a key may come in; None where that is not known yet."""
        member = self.members.get(public)
        if member is None:
            return None if self._patient and domain in RIGHTS else False
        if domain in RIGHTS:
            return member.role in RIGHTS[domain]
        return self._owners.get(domain) == public

    def _answer(self, route: list[bytes], domain: str, address: str, public: str, *, allowed: bool) -> None:
        status, text = (b"200", b"OK") if allowed else (b"400", b"refused")
        self.zap.send_multipart([*route, status, text, public.encode(), b""])
        if allowed:
            self.invited[address] = clock_now()
            return
        self.counts["connections"] += 1
        member = self.members.get(public)
        if member is None:
            self.refused(address, address, f"its key ({public[:8]}...) was never enrolled, or is revoked")
        else:
            self.refused(
                public, member.name, f"a {member.role} has no business at this {domain.rpartition('-')[0] or domain}"
            )


class _Way(NamedTuple):
    """How a process is reached: its connection at the ROUTER, its key, and the connection's descriptor, as a hint."""

    route: bytes
    public: str
    descriptor: int


class GuardedPost(Post):
    """One socket's messages, each judged by the key of the connection that brought it.

    The peer of a message is the boot of the process that sent it, whatever connection it came by: the ROUTER's own
    names change when somebody reconnects, and names that peers choose could be taken from others. A process is known by
    its HELLO, and only under the key that said it; on its next connection by what it names there (``speaker``), for any
    number of processes may share a key; a tool, which says no HELLO, by its connection.
    """

    def __init__(
        self, socket: zmq.Socket[bytes], complain: Callable[[str, str], None], guard: Guard, gate: str,
        door: Door | None, *, routed: bool = False, views: bool = False, speaker: Speaker = lambda _: None,
    ) -> None:  # fmt: skip
        super().__init__(socket, complain, routed=routed, views=views)
        self._guard = guard
        self._speaker = speaker
        self._gate = gate
        self._door = door
        self._ways: OrderedDict[bytes, _Way] = OrderedDict()
        self._peers: dict[bytes, bytes] = {}
        self._of_key: dict[str, set[bytes]] = {}
        self._ledgers: dict[bytes, str] = {}
        self._told: set[bytes] = set()

    def receive(self, messages_max: int = MESSAGES_PER_TURN_MAX) -> list[tuple[bytes, Message]]:
        """Return the (peer, message) pairs that are there and may be, at most ``messages_max``. Never waits."""
        received = []
        for _ in range(messages_max):
            try:
                first = self.socket.recv(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                break
            frames: list[Frame] = []
            if first.more:
                frames = self._frames() if self._views else [*self.socket.recv_multipart(zmq.DONTWAIT)]
            route, public, descriptor = first.bytes, _user(first), descriptor_of(first)
            if self._door is not None:
                self._door.spoke(descriptor)
            if not self._routed:
                frames.insert(0, route)
            judged = self._judged(route, public, descriptor, frames)
            if judged is not None:
                received.append(judged)
        return received

    def send(self, message: Message, peer: bytes | None = None) -> bool:
        """Send a message if it can go now, to the connection by which the peer was heard last."""
        way = self._ways.get(peer) if peer is not None else None
        return super().send(message, peer if way is None else way.route)

    def public(self, peer: bytes) -> str | None:
        """Return the public key of a peer that said HELLO; None for others."""
        way = self._ways.get(peer)
        return None if way is None else way.public

    def peers(self, public: str) -> list[bytes]:
        """Return the processes that have said HELLO with a key."""
        return sorted(self._of_key.get(public, ()))

    def say_last(self, message: Message, peer: bytes) -> None:
        """Send a peer that may not come in any more its last message; its connection lives until ``hang_up``."""
        self._told.add(peer)
        self.send(message, peer)

    def hang_up(self, peer: bytes) -> None:
        """Forget a peer and cut its connection, if it is still the one that it was."""
        self._told.discard(peer)
        way = self._ways.get(peer)
        if way is not None:
            self._forget(peer)
            if self._door is not None:
                cut(way.descriptor, self._door.port)

    def keep(self, known: Container[bytes], role: str) -> None:
        """Forget the processes of a role's keys that are not ``known`` any more, and have heard what they were to hear.

        Else a worker that was started again would stay two, and the number of its old connection could be another's.
        """
        members = self._guard.members
        for peer, way in list(self._ways.items()):
            if peer not in known and peer not in self._told:
                member = members.get(way.public)
                if member is None or member.role == role:
                    self._forget(peer)

    # -- inside

    def _judged(self, route: bytes, public: str, descriptor: int, frames: list[Frame]) -> tuple[bytes, Message] | None:
        """Return the peer and message in frames; None where it is dropped."""
        member = self._guard.members.get(public)
        if member is None:  # let in before it was revoked
            self.dropped["refused"] += 1
            if self._door is not None and self._peers.get(route) not in self._told:
                cut(descriptor, self._door.port)
            return None
        try:
            message = wire.decode(frames)
        except wire.UnknownMessageError:
            self.dropped["unknown"] += 1
            return None
        except PeerError as error:
            self.dropped["wrong"] += 1
            self._complain(member.name, str(error))
            return None
        why = objection(self._gate, member.role, message)
        if why is None and self._routed:
            why = self._bind(route, public, descriptor, message)
        if why is not None:
            self.dropped["refused"] += 1
            self._guard.counts["messages"] += 1
            self._guard.refused(public, member.name, why)
            return None
        return self._peers.get(route, route) if self._routed else b"", message

    def _bind(self, route: bytes, public: str, descriptor: int, message: Message) -> str | None:
        """Note by which connection a process is reached; say why it may not be who it says that it is."""
        if len(route) != ROUTE_BYTES:
            return "it has a name of its own choice, which could be that of another"
        if type(message) is Hello:
            known = self._ways.get(message.boot)
            if known is not None and known.public != public:
                return "it says HELLO with the boot of a process that has another key"
            if self._gate == AT_SINK and message.ledger:
                owner = self._ledgers.get(message.ledger, public)
                if owner != public and owner in self._guard.members:
                    return "it says HELLO with the ledger of another ventilator"
                self._ledgers[message.ledger] = public
            self._reach(message.boot, _Way(route, public, descriptor))
        elif route not in self._peers and type(message) not in (Question, Put):
            peer = self._speaker(message)
            if peer is not None and peer in self._of_key.get(public, ()):  # it has reconnected
                self._reach(peer, _Way(route, public, descriptor))
        return None

    def _reach(self, peer: bytes, way: _Way) -> None:
        old = self._ways.pop(peer, None)
        if old is not None:
            self._peers.pop(old.route, None)
        before = self._peers.get(way.route)
        if before is not None and before != peer:
            self._forget(before)  # one connection is one process: the last HELLO on it counts
        self._ways[peer] = way
        self._peers[way.route] = peer
        self._of_key.setdefault(way.public, set()).add(peer)
        while len(self._ways) > PEERS_MAX:
            self._forget(next(iter(self._ways)))

    def _forget(self, peer: bytes) -> None:
        way = self._ways.pop(peer)
        self._peers.pop(way.route, None)
        mine = self._of_key[way.public]
        mine.discard(peer)
        if not mine:
            del self._of_key[way.public]


def _user(frame: zmq.Frame) -> str:
    """Return the key by which the connection of a frame was let in; nothing where nobody has judged it."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""


class WatchedPost(Post):
    """One socket's messages without keys: whoever has said something is no stranger at the door any more."""

    def __init__(
        self, socket: zmq.Socket[bytes], complain: Callable[[str, str], None], door: Door, *, routed: bool = False,
        views: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(socket, complain, routed=routed, views=True)
        self._door = door
        self._short_only = not views

    def _frames(self) -> list[Frame]:
        if not self._door.crowd:
            return [*self.socket.recv_multipart(zmq.DONTWAIT)] if self._short_only else super()._frames()
        frames = receive(self.socket)
        self._door.spoke(descriptor_of(frames[0]))
        return [frame.bytes for frame in frames]
