"""Addresses asked again and again how they stand, each in a thread of its own, so that none waits for another."""

import threading
from collections.abc import Callable
from typing import Any

from zgrid.cli.board import Sight
from zgrid.client import key_for
from zgrid.errors import ZGridError
from zgrid.transport.client import Client
from zgrid.transport.clock import now as clock_now

RATES_KEPT = 60


class Watch:
    """Asks one address every ``interval_s``, and calls ``news`` (in its thread) when ``sight`` is a new one.

    The thread ends with the process: one that waits for an answer must not keep anybody waiting.
    """

    def __init__(self, address: str, interval_s: float, timeout_ms: int, news: Callable[[], None]) -> None:
        self.sight = Sight(address, clock_now())
        self.asked = threading.Event()
        self._interval_s = interval_s
        self._timeout_ms = timeout_ms
        self._news = news
        self._stopping = threading.Event()
        threading.Thread(target=self._run, name=f"watch {address}", daemon=True).start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopping.set()

    def _run(self) -> None:
        try:
            with Client(self.sight.address, key_for(self.sight.address)) as client:
                while not self._stopping.is_set():
                    self._ask(client)
                    self._stopping.wait(self._interval_s)
        except ZGridError as error:
            self._failed(str(error))
        finally:
            self.asked.set()

    def _ask(self, client: Client) -> None:
        try:
            self._answered(client.ask({"what": "status"}, self._timeout_ms))
        except ZGridError as error:
            self._failed(str(error))

    def _answered(self, answer: dict[str, Any]) -> None:
        rate = answer.get("rate_per_s")
        rates = (*self.sight.rates, float(rate) if isinstance(rate, int | float) else 0.0)[-RATES_KEPT:]
        self._take(Sight(self.sight.address, clock_now(), answer, None, rates))

    def _failed(self, sentence: str) -> None:
        self._take(self.sight._replace(error=sentence, rates=()))

    def _take(self, sight: Sight) -> None:
        self.sight = sight
        self.asked.set()
        self._news()
