-- What is open is found without looking through what is done. SQLite takes one of these states as implying the condition
-- of the index only where that is written with OR: with IN it never used them.
DROP INDEX job_open;
DROP INDEX delivery_open;
CREATE INDEX job_queued_or_running ON job (state, not_before) WHERE state = 'queued' OR state = 'running';
CREATE INDEX delivery_pending_or_sending ON delivery (destination, state, next_attempt_at)
    WHERE state = 'pending' OR state = 'sending';

-- What a job made and sent is looked up when a study is sent again.
CREATE INDEX delivery_by_job ON delivery (job_id);
