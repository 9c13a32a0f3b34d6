"""Where a role's metrics and health come together: threads ask, and the loop answers between two of its turns.

What machines and parts of a role keep is read in the loop's own thread, so nothing is locked and nothing is counted
twice. An answer is good for FRESH_S: however often somebody asks, the loop takes stock once in that time.
"""

import platform
from collections.abc import Callable
from http import HTTPStatus
from threading import Condition, Lock

from zgrid import __version__
from zgrid.log import Event, Log
from zgrid.metrics.family import Family, Snapshot
from zgrid.metrics.server import Answer, Server
from zgrid.metrics.text import Texts
from zgrid.roles.exposure import Stock
from zgrid.roles.notify import Notify
from zgrid.settings import metrics_place
from zgrid.transport.clock import now as clock_now
from zgrid.transport.loop import Loop

FRESH_S = 1.0
PATIENCE_S = 5.0
"""How long the loop may take to answer: more than the longest of its turns, less than a scraper waits (10 s)."""


class Endpoint:
    """Serves /metrics, /healthz and /readyz at ``address`` for the role ``role`` with the name ``name``.

    ``families``: what it tells. ``notify`` knows whether the role is ready and alive. Raises SettingsError where nobody
    can listen at the address.
    """

    def __init__(
        self, address: str, role: str, name: str, families: tuple[Family, ...], loop: Loop, notify: Notify, log: Log
    ) -> None:
        self._texts = Texts(families)
        self._loop = loop
        self._notify = notify
        self._build: Snapshot = {"zgrid_build_info": {(role, name, __version__, platform.python_version()): 1.0}}
        self._take: Callable[[], Stock] | None = None
        self._look: Callable[[], Snapshot] = dict
        self._stock = Stock({})
        self._taken_at = float("-inf")
        self._asked = self._closed = False
        self._told = Condition()
        self._writing = Lock()
        self._written: dict[bool, tuple[float, Answer]] = {}
        host, port = metrics_place(address)
        self._server = Server(
            host, port, {"/metrics": self._metrics, "/healthz": self._healthz, "/readyz": self._readyz}
        )
        shown = f"[{host}]" if ":" in host else host or "*"
        log.info(Event.METRICS, address=f"http://{shown}:{self._server.port}/metrics")

    def begin(self, take: Callable[[], Stock], look: Callable[[], Snapshot]) -> None:
        """Have the loop ``take`` stock when somebody asks; threads ``look`` at files by themselves: a disk may hang."""
        self._take, self._look = take, look
        self._loop.on_wake(self._tell)

    def close(self) -> None:
        """Serve nobody any more, and leave the loop alone."""
        with self._told:
            self._closed = True
        self._server.close()

    def _tell(self) -> None:
        """In the loop: take stock, if somebody waits for it."""
        if self._asked and self._take is not None:
            stock = self._take()
            with self._told:
                self._stock, self._taken_at, self._asked = stock, clock_now(), False
                self._told.notify_all()

    def _ask(self) -> Stock | None:
        """In a thread: return what stands, no older than FRESH_S; None where the loop does not answer."""
        with self._told:
            if self._take is None or self._closed:
                return Stock({}, self._notify.state)
            if clock_now() - self._taken_at > FRESH_S:
                self._asked = True
                self._loop.wake()
                asked_at = clock_now()
                if not self._told.wait_for(lambda: self._taken_at >= asked_at, PATIENCE_S):
                    return None
            return self._stock

    # -- pages

    def _metrics(self, accept: str) -> Answer:
        open_metrics = "application/openmetrics-text" in accept
        stock = self._ask()
        if stock is None:
            return Answer.sentence(HTTPStatus.SERVICE_UNAVAILABLE, "the main loop does not answer")
        # Who looks at a disk that hangs may be in there for ever: nobody else waits for long, or soon none has a place.
        if not self._writing.acquire(timeout=PATIENCE_S):
            return Answer.sentence(HTTPStatus.SERVICE_UNAVAILABLE, "the disk does not answer")
        try:
            at, answer = self._written.get(open_metrics, (float("-inf"), None))
            if answer is None or clock_now() - at > FRESH_S:
                ready = self._notify.state == "ready" and not stock.lacking
                values = {**self._build, **stock.values, "zgrid_ready": float(ready), **self._look()}
                answer = Answer(HTTPStatus.OK, *self._texts.write(values, open_metrics=open_metrics))
                self._written[open_metrics] = clock_now(), answer
            return answer
        finally:
            self._writing.release()

    def _healthz(self, _: str) -> Answer:
        if trouble := self._notify.trouble():
            return Answer.sentence(HTTPStatus.SERVICE_UNAVAILABLE, trouble)
        return Answer.sentence(HTTPStatus.OK, "alive")

    def _readyz(self, _: str) -> Answer:
        if self._notify.state != "ready":
            return Answer.sentence(HTTPStatus.SERVICE_UNAVAILABLE, self._notify.state)
        stock = self._ask()
        lacking = "the main loop does not answer" if stock is None else stock.lacking
        if lacking:
            return Answer.sentence(HTTPStatus.SERVICE_UNAVAILABLE, lacking)
        return Answer.sentence(HTTPStatus.OK, "ready")
