-- Why each revision of a series was taken as complete: the series itself says it of the last one only.
CREATE TABLE series_completion (
    series_key INTEGER NOT NULL REFERENCES series (series_key) ON DELETE CASCADE, -- the series that was complete
    revision INTEGER NOT NULL,             -- in this revision
    signal TEXT NOT NULL,                  -- why it was taken as complete
    completed_at INTEGER NOT NULL,         -- when
    PRIMARY KEY (series_key, revision)
);
INSERT INTO series_completion (series_key, revision, signal, completed_at)
    SELECT series_key, completed_revision, signal, completed_at FROM series
    WHERE completed_revision IS NOT NULL AND completed_at IS NOT NULL;
