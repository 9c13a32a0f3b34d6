"""The connections that a role makes: with which keys, and what is said where it is turned away."""

from collections.abc import Callable
from functools import partial
from typing import Any

from zgrid.errors import SettingsError
from zgrid.log import Event
from zgrid.roles.telling import Telling
from zgrid.settings import is_elsewhere, is_ipc
from zgrid.transport.arrivals import Arrivals
from zgrid.transport.keyring import Curve, Key, Member, find_key, plain_call, split
from zgrid.transport.loop import Loop


def own_key(role: str, settings: Any, addresses: list[str]) -> Key | None:
    """Return the key of a role, None where it is to do without. Raises SettingsError for keys that cannot be used.

    ``settings``: those of a role that has ``keys`` and ``insecure``; ``addresses``: all that it binds or calls.
    Sockets in the file system need none: whoever may enter their folder is let in.
    """
    if settings.insecure or (settings.keys is None and all(map(is_ipc, addresses))):
        return None
    return find_key(role, settings.keys)


class Calls:
    """A role's connections, all of its own loop. ``key``: its own, None without keys; ``insecure``: that is meant.

    Where it is not, whatever is called on another machine is warned of, once for each address. It is not refused, as
    the opening of a port is: what has keys lets nobody in without, and what has none was opened on purpose.
    """

    def __init__(self, key: Key | None, loop: Loop, telling: Telling, *, insecure: bool = False) -> None:
        self.key = key
        self._insecure = insecure
        self._warned: set[str] = set()
        self._loop = loop
        self._telling = telling
        self._watched: dict[Any, Arrivals] = {}
        self._sinks: dict[str, str] = {}

    def curve(self, address: str, role: str, members: tuple[Member, ...] | None = None) -> Curve | None:
        """Return the keys to call a process of ``role``; None where it is called without. Raises SettingsError."""
        if self.key is None:
            self._warn(address)
        return None if self.key is None or is_ipc(address) else self.key.calling(address, role, members)

    def like(self, curve: Curve | None, address: str) -> Curve | None:
        """Return the keys for another socket of a process that is called with ``curve``."""
        return None if is_ipc(address) else curve

    def introduce(self, sinks: list[str], keys: bytes) -> set[str]:
        """Take from a ventilator which keys its sinks have; return the sinks that had another one until now."""
        told = dict(zip(sinks, split(keys), strict=True)) if keys else {}
        changed = {sink for sink, public in told.items() if self._sinks.get(sink, public) != public}
        self._sinks.update(told)
        return changed

    def to_sink(self, sink: str, address: str) -> Curve | None:
        """Return the keys to call a sink that a ventilator has named, and that is reached at ``address``.

        Raises SettingsError where it named no key.
        """
        if self.key is None:
            self._warn(address)
        if self.key is None or is_ipc(sink):
            return None
        if sink not in self._sinks:
            raise SettingsError(f"no key of the sink {sink} is known here, and without one it is not called")
        return self.key.curve(self._sinks[sink])

    def watch(self, socket: Any, address: str, arrived: Callable[[], None] = lambda: None) -> None:
        """Call ``arrived`` whenever the peer of a socket is reached, and say so where it turns this process away."""
        arrivals = Arrivals(socket, address, keyed=self.key is not None and not is_ipc(address))
        self._watched[socket] = arrivals
        self._loop.watch(arrivals.monitor, partial(self._read, arrivals, address, arrived))

    def forget(self, socket: Any) -> None:
        """Stop watching a socket, which is about to be closed; nothing happens if it is not watched."""
        arrivals = self._watched.pop(socket, None)
        if arrivals is not None:
            self._loop.forget(arrivals.monitor)
            arrivals.close()

    def tick(self) -> None:
        """Several times a second: try again where a peer has said no."""
        for arrivals in self._watched.values():
            arrivals.redial()

    def close(self) -> None:
        """Stop watching all of them; before the sockets are closed."""
        for socket in list(self._watched):
            self.forget(socket)

    def _warn(self, address: str) -> None:
        if self._insecure or address in self._warned or not is_elsewhere(address):
            return
        self._warned.add(address)
        self._telling.say(Event.UNPROTECTED, address, {"address": address, "reason": plain_call(address)})

    def _read(self, arrivals: Arrivals, address: str, arrived: Callable[[], None]) -> None:
        if arrivals.take():
            arrived()
        if arrivals.trouble:
            self._telling.say(Event.TURNED_AWAY, address, {"address": address, "reason": arrivals.trouble})
