"""The commands that stop a ventilator's work and let it go on: pause, resume, drain. All of them outlive a restart."""

# \b keeps a help text's lines.
# ruff: noqa: D301

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from zgrid.cli.asking import Address, AsJson, Patience, connected
from zgrid.cli.output import clean, say, say_json
from zgrid.errors import EXIT_OK

Chain = Annotated[
    str | None,
    typer.Option("--chain", metavar="TEXT", help="only this chain, as zgrid status shows it", show_default=False),
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="why; the ledger remembers it")]


def pause(
    address: Address, chain: Chain = None, reason: Reason = "", as_json: AsJson = False, timeout_ms: Patience = 5000
) -> int:
    """Send no more jobs to workers.

    Of one chain, or at all. What is under way is finished, and new jobs are accepted. A restart changes nothing of it.

    \b
    Examples:
      zgrid pause tcp://photos.lan:5550
      zgrid pause tcp://photos.lan:5550 --chain "faces highlight"
    """
    with connected(address, timeout_ms) as client:
        return _tell(client.pause(chain, reason), as_json=as_json)


def resume(address: Address, chain: Chain = None, as_json: AsJson = False, timeout_ms: Patience = 5000) -> int:
    """Send jobs to workers again.

    Of one chain, or of all that are not paused by themselves.

    \b
    Example:
      zgrid resume tcp://photos.lan:5550
    """
    with connected(address, timeout_ms) as client:
        return _tell(client.resume(chain), as_json=as_json)


def drain(address: Address, reason: Reason = "", as_json: AsJson = False, timeout_ms: Patience = 5000) -> int:
    """Take nothing more, settle what there is, and end.

    The ventilator leaves its sources alone and refuses what is put. It ends with status 0; the next start is one like
    any other.

    \b
    Example:
      zgrid drain tcp://photos.lan:5550
    """
    with connected(address, timeout_ms) as client:
        answer = client.drain(reason)
    if as_json:
        say_json(answer)
    else:
        say(f"draining: it ends when {answer['open']} open jobs are settled")
    return EXIT_OK


def _tell(answer: Mapping[str, Any], *, as_json: bool) -> int:
    if as_json:
        say_json(answer)
        return EXIT_OK
    say("the ventilator is paused" if answer["paused"] else "the ventilator sends jobs")
    for chain in answer["paused_chains"]:
        say(f"paused: chain {clean(chain)}")
    return EXIT_OK
