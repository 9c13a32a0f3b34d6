"""Every role's key at every socket, with every kind of message: what is allowed is the table, and nothing else is."""

import os
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import zmq

sys.path.append(str(Path(__file__).parents[1] / "protocol"))  # for a message of each kind

from wire_cases import VECTORS

from zgrid.protocol.messages import KINDS, Hello
from zgrid.protocol.rights import RIGHTS, ROLES, objection

ONE_OF = {type(message): message for message in VECTORS.values()}
OF_ROLE = {"ventilator": "photos2", "worker": "w1", "sink": "sink2", "operator": "anna"}

MAY = {
    ("ventilator", "worker"): {"Hello", "Beat", "Bye", "Outcomes"},
    ("ventilator", "operator"): {"Question", "Put"},
    ("ventilator", "ventilator"): {"Hello"},
    ("sink", "ventilator"): {"Hello", "Beat", "Bye", "Ask", "Roster"},
    ("sink", "operator"): {"Question"},
    ("intake", "worker"): {"Results"},
}
"""(gate, role) -> kinds. Written out a second time on purpose: this is the promise, rights.py keeps it."""


def as_role(kind, role):
    """Return a message of a kind; a HELLO says the right role."""
    message = ONE_OF[kind]
    return replace(message, role=role, boot=os.urandom(8), ledger=b"") if kind is Hello else message


def test_the_table_is_the_promise():
    """The table in the code has exactly what is written here."""
    table = {
        (gate, role): {kind.__name__ for kind in kinds}
        for gate, roles in RIGHTS.items()
        for role, kinds in roles.items()
    }
    assert table == MAY


@pytest.mark.parametrize(("gate", "role"), [*product(RIGHTS, ROLES)])
def test_each_key_at_each_socket(house, gate, role):
    """A key without business at a socket is not let in; one with, is heard for what is its right and for no more."""
    allowed = MAY.get((gate, role), set())
    caller = house.caller(OF_ROLE[role], gate)
    if not allowed:
        house.until(lambda: caller.is_out, "it is turned away")
        assert not caller.is_in
        assert house.refusals, "nobody was told"
        assert not house.heard[gate]
        return
    house.until(lambda: caller.is_in, "it is let in")
    for kind in KINDS.values():
        caller.say(as_role(kind, role))
    house.until(lambda: len(house.heard[gate]) + house.posts[gate].dropped["refused"] >= len(KINDS), "all have come")
    assert {type(message).__name__ for _, message in house.heard[gate]} == allowed
    assert len(house.heard[gate]) == len(allowed)
    assert house.posts[gate].dropped == {"refused": len(KINDS) - len(allowed)}
    assert {who for _, who, _ in house.refusals} == {OF_ROLE[role]}


@pytest.mark.parametrize(("role", "said"), [*product(("worker", "ventilator"), ROLES)])
def test_hello_as_something_else(role, said):
    """A HELLO counts only for the role of the key that says it."""
    told = objection("ventilator", role, replace(ONE_OF[Hello], role=said))
    assert (told is None) == (role == said)


@pytest.mark.parametrize("gate", RIGHTS)
def test_strangers(house, gate):
    """Without keys, with keys that nobody has enrolled, or with those for another server nobody comes in."""
    stranger = [key.decode() for key in zmq.curve_keypair()]
    house.keys["nobody"] = replace(house.keys["w1"], public=stranger[0], secret=stranger[1])
    callers = [house.caller("nobody", gate), house.caller("w1", gate, server=house.keys["sink"].public)]
    kind = zmq.PUSH if gate == "intake" else zmq.DEALER
    callers.append(house.call(kind, house.ports[gate]))
    house.until(lambda: all(caller.is_out for caller in callers), "all are turned away")
    assert not any(caller.is_in for caller in callers)
    assert not house.heard[gate]
    house.until(lambda: house.doors[gate].counts["foreign"] >= 2, "those without keys and with others are counted")
