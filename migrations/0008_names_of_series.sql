-- Names in a series for matching, folded as the patient's is. Series from before this have them in lower case and with their
-- accents, until `overread reindex`.
ALTER TABLE series ADD COLUMN performing_physician_folded TEXT NOT NULL DEFAULT ''; -- (0008,1050), folded, values joined by backslashes
ALTER TABLE series ADD COLUMN operators_name_folded TEXT NOT NULL DEFAULT ''; -- (0008,1070), folded, values joined by backslashes
UPDATE series SET performing_physician_folded = lower(performing_physician), operators_name_folded = lower(operators_name);
