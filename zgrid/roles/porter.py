"""The porter of a role that others come to: keys, who is allowed, and what the log says of those who are not.

Who is allowed comes from one of three places: the list beside a ventilator's key file, another ventilator that has such
a list, or, for a sink, the ventilators that call it.
"""

import os
from collections import Counter, deque
from collections.abc import Callable, Container
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from zgrid.errors import SettingsError
from zgrid.log import Event
from zgrid.protocol.messages import Hello, Refuse, Roster
from zgrid.protocol.rights import SINK, VENTILATOR
from zgrid.roles.calls import Calls, own_key
from zgrid.roles.telling import Telling
from zgrid.roles.trust import Trust
from zgrid.settings import is_ipc, is_local
from zgrid.transport.clock import new_boot
from zgrid.transport.clock import now as clock_now
from zgrid.transport.doors import Door
from zgrid.transport.guard import Guard, GuardedPost, Speaker, WatchedPost
from zgrid.transport.keyring import Key, Member, list_of, members_of, read_list, roster_of
from zgrid.transport.loop import Loop
from zgrid.transport.post import Post
from zgrid.transport.sockets import bind, control_dealer

TOLD_AGAIN_S = 5.0
"""Sinks hear who is allowed when it changes, and again after so long: a message may be lost."""

ASKED_AGAIN_S = 1.0
"""How often a ventilator without a list asks the one that has it."""


FIRST_WORD_S = 5.0
"""How long a ventilator without a list waits for the one that has it, before it starts with what its file says."""

HEARD_S = 1.0
"""So long somebody who is put out may take to read that, before its connection is cut."""

REVOKED = "the key of this process was revoked: it is not let in any more"


class Porter:
    """Everything about keys of one role. ``changed`` is called with who was let in before and is not any more.

    Make it before any socket is bound. Raises SettingsError where the keys cannot be used, and where the role would
    be open to a network without any.
    """

    def __init__(
        self, role: str, settings: Any, calls: list[str], loop: Loop, telling: Telling, context: Any, stack: ExitStack,
    ) -> None:  # fmt: skip
        self.key = own_key(role, settings, [settings.bind, *calls])
        if self.key is None and not settings.insecure and not is_local(settings.bind):
            raise SettingsError(
                f"--bind {settings.bind} is open to the network and there are no keys: zgrid keys init makes them, on "
                f"the ventilator's machine, and --keys names them; or say --insecure to let in whoever comes"
            )
        self.calls = Calls(self.key, loop, telling, insecure=settings.insecure)
        stack.callback(self.calls.close)
        self.changed: Callable[[list[Member]], None] = lambda _: None
        self._settings = settings
        self._loop = loop
        self._telling = telling
        self._context = context
        self._stack = stack
        self._doors: list[Door] = []
        self._told_at = float("-inf")
        self._parting: deque[tuple[float, GuardedPost, bytes]] = deque()
        self.guard: Guard | None = None
        self._book: _Book | _Follower | Trust | None = None
        if self.key is not None and not is_ipc(settings.bind):
            self._take_post(role, self.key)
        loop.every(0.1, self._tick)

    # -- opening

    def bind(self, socket: Any, address: str, gate: str, what: str) -> str:
        """Bind a socket at which members come in by their rights at ``gate``; return its address.

        Raises SettingsError.
        """
        if is_ipc(address):
            return bind(socket, address, what)
        if self.guard is not None:
            self.guard.protect(socket, gate)
        door = Door(socket, self.guard.invited if self.guard is not None else None)
        self._stack.callback(door.close)
        bound = bind(socket, address, what)
        door.port = int(bound.rpartition(":")[2])
        self._doors.append(door)
        self._loop.watch(door.monitor, lambda: self._read_door(door))
        return bound

    def post(
        self, socket: Any, gate: str, *, routed: bool = False, views: bool = False, speaker: Speaker = lambda _: None
    ) -> Post:  # fmt: skip
        """Return the messages of the socket that was bound last, judged where there are keys; see ``GuardedPost``."""
        complain = self._telling.complain
        if is_ipc(self._settings.bind):
            return Post(socket, complain, routed=routed, views=views)
        door = self._doors[-1]
        if self.guard is None:
            return WatchedPost(socket, complain, door, routed=routed, views=views)
        return GuardedPost(socket, complain, self.guard, gate, door, routed=routed, views=views, speaker=speaker)

    # -- who is allowed

    def sink_members(self) -> tuple[Member, ...] | None:
        """Return among whom a ventilator's sinks are, where a list says more than its key file."""
        return self._book.members if isinstance(self._book, _Book | _Follower) else None

    def roster(self) -> Roster | None:
        """Return what sinks are to be told of who is allowed; None where there is nothing to tell."""
        if self.guard is None or not self.guard.members:
            return None
        return roster_of(self.guard.members.values())

    def owes_roster(self) -> bool:
        """Whether it is time to tell it again, unasked."""
        now = clock_now()
        if self.guard is None or now - self._told_at < TOLD_AGAIN_S:
            return False
        self._told_at = now
        return True

    def heard(self, post: Post, peer: bytes, roster: Roster) -> None:
        """A ventilator tells a sink who is allowed."""
        public = post.public(peer)
        if public is not None and isinstance(self._book, Trust) and self._book.heard(public, members_of(roster)):
            self._allow(self._book.allowed())

    def part(self, post: Post, gone: list[Member], leave: Callable[[bytes], None]) -> None:
        """Part from members who are not let in any more, at one socket.

        ``leave`` is called with each of their processes, as if it had left. They are told, and a moment later cut off.
        """
        if not isinstance(post, GuardedPost):
            return
        for member in gone:
            for peer in post.peers(member.public):
                leave(peer)
                post.say_last(Refuse(reason=REVOKED, final=True), peer)
                self._parting.append((clock_now() + HEARD_S, post, peer))

    def keep(self, post: Post, known: Container[bytes], role: str) -> None:
        """Now and then: let one socket forget processes of a role that are not ``known`` any more."""
        if isinstance(post, GuardedPost):
            post.keep(known, role)

    def counts(self) -> dict[str, int]:
        """Return how many connections came, and how many of them and of messages were kept out, and why."""
        total: Counter[str] = Counter()
        for door in self._doors:
            total.update(door.counts)
        if self.guard is not None:
            total["refused"] += self.guard.counts["connections"]
            total["refused_messages"] += self.guard.counts["messages"]
        return {name: total[name] for name in ("accepted", "unheard", "foreign", "cut", "refused", "refused_messages")}

    # -- inside

    def _take_post(self, role: str, key: Key) -> None:
        path = list_of(key) if role == VENTILATOR else None
        if role == SINK:
            self._book = Trust(key)
        elif path is not None:
            self._book = _Book(path, key)
        elif not key.calls:
            raise SettingsError(
                f"{key.path} has no list of who is allowed beside it: move the whole folder, not one file"
            )
        self.guard = Guard(
            self._context, key, self._refused, patient=not isinstance(self._book, _Book), look_again=self._look
        )
        self._stack.callback(self.guard.close)
        self._loop.watch(self.guard.zap, self.guard.read)
        if self._book is None:
            self._book = _Follower(key, self.calls, self._loop, self._context, self._stack, self._allow)
        if isinstance(self._book, Trust):
            self._allow(self._book.allowed())
        self._look()

    def _look(self) -> None:
        """Read the list again if it has changed."""
        if not isinstance(self._book, _Book):
            return
        assert self.guard is not None
        try:
            is_new = self._book.look()
        except SettingsError as error:
            if not self.guard.members:
                raise
            self._telling.say(Event.KEYS_WRONG, "list", {"reason": str(error)})
            return
        if is_new:
            self._allow(list(self._book.members))

    def _allow(self, members: list[Member]) -> None:
        assert self.guard is not None
        assert self.key is not None
        before = dict(self.guard.members)
        gone = self.guard.allow(members)
        if before == self.guard.members and before:
            return
        roles = Counter(one.role for one in members)
        fields = {
            "key": self.key.name,
            "grid": self.key.grid,
            "allowed": dict(roles),
            "gone": [one.name for one in gone],
        }
        self._telling.say(Event.KEYS, f"{clock_now()}", fields)
        self._told_at = float("-inf")
        self.changed(gone)

    def _tick(self) -> None:
        self.calls.tick()
        for door in self._doors:
            door.tick()
        if self.guard is not None:
            self._look()
            self.guard.tick()
        if isinstance(self._book, _Follower):
            self._book.tick()
        while self._parting and clock_now() >= self._parting[0][0]:
            _, post, peer = self._parting.popleft()
            post.hang_up(peer)

    def _read_door(self, door: Door) -> None:
        foreign = door.read()
        if foreign and self.guard is not None:
            reason = "somebody came without keys, or with those of another grid"
            self._telling.say(
                Event.PEER_REFUSED, f"foreign {door.port}", {"peer": f"port {door.port}", "reason": reason}
            )

    def _refused(self, subject: str, peer: str, reason: str) -> None:
        self._telling.say(Event.PEER_REFUSED, subject, {"peer": peer, "reason": reason})


class _Book:
    """The list on this machine's disk."""

    def __init__(self, path: Path, key: Key) -> None:
        self._path = path
        self._key = key
        self._mark: tuple[int, int, int] | None = None
        self.members: tuple[Member, ...] = ()

    def look(self) -> bool:
        """Read the list if its file is another one; return whether it was read. Raises SettingsError."""
        try:
            stat = os.stat(self._path)  # noqa: PTH116  ten times a second
        except OSError as error:
            raise SettingsError(f"{self._path} cannot be read: {error.strerror}") from None
        mark = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
        if mark == self._mark:
            return False
        self._mark = mark
        self.members = read_list(self._path, self._key.grid)
        return True


class _Follower:
    """The list of another ventilator, asked again every second. Until it has answered nobody is let in.

    At the start it is waited for: it knows sinks that were enrolled after this ventilator.
    """

    def __init__(
        self, key: Key, calls: Calls, loop: Loop, context: Any, stack: ExitStack, allow: Callable[[list[Member]], None]
    ) -> None:
        self._allow = allow
        home = next((one for one in key.calls if one.role == VENTILATOR and one.at), None)
        if home is None:
            raise SettingsError(f"{key.path} does not say where the list of who is allowed is: enroll {key.name} anew")
        self._hello = Hello(role=VENTILATOR, name=key.name, boot=new_boot(), host="")
        curve = key.curve(home.public)
        dealer = control_dealer(context, b"", home.at[0], f"{key.path}", monitored=True, curve=curve)
        stack.callback(dealer.close)
        self._post = Post(dealer, lambda *_: None)
        loop.watch(dealer, self._read)
        calls.watch(dealer, home.at[0], self._ask)
        self._key = key
        self.members: tuple[Member, ...] | None = None
        self._asked_at = float("-inf")
        deadline = clock_now() + FIRST_WORD_S
        while self.members is None and clock_now() < deadline:
            self._ask()
            dealer.poll(200)
            self._read()

    def tick(self) -> None:
        """Ask again when it is time to.

        That the handshake ends with an ERROR is only logged, by ``Calls``: anybody on the way can send one. What counts
        is a REFUSE, which comes encrypted.
        """
        if clock_now() - self._asked_at >= ASKED_AGAIN_S:
            self._ask()

    def _ask(self) -> None:
        self._asked_at = clock_now()
        self._post.send(self._hello)

    def _read(self) -> None:
        for _, message in self._post.receive():
            if isinstance(message, Roster):
                self.members = tuple(members_of(message))
                self._allow(list(self.members))
            elif isinstance(message, Refuse):
                self._revoked()

    def _revoked(self) -> None:
        """Nobody's word holds for this ventilator any more, so it lets nobody in, and gives nobody work: it ends."""
        raise SettingsError(f"{self._key.path} was revoked, or never enrolled there: enroll {self._key.name} anew")
