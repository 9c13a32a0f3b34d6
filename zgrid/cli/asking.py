"""What every command has that talks to a running ventilator: address, patience, keys, and JSON instead of tables."""

# What speaks to the network is imported when it is needed, and help must be instant.
# ruff: noqa: PLC0415

import inspect
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zgrid.cli.output import say
from zgrid.errors import SettingsError
from zgrid.settings import connectable

if TYPE_CHECKING:
    from zgrid.client import Client

Address = Annotated[
    str, typer.Argument(metavar="ADDRESS", help="the ventilator's, such as tcp://HOST:5550", show_default=False)
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        envvar="ZGRID_JSON",
        show_envvar=False,
        help="print the whole answer as JSON, for programs (ZGRID_JSON)",
    ),
]
Patience = Annotated[
    int,
    typer.Option(
        "--timeout-ms", metavar="MS", min=1, envvar="ZGRID_TIMEOUT_MS", show_envvar=False,
        help="how long to wait for a sign of life (ZGRID_TIMEOUT_MS)",
    ),
]  # fmt: skip


_KEYS = typer.Option(
    "--keys",
    metavar="DIR|FILE",
    help="an operator's key file, or its folder (default: that of zgrid keys, if it is there; ZGRID_KEYS)",
    show_default=False,
)
_INSECURE = typer.Option(
    "--insecure", help="ask without keys a ventilator that has none (ZGRID_INSECURE)", show_default=False
)


def asks(command: Callable[..., int]) -> Callable[..., int]:
    """Return a command that asks a ventilator, with the options that say with which keys.

    They are put into the environment, where ``connected`` and the variables of the same meaning meet.
    """

    def run(*, keys: Path | None = None, insecure: bool = False, **given: object) -> int:
        if keys is not None:
            os.environ["ZGRID_KEYS"] = str(keys)
        if insecure:
            os.environ["ZGRID_INSECURE"] = "true"
        return command(**given)

    own = inspect.signature(command, eval_str=True).parameters.values()
    more = {"keys": (Annotated[Path | None, _KEYS], None), "insecure": (Annotated[bool, _INSECURE], False)}
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in more.items()
    ]
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]
    run.__name__ = command.__name__
    run.__doc__ = command.__doc__
    run.__signature__ = inspect.Signature([*parameters, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in [*parameters, *added]}
    return run


def connected(address: str, timeout_ms: int) -> "Client":
    """Return a client of the ventilator at ``address``, to be used in a ``with``. Raises SettingsError."""
    try:
        connectable(address)
    except ValueError as error:
        raise SettingsError(f"ADDRESS: {error}") from None
    from zgrid.client import Client

    with warnings.catch_warnings(action="ignore", category=UserWarning):
        client = Client(address, timeout_ms)
    warn_if_plain(address)
    return client


def warn_if_plain(address: str) -> None:
    """Say so where another machine is called without keys, and nobody has said --insecure."""
    from zgrid.client import key_for, plain_sentence

    with suppress(SettingsError):  # whoever calls says that
        if key_for(address) is None and (sentence := plain_sentence(address)):
            say(f"zgrid: {sentence}", sys.stderr)
