-- What an operation is called at Stripe, in which epoch it was last looked up there, what a reversal
-- is called by the platform, and the hash of what was asked for.
-- Operations that were sent before were called by their rows' IDs, and stay so.

ALTER TABLE messages ADD COLUMN reference text NOT NULL DEFAULT ''; -- of the reversal that is asked for
ALTER TABLE transfers ADD COLUMN name text;
ALTER TABLE transfers ADD COLUMN seen_epoch integer NOT NULL DEFAULT 1;
ALTER TABLE reversals ADD COLUMN name text;
ALTER TABLE reversals ADD COLUMN seen_epoch integer NOT NULL DEFAULT 1;
ALTER TABLE reversals ADD COLUMN reference text;
ALTER TABLE reversals ADD COLUMN order_hash text NOT NULL DEFAULT '';

DROP TRIGGER transfers_guard;
UPDATE transfers SET seen_epoch = epoch;
UPDATE transfers SET name = id WHERE generation > 0;
UPDATE reversals SET seen_epoch = epoch;
UPDATE reversals SET name = id, reference = 'settled ' || id WHERE external = 0;

CREATE TRIGGER transfers_guard BEFORE UPDATE ON transfers
  WHEN (NEW.version <> OLD.version + 1) BEGIN SELECT RAISE(ABORT, 'transfers: a change must raise the version by one'); END;
CREATE TRIGGER messages_reference BEFORE UPDATE OF reference ON messages WHEN (NEW.reference <> OLD.reference)
  BEGIN SELECT RAISE(ABORT, 'messages: a message is only ever given its receipt, once'); END;
CREATE TRIGGER transfers_name BEFORE UPDATE OF name ON transfers
  WHEN (OLD.name IS NOT NULL AND NEW.name IS NOT OLD.name) BEGIN SELECT RAISE(ABORT, 'transfers: a name that was used stays'); END;
CREATE TRIGGER reversals_name BEFORE UPDATE ON reversals
  WHEN ((OLD.name IS NOT NULL AND NEW.name IS NOT OLD.name) OR NEW.reference IS NOT OLD.reference OR NEW.order_hash <> OLD.order_hash)
  BEGIN SELECT RAISE(ABORT, 'reversals: what was asked for never changes'); END;

CREATE UNIQUE INDEX transfers_name ON transfers (name) WHERE name IS NOT NULL;
CREATE UNIQUE INDEX reversals_name ON reversals (name) WHERE name IS NOT NULL;
CREATE UNIQUE INDEX reversals_reference ON reversals (transfer_id, reference) WHERE reference IS NOT NULL;
