"""The commands for a ledger's file: whether it is sound, how it is mended, and how it stays small."""

# What reads the file is imported when it is needed, and help must be instant; \b keeps a help text's lines.
# ruff: noqa: PLC0415, D301

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from zgrid.cli.asking import AsJson
from zgrid.cli.durations import duration_ms
from zgrid.cli.output import clean, say, say_json
from zgrid.errors import EXIT_OK, EXIT_SETTINGS

SHOW_EVERY_S = 0.2

app = typer.Typer(help="Check, mend or prune a ventilator's ledger.")

File = Annotated[Path, typer.Argument(metavar="FILE", help="the ledger, as in --ledger", show_default=False)]


@app.command()
def check(file: File, as_json: AsJson = False) -> int:
    """Look whether a ledger is sound.

    Its file, its indexes, and whether its tables agree with each other: one sentence for each thing that is wrong.
    Nothing is changed. The ventilator may run meanwhile, and waits for nothing; but its log (FILE-wal) grows until the
    check has ended, which takes about a minute for ten million jobs.

    \b
    Example:
      zgrid ledger check /var/lib/zgrid/ledger.sqlite

    Ends with 0 when nothing is wrong, else with 2.
    """
    from zgrid.store.check import check as checked

    found = checked(file)
    if as_json:
        say_json({"file": str(file), "sound": not found, "found": found})
    else:
        for sentence in found:
            say(f"wrong: {clean(sentence)}")
        say(f"{clean(file)} is {'damaged: zgrid ledger repair FILE saves what is left' if found else 'sound'}")
    return EXIT_SETTINGS if found else EXIT_OK


@app.command()
def repair(
    file: File,
    chain: Annotated[
        str | None,
        typer.Option("--chain", metavar="TEXT", help="filters of jobs that have lost theirs", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Make a new ledger of all that can be read of a damaged one.

    The ventilator has to be stopped, and the disk needs as much room again as the ledger takes. The old file is kept as
    FILE.damaged-YYYYMMDDTHHMMSS. Jobs that cannot be read come again from their sources at the next start, and the sink
    stores nothing twice. A ledger that nothing is wrong with is left as it is.

    \b
    Examples:
      zgrid ledger repair /var/lib/zgrid/ledger.sqlite
      zgrid ledger repair ledger.sqlite --chain "faces highlight"
    """
    from zgrid.store.repair import repair as repaired

    told = repaired(file, _now_ms(), None if chain is None else _chain(chain))
    if as_json:
        say_json({"file": str(file), "told": told})
    for sentence in [] if as_json else told:
        say(clean(sentence))
    return EXIT_OK


@app.command()
def prune(
    file: File,
    older: Annotated[
        str,
        typer.Option("--older", metavar="DURATION", help="how long ago they were settled at least: 36h, 30d, 8w"),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="count them, and leave them where they are")] = False,
    as_json: AsJson = False,
) -> int:
    """Remove jobs that were settled long ago.

    Those that are stored, discarded or cancelled, with their evidence and history; never buried ones. The ventilator
    may run meanwhile. The numbers of zgrid status stay: they count what ever happened. The file gets no smaller, but
    grows no further until the room is used again.

    A source whose job is removed is new to the ventilator: it is done again when it is searched again. The sink still
    stores nothing twice.

    \b
    Examples:
      zgrid ledger prune /var/lib/zgrid/ledger.sqlite --older 30d
      zgrid ledger prune ledger.sqlite --older 30d --dry-run
    """
    from zgrid.store import prune as pruning

    before_ms = _now_ms() - round(duration_ms(older, "--older"))
    if dry_run:
        jobs, more = pruning.prunable(file, before_ms), {}
    else:
        done = pruning.prune(file, before_ms, _progress())
        jobs, more = done.jobs, {"history": done.history, "evidence": done.evidence}
    by_state = {state.name.lower(): number for state, number in jobs.items()}
    if as_json:
        say_json({"file": str(file), "dry_run": dry_run, "jobs": by_state, **more})
        return EXIT_OK
    say(f"{'would be removed' if dry_run else 'removed'}: jobs {sum(jobs.values())} ({clean(by_state)})")
    if more:
        say(f"with them: lines of history {more['history']}, pieces of evidence {more['evidence']}")
    return EXIT_OK


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _chain(text: str) -> str:
    """Return a chain in the ledger's words. Raises SettingsError for what is none."""
    from zgrid.filters import parse_steps

    return " ".join(map(str, parse_steps(text.split(), checked=False)))


def _progress() -> Callable[[int, int], None] | None:
    """Return what shows how far it is, on a terminal."""
    if not sys.stderr.isatty():
        return None
    shown_at = 0.0

    def show(at: int, last: int) -> None:
        nonlocal shown_at
        if at >= last or time.monotonic() - shown_at >= SHOW_EVERY_S:
            shown_at = time.monotonic()
            sys.stderr.write(f"\r{at * 100 // max(1, last)} %" + ("\n" if at >= last else ""))
            sys.stderr.flush()

    return show
