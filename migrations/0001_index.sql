-- The index: what has been received and what has been made, by the levels of the Query/Retrieve information models
-- (PS3.4 section C.6). It can be rebuilt from the files with `overread reindex`.
--
-- Times that the node takes are INTEGER milliseconds since 1970-01-01 UTC. Text is UTF-8, decoded by the character set
-- of the data set it comes from, without padding; '' stands for absent or empty. Dates are YYYYMMDD, times HHMMSS.FFFFFF
-- as precise as they came.

CREATE TABLE patient (
    patient_key INTEGER PRIMARY KEY,       -- given by the store, never seen outside
    identity TEXT NOT NULL UNIQUE,         -- Patient ID and its issuer, joined by a backslash; the study's UID where there is no Patient ID
    patient_id TEXT NOT NULL,              -- (0010,0020)
    issuer_of_patient_id TEXT NOT NULL,    -- (0010,0021)
    patient_name TEXT NOT NULL,            -- (0010,0010), all component groups
    patient_name_folded TEXT NOT NULL,     -- the same, folded for matching: see store::fold
    birth_date TEXT NOT NULL,              -- (0010,0030)
    sex TEXT NOT NULL                      -- (0010,0040)
);
CREATE INDEX patient_by_id ON patient (patient_id);
CREATE INDEX patient_by_name ON patient (patient_name_folded);

CREATE TABLE study (
    study_key INTEGER PRIMARY KEY,         -- given by the store, never seen outside
    patient_key INTEGER NOT NULL REFERENCES patient (patient_key), -- whose study it is
    study_instance_uid TEXT NOT NULL UNIQUE, -- (0020,000D)
    study_date TEXT NOT NULL,              -- (0008,0020)
    study_time TEXT NOT NULL,              -- (0008,0030)
    accession_number TEXT NOT NULL,        -- (0008,0050)
    study_id TEXT NOT NULL,                -- (0020,0010)
    study_description TEXT NOT NULL,       -- (0008,1030)
    study_description_folded TEXT NOT NULL, -- the same in lower case
    referring_physician TEXT NOT NULL,     -- (0008,0090)
    referring_physician_folded TEXT NOT NULL, -- the same, folded for matching
    patient_age TEXT NOT NULL,             -- (0010,1010)
    patient_id TEXT NOT NULL,              -- (0010,0020), as this study has it
    issuer_of_patient_id TEXT NOT NULL,    -- (0010,0021), as this study has it
    patient_name TEXT NOT NULL,            -- (0010,0010), as this study has it
    patient_name_folded TEXT NOT NULL,     -- the same, folded for matching
    birth_date TEXT NOT NULL,              -- (0010,0030), as this study has it
    sex TEXT NOT NULL,                     -- (0010,0040), as this study has it
    modalities TEXT NOT NULL DEFAULT '',   -- (0008,0061) Modalities in Study: ascending, joined by backslashes
    sop_classes TEXT NOT NULL DEFAULT '',  -- (0008,0062) SOP Classes in Study: ascending, joined by backslashes
    number_of_series INTEGER NOT NULL DEFAULT 0,    -- (0020,1206), kept up with every commit
    number_of_instances INTEGER NOT NULL DEFAULT 0, -- (0020,1208), kept up with every commit
    first_received_at INTEGER NOT NULL,    -- when the first instance came
    last_received_at INTEGER NOT NULL      -- when the last instance came
);
CREATE INDEX study_by_patient ON study (patient_key);
CREATE INDEX study_by_patient_id ON study (patient_id);
CREATE INDEX study_by_name ON study (patient_name_folded);
CREATE INDEX study_by_accession ON study (accession_number);
CREATE INDEX study_by_date ON study (study_date, study_time);

CREATE TABLE series (
    series_key INTEGER PRIMARY KEY,        -- given by the store, never seen outside
    study_key INTEGER NOT NULL REFERENCES study (study_key), -- the study it belongs to
    series_instance_uid TEXT NOT NULL,     -- (0020,000E)
    modality TEXT NOT NULL,                -- (0008,0060)
    series_number INTEGER,                 -- (0020,0011)
    series_description TEXT NOT NULL,      -- (0008,103E)
    series_description_folded TEXT NOT NULL, -- the same in lower case
    series_date TEXT NOT NULL,             -- (0008,0021)
    series_time TEXT NOT NULL,             -- (0008,0031)
    body_part TEXT NOT NULL,               -- (0018,0015) Body Part Examined
    protocol_name TEXT NOT NULL,           -- (0018,1030)
    laterality TEXT NOT NULL,              -- (0020,0060)
    patient_position TEXT NOT NULL,        -- (0018,5100)
    performed_date TEXT NOT NULL,          -- (0040,0244) Performed Procedure Step Start Date
    performed_time TEXT NOT NULL,          -- (0040,0245) Performed Procedure Step Start Time
    requested_procedure_id TEXT NOT NULL,  -- (0040,1001), of the first item of the Request Attributes Sequence
    scheduled_step_id TEXT NOT NULL,       -- (0040,0009), of the first item of the Request Attributes Sequence
    station_name TEXT NOT NULL,            -- (0008,1010)
    institution_name TEXT NOT NULL,        -- (0008,0080)
    manufacturer TEXT NOT NULL,            -- (0008,0070)
    manufacturer_model TEXT NOT NULL,      -- (0008,1090)
    performing_physician TEXT NOT NULL,    -- (0008,1050)
    operators_name TEXT NOT NULL,          -- (0008,1070)
    announced_instances INTEGER,           -- (0020,1209) where the sender put it into its instances
    number_of_instances INTEGER NOT NULL DEFAULT 0, -- (0020,1209) as we count, kept up with every commit
    origin TEXT NOT NULL CHECK (origin IN ('received', 'result')), -- came from a peer, or made here
    state TEXT NOT NULL CHECK (state IN ('receiving', 'complete', 'read')), -- of the revision below
    revision INTEGER NOT NULL DEFAULT 0,   -- how many instances have come into it, ever: each opens a new revision
    signal TEXT NOT NULL DEFAULT '',       -- why it was taken as complete; '' while receiving
    first_received_at INTEGER NOT NULL,    -- when its first instance came
    last_received_at INTEGER NOT NULL,     -- when its last instance came
    completed_at INTEGER,                  -- when it was taken as complete; null while receiving
    completed_revision INTEGER,            -- the last revision that was taken as complete; null before the first
    read_at INTEGER,                       -- when the last job of this revision ended; null before
    UNIQUE (series_instance_uid, study_key, origin)
);
CREATE INDEX series_by_study ON series (study_key, modality);
CREATE INDEX series_receiving ON series (state) WHERE state = 'receiving';

CREATE TABLE association (
    association_key INTEGER PRIMARY KEY,   -- given by the store
    association_id TEXT NOT NULL UNIQUE,   -- as the log has it
    calling_ae_title TEXT NOT NULL,        -- who called
    peer_address TEXT NOT NULL,            -- from which address and port
    first_received_at INTEGER NOT NULL,    -- when its first instance was recorded
    released_at INTEGER,                   -- when its peer released it; null where it did not
    ended_at INTEGER                       -- when it ended, by release, abort or a restart of the node; null while open
);
CREATE INDEX association_open ON association (association_key) WHERE ended_at IS NULL;

CREATE TABLE series_source (
    series_key INTEGER NOT NULL REFERENCES series (series_key), -- what came
    association_key INTEGER NOT NULL REFERENCES association (association_key), -- from whom
    instances INTEGER NOT NULL,            -- how many instances of the series came by it
    first_received_at INTEGER NOT NULL,    -- the first of them
    last_received_at INTEGER NOT NULL,     -- the last of them
    PRIMARY KEY (series_key, association_key)
);
CREATE INDEX series_source_by_association ON series_source (association_key);

-- The file of an instance: instances/STUDY/SERIES/SOP.dcm, or results/… where the origin of the series is 'result'.
CREATE TABLE instance (
    instance_key INTEGER PRIMARY KEY,      -- given by the store, ascending in the order of arrival
    series_key INTEGER NOT NULL REFERENCES series (series_key), -- the series it belongs to
    sop_instance_uid TEXT NOT NULL UNIQUE, -- (0008,0018)
    sop_class_uid TEXT NOT NULL,           -- (0008,0016)
    transfer_syntax_uid TEXT NOT NULL,     -- how the file is encoded
    file_bytes INTEGER NOT NULL,           -- length of the file
    data_set_offset INTEGER NOT NULL,      -- where in the file the data set begins
    instance_number INTEGER,               -- (0020,0013)
    acquisition_number INTEGER,            -- (0020,0012)
    rows INTEGER,                          -- (0028,0010)
    columns INTEGER,                       -- (0028,0011)
    number_of_frames INTEGER,              -- (0028,0008)
    content_date TEXT NOT NULL,            -- (0008,0023)
    content_time TEXT NOT NULL,            -- (0008,0033)
    image_type TEXT NOT NULL,              -- (0008,0008), values joined by backslashes
    received_at INTEGER NOT NULL           -- when it was recorded
);
CREATE INDEX instance_by_series ON instance (series_key, instance_number);

CREATE TABLE kept_aside (
    kept_key INTEGER PRIMARY KEY,          -- given by the store
    sop_instance_uid TEXT NOT NULL,        -- the SOP Instance UID that is already taken by other content
    content_hash TEXT NOT NULL,            -- SHA-256 of the data set, hexadecimal: the same twice is kept once
    file_name TEXT NOT NULL,               -- under aside/
    study_instance_uid TEXT NOT NULL,      -- as this content has it
    series_instance_uid TEXT NOT NULL,     -- as this content has it
    transfer_syntax_uid TEXT NOT NULL,     -- how the file is encoded
    calling_ae_title TEXT NOT NULL,        -- who sent it
    peer_address TEXT NOT NULL,            -- from where
    times_received INTEGER NOT NULL,       -- how often it came
    first_received_at INTEGER NOT NULL,    -- the first time
    last_received_at INTEGER NOT NULL,     -- the last time
    UNIQUE (sop_instance_uid, content_hash)
);
CREATE INDEX kept_aside_by_study ON kept_aside (study_instance_uid);
