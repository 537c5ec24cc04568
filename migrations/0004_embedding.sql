-- What models that give embeddings said of a series: embeddings/STUDY/SERIES/MODEL-VERSION.safetensors, one file for each
-- version of a model, of the last revision that it read. Rebuilt from the files by `overread reindex`.
CREATE TABLE embedding (
    embedding_key INTEGER PRIMARY KEY,     -- given by the store
    series_key INTEGER NOT NULL REFERENCES series (series_key), -- the series that was read
    model_name TEXT NOT NULL,              -- by which model
    model_version TEXT NOT NULL,           -- in which version
    weights_sha256 TEXT NOT NULL,          -- with which weights, hexadecimal: only embeddings of the same can be compared
    revision INTEGER NOT NULL,             -- which revision of the series was read
    path TEXT NOT NULL UNIQUE,             -- of the file, below the data folder
    created_at INTEGER NOT NULL,           -- when the file was made
    UNIQUE (series_key, model_name, model_version)
);
CREATE INDEX embedding_by_model ON embedding (model_name, model_version);
