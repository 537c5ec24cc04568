-- The work: what is to be read, by which model, and to whom the results go. This is not in the files: back it up.

CREATE TABLE route_decision (
    series_key INTEGER NOT NULL REFERENCES series (series_key), -- the series that was complete
    revision INTEGER NOT NULL,             -- in this revision
    route INTEGER NOT NULL,                -- index of the [[route]] in the configuration, from 0
    model_name TEXT NOT NULL,              -- the model it names
    matched INTEGER NOT NULL,              -- 1: a job was made, 0: not
    reason TEXT NOT NULL,                  -- why, one sentence
    decided_at INTEGER NOT NULL,           -- when
    PRIMARY KEY (series_key, revision, route)
);

CREATE TABLE job (
    job_id INTEGER PRIMARY KEY,            -- as the log has it
    series_key INTEGER NOT NULL REFERENCES series (series_key), -- what to read
    revision INTEGER NOT NULL,             -- in which revision
    model_name TEXT NOT NULL,              -- by which model
    model_version TEXT NOT NULL,           -- its version when the job was made
    model_hash TEXT NOT NULL,              -- SHA-256 of its weights when the job was made
    route INTEGER NOT NULL,                -- index of the [[route]] that asked for it
    reason TEXT NOT NULL,                  -- why the route matched
    destinations TEXT NOT NULL,            -- AE titles that get the results, joined by backslashes
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 0,   -- counted when claimed, so that a crash counts as well
    put_back INTEGER NOT NULL DEFAULT 0,   -- how many of them ended because the node was stopped
    not_before INTEGER NOT NULL,           -- queued: not to be claimed earlier
    lease_token TEXT,                      -- running: only who knows it may finish
    lease_owner TEXT,                      -- running: the boot of the node that claimed it
    lease_expires_at INTEGER,              -- running: to be renewed before
    outcome TEXT NOT NULL DEFAULT '',      -- done: a word of the worker, such as 'read' or 'not suitable'
    cause TEXT NOT NULL DEFAULT '',        -- of the last failure, one sentence
    created_at INTEGER NOT NULL,           -- when the series was complete
    ended_at INTEGER,                      -- when it was done or failed
    UNIQUE (series_key, model_name, revision)
);
CREATE INDEX job_open ON job (state, not_before) WHERE state IN ('queued', 'running');

CREATE TABLE job_attempt (
    job_id INTEGER NOT NULL REFERENCES job (job_id), -- of which job
    attempt INTEGER NOT NULL,              -- from 1
    owner TEXT NOT NULL,                   -- the boot of the node that tried
    started_at INTEGER NOT NULL,           -- when claimed
    ended_at INTEGER,                      -- null while running
    ending TEXT NOT NULL DEFAULT '' CHECK (ending IN ('', 'done', 'retry', 'failed', 'put back', 'lease lost')),
    cause TEXT NOT NULL DEFAULT '',        -- why it was not done
    PRIMARY KEY (job_id, attempt)
);

CREATE TABLE result (
    job_id INTEGER NOT NULL REFERENCES job (job_id), -- who made it
    instance_key INTEGER NOT NULL REFERENCES instance (instance_key), -- what it made
    kind TEXT NOT NULL,                    -- a word of the worker, such as 'segmentation' or 'report'
    PRIMARY KEY (job_id, instance_key)
);
CREATE INDEX result_by_instance ON result (instance_key);

CREATE TABLE delivery (
    delivery_id INTEGER PRIMARY KEY,       -- as the log has it
    destination TEXT NOT NULL,             -- AE title of the peer
    instance_key INTEGER NOT NULL REFERENCES instance (instance_key), -- the result to send
    job_id INTEGER NOT NULL REFERENCES job (job_id), -- the job that made it first
    state TEXT NOT NULL CHECK (state IN ('pending', 'sending', 'delivered', 'dead')),
    attempts INTEGER NOT NULL DEFAULT 0,   -- counted when claimed
    next_attempt_at INTEGER NOT NULL,      -- pending: not to be claimed earlier
    lease_token TEXT,                      -- sending: only who knows it may mark it
    last_status INTEGER,                   -- the peer's last status (0000,0900); null before its first answer
    last_comment TEXT NOT NULL DEFAULT '', -- the peer's last Error Comment (0000,0902), or why there was no answer
    created_at INTEGER NOT NULL,           -- when the job was done
    last_attempt_at INTEGER,               -- when it was last claimed
    delivered_at INTEGER,                  -- when the peer took it
    UNIQUE (destination, instance_key)
);
CREATE INDEX delivery_open ON delivery (destination, state, next_attempt_at) WHERE state IN ('pending', 'sending');
CREATE INDEX delivery_by_instance ON delivery (instance_key);
CREATE INDEX delivery_dead ON delivery (state) WHERE state = 'dead';
