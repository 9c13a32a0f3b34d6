"""The commands that change jobs by hand: bury, kick, cancel, retry. Each may be repeated; none does its work twice."""

# \b keeps a help text's lines.
# ruff: noqa: D301

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from zgrid.cli.asking import Address, AsJson, Patience, connected
from zgrid.cli.inspection import FITTING, foreign_letter
from zgrid.cli.output import clean, say, say_json
from zgrid.errors import EXIT_OK, EXIT_SETTINGS

if TYPE_CHECKING:
    from zgrid.client import Changed

Jobs = Annotated[
    list[str] | None,
    typer.Argument(metavar="JOB", help="numbers, keys in hex, URIs, or the images' paths", show_default=False),
]
Source = Annotated[
    str | None,
    typer.Option(
        "--source", metavar="PATTERN", help="all jobs whose whole URI it fits, as in '*/2024/*.jpg'", show_default=False
    ),
]
FromState = Annotated[
    str | None,
    typer.Option("--state", metavar="STATE", help="with --source: only jobs in this state", show_default=False),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="why; it stays in the job's history")]


def bury(
    address: Address, jobs: Jobs = None, source: Source = None, state: FromState = None, reason: Reason = "",
    as_json: AsJson = False, timeout_ms: Patience = 5000,
) -> int:  # fmt: skip
    """Put jobs aside: nobody gets them until they are kicked.

    \b
    Examples:
      zgrid bury tcp://photos.lan:5550 4711 --reason "ask Zoe first"
      zgrid bury tcp://photos.lan:5550 --source '*/private/*'
    """
    with connected(address, timeout_ms) as client:
        return _tell(
            "buried", client.bury(*jobs or (), source=source, state=state, reason=reason), source, as_json=as_json
        )


def kick(
    address: Address, jobs: Jobs = None, source: Source = None, state: FromState = None,
    everything: Annotated[bool, typer.Option("--all", help="everything that is buried")] = False,
    reason: Reason = "", as_json: AsJson = False, timeout_ms: Patience = 5000,
) -> int:  # fmt: skip
    """Try buried or delayed jobs again, at once.

    They have all their attempts again. A pattern means buried jobs, unless --state says delayed.

    \b
    Examples:
      zgrid kick tcp://photos.lan:5550 4711
      zgrid kick tcp://photos.lan:5550 --all
      zgrid kick tcp://photos.lan:5550 --source 'file:///photos/2024/*' --state delayed
    """
    with connected(address, timeout_ms) as client:
        changed = client.kick(*jobs or (), source=source, state=state, everything=everything, reason=reason)
        return _tell("kicked", changed, source, as_json=as_json)


def cancel(
    address: Address, jobs: Jobs = None, source: Source = None, state: FromState = None, reason: Reason = "",
    as_json: AsJson = False, timeout_ms: Patience = 5000,
) -> int:  # fmt: skip
    """Withdraw jobs: they are closed without a result.

    What a worker does just now is not stopped; if its result is stored all the same, the job is stored. A pattern means
    jobs that are not settled, unless --state says buried.

    \b
    Examples:
      zgrid cancel tcp://photos.lan:5550 4711 4712
      zgrid cancel tcp://photos.lan:5550 --source 'put:*/test-*'
    """
    with connected(address, timeout_ms) as client:
        changed = client.cancel(*jobs or (), source=source, state=state, reason=reason)
        return _tell("cancelled", changed, source, as_json=as_json)


def retry(
    address: Address, jobs: Jobs = None, source: Source = None, state: FromState = None, reason: Reason = "",
    as_json: AsJson = False, timeout_ms: Patience = 5000,
) -> int:  # fmt: skip
    """Do jobs again that were buried, discarded or cancelled.

    Stored ones stay as they are, and so do put images that are not kept any more: put those again under another name.

    \b
    Examples:
      zgrid retry tcp://photos.lan:5550 /photos/2024/img_0042.jpg
      zgrid retry tcp://photos.lan:5550 --source '*/2024/*' --state discarded
    """
    with connected(address, timeout_ms) as client:
        return _tell(
            "retried", client.retry(*jobs or (), source=source, state=state, reason=reason), source, as_json=as_json
        )


def _tell(what: str, changed: "Changed", source: str | None, *, as_json: bool) -> int:
    """Say what was changed and what was not, and return the exit status: 2 where a name means no job."""
    if as_json:
        say_json(changed._asdict())
    else:
        for name, why in changed.unchanged:
            say(f"zgrid: {clean(name)}: {clean(why)}", sys.stderr)
        if source is not None and not changed.changed:
            letter = foreign_letter(source)
            hint = f"{FITTING} ({letter})" if letter else "a pattern is of the whole URI, as in '*/2024/*'"
            say(f"zgrid: no such job fits {clean(source)}: {hint}", sys.stderr)
        say(f"{changed.changed} {'job' if changed.changed == 1 else 'jobs'} {what}")
    return EXIT_SETTINGS if changed.unknown else EXIT_OK
