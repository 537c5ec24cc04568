-- What weights made the results of a job: those of untrained ones leave only where the configuration allows it, whenever they are sent.
ALTER TABLE job ADD COLUMN untrained INTEGER NOT NULL DEFAULT 0; -- 1: the package that ended it says that its weights are untrained
