"""The ledger's statements. ``schema.sql`` explains the tables; a test proves that each of these uses an index.

A batch is one statement: its columns travel as JSON, or packed into one blob with a fixed width for each job, and
``json_each`` takes them apart. A statement for each job (``executemany``) takes twice as long, and gives up Python's
lock for each.
"""

# What is put into these texts is text of this file; values are always bound.
# ruff: noqa: S608

NUMBER_CHARS = 20
"""Sizes and times travel as text of this width: a 64-bit number with its sign fits."""

_ROW = "seq, key, uri, size, mtime_ns, priority, failures, chain, accepted_ms, ttr_ms, attempts_max, spent"

_SEQS = "seq IN (SELECT value FROM json_each(:seqs))"

ACCEPT = """
    INSERT INTO jobs (seq, key, uri, size, mtime_ns, priority, failures, chain, accepted_ms, state, due_ms,
                      ttr_ms, attempts_max, spent)
    SELECT :first + key, substr(:keys, key * 16 + 1, 16), value,
           CAST(substr(:sizes, key * 20 + 1, 20) AS INTEGER), CAST(substr(:mtimes_ns, key * 20 + 1, 20) AS INTEGER),
           :priority, 0, :chain, :now_ms, :state, :due_ms, :ttr_ms, :attempts_max, 0
    FROM json_each(:uris) WHERE true
    ON CONFLICT (uri, size, mtime_ns) DO NOTHING"""
"""Enter what is new. ``key`` of ``json_each`` is the place in the batch, from 0."""

ENTERED = f"SELECT {_ROW} FROM jobs WHERE seq >= ? ORDER BY seq"

PLACE = "SELECT seq, state FROM jobs WHERE uri = ? AND size = ? AND mtime_ns = ?"

SPOOL = "INSERT INTO spool (seq, image) VALUES (?, ?)"

UNSPOOL = f"""
    DELETE FROM spool
    WHERE {_SEQS} AND (SELECT state FROM jobs WHERE jobs.seq = spool.seq) IN (2, 3, 5)"""
"""The images of jobs that nobody will want again."""

SPOOLED = "SELECT EXISTS (SELECT 1 FROM spool)"

SETTLE = f"""
    UPDATE jobs SET state = :to, settled_ms = :now_ms, reason = :reason, due_ms = NULL
    WHERE {_SEQS} AND state = :state"""

BY_CHAIN = f"SELECT chain, count(*) FROM jobs WHERE {_SEQS} AND state = :state GROUP BY chain"
"""How many of these jobs are in a state, where they may be of several chains. RETURNING would take longer."""

OTHERWISE = f"SELECT seq FROM jobs WHERE {_SEQS} AND state != :state ORDER BY seq"
"""Those of these jobs that are in any other state."""

CLOSE = f"{SETTLE} RETURNING seq, chain"

REOPEN = f"""
    UPDATE jobs SET state = 0, spent = spent + max(1, failures), failures = 0,
                    due_ms = NULL, settled_ms = NULL, reason = NULL
    WHERE {_SEQS} AND state = :state
    AND (uri NOT GLOB 'put:*' OR EXISTS (SELECT 1 FROM spool WHERE spool.seq = jobs.seq))
    RETURNING {_ROW}"""

MOVE = """
    UPDATE jobs SET state = :to, failures = :failures, due_ms = :due_ms, settled_ms = :settled_ms, reason = :reason
    WHERE seq = :seq AND state = :state RETURNING chain"""

CHARGE = "UPDATE jobs SET failures = ? WHERE seq = ? AND state <= 1"

DUE = f"""
    UPDATE jobs SET state = 0, due_ms = NULL
    WHERE seq IN (SELECT seq FROM jobs WHERE state = 1 AND due_ms <= ? ORDER BY due_ms LIMIT ?)
    RETURNING {_ROW}"""

NEXT_DUE = "SELECT min(due_ms) FROM jobs WHERE state = 1"

FIRST_DUE = "SELECT seq FROM jobs WHERE state = 1 ORDER BY due_ms LIMIT 1"

NEXT_OPEN = """
    SELECT seq, key, uri, size, mtime_ns, accepted_ms,
           CASE WHEN failures OR spent OR ttr_ms IS NOT NULL OR attempts_max IS NOT NULL
           THEN json_array(failures, ttr_ms, attempts_max, spent) END
    FROM jobs WHERE state = 0 AND chain = ? AND priority = ? AND seq > ? ORDER BY seq LIMIT ?"""
"""What is behind a place in its own priority. Asked as (priority, seq) > (?, ?), SQLite reads the whole priority.

Of most jobs the last column is NULL: each column that is fetched takes as long as SQLite's lock, which it takes twice.
"""

ASIDE = "SELECT seq, key FROM jobs WHERE state IN (4, 5) AND settled_ms >= ? ORDER BY settled_ms DESC LIMIT ?"

NEXT_PRIORITY = f"SELECT {_ROW} FROM jobs WHERE state = 0 AND chain = ? AND priority > ? ORDER BY priority, seq LIMIT ?"

FOUND = """
    seq, key, uri, size, mtime_ns, priority, failures, coalesce((SELECT text FROM chains WHERE id = jobs.chain), ''),
    accepted_ms, state, due_ms, settled_ms, reason, ttr_ms, attempts_max, spent"""
"""The columns of ``rows.Found``."""

FIND = f"SELECT {FOUND} FROM jobs WHERE seq = ?"

SEQ_OF_URI = "SELECT max(seq) FROM jobs WHERE uri = ?"

SEQ_OF_KEY = """
    WITH RECURSIVE blocks (block) AS (
        SELECT 0 UNION ALL SELECT block + 1 FROM blocks WHERE block < (SELECT max(seq) >> 12 FROM jobs)
    )
    SELECT seq FROM blocks CROSS JOIN jobs ON seq >> 12 = block AND key = ?"""

FEW_BELOW = "SELECT count(*) FROM (SELECT 1 FROM jobs INDEXED BY jobs_source WHERE uri >= ? AND uri < ? LIMIT ?)"
"""How many jobs there are between two URIs, counted up to a limit."""

COUNT = """
    INSERT INTO chain_counts (chain, state, jobs) VALUES (?, ?, ?)
    ON CONFLICT (chain, state) DO UPDATE SET jobs = jobs + excluded.jobs"""

COUNTS = "SELECT chain, state, jobs FROM chain_counts"

PRUNED = "SELECT chain, state, jobs FROM pruned"

TALLY = """
    INSERT INTO tallies (worker, event, jobs, first_ms, last_ms) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (worker, event) DO UPDATE SET jobs = jobs + excluded.jobs,
        first_ms = min(first_ms, excluded.first_ms), last_ms = max(last_ms, excluded.last_ms)"""

TALLIES = "SELECT worker, event, jobs, first_ms, last_ms FROM tallies"

RECALL = "SELECT value FROM meta WHERE name = ?"

REMEMBER = "INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"

FORGET = "DELETE FROM meta WHERE name = ?"

IMAGE = "SELECT image FROM spool WHERE seq = ?"

RECORD = """
    INSERT INTO history (at_ms, event, worker, lane, attempt, note, block, first, last, seqs)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

STORY = """
    SELECT first, seqs, at_ms, event, worker, lane, attempt, note FROM history
    WHERE block = ? AND first <= ? AND last >= ? ORDER BY id"""

TESTIFY = "INSERT INTO evidence (seq, at_ms, failures, reason, detail) VALUES (?, ?, ?, ?, ?)"

EVIDENCE = "SELECT seq, at_ms, failures, reason, detail FROM evidence WHERE seq = ? ORDER BY id"

CHAIN = "INSERT INTO chains (text) VALUES (?) RETURNING id"

# -- zgrid ledger prune

_OLD = "state IN (2, 3, 5) AND settled_ms < :before_ms"
"""Closed for good, before then."""

FIRST_ABOVE = "SELECT min(seq) FROM jobs WHERE seq > ?"

SEQS = "SELECT seq FROM jobs WHERE seq BETWEEN ? AND ? ORDER BY seq"

OLD = "SELECT seq, state FROM jobs WHERE seq BETWEEN ? AND ? AND state IN (2, 3, 5) AND settled_ms < ? ORDER BY seq"

PRUNE = f"DELETE FROM jobs WHERE {_SEQS} AND {_OLD} RETURNING seq, chain, state"

PRUNE_EVIDENCE = f"DELETE FROM evidence WHERE {_SEQS}"

LINES = "SELECT id, first, last, seqs FROM history WHERE block = ?"

PRUNE_HISTORY = "DELETE FROM history WHERE id IN (SELECT value FROM json_each(:ids))"

COUNT_PRUNED = """
    INSERT INTO pruned (chain, state, jobs) VALUES (?, ?, ?)
    ON CONFLICT (chain, state) DO UPDATE SET jobs = jobs + excluded.jobs"""
