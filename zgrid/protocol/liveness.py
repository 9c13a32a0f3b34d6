"""Who has gone silent: the second of the three clocks, for peers whose connection looks alive but is not.

Think of a night watchman who expects a call from every post each hour. He marks a post as silent after three missed
calls; but when he himself has been asleep, he first gives every post as much time again as he slept, for the calls
may have come while nobody listened.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

FROZEN_S = 1.0
"""A pause between two ticks of a machine that says: not the others were slow, this process was frozen."""

Peer = TypeVar("Peer", bound=Hashable)


class Liveness(Generic[Peer]):
    """Tells once of each watched peer that it was silent for ``interval_s * missed_max`` seconds.

    Any message counts as a beat. Times are monotonic seconds, given by the caller, who calls ``silent`` at least once
    every ``interval_s``; when it comes later than that by another interval, the caller itself was frozen, and what it
    slept is not held against its peers.
    """

    def __init__(self, interval_s: float, missed_max: int) -> None:
        self.interval_s = interval_s
        self.patience_s = interval_s * missed_max
        self._heard: dict[Peer, float] = {}
        self._judged_at: float | None = None

    def heard(self, peer: Peer, now: float) -> None:
        """Note a sign of life; a peer is watched from its first one."""
        self._heard[peer] = now

    def forget(self, peer: Peer) -> None:
        """Stop watching ``peer``."""
        self._heard.pop(peer, None)

    def age_s(self, peer: Peer, now: float) -> float | None:
        """Return the seconds since the last sign of life; None for a peer that is not watched."""
        at = self._heard.get(peer)
        return None if at is None else max(0.0, now - at)

    def silent(self, now: float) -> list[Peer]:
        """Return the peers that have been silent for too long, and stop watching them."""
        if self._judged_at is not None:
            slept_s = now - self._judged_at - 2 * self.interval_s
            if slept_s > 0:
                self._heard = {peer: min(now, at + slept_s + self.interval_s) for peer, at in self._heard.items()}
        self._judged_at = now
        gone = [peer for peer, at in self._heard.items() if now - at > self.patience_s]
        for peer in gone:
            del self._heard[peer]
        return gone
