"""The ventilator's desk: each question is answered once, however often it is asked."""

import pytest

from zgrid.errors import SettingsError
from zgrid.protocol.messages import Put, Question
from zgrid.roles.desk import PEERS_REMEMBERED_MAX, UNDER_WAY_MAX, Desk


class Office:
    """Takes questions in and keeps them; ``said`` is what went out, as (peer, id, body)."""

    def __init__(self):
        self.said = []
        self.tickets = []
        self.desk = Desk(self.reply, {"later": self.later, "now": self.now, "wrong": self.wrong}, self.put)

    def reply(self, answer, peer):
        """Note an answer."""
        self.said.append((peer, answer.id, answer.body))

    def later(self, body, ticket):
        """Answer when the test says so."""
        self.tickets.append(ticket)

    def now(self, body, ticket):
        """Answer at once, with how often this was called."""
        self.tickets.append(ticket)
        ticket.answer({"times": len(self.tickets)})

    def wrong(self, body, ticket):
        """Find the question wrong."""
        raise SettingsError("that cannot be")

    def put(self, message, ticket):
        """Have no room."""
        self.tickets.append(ticket)
        ticket.drop()

    def ask(self, what, number=1, peer=b"a"):
        """Ask, and return what was said."""
        self.said.clear()
        self.desk.take(peer, Question(id=number, body={"what": what}))
        return [body for _, _, body in self.said]


@pytest.fixture
def office():
    """A desk with verbs for the test."""
    return Office()


def test_answered_once(office):
    """The same question of the same tool gets the same answer again; another number or tool asks anew."""
    assert office.ask("now") == [{"times": 1}]
    assert office.ask("now") == [{"times": 1}]
    assert office.ask("now", 2) == [{"times": 2}]
    assert office.ask("now", 2, b"b") == [{"times": 3}]
    assert office.ask("now", 2) == [{"times": 2}]
    assert not office.desk.busy


def test_sign_of_life(office):
    """What is being worked on says so when it is asked again, and how far it is; then it is answered once."""
    assert office.ask("later") == []
    assert office.desk.busy
    office.tickets[0].changed = 7
    assert office.ask("later") == [{"working": True, "changed": 7}]
    office.said.clear()
    office.tickets[0].answer({"done": True})
    assert [body for _, _, body in office.said] == [{"done": True}]
    assert office.ask("later") == [{"done": True}]
    assert len(office.tickets) == 1


def test_what_is_wrong_and_what_is_refused(office):
    """A question that cannot be is marked as wrong; one that nobody knows is, too; a refusal is not."""
    assert office.ask("wrong") == [{"error": "that cannot be", "wrong": True}]
    (unknown,) = office.ask("fly", 2)
    assert unknown["wrong"]
    assert "'fly'" in unknown["error"]
    assert office.ask(None, 3)[0]["wrong"]
    office.ask("later", 4)
    office.said.clear()
    office.tickets[0].refuse("the disk is full")
    assert [body for _, _, body in office.said] == [{"error": "the disk is full"}]


def test_dropped_is_done_again(office):
    """What there was no room for is forgotten, so that it is taken when it comes again."""
    message = Put(id=1, names=["x"], images=(b"x",))
    office.desk.take(b"a", message)
    office.desk.take(b"a", message)
    assert office.said == []
    assert len(office.tickets) == 2
    assert not office.desk.busy


def test_bounds(office):
    """Neither many questions at once nor many tools make the desk grow."""
    for number in range(UNDER_WAY_MAX):
        assert office.ask("later", number + 1) == []
    assert "too many" in office.ask("later", 10_000)[0]["error"]
    assert len(office.tickets) == UNDER_WAY_MAX
    for number in range(3 * PEERS_REMEMBERED_MAX):
        office.tickets[0].answer({})
        office.desk.take(b"%d" % number, Question(id=1, body={"what": "wrong"}))
    assert len(office.desk._last) <= PEERS_REMEMBERED_MAX
