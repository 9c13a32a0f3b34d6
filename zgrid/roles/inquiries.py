"""Searches in the ledger, in threads that read it by themselves: the loop waits for none of them."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import local
from typing import Any, NamedTuple, TypeVar

from zgrid.errors import StoreError
from zgrid.store.reader import LedgerReader

THREADS = 2
"""One that searches for long leaves another for short questions."""

SEARCH_S_MAX = 30.0
"""How long one search may take; then it is given up with a sentence."""

Found = TypeVar("Found")


class _Search(NamedTuple):
    future: Future[Any]
    found: Callable[[Any], None]
    failed: Callable[[str], None]


class Inquiries:
    """Searches the ledger at ``path``; ``wake`` makes the loop call ``tell`` when something is found."""

    def __init__(self, path: Path, wake: Callable[[], None]) -> None:
        self.path = path
        self._wake = wake
        self._executor = ThreadPoolExecutor(THREADS, "inquiries")
        self._mine = local()
        self._searches: list[_Search] = []
        self._readers: list[LedgerReader] = []

    def search(
        self, search: Callable[[LedgerReader], Found], found: Callable[[Found], None], failed: Callable[[str], None]
    ) -> None:
        """Run ``search`` in a thread; then the loop calls ``found`` with its result, or ``failed`` with a sentence."""
        future = self._executor.submit(self._run, search)
        self._searches.append(_Search(future, found, failed))
        future.add_done_callback(lambda _: self._wake())

    def tell(self) -> None:
        """Pass on what was found by now."""
        searches, self._searches = self._searches, []
        for one in searches:
            if not one.future.done():
                self._searches.append(one)
                continue
            try:
                result = one.future.result()
            except StoreError as error:
                one.failed(str(error))
            else:
                one.found(result)

    def close(self) -> None:
        """Look for nothing more; who asked is not answered."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        while under_way := [one.future for one in self._searches if not one.future.done()]:
            for reader in self._readers:  # again and again: a search may be between two of its statements
                reader.interrupt()
            wait(under_way, timeout=0.02)
        self._executor.shutdown(wait=True)
        for reader in self._readers:
            reader.close()

    def _run(self, search: Callable[[LedgerReader], Any]) -> Any:
        """In a thread: search with its own connection."""
        if not hasattr(self._mine, "reader"):
            self._mine.reader = LedgerReader(self.path, seconds_max=SEARCH_S_MAX)
            self._readers.append(self._mine.reader)
        return search(self._mine.reader)
