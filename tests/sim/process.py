"""A process of the simulation: it can crash after any effect, freeze, thaw, and be started again as another one."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grid import Grid


class Process:
    """One place where a process runs; ``life`` counts the processes that ran there, 0 while none ever did."""

    def __init__(self, grid: "Grid", name: str) -> None:
        self.grid = grid
        self.clock = grid.clock
        self.rng = grid.rng
        self.name = name
        self.alive = False
        self.frozen = False
        self.frozen_at = 0.0
        self.life = 0
        self.boot = b""
        self.fuse = 0
        self._performing = False
        self._effects: deque[Any] = deque()
        self._backlog: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._performers: dict[type, Callable[[Any], None]] = {}

    def start(self) -> None:
        """Run a new process, with a new boot id."""
        if self.alive:
            return
        self.life += 1
        self.boot = self.rng.randbytes(8)
        self.alive = True
        self.frozen = False
        self.fuse = 0
        self._backlog.clear()
        self.grid.trace(self, "starts")
        self.started()

    def crash(self) -> None:
        """Die at once, as by kill -9."""
        if self.alive:
            self.grid.trace(self, "CRASHES")
            self.alive = False
            self.fuse = 0
            self._effects.clear()
            self.crashed()

    def leave(self) -> None:
        """Be asked to stop, as by SIGTERM; it ends by itself."""
        raise NotImplementedError

    def ends(self) -> None:
        """It has come to its end in order; where the trouble is over, somebody starts it again."""
        self.grid.trace(self, "ends")
        self.crash()
        if self.grid.healed:
            self.start()

    def freeze(self, for_s: float) -> None:
        """Be suspended for a while; what comes meanwhile is found when it goes on."""
        if self.alive and not self.frozen:
            self.grid.trace(self, f"freezes for {for_s:.1f} s")
            self.frozen = True
            self.frozen_at = self.clock.now
            self.clock.after(for_s, self.thaw, self.life)

    def thaw(self, life: int | None = None) -> None:
        """Go on."""
        if self.frozen and life in (None, self.life):
            self.grid.trace(self, "thaws")
            self.frozen = False
            while self._backlog and not self.frozen:
                call, args = self._backlog.popleft()
                self.call(self.life, call, *args)

    def call(self, life: int, call: Callable[..., Any], *args: Any) -> None:
        """Let something happen to the process of that life, as soon as it is awake."""
        if not self.alive or life != self.life:
            return
        if self.frozen:
            self._backlog.append((call, args))
            return
        call(*args)
        if self.alive:
            self.turned()
        if self.alive:
            self.grid.check(self)

    def later(self, delay_s: float, call: Callable[..., Any], *args: Any) -> None:
        """Let something happen to this process after a while, if it still lives."""
        self.clock.after(delay_s, self.call, self.life, call, *args)

    def perform(self, effects: Iterable[Any]) -> None:
        """Do what the machine asked for, in order; what this brings comes after it, and a crash after any of it."""
        self._effects.extend(effects)
        if self._performing:
            return
        self._performing = True
        while self._effects:
            effect = self._effects.popleft()
            self._performers[type(effect)](effect)
            if self.fuse:
                self.fuse -= 1
                if not self.fuse:
                    self.crash()
        self._performing = False

    def started(self) -> None:
        """Build the machine and begin."""
        raise NotImplementedError

    def turned(self) -> None:
        """At the end of each turn of its loop."""

    def crashed(self) -> None:
        """Lose what a crash loses."""
        raise NotImplementedError
