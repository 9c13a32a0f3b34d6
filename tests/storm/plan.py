"""What befalls whom, and when: the whole plan of a chaos run, from its seed alone."""

import random
from typing import NamedTuple

VENTILATORS = ("v1", "v2")
WORKERS = ("w1", "w2", "w3")
SINK = "sink"

LONGEST_S = 12.0

GAPS_S, GAPS_OF_SHORT_RUNS_S, SHORT_S = (0.4, 4.0), (0.3, 2.0), 60.0
"""Between two faults: the grid must get some work done, too, and a short run must see all kinds of them."""

FAULTS = (
    [("kill", one) for one in ("ventilator", "agent", "child", "sink")]
    + [("stop", one) for one in ("ventilator", "agent", "child", "sink")]
    + [("restart", one) for one in ("ventilator", "agent", "sink")]
    + [("lock", "sink"), ("fill", "sink"), ("fill", "ledger"), ("strangers", "ventilator"), ("strangers", "sink")]
    + [("clock", "all")]
)
"""Kind of fault, and the kind of victim."""

SPARED = frozenset({"v2", "w3", "sink"})
"""Who lives through the calm part of a long run, so that one life is long enough to show a leak."""

CALM_FROM, CALM_TO, CALM_IN_RUNS_OF_S = 0.45, 0.9, 600.0


class Fault(NamedTuple):
    """One fault. ``lasts_s``: of what is stopped, locked, full or down. ``which`` picks among several children."""

    at_s: float
    kind: str
    victim: str
    part: str
    lasts_s: float
    which: int

    def __str__(self):
        whose = {
            "all": "of everybody, by an hour, for",
            "child": f"a child of {self.victim}",
            "ledger": f"the disk of {self.victim}'s ledger",
        }.get(self.part)
        lasts = "" if self.kind == "strangers" else f" {self.lasts_s:.1f} s"
        return f"{self.kind} {whose or self.victim}{lasts}"


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
        lasts_s = chance.uniform(0.0, 2.0) if kind in {"kill", "restart"} else _lasting(chance, longest_s)
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


def _lasting(chance, longest_s):
    """Return a time from 0.2 s up, the short ones as likely as the long ones."""
    return 0.2 * (longest_s / 0.2) ** chance.random()


def _is_spared(fault, seconds):
    if seconds < CALM_IN_RUNS_OF_S or fault.part == "child" or fault.kind not in {"kill", "restart"}:
        return False
    return fault.victim in SPARED and CALM_FROM * seconds <= fault.at_s < CALM_TO * seconds
