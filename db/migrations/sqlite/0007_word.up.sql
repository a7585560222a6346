-- How long an answer asked to wait (Retry-After), in nanoseconds.

ALTER TABLE history ADD COLUMN answer_retry_after integer CHECK (answer_retry_after >= 0);
