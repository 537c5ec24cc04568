-- Embeddings are compared where they are of one space: the same input and the same modules that made them. Another head beside these
-- changes no vector. What was kept before has the hash of all weights here.
ALTER TABLE embedding RENAME COLUMN weights_sha256 TO space_sha256;
