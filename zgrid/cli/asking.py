"""What every command has that talks to a running ventilator: its address, patience, and JSON instead of tables."""

# What speaks to the network is imported when it is needed, and help must be instant.
# ruff: noqa: PLC0415

from typing import TYPE_CHECKING, Annotated

import typer

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


def connected(address: str, timeout_ms: int) -> "Client":
    """Return a client of the ventilator at ``address``, to be used in a ``with``. Raises SettingsError."""
    try:
        connectable(address)
    except ValueError as error:
        raise SettingsError(f"ADDRESS: {error}") from None
    from zgrid.client import Client

    return Client(address, timeout_ms)
