"""What befalls whom, and when: the whole plan of a chaos run, from its seed alone."""

import random
from typing import NamedTuple

VENTILATORS = ("v1", "v2")
WORKERS = ("w1", "w2", "w3")
SINK = "sink"

SHORTEST_S, LONGEST_S = 0.2, 12.0
SHORTEST_OF_KIND_S = dict.fromkeys(("cut", "bad", "readonly"), 1.5)
"""How long faults last. A network that is back before TCP has sent anything again was hardly away."""

GAPS_S, GAPS_OF_SHORT_RUNS_S, SHORT_S = (0.4, 4.0), (0.2, 1.5), 60.0
"""Between two faults: the grid must get some work done, too, and a short run must see all kinds of them."""

FAULTS = (
    [("kill", one) for one in ("ventilator", "agent", "child", "sink")]
    + [("stop", one) for one in ("ventilator", "agent", "child", "sink")]
    + [("restart", one) for one in ("ventilator", "agent", "sink")]
    + [("lock", "sink"), ("fill", "sink"), ("fill", "ledger"), ("strangers", "ventilator"), ("strangers", "sink")]
    + [("clock", "all"), ("readonly", "sink"), ("bad", "all")]
    + [("cut", one) for one in ("ventilator", "agent", "sink")]
)
"""Kind of fault, and the kind of victim."""

SPARED = frozenset({"v2", "w3", "sink"})
"""Who lives through the calm part of a long run, so that one life is long enough to show a leak."""

CALM_FROM, CALM_TO, CALM_IN_RUNS_OF_S = 0.45, 0.9, 600.0


class Fault(NamedTuple):
    """One fault. ``lasts_s``: of what is stopped, locked, full, cut or down. ``which`` picks among several children."""

    at_s: float
    kind: str
    victim: str
    part: str
    lasts_s: float
    which: int

    def __str__(self):
        whose = {
            "child": f"a child of {self.victim}",
            "ledger": f"the disk of {self.victim}'s ledger",
        }.get(self.part, self.victim)
        words = {
            "clock": "clock of everybody, by an hour, for",
            "bad": "bad links of everybody for",
            "cut": f"cut the link of {whose} for",
            "readonly": f"readonly pictures of {whose} for",
        }.get(self.kind, f"{self.kind} {whose}")
        return words if self.kind == "strangers" else f"{words} {self.lasts_s:.1f} s"


def plan(seed, seconds):
    """Return the faults of a run in order. Every kind comes before any comes again."""
    chance = random.Random(f"{seed}/faults")
    longest_s = min(LONGEST_S, seconds / 6)
    deck, at_s, faults = [], min(2.0, seconds / 10), []
    gaps_s = GAPS_OF_SHORT_RUNS_S if seconds < SHORT_S else GAPS_S
    while (at_s := at_s + chance.uniform(*gaps_s)) < seconds:
        if not deck:
            deck = chance.sample(FAULTS, len(FAULTS))
        kind, part = deck.pop()
        victim = _victim(part, chance)
        shortest_s = SHORTEST_OF_KIND_S.get(kind, SHORTEST_S)
        lasts_s = chance.uniform(0.0, 2.0) if kind in {"kill", "restart"} else _lasting(chance, shortest_s, longest_s)
        fault = Fault(at_s, kind, victim, part, lasts_s, chance.randrange(1 << 16))
        if not _is_spared(fault, seconds):
            faults.append(fault)
    return faults


def _victim(part, chance):
    if part in {"ventilator", "ledger"}:
        return chance.choice(VENTILATORS)
    if part == "all":
        return part
    return chance.choice(WORKERS) if part in {"agent", "child"} else SINK


def _lasting(chance, shortest_s, longest_s):
    """Return a time between these, the short ones as likely as the long ones."""
    return shortest_s * (longest_s / shortest_s) ** chance.random()


def _is_spared(fault, seconds):
    if seconds < CALM_IN_RUNS_OF_S or fault.part == "child" or fault.kind not in {"kill", "restart"}:
        return False
    return fault.victim in SPARED and CALM_FROM * seconds <= fault.at_s < CALM_TO * seconds
