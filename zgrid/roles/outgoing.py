"""What goes out to workers: a lane for each, and jobs with their images, loaded, framed and pushed in order."""

from collections.abc import Callable
from functools import partial

from zgrid.errors import SettingsError
from zgrid.protocol import effects as fx
from zgrid.protocol import wire
from zgrid.protocol.lane import Job
from zgrid.protocol.messages import Frame, Jobs
from zgrid.protocol.ventilator import Ventilator
from zgrid.roles.loader import Loader
from zgrid.transport.clock import now as clock_now
from zgrid.transport.clock import wall_ms
from zgrid.transport.lanes import Lanes
from zgrid.transport.loop import Loop

Do = Callable[[list[fx.Effect]], None]
KeyOf = Callable[[bytes], str | None]


class Outgoing:
    """The lanes, and what is on its way to them. ``do`` performs what the machine asks for in answer.

    ``ttr_ms``: the time-to-run of jobs that have none of their own. ``key_of``: a peer's public key, if it has one.
    """

    def __init__(
        self, lanes: Lanes, loader: Loader, loop: Loop, machine: Ventilator, ttr_ms: int, do: Do, key_of: KeyOf
    ) -> None:
        self._lanes = lanes
        self._key_of = key_of
        self._loader = loader
        self._loop = loop
        self._machine = machine
        self._ttr_ms = ttr_ms
        self._do = do
        self._blocked: set[int] = set()
        loop.watch(lanes.fileno(), self._read_monitors)

    def open(self, effect: fx.OpenLane) -> None:
        """Bind a lane for a worker."""
        try:
            address = self._lanes.open(effect.lane, self._key_of(effect.peer))
        except (SettingsError, OSError) as error:
            self._do(self._machine.lane_refused(effect.lane, f"no lane can be opened: {error}"))
            return
        self._do(self._machine.lane_bound(effect.lane, address))

    def close(self, effect: fx.CloseLane) -> None:
        """Close a lane; what it holds is others' now."""
        socket = self._lanes.socket(effect.lane)
        if socket is not None:
            self._loop.forget(socket)
        self._blocked.discard(effect.lane)
        self._lanes.close(effect.lane)

    def send(self, effect: fx.Send) -> None:
        """Put a batch on its way; where its images travel with it, they are read first."""
        self._loader.load(effect)
        self.push_loaded()

    def push_loaded(self) -> None:
        """Push the batches that are loaded by now, and say which of their images could not be read."""
        ready = self._loader.take()
        for loaded in ready:
            if loaded.jobs:
                self._push(loaded.lane, self._frames(loaded.lane, loaded.jobs, loaded.single, loaded.images))
        # Only now: what cannot be read gives room for new work, and that goes behind all that was taken here.
        for loaded in ready:
            now = clock_now()
            for job, reason, transient in loaded.failed:
                self._do(self._machine.delivery.unreadable(loaded.lane, job, reason, now, transient=transient))

    def _frames(self, lane: int, jobs: list[Job], single: bool, images: list[Frame]) -> list[Frame]:
        wall = wall_ms()
        return wire.encode(
            Jobs(
                boot=self._machine.boot,
                ledger=self._machine.delivery.ledger,
                lane=lane,
                chain=self._machine.delivery.chains[jobs[0].chain],
                ttr_ms=jobs[0].ttr_ms or self._ttr_ms,
                single=single,
                seqs=[job.seq for job in jobs],
                attempts=[job.attempt for job in jobs],
                keys=b"".join([job.key for job in jobs]),
                uris=[job.uri for job in jobs],
                sizes=[job.size for job in jobs],
                mtimes_ns=[job.mtime_ns for job in jobs],
                waits=[wall - job.accepted_ms if wall > job.accepted_ms else 0 for job in jobs],
                images=tuple(images),
            )
        )

    def _push(self, lane: int, frames: list[Frame]) -> None:
        if self._lanes.send(lane, frames) or lane in self._blocked:
            return
        socket = self._lanes.socket(lane)
        assert socket is not None
        self._blocked.add(lane)
        self._loop.watch(socket, partial(self._unblock, lane), writable=True)

    def _unblock(self, lane: int) -> None:
        if self._lanes.flush(lane):
            self._blocked.discard(lane)
            socket = self._lanes.socket(lane)
            if socket is not None:
                self._loop.forget(socket)

    def _read_monitors(self) -> None:
        for signal in self._lanes.signals():
            now = clock_now()
            if signal.up:
                self._do(self._machine.lane_up(signal.lane, now))
            else:
                self._do(self._machine.lane_down(signal.lane, now, "its connection closed"))
