"""The command that tells what a machine does with pictures."""

# \b keeps a help text's lines; measuring is imported when it is wanted: help must be instant.
# ruff: noqa: D301, PLC0415

import sys
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from zgrid.cli.output import clean, say, say_json, say_table, span
from zgrid.errors import EXIT_OK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from zgrid.roles.measure import Report

MILLION = 1_000_000
MANY = 20
"""Fewer pictures have no one in twenty."""
HAD_MIN = 0.9
"""Below this share of a core somebody else is using the machine, which is worth a sentence."""


def bench(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SOURCE]...", help="folders, files or archives with pictures of yours (default: .)",
                       show_default=False),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", metavar="FILTER", help="a step of the chain; give it several times "
                     "(default: faces highlight)", show_default=False),
    ] = None,
    images: Annotated[int, typer.Option("--images", metavar="N", min=1, help="measure at most so many")] = 200,
    seconds: Annotated[
        float, typer.Option("--seconds", metavar="S", min=0.1, help="measure one core so long, then all of them")
    ] = 20.0,
    cores: Annotated[
        int, typer.Option("--procs", metavar="N", min=0, help="cores to measure together; 0 takes all there are")
    ] = 0,
    machines: Annotated[
        int, typer.Option("--machines", metavar="N", min=1, help="also tell what so many such machines would do")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON, for programs")] = False,
) -> int:  # fmt: skip
    """Tell what this machine does with your pictures.

    It says where the time goes, and what several such machines would do.

    Takes some of the pictures evenly, runs the chain on them with one core, then with all of them at once, and keeps
    nothing. It needs no grid and touches none. Times are those that a picture keeps a core busy, and takes to read.

    \b
    Examples:
      zgrid bench ~/Pictures
      zgrid bench /photos --filter faces:longest_px=1280 --filter highlight --machines 4
      zgrid bench holiday.zip --seconds 60 --json | jq .machine_per_s
    """
    from zgrid.roles.measure import measure
    from zgrid.settings.values import cpus

    with _progress(quiet=as_json) as tell:
        report = measure(
            sources or ["."],
            filters or ["faces", "highlight"],
            count=images,
            seconds=seconds,
            cores=cores or cpus(),
            tell=tell,
        )
    if as_json:
        say_json({**report.as_data(), "machines": machines, "machines_per_s": report.machines_per_s(machines)})
    else:
        _say(report, machines)
    return EXIT_OK


@contextmanager
def _progress(*, quiet: bool) -> "Iterator[Callable[[str, float], None]]":
    """Yield what is told how far it is: a bar on a terminal, nothing elsewhere."""
    if quiet or not sys.stdout.isatty():
        yield lambda _what, _done: None
        return
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(TextColumn("{task.description}"), BarColumn(), transient=True) as progress:
        task = progress.add_task("", total=1.0)
        yield lambda what, done: progress.update(task, description=what, completed=done)


def _say(report: "Report", machines: int) -> None:
    """Print what was measured, for people."""
    more = "" if report.found_all else " or more"
    say(f"pictures: {report.measured} of {report.found:,}{more}, {_counts(report.formats)}")
    say(f"  in the middle {report.megapixels:.1f} megapixels, {report.megabytes:.2f} MB each")
    by = f"; faces by {report.detector}, run by {report.engine}" if _finds_faces(report) else ""
    say(f"chain: {report.chain}{by}")
    say(f"  {_counts(report.outcomes)}, {report.faces} faces")
    for reason in report.reasons:
        say(f"  failed: {clean(reason)}")
    say()
    shares = [[stage, round(ms, 1), f"{100 * ms / report.ms:.0f} %"] for stage, ms in report.stages_ms.items()]
    say_table(
        ("stage", "ms", "share"), [*shares, ["all", round(report.ms, 1), "100 %"]], "one picture on one core, mean"
    )
    if report.measured >= MANY:
        say(f"one in twenty takes more than {span(report.ms_p95)}")
    else:
        say(f"{report.measured} pictures say little: give more of them, or --seconds")
    say()
    rates = [
        ("one core", report.core_per_s),
        (f"this machine, {report.cores} core{'s' * (report.cores > 1)}", report.machine_per_s),
        *([(f"{machines} such machines", report.machines_per_s(machines))] if machines > 1 else []),
    ]
    hourly = [f"{round(rate * 3600):,}" for _, rate in rates]
    rows = [
        [who, round(rate, 1), hour.rjust(max(map(len, hourly))), span(1000 * MILLION / rate)]
        for (who, rate), hour in zip(rates, hourly, strict=True)
    ]
    say_table(("who", "pictures/s", "an hour", "a million take"), rows)
    say(link_told(report, machines))
    if report.had < HAD_MIN:
        say(
            f"this machine is busy with other things: the process had {100 * report.had:.0f} % of its core, and these "
            "are the figures of one that has all of it"
        )
    if report.advice and _finds_faces(report):
        say(f"quicker or better: {report.advice}")


def _finds_faces(report: "Report") -> bool:
    return any(step.partition(":")[0] == "faces" for step in report.chain.split())


def link_told(report: "Report", machines: int) -> str:
    """Return what a gigabit link between ventilator and workers means for so many machines."""
    carried = f"a gigabit link carries {report.link_per_s:,.0f} such pictures/s"
    if report.machines_per_s(machines) <= report.link_per_s:
        return f"{carried}, enough for {int(report.link_per_s / report.machine_per_s)} such machines"
    return (
        f"{carried}, which is less than that: have the workers read for themselves with --by-reference, from storage "
        "that is fast enough, or use a faster link"
    )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {clean(name)}" for name, count in counts.items())
