"""Where a ventilator's jobs come from by themselves: what is found in its sources is offered to the ledger."""

from zgrid.log import Event, Log
from zgrid.protocol.window import Row
from zgrid.roles.books import Books
from zgrid.roles.scanner import Batch, Scanner
from zgrid.settings import VentilatorSettings
from zgrid.sources import Passed
from zgrid.transport.clock import wall_ms
from zgrid.transport.loop import Loop

UNREAD_TOLD_MAX = 100
"""How many files and folders that could not be read are told of at level warning; a whole disk may be away."""

UNREAD_KEPT_MAX = 10
"""How many of them the ledger remembers by name."""

SCAN = "scan"
"""What the ledger remembers of the last search: {"passed_over", "unread": how many, "unread_first": [uri, reason]}."""

OFFERS_WAITING_MAX = 8
"""Batches of offers that may wait for one commit of the ledger; then the search waits too."""


class Supply:
    """Takes in what the search finds, for the chain ``chain``; without sources there is nothing to find."""

    def __init__(self, settings: VentilatorSettings, chain: str, books: Books, loop: Loop, log: Log) -> None:
        self._chain = chain
        self._sources = settings.sources
        self._books = books
        self._loop = loop
        self._log = log
        self._scanner: Scanner | None = None
        self._size_bytes_max = settings.job_bytes_max
        self._watched = False
        self._told = not self._sources
        self.passed_over = self.unread = 0
        self._unread_first: list[tuple[str, str]] = []
        self._known = 0

    def start(self) -> None:
        """Begin to search."""
        if not self._sources:
            return
        self._log.info(Event.SCAN_STARTED, sources=self._sources)
        self._scanner = Scanner(self._sources, self._size_bytes_max, stdin="-" in self._sources)
        self._watch()

    def stop(self) -> None:
        """Search no more; what was not taken is found again at another start. Safe to call twice."""
        self._told = True
        if self._scanner is not None:
            self._forget(self._scanner)
            self._scanner.stop()
            self._scanner = None

    @property
    def scanning(self) -> bool:
        """Whether more may be found."""
        return self._scanner is not None and not self._scanner.finished

    @property
    def finished(self) -> bool:
        """Whether everything was found, and said to be."""
        return self._told

    def accepted(self, rows: list[Row]) -> None:
        """Note that these were new, and are on disk."""
        self._known -= len(rows)

    def turn(self) -> None:
        """Offer what was found, as far as the ledger keeps up. Raises the error of a search that cannot go on."""
        scanner = self._scanner
        if scanner is None:
            return
        while self._books.offers < OFFERS_WAITING_MAX and not self._books.failing:
            batch = scanner.take()
            if batch is None:
                break
            self._offer(batch)
        if scanner.wants and not self._watched:
            self._watch()

    def end(self) -> None:
        """Say that the search is over, once it is and all of it is on disk. Raises the error that it ended with."""
        if self._told or self._scanner is None or not self._scanner.finished or self._books.offers:
            return
        self._told = True
        accepted = sum(self._books.ledger.counts().values())
        passed = {"passed_over": self.passed_over, "unread": self.unread}
        self._log.info(Event.SCAN_FINISHED, accepted=accepted, known_already=self._known, **passed)
        self._books.enter(lambda: self._books.ledger.remember(SCAN, {**passed, "unread_first": self._unread_first}))
        if self._scanner.error is not None:
            raise self._scanner.error

    def _offer(self, batch: Batch) -> None:
        offers = []
        for found in batch:
            if isinstance(found, Passed):
                self._pass_over(found)
            else:
                offers.append(found)
        if offers:
            self._known += len(offers)
            self._books.offer(offers, self._chain, wall_ms())

    def _pass_over(self, found: Passed) -> None:
        """Count what is not offered, and say so where it may well be an image."""
        self.passed_over += 1
        self.unread += found.unread
        if found.unread and len(self._unread_first) < UNREAD_KEPT_MAX:
            self._unread_first.append((found.uri, found.reason))
        is_told = found.unread and self.unread <= UNREAD_TOLD_MAX
        (self._log.warning if is_told else self._log.debug)(
            Event.FILE_PASSED_OVER, uri=found.uri, reason=found.reason, unread=found.unread
        )

    def _watch(self) -> None:
        if self._scanner is not None:
            self._loop.watch(self._scanner.fileno(), self._read)
            self._watched = True

    def _read(self) -> None:
        assert self._scanner is not None
        self._scanner.read()
        if not self._scanner.wants:
            self._forget(self._scanner)

    def _forget(self, scanner: Scanner) -> None:
        if self._watched:
            self._loop.forget(scanner.fileno())
            self._watched = False
