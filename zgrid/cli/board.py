"""What ``zgrid top`` shows, made from the answers of ventilators and sinks: for any width, and for little height."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from zgrid.cli.output import clean, span

Body = dict[str, Any]

STATES = ("ready", "delayed", "sent", "finished", "stored", "discarded", "buried", "cancelled")
OPEN = ("ready", "delayed", "sent", "finished")
OVERDUE_MS = 2000
"""A beat that is older is worth a look: they come every second."""

RUNNING_SHOWN_MAX = 4
CHAINS_SHOWN_MAX = 6
SPARKS = 24


class Sight(NamedTuple):
    """What is known of one address.

    ``since``: when it answered last, or was asked first, by the clock of ``now`` below; ``answer``: its last one;
    ``error``: why there is no newer one; ``rates``: images per second in the last answers, the newest last.
    """

    address: str
    since: float
    answer: Body | None = None
    error: str | None = None
    rates: tuple[float, ...] = ()


class Look(NamedTuple):
    """How the board looks. ``height`` None: as high as it wants; ``sort``: of SORTS; ``plain``: ASCII letters alone."""

    width: int
    height: int | None = None
    sort: str = "name"
    plain: bool = False
    foot: str = ""


SORTS: dict[str, Callable[[Body], Any]] = {
    "name": lambda worker: str(worker.get("name")),
    "pace": lambda worker: -_number(worker, "rate_per_s"),
    "jobs": lambda worker: -_number(worker, "sent"),
    "failed": lambda worker: -_failed(worker) - _crashed(worker),
    "beat": lambda worker: -_number(worker, "beat_age_ms"),
}
"""Orders of workers by name, in the order in which a key goes through them."""


class _Block(NamedTuple):
    """One address: lines above its workers, the workers, lines below."""

    above: list[Text]
    workers: list[Body]
    below: list[Text]


def board(sights: Sequence[Sight], now: float, look: Look) -> RenderableType:
    """Return everything that is to be seen."""
    pen = _Pen(look)
    foot = [pen.line((look.foot, "dim"))] if look.foot else []
    blocks = [pen.block(sight, now) for sight in sights]
    fixed = sum(len(block.above) + len(block.below) + 1 for block in blocks) - 1
    wanted = [len(block.workers) + 1 if block.workers else 0 for block in blocks]
    room = sum(wanted) if look.height is None else look.height - len(foot) - fixed
    shares = _shares(wanted, room)
    if any(share < min(3, want) for share, want in zip(shares, wanted, strict=True)) or room < 0:
        shown = pen.summary(sights, now, None if look.height is None else look.height - len(foot))
    else:
        shown = []
        for block, share in zip(blocks, shares, strict=True):
            workers = [pen.workers(block.workers, share)] if share else []
            shown += [*block.above, *workers, *block.below, pen.line()]
        shown.pop()
    return Group(*shown, *foot)


def _shares(wanted: Sequence[int], room: int) -> list[int]:
    """Share lines out: nobody gets more than he wants, and what one does not want is for the others."""
    shares = [0] * len(wanted)
    hungry = [place for place, want in enumerate(wanted) if want]
    while hungry and room >= len(hungry):
        for place in hungry:
            shares[place] += 1
        room -= len(hungry)
        hungry = [place for place in hungry if shares[place] < wanted[place]]
    return shares


def _number(body: Body, name: str) -> float:
    """Return a number of an answer; 0 where it is none, or not there: it may be of another version."""
    value = body.get(name)
    return value if isinstance(value, int | float) else 0


def _bodies(body: Body, name: str) -> list[Body]:
    """Return a list of maps of an answer."""
    value = body.get(name)
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _texts(body: Body, name: str) -> list[str]:
    value = body.get(name)
    return [str(one) for one in value] if isinstance(value, list) else []


def _counts(body: Body) -> Body:
    """Return the numbers of jobs by state."""
    counts = body.get("counts")
    return counts if isinstance(counts, dict) else {}


def _failed(worker: Body) -> float:
    return _number(worker, "failed") + _number(worker, "troubled")


def _crashed(worker: Body) -> float:
    return _number(worker, "crashed") + _number(worker, "overran")


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}" if per_s >= 1000 else f"{per_s:.1f}"


class _Pen:
    """Draws for one look."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._dot = ", " if look.plain else " · "
        self._cut: Any = "crop" if look.plain else "ellipsis"

    # -- letters

    def line(self, *parts: tuple[str, str] | str) -> Text:
        """Return one line of parts with their styles; what does not fit is cut."""
        line = Text(no_wrap=True, overflow=self._cut)
        for part in parts:
            text, style = part if isinstance(part, tuple) else (part, "")
            line.append(self._letters(text), style)
        line.truncate(self._look.width, overflow=self._cut)
        return line

    def _letters(self, value: object) -> str:
        text = clean(value)
        return text.encode("ascii", "backslashreplace").decode() if self._look.plain else text

    def _bar(self, share: float, width: int) -> tuple[str, str]:
        """Return the full and the empty part of a bar."""
        full = round(min(1.0, max(0.0, share)) * width)
        return ("#" * full, "-" * (width - full)) if self._look.plain else ("━" * full, "─" * (width - full))

    def _sparks(self, rates: Sequence[float]) -> str:
        """Return the last rates as a line of little bars."""
        rates = rates[-SPARKS:]
        if self._look.plain or len(rates) < 3 or max(rates) <= 0:
            return ""
        return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * rate / max(rates)))] for rate in rates)

    # -- one address

    def block(self, sight: Sight, now: float) -> _Block:
        """Return what there is to say of one address."""
        answer = sight.answer
        if answer is None or sight.error is not None:
            return _Block(self._unreachable(sight, now), [], [])
        if answer.get("role") == "sink":
            return _Block([self._title(sight, "sink"), *self._sink(sight), *self._waiting(answer)], [], [])
        workers = sorted(_bodies(answer, "workers"), key=lambda worker: str(worker.get("name")))
        workers.sort(key=SORTS[self._look.sort])
        above = [self._title(sight, "ventilator"), self._progress(sight), self._counts(answer)]
        above += [*self._waiting(answer), *self._chains(answer)]
        if not workers:
            above.append(self.line((f"no worker is here; start one with: zgrid worker {sight.address}", "yellow")))
        return _Block(above, workers, self._sinks(answer))

    def _unreachable(self, sight: Sight, now: float) -> list[Text]:
        if sight.error is None:
            return [self.line((sight.address, "bold"), ("  asking", "dim"))]
        since = span(1000 * (now - sight.since))
        title = [(sight.address, "bold red"), (f"  no status for {since}; asking again", "red")]
        if sight.answer is not None:
            title.insert(0, (f"{clean(sight.answer.get('name'))}  ", "bold red"))
        return [self.line(*title), self.line((f"  {sight.error}", "dim"))]

    def _title(self, sight: Sight, role: str) -> Text:
        answer = sight.answer or {}
        marks = [mark for mark in ("paused", "draining", "scanning") if answer.get(mark) is True]
        badges = [(f"  {mark.upper()}", "bold yellow" if mark == "paused" else "cyan") for mark in marks]
        more = f"  {role}{self._dot}up {span(answer.get('uptime_ms'))}{self._dot}zgrid {clean(answer.get('version'))}"
        return self.line((clean(answer.get("name")), "bold"), (f"  {sight.address}", "cyan"), *badges, (more, "dim"))

    def _progress(self, sight: Sight) -> Text:
        """Return a bar of what is settled, and how fast it goes on."""
        answer = sight.answer or {}
        counts = _counts(answer)
        left = sum(_number(counts, state) for state in OPEN)
        accepted = max(_number(answer, "accepted"), left)
        per_s = _number(answer, "rate_per_s")
        full, empty = self._bar((accepted - left) / accepted if accepted else 0.0, self._look.width // 6)
        percent = f" {100 * (accepted - left) / accepted:.0f} %" if accepted else " nothing yet"
        scanning = "+" if answer.get("scanning") is True else ""
        parts = [f"{accepted - left:,.0f} of {accepted:,.0f}{scanning}", f"{_rate(per_s)} images/s"]
        if left and per_s > 0.01 and not scanning:
            parts.append(f"{span(1000 * left / per_s)} left")
        text = self._dot.join(["", *parts]) if accepted else ""
        sparks = self._sparks(sight.rates)
        return self.line((full, "green"), (empty, "dim"), (percent, "bold"), text, (f"  {sparks}", "green"))

    def _counts(self, answer: Body) -> Text:
        """Return how many jobs are in each state; the rare ones only where there are any."""
        counts = _counts(answer)
        styles = {"buried": "bold red", "ready": "bold", "stored": "green"}
        parts: list[tuple[str, str]] = []
        for state in STATES:
            jobs = _number(counts, state)
            if jobs or state in {"ready", "sent", "stored", "buried"}:
                dot = self._dot if parts else ""
                parts += [(f"{dot}{state} ", "dim"), (f"{jobs:,.0f}", styles.get(state, "") if jobs else "dim")]
        return self.line(*parts)

    def _waiting(self, answer: Body) -> list[Text]:
        return [self.line((f"waiting: {sentence}", "yellow")) for sentence in _texts(answer, "waiting")]

    def _chains(self, answer: Body) -> list[Text]:
        """Return a line for each chain: all of them where there are several, or one that is stopped."""
        chains = _bodies(answer, "chains")
        chains.sort(key=lambda chain: -_number(_counts(chain), "ready"))
        lines: list[Text] = []
        for chain in chains[:CHAINS_SHOWN_MAX]:
            counts = _counts(chain)
            parts = [f"{state} {_number(counts, state):,.0f}" for state in STATES if _number(counts, state)]
            parts.append(f"workers {_number(chain, 'workers'):.0f}")
            if chain.get("oldest_ready_ms") is not None:
                parts.append(f"oldest waits {span(chain.get('oldest_ready_ms'))}")
            if len(chains) == 1:
                parts = parts[-2:]
            stopped = ("  PAUSED", "bold yellow") if chain.get("paused") is True else ""
            lines.append(
                self.line(("chain ", "dim"), clean(chain.get("chain")), stopped, (f"  {self._dot.join(parts)}", "dim"))
            )
        if len(chains) > CHAINS_SHOWN_MAX:
            lines.append(self.line((f"and {len(chains) - CHAINS_SHOWN_MAX} more chains", "dim")))
        return lines

    def _sinks(self, answer: Body) -> list[Text]:
        lines: list[Text] = []
        for sink in _bodies(answer, "sinks"):
            state, unsettled = clean(sink.get("state")), _number(sink, "unsettled")
            style = "green" if state == "up" else "bold red"
            text = f"{self._dot}{unsettled:,.0f} unsettled"
            lines.append(self.line(("sink ", "dim"), (clean(sink.get("address")), "cyan"), "  ", (state, style), text))
        return lines

    def _sink(self, sight: Sight) -> list[Text]:
        """Return what a sink says of itself."""
        answer = sight.answer or {}
        parts = [f"{name} {_number(answer, name):,.0f}" for name in ("stored", "duplicates", "faces", "ventilators")]
        parts.append(f"held {_number(answer, 'held_bytes') / 1e6:.1f} MB")
        parts.append(f"{_rate(_number(answer, 'rate_per_s'))} images/s")
        return [self.line(self._dot.join(parts), (f"  {self._sparks(sight.rates)}", "green"))]

    # -- workers

    def workers(self, workers: Sequence[Body], lines: int) -> Table:
        """Return a table of so many lines; the last one tells of those for which there is no line."""
        rows = lines - 1
        shown = workers if len(workers) <= rows else workers[: rows - 1]
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", width=self._look.width)
        columns = self._columns(max((_number(worker, "rate_per_s") for worker in workers), default=0))
        for head, (justify, _) in columns.items():
            last = head == "running"
            table.add_column(
                head, justify=justify, no_wrap=True, overflow=self._cut, ratio=1 if last else None,
                max_width=None if last else 24, min_width=6 if head == "worker" else None,
            )  # fmt: skip
        for worker in shown:
            table.add_row(*[cell(worker) for _, cell in columns.values()])
        rest = workers[len(shown) :]
        if rest:
            per_s = sum(_number(worker, "rate_per_s") for worker in rest)
            table.add_row(self.line((f"+{len(rest)} more", "dim")), "", self.line((_rate(per_s), "dim")))
        return table

    def _columns(self, fastest: float) -> dict[str, tuple[Any, Callable[[Body], Text]]]:
        """Return the columns that there is room for: how each is justified, and what makes its cells."""
        wide, wider = self._look.width >= 100, self._look.width >= 120

        def count(*names: str) -> Callable[[Body], Text]:
            return lambda worker: self.line(f"{sum(_number(worker, name) for name in names):,.0f}")

        def bad(number: Callable[[Body], float]) -> Callable[[Body], Text]:
            return lambda worker: self.line((f"{number(worker):,.0f}", "bold red" if number(worker) else "dim"))

        columns: dict[str, tuple[Any, Callable[[Body], Text]]] = {
            "worker": ("left", lambda worker: self.line((clean(worker.get("name")), "bold"))),
            "state": ("left", self._state),
            "per s": ("right", lambda worker: self.line(_rate(_number(worker, "rate_per_s")))),
        }
        if wider:
            columns["pace"] = ("left", lambda worker: self._pace(worker, fastest))
        if wide:
            columns["procs"] = ("right", count("procs"))
        columns["jobs"] = ("right", self._jobs)
        if wider:
            columns["credit"] = ("right", count("credit"))
            columns["one takes"] = ("right", self._takes)
        if wide:
            columns["results"] = ("right", count("unsettled"))
        columns["done"] = ("right", self._done)
        if wide:
            columns["failed"] = ("right", bad(_failed))
            columns["crashed"] = ("right", bad(_crashed))
        else:
            columns["failed"] = ("right", bad(lambda worker: _failed(worker) + _crashed(worker)))
        columns["beat"] = ("right", self._beat)
        columns["running"] = ("left", self._running)
        if self._look.width < 60:
            few = ("worker", "per s", "failed", "jobs", "state")[: 2 if self._look.width < 40 else None]
            columns = {head: column for head, column in columns.items() if head in few}
        return columns

    def _state(self, worker: Body) -> Text:
        state = clean(worker.get("state"))
        return self.line((state, "green" if state == "ready" else "yellow"))

    def _pace(self, worker: Body, fastest: float) -> Text:
        full, empty = self._bar(_number(worker, "rate_per_s") / fastest if fastest else 0.0, 10)
        return self.line((full, "green"), (empty, "dim"))

    def _jobs(self, worker: Body) -> Text:
        """Return its credit in use: jobs that it is at, and those that it has not begun."""
        unstarted = _number(worker, "unstarted")
        return self.line(f"{_number(worker, 'sent') - unstarted:,.0f}+{unstarted:,.0f}")

    def _takes(self, worker: Body) -> Text:
        """Return how long its filters have lately taken for one image."""
        work_ms = worker.get("work_ms")
        return self.line(f"{work_ms:.1f} ms" if isinstance(work_ms, float) and 0 <= work_ms < 10 else span(work_ms))

    def _done(self, worker: Body) -> Text:
        ever = _number(worker, "finished") + _number(worker, "discarded")
        return self.line(f"{max(ever, _number(worker, 'done')):,.0f}")

    def _beat(self, worker: Body) -> Text:
        age_ms = worker.get("beat_age_ms")
        late = _number(worker, "beat_age_ms") > OVERDUE_MS
        return self.line((span(age_ms), "bold red" if late else "dim"))

    def _running(self, worker: Body) -> Text:
        """Return the jobs that it has been at for longest, and how far they are."""
        jobs = sorted(_bodies(worker, "running"), key=lambda job: -_number(job, "for_ms"))
        told = []
        for job in jobs[:RUNNING_SHOWN_MAX]:
            progress = job.get("progress")
            far = f" {100 * progress:.0f}%" if isinstance(progress, int | float) else ""
            told.append(f"{clean(job.get('job'))}{far} {span(job.get('for_ms')).replace(' ', '')}")
        if len(jobs) > RUNNING_SHOWN_MAX:
            told.append(f"+{len(jobs) - RUNNING_SHOWN_MAX}")
        return self.line(", ".join(told))

    # -- many addresses

    def summary(self, sights: Sequence[Sight], now: float, lines: int | None) -> list[RenderableType]:
        """Return a table with a line for each address, for when there is no room for more."""
        rows = len(sights) if lines is None else max(1, lines - 1)
        shown = sights if len(sights) <= rows else sights[: max(1, rows - 1)]
        heads = ["name", "state", "per s", "ready", "buried", "sent", "stored", "workers", "address"]
        heads = heads[: 3 if self._look.width < 40 else 5 if self._look.width < 80 else None]
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", width=self._look.width)
        for head in heads:
            right = head not in {"name", "state", "address"}
            table.add_column(head, justify="right" if right else "left", no_wrap=True, overflow=self._cut)
        for sight in shown:
            cells = self._summed(sight, now)
            table.add_row(*[cells[head] for head in heads])
        if len(shown) < min(rows, len(sights)):
            table.add_row(self.line((f"+{len(sights) - len(shown)} more", "dim")))
        return [table]

    def _summed(self, sight: Sight, now: float) -> dict[str, Text]:
        """Return one address in cells, by column."""
        answer = sight.answer or {}
        counts = _counts(answer)
        marks = [mark for mark in ("paused", "draining", "scanning") if answer.get(mark) is True]
        marks += ["waiting"] if _texts(answer, "waiting") else []
        state = (marks[0], "yellow") if marks else ("up", "green") if sight.answer else ("asking", "dim")
        if sight.error is not None:
            answer, counts, state = {}, {}, (f"away {span(1000 * (now - sight.since))}", "red")
        cells = {name: f"{_number(counts, name):,.0f}" for name in ("ready", "sent", "stored", "buried") if counts}
        if counts:
            cells["workers"] = f"{len(_bodies(answer, 'workers')):,}"
        elif "stored" in answer:  # a sink
            cells["stored"] = f"{_number(answer, 'stored'):,.0f}"
        if answer:
            cells["per s"] = _rate(_number(answer, "rate_per_s"))
        row = dict.fromkeys(("per s", "ready", "buried", "sent", "stored", "workers"), "-") | cells
        name = clean((sight.answer or {}).get("name") or sight.address)
        found = {"name": self.line((name, "bold")), "state": self.line(state), "address": self.line(sight.address)}
        return found | {
            head: self.line((text, "bold red" if head == "buried" and text not in {"-", "0"} else ""))
            for head, text in row.items()
        }
