-- A transfer has an operation, with a state of its own; its status is derived from that, its holds and its reversals, and
-- is stored for lists and counts alone.

DROP INDEX transfers_by_state;
ALTER TABLE transfers RENAME COLUMN state TO status;
ALTER TABLE transfers ADD COLUMN state text NOT NULL DEFAULT 'pending', ADD COLUMN entered_at timestamptz NOT NULL DEFAULT 'epoch';
CREATE INDEX transfers_by_status ON transfers (status, id) INCLUDE (currency, amount, since);

ALTER TABLE transfers DISABLE TRIGGER transfers_guard;
UPDATE transfers SET entered_at = since,
    state = CASE WHEN stripe_id IS NOT NULL THEN 'completed' WHEN status = 'held' THEN 'pending' ELSE status END;
ALTER TABLE transfers ENABLE TRIGGER transfers_guard;

ALTER TABLE transfers ALTER COLUMN state DROP DEFAULT, ALTER COLUMN entered_at DROP DEFAULT,
  ADD CONSTRAINT transfers_operation CHECK (state IN ('pending', 'sending', 'failed', 'unresolved', 'parked', 'completed', 'canceled', 'permanently_failed')),
  ADD CONSTRAINT transfers_completed CHECK ((state = 'completed') = (stripe_id IS NOT NULL)),
  ADD CONSTRAINT transfers_open CHECK (state NOT IN ('sending', 'unresolved', 'parked') OR (generation >= 1 AND request_hash <> '' AND first_sent_at IS NOT NULL));

ALTER TABLE reversals RENAME COLUMN since TO entered_at;
