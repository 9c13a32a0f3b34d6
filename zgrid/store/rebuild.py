"""A new ledger made of the rows that were salvaged from a damaged one: what each still means without the others."""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from zgrid.errors import SettingsError
from zgrid.protocol.job import State, job_key
from zgrid.store import opening, statements
from zgrid.store.salvage import CHAINS_INDEX, JOB_COLUMNS, SOURCES_INDEX, Row, Salvage
from zgrid.store.spool import is_put, is_whole, put_offer

_BATCH = 1000

_INSERT = {
    "chains": "INSERT OR IGNORE INTO chains (id, text) VALUES (?, ?)",
    "jobs": f"INSERT OR IGNORE INTO jobs ({JOB_COLUMNS}) VALUES ({', '.join('?' * 16)})",  # noqa: S608
    "history": """
        INSERT OR IGNORE INTO history (id, at_ms, event, worker, lane, attempt, block, first, last, seqs, note)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
    "evidence": "INSERT OR IGNORE INTO evidence (id, seq, at_ms, failures, reason, detail) VALUES (?, ?, ?, ?, ?, ?)",
    "tallies": "INSERT OR IGNORE INTO tallies (worker, event, jobs, first_ms, last_ms) VALUES (?, ?, ?, ?, ?)",
    "pruned": "INSERT OR IGNORE INTO pruned (chain, state, jobs) VALUES (?, ?, ?)",
    "meta": "INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)",
}

_LOST_IMAGE = "its image was in a damaged part of the ledger: put it again"

_BURY_WITHOUT_IMAGE = """
    UPDATE jobs SET state = 4, due_ms = NULL, settled_ms = ?, reason = ?
    WHERE uri GLOB 'put:*' AND state IN (0, 1) AND seq NOT IN (SELECT seq FROM spool)"""

_COUNT_ALL = """
    INSERT INTO chain_counts (chain, state, jobs)
    SELECT chain, state, sum(jobs) FROM (
        SELECT chain, state, count(*) AS jobs FROM jobs GROUP BY chain, state
        UNION ALL SELECT chain, state, jobs FROM pruned
    ) GROUP BY chain, state"""

_TALLY_ALL = """
    INSERT INTO tallies (worker, event, jobs, first_ms, last_ms)
    SELECT worker, event, sum(coalesce(length(seqs) / 2, last - first + 1)), min(at_ms), max(at_ms) FROM history
    WHERE worker IS NOT NULL GROUP BY worker, event"""


class Rebuild:
    """Fills the empty ledger of the connection ``db``. ``now_ms`` is wall clock.

    ``lost_chain``: the filters of jobs whose chain's text is lost.
    """

    def __init__(self, salvage: Salvage, db: sqlite3.Connection, now_ms: int, lost_chain: str | None) -> None:
        self._salvage = salvage
        self._db = db
        self._now_ms = now_ms
        self._lost_chain = lost_chain
        self._saved: Counter[str] = Counter()

    def run(self) -> list[str]:
        """Do all of it and return what was saved, and what not, in sentences. Raises SettingsError without a chain."""
        self._db.execute("BEGIN IMMEDIATE")
        for name in ("chains", "pruned", "jobs", "history", "evidence", "tallies"):
            self._copy(name, self._salvage.rows(name))
        self._copy("chains", self._chains_by_text())
        by_source = self._jobs_by_source() if self._salvage.unread or self._lost_jobs() else 0
        nameless = self._images()
        lost_images = self._db.execute(_BURY_WITHOUT_IMAGE, (self._now_ms, _LOST_IMAGE)).rowcount
        self._name_lost_chains()
        lost = self._lost_jobs()
        keeps_id = self._meta(is_whole=lost == 0 or (lost is None and not self._salvage.unread))
        self._db.execute(_COUNT_ALL)
        if self._salvage.unread or not self._saved["tallies"]:
            self._db.execute("DELETE FROM tallies")
            self._db.execute(_TALLY_ALL)
        self._db.execute("COMMIT")
        return list(self._told(by_source, nameless, lost_images, lost, keeps_id=keeps_id))

    def _copy(self, name: str, rows: Iterable[Row]) -> None:
        found = iter(rows)
        while some := list(islice(found, _BATCH)):
            self._saved[name] += self._db.executemany(_INSERT[name], some).rowcount

    def _chains_by_text(self) -> Iterator[Row]:
        """Yield chains that an index alone knows; another index may look alike."""
        wanted = {chain for (chain,) in self._db.execute("SELECT DISTINCT chain FROM jobs")}
        others = {*opening.NAMES, *(name for name, _ in self._salvage.rows("meta"))}
        for chain, text in self._salvage.rows(CHAINS_INDEX):
            if chain in wanted and text not in others:
                yield chain, text

    def _jobs_by_source(self) -> int:
        """Make jobs that are known by their entry in an index alone ready again; the sink knows what it has stored."""
        chain = self._usual_chain()
        before = self._saved["jobs"]
        self._copy("jobs", (self._ready(seq, offer, chain) for seq, offer in self._salvage.rows(SOURCES_INDEX)))
        return self._saved["jobs"] - before

    def _ready(self, seq: int, offer: tuple[str, int, int], chain: int) -> Row:
        return (seq, job_key(*offer), *offer, chain, 0, 0, self._now_ms, State.READY, *[None] * 5, 0)

    def _usual_chain(self) -> int:
        """Return the chain that most jobs have."""
        for statement in ("SELECT chain FROM jobs GROUP BY chain ORDER BY count(*) DESC", "SELECT id FROM chains"):
            row = self._db.execute(f"{statement} LIMIT 1").fetchone()
            if row is not None:
                return int(row[0])
        return 1

    def _images(self) -> int:
        """Keep the images that jobs wait for; return how many have no job any more, and were given a new one."""
        nameless = 0
        for seq, image in self._salvage.rows("spool"):
            row = self._db.execute("SELECT uri, state FROM jobs WHERE seq = ?", (seq,)).fetchone()
            if row is None:
                self._copy("jobs", [self._ready(seq, put_offer("", image), self._usual_chain())])
                nameless += 1
            elif not (
                is_put(row[0]) and row[1] in (State.READY, State.DELAYED, State.BURIED) and is_whole(row[0], image)
            ):
                continue
            self._saved["spool"] += self._db.execute(
                "INSERT OR IGNORE INTO spool (seq, image) SELECT seq, ? FROM jobs WHERE seq = ?", (image, seq)
            ).rowcount
        return nameless

    def _name_lost_chains(self) -> None:
        """Give a text to every chain that has lost its own."""
        lost = (
            "SELECT chain, max(state IN (0, 1, 4)) FROM jobs WHERE chain NOT IN (SELECT id FROM chains) GROUP BY chain"
        )
        for chain, is_wanted in self._db.execute(lost).fetchall():
            if is_wanted and self._lost_chain is None:
                raise SettingsError(
                    f"the filters of chain {chain} are lost, and it has open jobs: repeat this with "
                    "--chain and the filters that these jobs are for"
                )
            text = self._lost_chain if is_wanted else f"lost chain {chain}"
            known = self._db.execute("SELECT id FROM chains WHERE text = ?", (text,)).fetchone()
            if known is None:
                self._copy("chains", [(chain, text)])
            else:
                self._db.execute("UPDATE jobs SET chain = ? WHERE chain = ?", (known[0], chain))

    def _meta(self, *, is_whole: bool) -> bool:
        """Keep what is remembered, and the identity if no number can be given twice; return whether that is kept."""
        found: dict[str, Any] = dict(self._salvage.rows("meta"))
        identity = found.get("ledger_id")
        keeps_id = is_whole and type(identity) is bytes and len(identity) == opening.LEDGER_ID_BYTES
        if keeps_id:
            self._copy("meta", [("ledger_id", identity)])
        self._copy("meta", [(name, value) for name, value in found.items() if _is_remembered(name, value)])
        return keeps_id

    def _lost_jobs(self) -> int | None:
        """Return how many jobs were counted and are not here; None where the counts are lost as well."""
        if self._salvage.unread["chain_counts"]:
            return None
        counted = sum(int(jobs) for _, _, jobs in self._salvage.rows("chain_counts"))
        pruned = sum(int(jobs) for _, _, jobs in self._db.execute(statements.PRUNED))
        if not counted or self._salvage.unread["chain_counts"]:
            return None
        return max(0, counted - pruned - self._saved["jobs"])

    def _told(
        self, by_source: int, nameless: int, lost_images: int, lost: int | None, *, keeps_id: bool
    ) -> Iterator[str]:
        saved, unread = self._saved, self._salvage.unread
        again = "those of a source come again when it is searched the next time"
        yield (
            f"saved: jobs {saved['jobs']}, images that were put {saved['spool']}, lines of history {saved['history']}, "
            f"pieces of evidence {saved['evidence']}"
        )
        if by_source:
            yield f"jobs of which only the source is known: {by_source}; they are ready again, whatever became of them"
        if lost:
            yield f"jobs that are lost: {lost}; {again}"
        elif lost is None and unread:
            yield f"how many jobs are lost is not known; {again}"
        if lost_images:
            yield f"images that were put and are lost: {lost_images}; their jobs are buried"
        if nameless:
            yield f"images that were put and have lost their names: {nameless}; they are called image now"
        for name, what in (("history", "lines of history"), ("evidence", "pieces of evidence")):
            if unread[name]:
                yield f"{what} that are lost: {unread[name]} or more"
        if not keeps_id:
            yield "it has a new identity: what is under way now is done again, and stored once all the same"


def _is_remembered(name: str, value: Any) -> bool:
    if name in opening.NAMES or type(value) is not str:
        return False
    try:
        json.loads(value)
    except ValueError:
        return False
    return True
