"""The commands that look at jobs without changing them: jobs and peek."""

# \b keeps a help text's lines.
# ruff: noqa: D301

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote

import typer

from zgrid.cli.asking import Address, AsJson, Patience, connected
from zgrid.cli.output import clean, moment, say, say_json, say_table, span
from zgrid.errors import EXIT_OK, SettingsError

FITTING = "patterns fit URIs, which are percent-encoded"
"""What is said of a pattern that has a letter which no URI has."""

STATES = "ready, delayed, sent, finished, stored, discarded, buried or cancelled"


def jobs(
    address: Address,
    state: Annotated[str | None, typer.Option("--state", metavar="STATE", help=STATES, show_default=False)] = None,
    source: Annotated[
        str | None,
        typer.Option(
            "--source", metavar="PATTERN", help="only jobs whose whole URI it fits, as in '*/2024/*.jpg'",
            show_default=False,
        ),
    ] = None,
    chain: Annotated[
        str | None,
        typer.Option("--chain", metavar="TEXT", help="only this chain, as zgrid status shows it", show_default=False),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1000, help="at most so many")] = 50,
    as_json: AsJson = False,
    timeout_ms: Patience = 5000,
) -> int:  # fmt: skip
    """List jobs, newest first.

    \b
    Examples:
      zgrid jobs tcp://photos.lan:5550 --state buried
      zgrid jobs tcp://photos.lan:5550 --source '*/2024/*' --limit 1000 --json | jq -r '.jobs[].uri'
    """
    question = {"what": "jobs", "state": state, "source": source, "chain": chain, "limit": limit}
    with connected(address, timeout_ms) as client:
        answer = client.ask(question)
    if as_json:
        say_json(answer)
        return EXIT_OK
    say_table(
        ("job", "state", "priority", "attempts", "age", "worker", "uri", "reason"),
        [
            [one.get(key) for key in ("seq", "state", "priority", "attempts")]
            + [span(one.get("age_ms"))]
            + [one.get(key) for key in ("worker", "uri", "reason")]
            for one in answer["jobs"]
        ],
    )
    if not answer["jobs"]:
        letter = foreign_letter(source)
        say("there is no such job" + (f": {FITTING} ({letter})" if letter else ""))
    elif answer["more"]:
        say(f"and more: these are the newest {len(answer['jobs'])}")
    return EXIT_OK


def foreign_letter(pattern: str | None) -> str | None:
    """Return how URIs write the first letter of a pattern that none of them has, as in "é is %C3%A9"; None for none."""
    letter = next((one for one in pattern or "" if one == " " or not one.isascii()), None)
    return letter and f"{clean(repr(letter)) if letter == ' ' else clean(letter)} is {quote(letter)}"


def peek(
    address: Address,
    job: Annotated[
        str | None,
        typer.Argument(
            metavar="JOB", help="its number, its key in hex, its URI, or the image's path", show_default=False
        ),
    ] = None,
    state: Annotated[
        str | None,
        typer.Option(
            "--state", metavar="STATE", help="the next one that is ready, delayed or buried", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
    timeout_ms: Patience = 5000,
) -> int:
    """Show one job and its failures, without changing it.

    \b
    Examples:
      zgrid peek tcp://photos.lan:5550 4711
      zgrid peek tcp://photos.lan:5550 --state buried
    """
    from zgrid.client import job_name  # noqa: PLC0415 - help must be instant

    with connected(address, timeout_ms) as client:
        answer = client.ask({"what": "peek", "job": job and job_name(job), "state": state})
    if as_json:
        say_json(answer)
    if not answer["found"] and job is not None:
        raise no_such_job(job, address)
    if not as_json:
        if answer["found"]:
            say_job(answer["job"])
            say_evidence(answer["evidence"])
        else:
            say(clean(answer["hint"]))
    return EXIT_OK


def no_such_job(job: str, address: str) -> SettingsError:
    """Return the error of a name that no job has."""
    names = "its number, its key, or the path of its image as it was given"
    return SettingsError(f"there is no job {clean(job)} at {address}: give {names}")


_TIMES = frozenset({"accepted_ms", "due_ms", "settled_ms"})
_SPANS = frozenset({"age_ms", "due_in_ms", "running_ms", "time_left_ms", "ttr_ms"})


def say_job(job: Mapping[str, Any]) -> None:
    """Print all that is known of one job; what is nothing is left out."""
    for key, value in job.items():
        if value is None:
            continue
        name = key.removesuffix("_ms").replace("_", " ") if key in _TIMES | _SPANS else key
        text = moment(value) if key in _TIMES else span(value) if key in _SPANS else clean(value)
        say(f"{clean(name)}: {text}")


def say_evidence(evidence: Sequence[Mapping[str, Any]]) -> None:
    """Print what is known of each failure of a job, newest last."""
    for one in evidence:
        say()
        say(f"failure {clean(one.get('failures'))} at {moment(one.get('at_ms'))}: {clean(one.get('reason'))}")
        for key, value in (one.get("detail") or {}).items():
            if key == "stderr" and isinstance(value, str):
                for line in value.splitlines():
                    say(f"  stderr: {clean(line)}")
            elif key != "reason" and value not in (None, ""):
                say(f"  {clean(key)}: {clean(value)}")
