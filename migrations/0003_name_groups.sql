-- The ideographic and the phonetic component group of names (PS3.5 section 6.2.1.1), for matching either by itself. They
-- follow from the folded name and take no room but in the indexes, which hold only names that have such groups.

ALTER TABLE patient ADD COLUMN patient_name_ideographic TEXT -- second group of patient_name_folded
    GENERATED ALWAYS AS (
        substr(substr(patient_name_folded, instr(patient_name_folded || '=', '=') + 1), 1,
            instr(substr(patient_name_folded, instr(patient_name_folded || '=', '=') + 1) || '=', '=') - 1)) VIRTUAL;
ALTER TABLE patient ADD COLUMN patient_name_phonetic TEXT -- third group of patient_name_folded
    GENERATED ALWAYS AS (
        substr(substr(patient_name_folded, instr(patient_name_folded || '=', '=') + 1),
            instr(substr(patient_name_folded, instr(patient_name_folded || '=', '=') + 1) || '=', '=') + 1)) VIRTUAL;
CREATE INDEX patient_by_ideographic_name ON patient (patient_name_ideographic) WHERE patient_name_ideographic > '';
CREATE INDEX patient_by_phonetic_name ON patient (patient_name_phonetic) WHERE patient_name_phonetic > '';

ALTER TABLE study ADD COLUMN patient_name_ideographic TEXT -- second group of patient_name_folded
    GENERATED ALWAYS AS (
        substr(substr(patient_name_folded, instr(patient_name_folded || '=', '=') + 1), 1,
            instr(substr(patient_name_folded, instr(patient_name_folded || '=', '=') + 1) || '=', '=') - 1)) VIRTUAL;
ALTER TABLE study ADD COLUMN patient_name_phonetic TEXT -- third group of patient_name_folded
    GENERATED ALWAYS AS (
        substr(substr(patient_name_folded, instr(patient_name_folded || '=', '=') + 1),
            instr(substr(patient_name_folded, instr(patient_name_folded || '=', '=') + 1) || '=', '=') + 1)) VIRTUAL;
CREATE INDEX study_by_ideographic_name ON study (patient_name_ideographic) WHERE patient_name_ideographic > '';
CREATE INDEX study_by_phonetic_name ON study (patient_name_phonetic) WHERE patient_name_phonetic > '';

ALTER TABLE study ADD COLUMN referring_physician_ideographic TEXT -- second group of referring_physician_folded
    GENERATED ALWAYS AS (
        substr(substr(referring_physician_folded, instr(referring_physician_folded || '=', '=') + 1), 1,
            instr(substr(referring_physician_folded, instr(referring_physician_folded || '=', '=') + 1) || '=', '=') - 1)) VIRTUAL;
ALTER TABLE study ADD COLUMN referring_physician_phonetic TEXT -- third group of referring_physician_folded
    GENERATED ALWAYS AS (
        substr(substr(referring_physician_folded, instr(referring_physician_folded || '=', '=') + 1),
            instr(substr(referring_physician_folded, instr(referring_physician_folded || '=', '=') + 1) || '=', '=') + 1)) VIRTUAL;
