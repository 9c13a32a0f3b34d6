-- The ventilator's ledger, version 2: every job it has accepted and what became of it.
--
-- Ten million jobs must cost no more each than ten thousand. So nothing is counted at start (see counts), and every
-- index is appended to or changed near where it was changed last: an index over the random keys alone would dirty one
-- page of 4 KB for each job, which made commits five times slower at one million jobs than at ten thousand.

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,     -- "schema": the number of this version; "ledger_id": 16 random bytes, told to sinks
    value ANY NOT NULL          -- other names: JSON of what the ventilator remembers (paused, draining)
) STRICT;

CREATE TABLE chains (
    id    INTEGER PRIMARY KEY,  -- what jobs.chain refers to
    text  TEXT NOT NULL UNIQUE  -- the filters in order, with their options
) STRICT;

-- A job's state (zgrid.protocol.job.State) moves so:
--     READY 0 <-> DELAYED 1           retry with and without a delay; the delay is over
--     0, 1 -> STORED 2                the sink has its row on disk
--     0, 1 -> DISCARDED 3             a filter dropped the image
--     0, 1 -> BURIED 4                it failed for good
--     0, 1, 4 -> CANCELLED 5          somebody withdrew it
--     1, 3, 4, 5 -> READY             somebody wants it done (again): kick takes 1 and 4, retry all of them
--     3, 4, 5 -> STORED               a result that came late: what the sink has is true
-- What was sent and not yet answered is known to the ventilator's memory alone: after a restart it is READY.
CREATE TABLE jobs (
    seq         INTEGER PRIMARY KEY,    -- names the job between ventilator and workers; given in order of acceptance
    key         BLOB NOT NULL,          -- 16 bytes over uri, size and mtime_ns: under it the sink keeps the result
    uri         TEXT NOT NULL,          -- where the image is, percent-encoded
    size        INTEGER NOT NULL,       -- bytes
    mtime_ns    INTEGER NOT NULL,       -- time of the last change, so that a changed file is a new job
    chain       INTEGER NOT NULL,       -- which filters it was accepted for
    priority    INTEGER NOT NULL,       -- the smaller the sooner
    failures    INTEGER NOT NULL,       -- attempts that count against it
    accepted_ms INTEGER NOT NULL,       -- wall clock
    state       INTEGER NOT NULL,
    due_ms      INTEGER,                -- wall clock; only while DELAYED
    settled_ms  INTEGER,                -- wall clock; only when closed
    reason      TEXT,                   -- why it was discarded, buried or cancelled
    ttr_ms      INTEGER,                -- its own time-to-run; NULL: the ventilator's
    attempts_max INTEGER,               -- its own; NULL: the ventilator's
    spent       INTEGER NOT NULL DEFAULT 0  -- attempts of before it was kicked: their numbers are not used again
) STRICT;

-- What makes a job new. A scan comes in order of names, so neighbours are inserted together.
CREATE UNIQUE INDEX jobs_source ON jobs (uri, size, mtime_ns);
-- Finds a job by its key: one seek in each block of 4096 jobs, 0.1 to 0.4 s among ten million.
CREATE INDEX jobs_key ON jobs (seq >> 12, key);
-- What to send next. Closed jobs are not in it, so it stays as small as the backlog.
CREATE INDEX jobs_ready ON jobs (chain, priority, seq) WHERE state = 0;
CREATE INDEX jobs_delayed ON jobs (due_ms) WHERE state = 1;
-- What wants to be looked at.
CREATE INDEX jobs_buried ON jobs (seq) WHERE state = 4;
-- What was closed without its result: sinks are asked whether they have it all the same.
CREATE INDEX jobs_aside ON jobs (settled_ms) WHERE state IN (4, 5);

-- The bytes of images that were put, accepted in the same transaction as their job. They go when the job is stored,
-- discarded or cancelled; a buried job keeps them, because it may be kicked.
CREATE TABLE spool (
    seq   INTEGER PRIMARY KEY,
    image BLOB NOT NULL
) STRICT;

-- How many jobs of each chain are in each state, changed in the transaction that changes the jobs: ten million take a
-- second to count. Pruned jobs are still counted.
CREATE TABLE chain_counts (
    chain INTEGER NOT NULL,
    state INTEGER NOT NULL,
    jobs  INTEGER NOT NULL,
    PRIMARY KEY (chain, state)
) STRICT;

-- The same over all chains.
CREATE VIEW counts (state, jobs) AS
    WITH states (state) AS (VALUES (0), (1), (2), (3), (4), (5))
    SELECT state, (SELECT coalesce(sum(jobs), 0) FROM chain_counts WHERE chain_counts.state = states.state) FROM states;

-- How many of the counted jobs have no row any more (zgrid ledger prune): counts less these are the rows.
CREATE TABLE pruned (
    chain INTEGER NOT NULL,
    state INTEGER NOT NULL,
    jobs  INTEGER NOT NULL,
    PRIMARY KEY (chain, state)
) STRICT;

-- What each worker did, ever: for how many jobs an event with its name is in the history, and when first and last.
CREATE TABLE tallies (
    worker   TEXT NOT NULL,
    event    TEXT NOT NULL,
    jobs     INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,          -- wall clock
    last_ms  INTEGER NOT NULL,
    PRIMARY KEY (worker, event)
) STRICT;

-- What happened, one row for many jobs: a row for each job and event would be four times the size of the jobs.
CREATE TABLE history (
    id      INTEGER PRIMARY KEY,        -- the order in which things happened, whatever the wall clock did
    at_ms   INTEGER NOT NULL,           -- wall clock
    event   TEXT NOT NULL,              -- accepted, sent, stored, lost, ...
    worker  TEXT,                       -- who it was about, if anybody
    lane    INTEGER,                    -- over which lane, if any
    attempt INTEGER,                    -- which attempt, where it is the same for all the jobs
    block   INTEGER NOT NULL,           -- seq >> 12 of all the jobs of this row: a batch over several blocks is several rows
    first   INTEGER NOT NULL,           -- the smallest seq
    last    INTEGER NOT NULL,           -- the largest
    seqs    BLOB,                       -- NULL: all from first to last; else seq - first of each, 2 bytes little-endian
    note    TEXT
) STRICT;
-- The story of one job: only the rows of its own block are looked at.
CREATE INDEX history_block ON history (block, first, last);

-- What is known of each failure, for whoever has to decide what to do with a buried job.
CREATE TABLE evidence (
    id       INTEGER PRIMARY KEY,
    seq      INTEGER NOT NULL,
    at_ms    INTEGER NOT NULL,          -- wall clock
    failures INTEGER NOT NULL,          -- how many had counted against the job then, this one included if it counts
    reason   TEXT NOT NULL,
    detail   TEXT NOT NULL              -- JSON: worker, signal, exit status, tail of stderr, digest, ...
) STRICT;
CREATE INDEX evidence_seq ON evidence (seq);
