-- When a person last asked for a delivery: a destination that rests because it did not answer is called again at once.
ALTER TABLE delivery ADD COLUMN resent_at INTEGER; -- null where nobody did

-- Descriptions are compared as they are: nobody has asked for these.
ALTER TABLE study DROP COLUMN study_description_folded;
ALTER TABLE series DROP COLUMN series_description_folded;
