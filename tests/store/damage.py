"""Ledgers with everything in them, and ways to damage their files."""

import random
import shutil

from zgrid.protocol.job import Offer, State
from zgrid.store.ledger import Ledger
from zgrid.store.rows import JobTerms

NOW = 1_700_000_000_000
JOBS = 1200
IMAGES = 30
PAGE_BYTES = 4096


def full_ledger(path):
    """Make a ledger with jobs of two chains in every state, history, evidence and images; return it open."""
    ledger = Ledger(path)
    chains = [ledger.chain_id("faces highlight"), ledger.chain_id("null")]
    offers = [
        Offer(f"file:///photos/{number // 100:03d}/{number:05d}{'x' * (number % 60)}.jpg", 1000 + number, number)
        for number in range(JOBS)
    ]
    offers[7] = Offer("file:///" + "long/" * 1000, 1, 1)
    for start in range(0, JOBS, 100):
        terms = JobTerms(due_ms=NOW + 5, ttr_ms=500) if start == 500 else JobTerms()
        seqs = [row.seq for row in ledger.accept(offers[start : start + 100], chains[start % 200 // 100], NOW, terms)]
        ledger.record("accepted", seqs, NOW)
        ledger.record("sent", seqs[::3], NOW + 1, f"w{start % 300 // 100}", 4)
    ledger.put([(f"{number}.png", bytes([number]) * (number * 300)) for number in range(IMAGES)], chains[0], NOW)
    ledger.settle(range(1, 600, 2), State.STORED, NOW + 2)
    ledger.settle(range(2, 300, 2), State.DISCARDED, NOW + 2, "no face")
    for seq in range(601, 640):
        ledger.bury(seq, 3, "broken", {"stderr": "z" * (seq - 500) * 30}, NOW + 3)
    ledger.kick([601], NOW)
    ledger.remember("paused", {"since_ms": NOW})
    ledger.commit()
    return ledger


def jobs_of(path):
    """Return every job of a ledger, by number, and the images, as they are in the tables."""
    ledger = Ledger(path)
    rows = {row[0]: row for row in ledger._db.execute("SELECT * FROM jobs")}
    images = dict(ledger._db.execute("SELECT seq, image FROM spool").fetchall())
    ledger.close()
    return rows, images


def overwrite_pages(data, rng):
    """Garbage at some places, over parts of one or several pages."""
    for _ in range(rng.randrange(1, 12)):
        at, size = rng.randrange(100, len(data) - 7000), rng.randrange(1, 6000)
        data[at : at + size] = rng.randbytes(size)


def overwrite_one_page(data, rng):
    """One whole page of garbage, but not the first."""
    at = PAGE_BYTES * rng.randrange(1, len(data) // PAGE_BYTES)
    data[at : at + PAGE_BYTES] = rng.randbytes(PAGE_BYTES)


def zero_pages(data, rng):
    """Pages that were never written, as a disk may have them after a power cut."""
    for _ in range(rng.randrange(1, 9)):
        at = PAGE_BYTES * rng.randrange(1, len(data) // PAGE_BYTES)
        data[at : at + PAGE_BYTES] = bytes(PAGE_BYTES)


def flip_bits(data, rng):
    """Single bits."""
    for _ in range(rng.randrange(1, 40)):
        data[rng.randrange(100, len(data))] ^= 1 << rng.randrange(8)


def zero_header(data, rng):
    """The header that makes it an SQLite file."""
    data[:100] = bytes(100)


def overwrite_first_page(data, rng):
    """The page that says where everything is."""
    data[:PAGE_BYTES] = rng.choice([bytes(PAGE_BYTES), rng.randbytes(PAGE_BYTES)])


def truncate(data, rng):
    """The end is missing."""
    del data[rng.randrange(len(data) // 3, len(data)) :]


WAYS = [
    overwrite_pages, overwrite_one_page, zero_pages, flip_bits, zero_header, overwrite_first_page, truncate,
]  # fmt: skip


def damaged_copy(good, folder, way, seed):
    """Copy a ledger's file into a folder, damage it, and return where it is and the bytes of it."""
    folder.mkdir()
    path = folder / "ledger.sqlite"
    shutil.copy(good, path)
    data = bytearray(path.read_bytes())
    way(data, random.Random(seed))
    path.write_bytes(data)
    return path, bytes(data)
