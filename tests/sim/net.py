"""The network of the simulation, with what can really happen to ZeroMQ's connections, and worse where it is hostile.

A connection keeps order. When it breaks, what was under way is lost; the side that connects keeps what it could not
send (DEALER, PUSH), the side that was bound drops it (ROUTER). A connection can also stall: nothing is lost, nobody is
told, everything comes late. Hostile control connections lose, repeat and shuffle messages besides.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from clock import Clock

KEPT_MAX = 1000
"""What a socket that is not connected keeps (its high-water mark)."""

ON_THE_WAY_MAX = 2
"""Messages of results that fit into the kernels' buffers, not read by the sink."""

OUTBOX_MAX = 4
"""Messages of results that a worker's socket takes before it says: not now."""


@dataclass(slots=True)
class Weather:
    """How bad the network is. Rates are per control message and only apply while ``hostile``."""

    latency_s: float = 0.0005
    hostile: bool = False
    loss: float = 0.0
    repeat: float = 0.0
    shuffle: float = 0.0


class Pipe:
    """One direction of a connection. ``keeps``: what is sent while it is closed is kept, up to KEPT_MAX messages."""

    def __init__(
        self, clock: Clock, rng: Random, weather: Weather, deliver: Callable[[Any], None], *, keeps: bool
    ) -> None:  # fmt: skip
        self.open = False
        self._clock = clock
        self._rng = rng
        self._weather = weather
        self._deliver = deliver
        self._keeps = keeps
        self._kept: deque[Any] = deque(maxlen=KEPT_MAX)
        self._stalled: list[Any] | None = None
        self._epoch = 0
        self._last_at = 0.0

    def send(self, message: Any) -> None:
        """Send a message; it arrives after those before it, or never."""
        if not self.open:
            if self._keeps and len(self._kept) < KEPT_MAX:
                self._kept.append(message)
            return
        weather = self._weather
        at = max(self._clock.now + weather.latency_s * (0.5 + self._rng.random()), self._last_at)
        if weather.hostile:
            if self._rng.random() < weather.loss:
                return
            if self._rng.random() < weather.repeat:
                self._clock.at(at + self._rng.random() * 3, self._arrive, self._epoch, message)
            if self._rng.random() < weather.shuffle:
                self._clock.at(at + self._rng.random() * 3, self._arrive, self._epoch, message)
                return
        self._last_at = at
        self._clock.at(at, self._arrive, self._epoch, message)

    def connect(self) -> None:
        """The connection is there: what was kept goes out."""
        self.open = True
        kept, self._kept = self._kept, deque(maxlen=KEPT_MAX)
        for message in kept:
            self.send(message)

    def cut(self) -> None:
        """The connection breaks: what is under way is lost."""
        self.open = False
        self._stalled = None
        self._epoch += 1

    @property
    def stalled(self) -> bool:
        """Whether nothing arrives for now."""
        return self._stalled is not None

    def stall(self) -> None:
        """From now on nothing arrives, and nobody is told."""
        if self._stalled is None:
            self._stalled = []

    def resume(self) -> None:
        """What was held up arrives now, in order."""
        stalled, self._stalled = self._stalled or [], None
        for message in stalled:
            self._deliver(message)

    def _arrive(self, epoch: int, message: Any) -> None:
        if epoch != self._epoch:
            return
        if self._stalled is not None:
            self._stalled.append(message)
        else:
            self._deliver(message)


class Control:
    """A DEALER's connection to a ROUTER: both directions, broken and mended together."""

    def __init__(
        self, clock: Clock, rng: Random, weather: Weather, up: Callable[[Any], None], down: Callable[[Any], None]
    ) -> None:  # fmt: skip
        self.up = Pipe(clock, rng, weather, up, keeps=True)
        self.down = Pipe(clock, rng, weather, down, keeps=False)
        self.broken = False

    def connect(self) -> None:
        """Both sides are there."""
        if not self.broken and not self.up.open:
            self.up.connect()
            self.down.connect()

    def cut(self) -> None:
        """One side is gone, or the cable."""
        self.up.cut()
        self.down.cut()

    def stall(self) -> None:
        """Half-open: nothing comes through."""
        self.up.stall()
        self.down.stall()

    def resume(self) -> None:
        """It goes on, late."""
        self.up.resume()
        self.down.resume()


class PushPipe:
    """A worker's PUSH to one sink's intake: a small queue, little under way, a receiver that reads when it likes."""

    def __init__(
        self, clock: Clock, rng: Random, weather: Weather, offer: Callable[["PushPipe", int, Any], None],
        on_room: Callable[[], None],
    ) -> None:  # fmt: skip
        self.open = False
        self._on_room = on_room
        self.outbox: deque[Any] = deque()
        self._pipe = Pipe(clock, rng, Weather(weather.latency_s), self._arrived, keeps=False)
        self._offer = offer
        self._under_way = 0
        self._epoch = 0

    @property
    def full(self) -> bool:
        """Whether the next message would have to wait."""
        return len(self.outbox) >= OUTBOX_MAX

    def push(self, message: Any) -> None:
        """Put a message into the queue."""
        self.outbox.append(message)
        self._pump()

    def connect(self) -> None:
        """The intake is there."""
        self.open = True
        self._pipe.connect()
        self._pump()

    def cut(self) -> None:
        """The connection breaks; what is in the queue is kept, what is under way is lost."""
        self.open = False
        self._pipe.cut()
        self._epoch += 1
        self._under_way = 0

    def read(self, epoch: int) -> None:
        """The sink has read a message."""
        if epoch == self._epoch:
            self._under_way -= 1
            self._pump()

    def _pump(self) -> None:
        while self.open and self.outbox and self._under_way < ON_THE_WAY_MAX:
            self._under_way += 1
            self._pipe.send(self.outbox.popleft())
            self._on_room()

    def _arrived(self, message: Any) -> None:
        self._offer(self, self._epoch, message)
