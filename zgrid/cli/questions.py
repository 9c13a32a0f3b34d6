"""The commands that ask a running ventilator: how it stands, and what became of one job."""

# What speaks to the network is imported when it is needed, and help must be instant; \b keeps a help text's lines.
# ruff: noqa: PLC0415, D301

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from zgrid.cli.output import clean, say, say_json, say_table, span
from zgrid.errors import EXIT_OK, SettingsError
from zgrid.settings import connectable

Address = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="the ventilator's, such as tcp://HOST:5550", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="print the whole answer as JSON, for programs")]
Patience = Annotated[int, typer.Option("--timeout-ms", metavar="MS", min=1, help="how long to wait for the answer")]

_COUNTS = ("ready", "delayed", "sent", "finished", "stored", "discarded", "buried", "cancelled")


def status(address: Address, as_json: AsJson = False, timeout_ms: Patience = 5000) -> int:
    """Show what is queued and settled, who works, and how fast.

    \b
    Examples:
      zgrid status tcp://photos.lan:5550
      zgrid status tcp://photos.lan:5550 --json | jq .counts.buried
    """
    answer = _ask(address, {"what": "status"}, timeout_ms)
    if as_json:
        say_json(answer)
    else:
        _say_status(address, answer)
    return EXIT_OK


def why(
    address: Address,
    job: Annotated[
        str,
        typer.Argument(
            metavar="JOB", help="its number, its key in hex, its URI, or the image's path", show_default=False
        ),
    ],
    as_json: AsJson = False,
    timeout_ms: Patience = 5000,
) -> int:
    """Tell the life of one job, step by step.

    \b
    Example:
      zgrid why tcp://photos.lan:5550 /photos/2024/img_0042.jpg
    """
    answer = _ask(address, {"what": "why", "job": _job(job)}, timeout_ms)
    if as_json:
        say_json(answer)
    if not answer.get("found"):
        hint = answer.get("hint") or "name it by number, key, URI or path"
        raise SettingsError(f"there is no job {clean(job)} at {address}: {clean(hint)}")
    if not as_json:
        _say_life(answer)
    return EXIT_OK


def _ask(address: str, question: dict[str, str], timeout_ms: int) -> dict[str, Any]:
    """Ask a ventilator. Raises ZGridError when nobody answers."""
    try:
        connectable(address)
    except ValueError as error:
        raise SettingsError(f"ADDRESS: {error}") from None
    from zgrid.transport.client import ask

    return ask(address, question, timeout_ms)


def _job(job: str) -> str:
    """Return what the ventilator knows a job by: a path on this machine becomes a URI, everything else stays."""
    if job.isdecimal() or not os.path.exists(job):  # noqa: PTH110 - may be anything, also what is no path
        return job
    from zgrid.sources import path_to_uri

    return path_to_uri(os.path.abspath(job))  # noqa: PTH100 - links must stay, as in the ledger


def _say_status(address: str, answer: Mapping[str, Any]) -> None:
    """Print a status for people."""
    name, version = clean(answer.get("name")), clean(answer.get("version"))
    chain, up = clean(answer.get("chain")), span(answer.get("uptime_ms"))
    say(f"{name} at {address}, zgrid {version}, up {up}, chain: {chain}")
    counts = answer.get("counts") or {}
    scanning = "and still scanning" if answer.get("scanning") else "scan finished"
    accepted, passed_over = clean(answer.get("accepted")), clean(answer.get("passed_over"))
    rate = clean(answer.get("rate_per_s"))
    say(f"{accepted} accepted, {passed_over} passed over, {scanning}; {rate} images settled each second")
    for sentence in answer.get("waiting") or []:
        say(f"waiting: {clean(sentence)}")
    say()
    say_table(_COUNTS, [[counts.get(name, 0) for name in _COUNTS]], "jobs")
    workers = answer.get("workers") or []
    say()
    if not workers:
        say(f"no worker is here; start one with: zgrid worker {address}")
    say_table(
        (
            "worker",
            "host",
            "procs",
            "lane",
            "state",
            "sent",
            "unstarted",
            "finished",
            "done",
            "failed",
            "per s",
            "beat",
        ),
        [
            [one.get(key) for key in ("name", "host", "procs", "lane", "state", "sent", "unstarted", "finished")]
            + [one.get(key) for key in ("done", "failed", "rate_per_s")]
            + [span(one.get("beat_age_ms"))]
            for one in workers
        ],
        "workers",
    )
    sinks = answer.get("sinks") or []
    say_table(
        ("sink", "state", "unsettled"), [[one.get(key) for key in ("address", "state", "unsettled")] for one in sinks]
    )


def _say_life(answer: Mapping[str, Any]) -> None:
    """Print one job and its history for people."""
    for key, value in (answer.get("job") or {}).items():
        say(f"{clean(key)}: {clean(value)}")
    say()
    keys = ("event", "worker", "lane", "attempt", "note")
    rows = [[_time(step.get("at_ms")), *[step.get(key) for key in keys]] for step in answer.get("history") or []]
    say_table(("time", *keys), rows)


def _time(at_ms: object) -> str:
    """Return a moment as people here write it, to the millisecond."""
    if not isinstance(at_ms, int | float) or not 0 <= at_ms < 250_000_000_000_000:
        return "-"
    moment = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone()
    return moment.isoformat(sep=" ", timespec="milliseconds")
