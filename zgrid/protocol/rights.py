"""Who may say what, and where: the whole of it as data, so that it can be read, tested and drawn as one table.

A gate is a socket that others come to. A lane is none of these: it has one owner, and that one only listens.
"""

from zgrid.protocol.messages import (
    Ask,
    Beat,
    Bye,
    Hello,
    Message,
    Outcomes,
    Put,
    Question,
    Results,
    Roster,
)  # fmt: skip

VENTILATOR, WORKER, SINK, OPERATOR = "ventilator", "worker", "sink", "operator"
ROLES = (VENTILATOR, WORKER, SINK, OPERATOR)
"""What a key can be for. An operator is whoever asks and changes things by hand: ``zgrid status``, ``zgrid put``."""

AT_VENTILATOR, AT_SINK, AT_INTAKE = "ventilator", "sink", "intake"

RIGHTS: dict[str, dict[str, frozenset[type[Message]]]] = {
    AT_VENTILATOR: {
        WORKER: frozenset({Hello, Beat, Bye, Outcomes}),
        OPERATOR: frozenset({Question, Put}),
        VENTILATOR: frozenset({Hello}),  # answered by a ROSTER: another ventilator follows this one's list
    },
    AT_SINK: {
        VENTILATOR: frozenset({Hello, Beat, Bye, Ask, Roster}),
        OPERATOR: frozenset({Question}),
    },
    AT_INTAKE: {
        WORKER: frozenset({Results}),
    },
}
"""Gate -> role -> what it may say there; a role that is missing has no business at that gate."""


def objection(gate: str, role: str, message: Message) -> str | None:
    """Say why somebody of a role may not say a message at a gate; None where it may."""
    kind = type(message)
    if kind not in RIGHTS[gate].get(role, ()):
        return f"the key of {_one(role)} gives no right to say {kind.__name__.upper()} here"
    if kind is Hello and message.role != role:  # type: ignore[attr-defined]  # it is a HELLO
        return f"the key of {_one(role)} says HELLO as something else"
    return None


def _one(role: str) -> str:
    return f"an {role}" if role[0] in "aeiou" else f"a {role}"
