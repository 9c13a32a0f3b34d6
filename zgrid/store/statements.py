"""The ledger's statements. ``schema.sql`` explains the tables; a test proves that each of these uses an index.

A batch is one statement: its columns travel as JSON, or packed into one blob with a fixed width for each job, and
``json_each`` takes them apart. A statement for each job (``executemany``) takes twice as long, and gives up Python's
lock for each.
"""

from zgrid.protocol.job import State

NUMBER_CHARS = 20
"""Sizes and times travel as text of this width: a 64-bit number with its sign fits."""

ACCEPT = """
    INSERT INTO jobs (seq, key, uri, size, mtime_ns, priority, failures, chain, accepted_ms, state, due_ms)
    SELECT :first + key, substr(:keys, key * 16 + 1, 16), value,
           CAST(substr(:sizes, key * 20 + 1, 20) AS INTEGER), CAST(substr(:mtimes_ns, key * 20 + 1, 20) AS INTEGER),
           :priority, 0, :chain, :now_ms, :state, :due_ms
    FROM json_each(:uris) WHERE true
    ON CONFLICT (uri, size, mtime_ns) DO NOTHING"""
"""Enter what is new. ``key`` of ``json_each`` is the place in the batch, from 0."""

ENTERED = """
    SELECT seq, key, uri, size, mtime_ns, priority, failures, chain, accepted_ms FROM jobs
    WHERE seq >= ? ORDER BY seq"""

SETTLE = """
    UPDATE jobs SET state = :to, settled_ms = :now_ms, reason = :reason, due_ms = NULL
    WHERE seq IN (SELECT value FROM json_each(:seqs)) AND state = :state"""

MOVE = """
    UPDATE jobs SET state = :to, failures = :failures, due_ms = :due_ms, settled_ms = :settled_ms, reason = :reason
    WHERE seq = :seq AND state = :state"""

CHARGE = "UPDATE jobs SET failures = ? WHERE seq = ? AND state <= 1"

DUE = """
    UPDATE jobs SET state = 0, due_ms = NULL
    WHERE seq IN (SELECT seq FROM jobs WHERE state = 1 AND due_ms <= ? ORDER BY due_ms LIMIT ?)
    RETURNING seq, key, uri, size, mtime_ns, priority, failures, chain, accepted_ms"""

NEXT_DUE = "SELECT min(due_ms) FROM jobs WHERE state = 1"

NEXT_OPEN = """
    SELECT seq, key, uri, size, mtime_ns, priority, failures, chain, accepted_ms FROM jobs
    WHERE state = 0 AND priority = ? AND seq > ? ORDER BY seq LIMIT ?"""
"""What is behind a place in its own priority. Asked as (priority, seq) > (?, ?), SQLite reads the whole priority."""

NEXT_PRIORITY = """
    SELECT seq, key, uri, size, mtime_ns, priority, failures, chain, accepted_ms FROM jobs
    WHERE state = 0 AND priority > ? ORDER BY priority, seq LIMIT ?"""

_FOUND = """
    SELECT seq, key, uri, size, mtime_ns, priority, failures,
           coalesce((SELECT text FROM chains WHERE id = jobs.chain), ''),
           accepted_ms, state, due_ms, settled_ms, reason
    FROM jobs"""

FIND = f"{_FOUND} WHERE seq = ?"

LISTED = {state: f"{_FOUND} WHERE state = {state:d} ORDER BY seq DESC LIMIT ?" for state in State}
"""By state, which is written out: SQLite uses an index for one state only where it can read that state."""

SEQ_OF_URI = "SELECT max(seq) FROM jobs WHERE uri = ?"

SEQ_OF_KEY = """
    WITH RECURSIVE blocks (block) AS (SELECT 0 UNION ALL SELECT block + 1 FROM blocks WHERE block < ?)
    SELECT seq FROM blocks CROSS JOIN jobs ON seq >> 12 = block AND key = ?"""

COUNT = "UPDATE counts SET jobs = jobs + ? WHERE state = ?"

RECORD = """
    INSERT INTO history (at_ms, event, worker, lane, attempt, note, block, first, last, seqs)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

STORY = """
    SELECT first, seqs, at_ms, event, worker, lane, attempt, note FROM history
    WHERE block = ? AND first <= ? AND last >= ? ORDER BY id"""

TESTIFY = "INSERT INTO evidence (seq, at_ms, failures, reason, detail) VALUES (?, ?, ?, ?, ?)"

EVIDENCE = "SELECT seq, at_ms, failures, reason, detail FROM evidence WHERE seq = ? ORDER BY id"

CHAIN = "INSERT INTO chains (text) VALUES (?) RETURNING id"
