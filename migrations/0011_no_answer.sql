-- A peer's last answer stays while it cannot be reached; why there is none now stands beside it.
ALTER TABLE delivery ADD COLUMN no_answer TEXT NOT NULL DEFAULT ''; -- why there was no answer since the last one; '' where there was one
ALTER TABLE delivery ADD COLUMN answered_at INTEGER; -- when the attempt began that was answered last; null before the first answer
UPDATE delivery SET no_answer = last_comment, last_comment = '' WHERE last_status IS NULL;
UPDATE delivery SET answered_at = last_attempt_at WHERE last_status IS NOT NULL;
