-- What an operation is called at Stripe, in which epoch it was last looked up there, what a reversal
-- is called by the platform, and the hash of what was asked for.
-- Operations that were sent before were called by their rows' IDs, and stay so.

ALTER TABLE messages ADD COLUMN reference text NOT NULL DEFAULT ''; -- of the reversal that is asked for
ALTER TABLE transfers ADD COLUMN name uuid, ADD COLUMN seen_epoch bigint NOT NULL DEFAULT 1;
ALTER TABLE reversals ADD COLUMN name uuid, ADD COLUMN seen_epoch bigint NOT NULL DEFAULT 1,
  ADD COLUMN reference text, ADD COLUMN order_hash text NOT NULL DEFAULT '';

ALTER TABLE transfers DISABLE TRIGGER transfers_guard;
UPDATE transfers SET seen_epoch = epoch, name = CASE WHEN generation > 0 THEN id END;
ALTER TABLE transfers ENABLE TRIGGER transfers_guard;
UPDATE reversals SET seen_epoch = epoch;
UPDATE reversals SET name = id, reference = 'settled ' || id WHERE NOT external;

CREATE TRIGGER messages_reference AFTER UPDATE OF reference ON messages FOR EACH ROW WHEN (NEW.reference <> OLD.reference)
  EXECUTE FUNCTION settled_refuse('a message is only ever given its receipt, once');
CREATE TRIGGER transfers_name AFTER UPDATE OF name ON transfers FOR EACH ROW
  WHEN (OLD.name IS NOT NULL AND NEW.name IS DISTINCT FROM OLD.name) EXECUTE FUNCTION settled_refuse('a name that was used stays');
CREATE TRIGGER reversals_name AFTER UPDATE ON reversals FOR EACH ROW
  WHEN ((OLD.name IS NOT NULL AND NEW.name IS DISTINCT FROM OLD.name) OR NEW.reference IS DISTINCT FROM OLD.reference OR NEW.order_hash <> OLD.order_hash)
  EXECUTE FUNCTION settled_refuse('what was asked for never changes');

CREATE UNIQUE INDEX transfers_name ON transfers (name) WHERE name IS NOT NULL;
CREATE UNIQUE INDEX reversals_name ON reversals (name) WHERE name IS NOT NULL;
CREATE UNIQUE INDEX reversals_reference ON reversals (transfer_id, reference) WHERE reference IS NOT NULL;
