-- A transfer has an operation, with a state of its own; its status is derived from that, its holds and its reversals, and
-- is stored for lists and counts alone.

DROP INDEX transfers_by_state;
ALTER TABLE transfers RENAME COLUMN state TO status;
-- What is not filled in yet passes the conditions, which a table that has rows could not be given otherwise.
ALTER TABLE transfers ADD COLUMN state text NOT NULL DEFAULT '' CONSTRAINT transfers_operation CHECK (state = '' OR state = 'pending' OR state = 'sending'
    OR state = 'failed' OR state = 'unresolved' OR state = 'parked' OR state = 'completed' OR state = 'canceled' OR state = 'permanently_failed')
  CONSTRAINT transfers_completed CHECK (state = '' OR (state = 'completed') = (stripe_id IS NOT NULL))
  CONSTRAINT transfers_open CHECK ((state <> 'sending' AND state <> 'unresolved' AND state <> 'parked')
    OR (generation >= 1 AND request_hash <> '' AND first_sent_at IS NOT NULL));
ALTER TABLE transfers ADD COLUMN entered_at text NOT NULL DEFAULT '';
CREATE INDEX transfers_by_status ON transfers (status, id, currency, amount, since);

DROP TRIGGER transfers_guard;
UPDATE transfers SET entered_at = since,
    state = CASE WHEN stripe_id IS NOT NULL THEN 'completed' WHEN status = 'held' THEN 'pending' ELSE status END;
CREATE TRIGGER transfers_guard BEFORE UPDATE ON transfers
  WHEN (NEW.version <> OLD.version + 1) BEGIN SELECT RAISE(ABORT, 'transfers: a change must raise the version by one'); END;

ALTER TABLE reversals RENAME COLUMN since TO entered_at;
