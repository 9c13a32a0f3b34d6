"""A brokerless ZeroMQ push/pull grid for images."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zgrid.client import Changed, Client, Placed

__version__ = "0.1.0"

__all__ = ["Changed", "Client", "Placed", "__version__"]


def __getattr__(name: str) -> Any:
    """Import the public names when they are asked for: ``import zgrid`` needs no socket and no SQLite."""
    if name in {"Changed", "Client", "Placed"}:
        from zgrid import client  # noqa: PLC0415

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
