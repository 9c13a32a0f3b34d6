"""The commands that ask a running ventilator: how it stands, and what became of one job."""

# \b keeps a help text's lines.
# ruff: noqa: D301

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from zgrid.cli.asking import Address, AsJson, Patience, connected
from zgrid.cli.inspection import no_such_job, say_evidence, say_job
from zgrid.cli.output import clean, moment, say, say_json, say_table, span
from zgrid.errors import EXIT_OK

_COUNTS = ("ready", "delayed", "sent", "finished", "stored", "discarded", "buried", "cancelled")
_TALLIES = ("finished", "discarded", "failed", "troubled", "crashed", "overran", "released", "lost")


def status(address: Address, as_json: AsJson = False, timeout_ms: Patience = 5000) -> int:
    """Show what is queued and settled, who works, and how fast.

    Of a sink: what it has stored.

    \b
    Examples:
      zgrid status tcp://photos.lan:5550
      zgrid status tcp://photos.lan:5550 --json | jq .counts.buried
    """
    with connected(address, timeout_ms) as client:
        answer = client.status()
    if as_json:
        say_json(answer)
    elif answer.get("role") == "sink":
        _say_sink(address, answer)
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
    from zgrid.client import job_name  # noqa: PLC0415 - help must be instant

    with connected(address, timeout_ms) as client:
        answer = client.ask({"what": "why", "job": job_name(job)})
    if as_json:
        say_json(answer)
    if not answer.get("found"):
        raise no_such_job(job, address)
    if not as_json:
        _say_life(answer)
    return EXIT_OK


def _say_status(address: str, answer: Mapping[str, Any]) -> None:
    """Print a status for people."""
    name, version = clean(answer.get("name")), clean(answer.get("version"))
    chain, up = clean(answer.get("chain")), span(answer.get("uptime_ms"))
    say(f"{name} at {address}, zgrid {version}, up {up}, chain: {chain}")
    scanning = "and still scanning" if answer.get("scanning") else "scan finished"
    accepted, passed_over = clean(answer.get("accepted")), clean(answer.get("passed_over"))
    if answer.get("unread"):
        passed_over += f" ({clean(answer['unread'])} could not be read)"
    rate = clean(answer.get("rate_per_s"))
    say(f"{accepted} accepted, {passed_over} passed over, {scanning}; {rate} images settled each second")
    for word in ("paused", "draining"):
        if answer.get(word):
            say(f"it is {word}")
    for sentence in answer.get("waiting") or []:
        say(f"waiting: {clean(sentence)}")
    counts = answer.get("counts") or {}
    _say_part(_COUNTS, [[counts.get(name, 0) for name in _COUNTS]], "jobs")
    _say_chains(answer)
    _say_workers(address, answer)
    sinks = answer.get("sinks") or []
    _say_part(
        ("sink", "state", "unsettled"), [[one.get(key) for key in ("address", "state", "unsettled")] for one in sinks]
    )


def _say_part(heads: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Print one table of several, apart from what stands before it."""
    if rows:
        say()
        say_table(heads, rows, title)


def _say_sink(address: str, answer: Mapping[str, Any]) -> None:
    """Print a sink's status for people."""
    name, version, up = clean(answer.get("name")), clean(answer.get("version")), span(answer.get("uptime_ms"))
    say(f"{name} at {address}, a sink, zgrid {version}, up {up}, ventilators: {clean(answer.get('ventilators'))}")
    stored, faces, known = (clean(answer.get(key)) for key in ("stored", "faces", "duplicates"))
    rate = clean(answer.get("rate_per_s"))
    say(f"since then {stored} stored with {faces} faces, {known} that were stored already; {rate} images each second")
    say(f"{(answer.get('held_bytes') or 0) / 2**20:.1f} MiB of results wait to be stored")
    for sentence in answer.get("waiting") or []:
        say(f"waiting: {clean(sentence)}")


def _say_chains(answer: Mapping[str, Any]) -> None:
    """Print each chain, where there are several, or one is not the ventilator's or is paused."""
    chains = answer.get("chains") or []
    if len(chains) < 2 and not any(one.get("paused") for one in chains):
        return
    rows = []
    for one in chains:
        counts = one.get("counts") or {}
        numbers = [counts.get(name, 0) for name in _COUNTS]
        rows.append(
            [one.get("chain"), *numbers, one.get("workers"), one.get("paused"), span(one.get("oldest_ready_ms"))]
        )
    _say_part(("chain", *_COUNTS, "workers", "paused", "oldest ready"), rows, "chains")


def _say_workers(address: str, answer: Mapping[str, Any]) -> None:
    """Print who works, what each did over all its lives, and what runs."""
    workers = answer.get("workers") or []
    if not workers:
        say()
        say(f"no worker is here; start one with: zgrid worker {address}")
    for one in workers:
        if answer.get("by_reference") and not one.get("reads"):
            say(f"{clean(one.get('name'))} reads no files (zgrid worker --allow): it is sent whole images")
    keys = ("name", "procs", "lane", "state", "sent", "unstarted", "unsettled", "done", "rate_per_s")
    _say_part(
        ("worker", *keys[1:-1], "per s", "beat"),
        [[*[one.get(key) for key in keys], span(one.get("beat_age_ms"))] for one in workers],
        "workers",
    )
    _say_part(
        ("worker", *_TALLIES, "first", "last"),
        [
            [
                one.get("name"),
                *[one.get(key) for key in _TALLIES],
                moment(one.get("first_ms")),
                moment(one.get("last_ms")),
            ]
            for one in workers
            if one.get("first_ms") is not None
        ],
        "jobs of each, ever",
    )
    running = [(one, job) for one in workers for job in one.get("running") or []]
    _say_part(
        ("worker", "job", "progress", "for"),
        [
            [one.get("name"), job.get("job"), _percent(job.get("progress")), span(job.get("for_ms"))]
            for one, job in running
        ],
        "running",
    )


def _percent(progress: object) -> str:
    return f"{progress:.0%}" if isinstance(progress, int | float) else "-"


def _say_life(answer: Mapping[str, Any]) -> None:
    """Print one job, its history, and what is known of its failures, for people."""
    say_job(answer.get("job") or {})
    counts = {name: number for name, number in (answer.get("counts") or {}).items() if number}
    if counts.keys() - {"sent"} or counts.get("sent", 0) > 1:
        say(f"so far: {clean(counts)}")
    say()
    keys = ("event", "worker", "lane", "attempt", "note")
    rows = [[moment(step.get("at_ms")), *[step.get(key) for key in keys]] for step in answer.get("history") or []]
    say_table(("time", *keys), rows)
    say_evidence(answer.get("evidence") or [])
