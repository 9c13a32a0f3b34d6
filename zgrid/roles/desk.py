"""Where people's questions and images come in: each is answered once, by whoever knows, however often it is asked.

A tool asks again when it has waited for a while, for a message may be lost. What is still being worked on is answered
by a sign of life then; what was answered last is answered by the same words again.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from zgrid.errors import ZGridError
from zgrid.protocol.messages import Answer, Put, Question

UNDER_WAY_MAX = 256
"""Questions that may be worked on at the same time; one more is refused."""

PEERS_REMEMBERED_MAX = 64
"""Tools whose last answer is kept, in case it is lost."""

Body = dict[str, Any]


class Ticket:
    """One question of one peer, while it is worked on. ``changed``: how many jobs were dealt with so far."""

    __slots__ = ("_answered", "changed", "id", "peer")

    def __init__(self, peer: bytes, number: int, answered: Callable[["Ticket", Body | None], None]) -> None:
        self.peer = peer
        self.id = number
        self.changed = 0
        self._answered = answered

    def answer(self, body: Body) -> None:
        """Answer the question."""
        self._answered(self, body)

    def refuse(self, sentence: str) -> None:
        """Say why nothing was done: the disk, or what this ventilator is about to do."""
        self._answered(self, {"error": sentence})

    def drop(self) -> None:
        """Forget the question: there is no room for it now, and its tool asks again."""
        self._answered(self, None)

    def wrong(self, sentence: str, **more: Any) -> None:
        """Say what is wrong with the question: asking again changes nothing. ``more`` goes with it, for programs."""
        self._answered(self, {"error": sentence, "wrong": True, **more})


class Desk:
    """Takes questions and images in. ``reply`` sends a message to a peer; ``verbs`` says who answers which question."""

    def __init__(
        self,
        reply: Callable[[Answer, bytes], object],
        verbs: dict[str, Callable[[Body, Ticket], None]],
        put: Callable[[Put, Ticket], None],
    ) -> None:
        self._reply = reply
        self._verbs = verbs
        self._put = put
        self._under_way: dict[tuple[bytes, int], Ticket] = {}
        self._last: OrderedDict[bytes, tuple[int, Body]] = OrderedDict()

    @property
    def busy(self) -> bool:
        """Whether anything is being worked on."""
        return bool(self._under_way)

    def take(self, peer: bytes, message: Question | Put) -> None:
        """Have a message answered, unless it was: then the answer is given again."""
        if self._repeated(peer, message.id):
            return
        ticket = Ticket(peer, message.id, self._answered)
        if len(self._under_way) >= UNDER_WAY_MAX:
            ticket.refuse("too many questions are asked at the same time: ask again in a moment")
            return
        self._under_way[peer, message.id] = ticket
        try:
            if isinstance(message, Put):
                self._put(message, ticket)
            else:
                self._ask(message.body, ticket)
        except ZGridError as error:
            ticket.wrong(str(error))

    def _ask(self, body: Body, ticket: Ticket) -> None:
        what = body.get("what")
        verb = self._verbs.get(what) if isinstance(what, str) else None
        if verb is None:
            ticket.wrong(f"this ventilator does not know the question {what!r}: is it older than your zgrid?")
        else:
            verb(body, ticket)

    def _repeated(self, peer: bytes, number: int) -> bool:
        """Whether this was asked before; if so, say again what there is to say."""
        ticket = self._under_way.get((peer, number))
        if ticket is not None:
            self._reply(Answer(id=number, body={"working": True, "changed": ticket.changed}), peer)
            return True
        last = self._last.get(peer)
        if last is not None and last[0] == number:
            self._reply(Answer(id=number, body=last[1]), peer)
            return True
        return False

    def _answered(self, ticket: Ticket, body: Body | None) -> None:
        self._under_way.pop((ticket.peer, ticket.id), None)
        if body is None:
            return
        self._last[ticket.peer] = ticket.id, body
        self._last.move_to_end(ticket.peer)
        while len(self._last) > PEERS_REMEMBERED_MAX:
            self._last.popitem(last=False)
        self._reply(Answer(id=ticket.id, body=body), ticket.peer)
