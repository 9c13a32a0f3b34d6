"""The commands for keys: who belongs to a grid, and the one file that each of them carries to its machine."""

# What makes keys is imported when it is needed, and help must be instant; \b keeps a help text's lines.
# ruff: noqa: PLC0415, D301

import os
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zgrid.cli.asking import AsJson
from zgrid.cli.output import clean, say, say_json, say_table
from zgrid.errors import EXIT_OK, SettingsError
from zgrid.settings import connectable

if TYPE_CHECKING:
    from zgrid.transport.enrolment import Enrolment

app = typer.Typer(help="Say who may take part: make keys, enroll, list and revoke.")

Folder = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        metavar="DIR",
        help="the grid's folder (default: /etc/zgrid/keys for root, else keys in the user's config folder; ZGRID_KEYS)",
        show_default=False,
    ),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="what logs and lists call it", show_default=False)]
At = Annotated[
    list[str] | None,
    typer.Option(
        "--at",
        metavar="ADDRESS",
        help="where it is reached; needed for sinks and ventilators where there are several",
        show_default=False,
    ),
]


@app.command()
def init(
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="this ventilator's (default: the host's)", show_default=False),
    ] = None,
    keys: Folder = None,
) -> int:
    """Make the keys of a new grid, on the ventilator's machine.

    The folder then has the ventilator's key, an operator's (for status, put and the like), the sink's, which is to be
    carried to the sink's machine, and the list of who is allowed.

    \b
    Example:
      zgrid keys init
    """
    enrolment = _enrolment(keys)
    ventilator, sink, operator = enrolment.init(name or socket.gethostname())
    say(f"made a grid's keys in {enrolment.folder}: {ventilator.name}, {operator.name}, {sink.name}, and a list")
    say(f"next: carry {sink} to the sink's machine and remove it here, unless the sink is here")
    say(f"then: zgrid keys enroll NAME{_option(keys)} for each worker")
    return EXIT_OK


@app.command()
def enroll(
    name: Name,
    role: Annotated[
        str, typer.Option("--role", metavar="ROLE", help="worker, sink, ventilator or operator")
    ] = "worker",
    at: At = None,
    call: Annotated[
        str | None,
        typer.Option(
            "--call",
            metavar="ADDRESS",
            help="for another ventilator: where the one of this folder is reached",
            show_default=False,
        ),
    ] = None,
    keys: Folder = None,
) -> int:
    """Let somebody in, and make the one file that it needs.

    A ventilator that runs knows it at once, and the sinks a moment later. The file is the only copy of its secret:
    carry it to its machine, and remove it here. Another ventilator is enrolled before the sinks that only it will feed,
    and before the workers that serve both.

    \b
    Examples:
      zgrid keys enroll w1
      zgrid keys enroll anna --role operator
      zgrid keys enroll results2 --role sink --at tcp://results2.lan:5560
    """
    from zgrid.protocol.rights import ROLES

    if role not in ROLES:
        raise SettingsError(f"--role must be worker, sink, ventilator or operator, not {role!r}")
    for address in [*(at or []), *([call] if call else [])]:
        try:
            connectable(address)
        except ValueError as error:
            raise SettingsError(str(error)) from None
    path = _enrolment(keys).enroll(name, role, at or [], call)
    say(f"{name} is enrolled as a {role}" if role != "operator" else f"{name} is enrolled as an operator")
    say(f"carry {path} to its machine, where --keys names it, and remove it here")
    return EXIT_OK


@app.command("list")
def list_members(as_json: AsJson = False, keys: Folder = None) -> int:
    """Show who is allowed.

    \b
    Example:
      zgrid keys list
    """
    members = _enrolment(keys).members()
    if as_json:
        say_json([one._asdict() for one in members])
    else:
        rows = [[one.name, one.role, one.public, one.since, " ".join(one.at)] for one in members]
        say_table(("name", "role", "public key", "since", "at"), rows)
    return EXIT_OK


@app.command()
def revoke(name: Name, keys: Folder = None) -> int:
    """Let somebody in no longer. A ventilator that runs puts it out at once, and its jobs go to others.

    \b
    Example:
      zgrid keys revoke w1
    """
    member = _enrolment(keys).revoke(name)
    say(f"{clean(member.name)}, a {member.role}, is revoked: what runs puts it out within two seconds")
    return EXIT_OK


def _option(keys: Path | None) -> str:
    return f" --keys {keys}" if keys is not None else ""


def _enrolment(keys: Path | None) -> "Enrolment":
    """Return the folder where people enroll."""
    from zgrid.transport.enrolment import Enrolment
    from zgrid.transport.keyring import default_folder

    named = os.environ.get("ZGRID_KEYS")
    folder = keys or (Path(named) if named else default_folder())
    if folder.is_file():
        raise SettingsError(f"{folder} is a file: name the folder where it lies")
    return Enrolment(folder)
