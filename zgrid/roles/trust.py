"""Whom a sink lets in: the ventilators that it trusts, and whom these name. Pure.

A sink's key file names the ventilators of the day it was enrolled. The first of them is the one where people enroll:
once it has spoken, its word on which ventilators there are replaces the file's. Of who else is let in its list holds
too, or while it has not spoken the newest list of another: a list that is older may name who is revoked by now.
"""

from zgrid.protocol.rights import VENTILATOR
from zgrid.transport.keyring import Key, Member


class Trust:
    """What one sink has heard. ``key``: its own, with the ventilators that it was given."""

    def __init__(self, key: Key) -> None:
        self._given = [one for one in key.calls if one.role == VENTILATOR]
        self._heard: dict[str, list[Member]] = {}

    def heard(self, public: str, members: list[Member]) -> bool:
        """Take a roster from the ventilator with this key; return whether it is one that is trusted."""
        if public not in {one.public for one in self._ventilators()}:
            return False
        self._heard.pop(public, None)  # the last one is the newest
        self._heard[public] = members
        trusted = {one.public for one in self._ventilators()}
        self._heard = {one: heard for one, heard in self._heard.items() if one in trusted}
        return True

    def allowed(self) -> list[Member]:
        """Return everybody who is let in: each key once, ventilators first."""
        ventilators = {one.public: one for one in self._ventilators()}
        home = self._given[0].public if self._given else ""
        lists = [self._heard[home]] if home in self._heard else list(self._heard.values())[-1:]
        others = {one.public: one for heard in lists for one in heard if one.role != VENTILATOR}
        return [*ventilators.values(), *(one for public, one in others.items() if public not in ventilators)]

    def _ventilators(self) -> list[Member]:
        first = self._given[0] if self._given else None
        told = self._heard.get(first.public) if first is not None else None
        if first is None or told is None:
            return self._given
        return [first, *(one for one in told if one.role == VENTILATOR and one.public != first.public)]
