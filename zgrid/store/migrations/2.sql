-- From version 1 to version 2. schema.sql explains the tables.

ALTER TABLE jobs ADD COLUMN ttr_ms INTEGER;
ALTER TABLE jobs ADD COLUMN attempts_max INTEGER;
ALTER TABLE jobs ADD COLUMN spent INTEGER NOT NULL DEFAULT 0;

DROP INDEX jobs_ready;
CREATE INDEX jobs_ready ON jobs (chain, priority, seq) WHERE state = 0;

CREATE INDEX jobs_aside ON jobs (settled_ms) WHERE state IN (4, 5);

CREATE TABLE spool (
    seq   INTEGER PRIMARY KEY,
    image BLOB NOT NULL
) STRICT;

CREATE TABLE chain_counts (
    chain INTEGER NOT NULL,
    state INTEGER NOT NULL,
    jobs  INTEGER NOT NULL,
    PRIMARY KEY (chain, state)
) STRICT;
-- With one chain the old counts are its own. Only with several are the jobs read from end to end.
INSERT INTO chain_counts (chain, state, jobs)
    SELECT (SELECT id FROM chains), state, jobs FROM counts WHERE (SELECT count(*) FROM chains) = 1;
INSERT INTO chain_counts (chain, state, jobs)
    SELECT chain, state, count(*) FROM jobs WHERE (SELECT count(*) FROM chains) <> 1 GROUP BY chain, state;
DROP TABLE counts;

CREATE VIEW counts (state, jobs) AS
    WITH states (state) AS (VALUES (0), (1), (2), (3), (4), (5))
    SELECT state, (SELECT coalesce(sum(jobs), 0) FROM chain_counts WHERE chain_counts.state = states.state) FROM states;

CREATE TABLE pruned (
    chain INTEGER NOT NULL,
    state INTEGER NOT NULL,
    jobs  INTEGER NOT NULL,
    PRIMARY KEY (chain, state)
) STRICT;

CREATE TABLE tallies (
    worker   TEXT NOT NULL,
    event    TEXT NOT NULL,
    jobs     INTEGER NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms  INTEGER NOT NULL,
    PRIMARY KEY (worker, event)
) STRICT;
INSERT INTO tallies (worker, event, jobs, first_ms, last_ms)
    SELECT worker, event, sum(coalesce(length(seqs) / 2, last - first + 1)), min(at_ms), max(at_ms) FROM history
    WHERE worker IS NOT NULL GROUP BY worker, event;

UPDATE meta SET value = 2 WHERE name = 'schema';
