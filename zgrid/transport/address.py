"""Addresses: what a process binds, what another connects to, and what lies between."""

from zgrid.errors import SettingsError


def reach(address: str, known: str) -> str:
    """Return ``address`` as it is reached by who reached its process at ``known``.

    A process that binds all interfaces tells ``tcp://*:PORT``, for it cannot know by which name it is reached; whoever
    connects puts the host in front by which it has reached that process already.
    """
    if not address.startswith("tcp://*:"):
        return address
    host = known.removeprefix("tcp://").rpartition(":")[0]
    return f"tcp://{host}:{address.rpartition(':')[2]}"


def ports(lanes: str | None) -> range | None:
    """Return the ports of ``"5600-5999"``; None for None: any free port. Raises SettingsError."""
    if lanes is None:
        return None
    first, dash, last = lanes.partition("-")
    if not (dash and first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) < 65536):
        raise SettingsError(f"--lanes takes two ports such as 5600-5999, not {lanes!r}")
    return range(int(first), int(last) + 1)


def neighbour(bind: str, name: str, port: int | None = None) -> str:
    """Return where a process that binds ``bind`` binds another socket.

    Beside ``ipc:///run/x`` that is ``ipc:///run/x-NAME``; beside ``tcp://HOST:5560`` the given port (0: any free one).
    """
    if bind.startswith("ipc://"):
        return f"{bind}-{name}"
    return f"{bind.rpartition(':')[0]}:{port or 0}"
