-- Holds stand side by side, each with its own source, reason and end, so that none shortens
-- another. The row of a transfer keeps which of them lasts longest, and when the next one ends.

CREATE TABLE holds (
  id          uuid PRIMARY KEY,
  transfer_id uuid NOT NULL REFERENCES transfers (id),
  operation   uuid NOT NULL, -- the transfer's ID, or a reversal's
  source      text NOT NULL,
  reason      text NOT NULL,
  principal   text NOT NULL,
  since       timestamptz NOT NULL,
  until       timestamptz,
  begun       bigint NOT NULL, -- the version of the transfer that set it; 0: it is older than this table
  ended       bigint,          -- the version that ended it
  ended_at    timestamptz,

  CONSTRAINT holds_source CHECK (source IN ('operator', 'schedule', 'payment', 'dispute', 'refund')),
  CONSTRAINT holds_order CHECK (begun >= 0 AND (ended IS NULL OR ended > begun)),
  CONSTRAINT holds_ended CHECK ((ended IS NULL) = (ended_at IS NULL))
);

CREATE INDEX holds_of ON holds (transfer_id, begun, id);

CREATE TRIGGER holds_guard AFTER UPDATE ON holds FOR EACH ROW
  WHEN (OLD.ended IS NOT NULL OR (NEW.id, NEW.transfer_id, NEW.operation, NEW.source, NEW.reason, NEW.principal, NEW.since, NEW.until, NEW.begun) IS DISTINCT FROM
        (OLD.id, OLD.transfer_id, OLD.operation, OLD.source, OLD.reason, OLD.principal, OLD.since, OLD.until, OLD.begun))
  EXECUTE FUNCTION settled_refuse('one is ended once, and changes in nothing else');
CREATE TRIGGER holds_keep BEFORE DELETE ON holds FOR EACH ROW EXECUTE FUNCTION settled_refuse('rows are never deleted');
CREATE TRIGGER holds_keep_all BEFORE TRUNCATE ON holds EXECUTE FUNCTION settled_refuse('rows are never deleted');

-- What is held has its one hold, with the words of the history row that set it.
INSERT INTO holds (id, transfer_id, operation, source, reason, principal, since, until, begun)
  SELECT t.id, t.id, t.id, t.held_by, COALESCE(h.reason, ''), COALESCE(h.principal, ''), t.since, t.held_until, 0
  FROM transfers AS t LEFT JOIN history AS h ON h.transfer_id = t.id AND h.version = t.version
  WHERE t.state = 'held';
-- A hold by another source took the place of the order's own date, which stands again.
INSERT INTO holds (id, transfer_id, operation, source, reason, principal, since, until, begun)
  SELECT overlay(id::text placing '8' from 15 for 1)::uuid, id, id, 'schedule', 'the order''s not_before', '', created_at, not_before, 0
  FROM transfers WHERE state = 'held' AND held_by <> 'schedule' AND not_before IS NOT NULL;

DROP INDEX transfers_unfinished;
ALTER TABLE transfers RENAME COLUMN held_until TO hold_ends_at;
CREATE INDEX transfers_unfinished ON transfers (id)
  WHERE state = 'pending' OR state = 'sending' OR state = 'failed' OR state = 'unresolved' OR state = 'reversal_pending'
    OR (state = 'held' AND hold_ends_at IS NOT NULL);

ALTER TABLE transfers DISABLE TRIGGER transfers_guard;
UPDATE transfers SET hold_ends_at = (SELECT min(until) FROM holds WHERE holds.transfer_id = transfers.id),
    held_by = CASE WHEN hold_ends_at IS NOT NULL AND not_before > hold_ends_at THEN 'schedule' ELSE held_by END
  WHERE state = 'held';
ALTER TABLE transfers ENABLE TRIGGER transfers_guard;

ALTER TABLE messages ADD COLUMN reversal uuid;
ALTER TABLE messages ADD COLUMN override text;
CREATE TRIGGER messages_about AFTER UPDATE OF reversal, override ON messages FOR EACH ROW
  WHEN ((NEW.reversal, NEW.override) IS DISTINCT FROM (OLD.reversal, OLD.override))
  EXECUTE FUNCTION settled_refuse('a message is only ever given its receipt, once');
