"""What scripts/bench measured: figures, their statistics, the tables made of them, and the file that keeps them."""

import json
import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

VERSION = 1
"""Of the file: one with another number is refused."""

DIGITS = {"jobs/s": 0, "MB/s": 0, "images/s": 1, "ms": 1, "us": 1, "MB": 0, "share": 3}
"""Unit -> how many digits behind the point are shown."""


@dataclass(frozen=True)
class Goal:
    """The bound that a figure should keep: of its ratio, or of its own value."""

    bound: float
    at_least: bool = True
    of_ratio: bool = True

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        return f"{sign} {self.bound:g}{' x' if self.of_ratio else ''}"

    def met_by(self, value: float) -> bool:
        """Return whether a value keeps it."""
        return value >= self.bound if self.at_least else value <= self.bound


@dataclass(frozen=True)
class Figure:
    """One thing that was measured, with what was measured beside it.

    ``section`` is the table that it belongs to: grid, peers, pictures or accuracy. ``ours`` and ``theirs`` are one
    value in ``unit`` for each time that it was measured, the pairs in turn; ``theirs`` is empty where nothing is beside
    it. The ratio is ours by theirs, or with ``less_is_faster`` theirs by ours. ``note`` says something of theirs,
    ``our_note`` of ours; ``error`` why it could not be measured: both values are empty then.
    """

    section: str
    name: str
    what: str
    unit: str
    ours: tuple[float, ...] = ()
    beside: str = ""
    theirs: tuple[float, ...] = ()
    goal: Goal | None = None
    less_is_faster: bool = False
    note: str = ""
    our_note: str = ""
    error: str = ""

    @property
    def our_median(self) -> float:
        """The median of what was measured of the grid."""
        return statistics.median(self.ours)

    @property
    def their_median(self) -> float:
        """The same of what is beside it."""
        return statistics.median(self.theirs)

    @property
    def ratio(self) -> float | None:
        """The median ratio of the pairs; of the medians where there are not as many of both. None beside nothing."""
        if not self.ours or not self.theirs:
            return None
        if len(self.ours) != len(self.theirs):
            pairs = [(self.our_median, self.their_median)]
        else:
            pairs = list(zip(self.ours, self.theirs, strict=True))
        pairs = [(b, a) if self.less_is_faster else (a, b) for a, b in pairs]
        return statistics.median(a / b for a, b in pairs) if all(b for _, b in pairs) else None

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None where there is none, or nothing was measured."""
        value = None if self.goal is None else self.ratio if self.goal.of_ratio else self.our_median
        return None if self.goal is None or value is None or not self.ours else self.goal.met_by(value)


@dataclass
class Results:
    """All figures of a run, and the machine that they are of."""

    machine: dict[str, Any] = field(default_factory=dict)
    figures: list[Figure] = field(default_factory=list)
    _last: int = field(default=-1, init=False, compare=False)
    """The place of the figure that was taken last."""

    def of(self, section: str) -> list[Figure]:
        """Return the figures of a section."""
        return [figure for figure in self.figures if figure.section == section]

    def take(self, other: "Results") -> None:
        """Take over another run's figures, in the place of those that have the same name and neighbour.

        One that is new comes behind the one that was taken before it.
        """
        self.machine |= other.machine
        for figure in other.figures:
            same = [at for at, one in enumerate(self.figures) if _identity(one) == _identity(figure)]
            if same:
                self._last = same[0]
                self.figures[self._last] = figure
            else:
                self._last += 1
                self.figures.insert(self._last, figure)

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        data = {"version": VERSION, "machine": self.machine, "figures": [asdict(figure) for figure in self.figures]}
        path.write_text(json.dumps(data, indent=1) + "\n")


def load(path: Path) -> Results:
    """Return what ``save`` wrote. Raises ValueError with a sentence where it is something else."""
    try:
        data = json.loads(path.read_text())
        if data["version"] != VERSION:
            raise ValueError(f"{path} has version {data['version']}, and this scripts/bench reads {VERSION}")
        figures = [_figure(entry) for entry in data["figures"]]
        return Results(dict(data["machine"]), figures)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is no file of scripts/bench --json ({error})") from error


def _figure(entry: dict[str, Any]) -> Figure:
    goal = Goal(**entry["goal"]) if entry["goal"] else None
    return Figure(**{**entry, "goal": goal, "ours": tuple(entry["ours"]), "theirs": tuple(entry["theirs"])})


def _identity(figure: Figure) -> tuple[str, str, str]:
    return figure.section, figure.what, figure.beside


# --- statistics


def percentile(values: Iterable[float], share: float) -> float:
    """Return the smallest value that at least this share (0 to 1) of the values is not above."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-round(len(ordered) * share * 1e6) // 1_000_000) - 1))]


# --- tables


def shown(value: float, unit: str) -> str:
    """Return a value with its unit, as people read it."""
    digits = DIGITS.get(unit, 2)
    if unit == "share":
        return f"{value:.{digits}f}"
    if digits <= 1:
        digits = 1 if abs(value) < 20 else digits if abs(value) < 1000 else 0
    return f"{value:,.{digits}f} {unit}"


def shown_ratio(ratio: float | None) -> str:
    """Return a ratio with as many digits as it is worth."""
    if ratio is None:
        return ""
    return f"{ratio:.3f}" if 0.9 <= ratio < 1.2 else f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


def tables(results: Results) -> str:
    """Return the tables of all sections, in Markdown."""
    parts = []
    if grid := results.of("grid"):
        parts.append(markdown(("what", "zgrid", "beside it", "ratio", "goal", "met"), map(_row, grid)))
    if peers := results.of("peers"):
        parts.append(_peers(peers))
    if pictures := results.of("pictures"):
        head = ("one picture on one core", "zgrid", "beside it", "times faster", "goal", "met")
        parts.append(markdown(head, map(_row, pictures)))
    if accuracy := results.of("accuracy"):
        head = ("labelled photographs", "zgrid", "beside it", "goal", "met")
        parts.append(markdown(head, ([*row[:3], *row[4:]] for row in map(_row, accuracy))))
    return "\n".join(parts)


def _row(figure: Figure) -> list[str]:
    if figure.error:
        return [figure.what, f"not measured: {figure.error}", "", "", str(figure.goal or ""), ""]
    beside = f"{figure.beside} {shown(figure.their_median, figure.unit)}" if figure.theirs else ""
    met = {True: "yes", False: "**no**", None: ""}[figure.is_met]
    ours = shown(figure.our_median, figure.unit)
    return [figure.what, ours, beside, shown_ratio(figure.ratio), str(figure.goal or ""), met]


def _peers(figures: Sequence[Figure]) -> str:
    """Return one row for each peer, with a pair of columns for each thing that was measured of it."""
    whats = list(dict.fromkeys(figure.what for figure in figures))
    ours = ["zgrid"]
    for what in whats:
        measured = [figure for figure in figures if figure.what == what and figure.ours]
        ours += [shown(measured[0].our_median, measured[0].unit) if measured else "", ""]
    rows = [[*ours, figures[0].our_note]]
    for beside in dict.fromkeys(figure.beside for figure in figures):
        cells = []
        of_peer = {figure.what: figure for figure in figures if figure.beside == beside}
        for what in whats:
            figure = of_peer.get(what)
            if figure is None or figure.error:
                cells += [f"not measured: {figure.error}" if figure else "", ""]
            else:
                cells += [shown(figure.their_median, figure.unit), f"{shown_ratio(figure.ratio)} x"]
        rows.append([beside, *cells, next(iter(of_peer.values())).note])
    head = ["two workers"]
    for what in whats:
        head += [what, "zgrid is"]
    return markdown([*head, "what is on its disk"], rows)


def in_page(page: str, content: str, name: str) -> str:
    """Return a page with what stands between its marks of this name replaced. Raises ValueError without such marks."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"there is no {begin} ... {end} in it, which says where the figures go")
    return pattern.sub(lambda _: f"{begin}\n\n{content.strip()}\n\n{end}", page, count=1)
