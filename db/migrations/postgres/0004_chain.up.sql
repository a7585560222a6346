-- Each history row carries the hash of itself and of the row before, and its transfer the last.
-- Rows that are there already have none: a chain begins with the next one.

ALTER TABLE transfers ADD COLUMN chain text;
ALTER TABLE history ADD COLUMN chain text;
