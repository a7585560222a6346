-- Holds stand side by side, each with its own source, reason and end, so that none shortens
-- another. The row of a transfer keeps which of them lasts longest, and when the next one ends.

CREATE TABLE holds (
  id          text NOT NULL PRIMARY KEY,
  transfer_id text NOT NULL REFERENCES transfers (id),
  operation   text NOT NULL, -- the transfer's ID, or a reversal's
  source      text NOT NULL,
  reason      text NOT NULL,
  principal   text NOT NULL,
  since       text NOT NULL,
  until       text,
  begun       integer NOT NULL, -- the version of the transfer that set it; 0: it is older than this table
  ended       integer,          -- the version that ended it
  ended_at    text,

  CONSTRAINT holds_source CHECK (source = 'operator' OR source = 'schedule' OR source = 'payment' OR source = 'dispute' OR source = 'refund'),
  CONSTRAINT holds_order CHECK (begun >= 0 AND (ended IS NULL OR ended > begun)),
  CONSTRAINT holds_ended CHECK ((ended IS NULL) = (ended_at IS NULL))
) STRICT;

CREATE INDEX holds_of ON holds (transfer_id, begun, id);

CREATE TRIGGER holds_guard BEFORE UPDATE ON holds
  WHEN (OLD.ended IS NOT NULL OR (NEW.id, NEW.transfer_id, NEW.operation, NEW.source, NEW.reason, NEW.principal, NEW.since, NEW.until, NEW.begun) IS NOT
        (OLD.id, OLD.transfer_id, OLD.operation, OLD.source, OLD.reason, OLD.principal, OLD.since, OLD.until, OLD.begun))
  BEGIN SELECT RAISE(ABORT, 'holds: one is ended once, and changes in nothing else'); END;
CREATE TRIGGER holds_keep BEFORE DELETE ON holds BEGIN SELECT RAISE(ABORT, 'holds: rows are never deleted'); END;

-- What is held has its one hold, with the words of the history row that set it.
INSERT INTO holds (id, transfer_id, operation, source, reason, principal, since, until, begun)
  SELECT t.id, t.id, t.id, t.held_by, COALESCE(h.reason, ''), COALESCE(h.principal, ''), t.since, t.held_until, 0
  FROM transfers AS t LEFT JOIN history AS h ON h.transfer_id = t.id AND h.version = t.version
  WHERE t.state = 'held';
-- A hold by another source took the place of the order's own date, which stands again.
INSERT INTO holds (id, transfer_id, operation, source, reason, principal, since, until, begun)
  SELECT substr(id, 1, 14) || '8' || substr(id, 16), id, id, 'schedule', 'the order''s not_before', '', created_at, not_before, 0
  FROM transfers WHERE state = 'held' AND held_by <> 'schedule' AND not_before IS NOT NULL;

DROP INDEX transfers_unfinished;
ALTER TABLE transfers RENAME COLUMN held_until TO hold_ends_at;
CREATE INDEX transfers_unfinished ON transfers (id)
  WHERE state = 'pending' OR state = 'sending' OR state = 'failed' OR state = 'unresolved' OR state = 'reversal_pending'
    OR (state = 'held' AND hold_ends_at IS NOT NULL);

DROP TRIGGER transfers_guard;
UPDATE transfers SET hold_ends_at = (SELECT min(until) FROM holds WHERE holds.transfer_id = transfers.id),
    held_by = CASE WHEN hold_ends_at IS NOT NULL AND not_before > hold_ends_at THEN 'schedule' ELSE held_by END
  WHERE state = 'held';
CREATE TRIGGER transfers_guard BEFORE UPDATE ON transfers
  WHEN (NEW.version <> OLD.version + 1) BEGIN SELECT RAISE(ABORT, 'transfers: a change must raise the version by one'); END;

ALTER TABLE messages ADD COLUMN reversal text;
ALTER TABLE messages ADD COLUMN override text;
CREATE TRIGGER messages_about BEFORE UPDATE OF reversal, override ON messages
  WHEN ((NEW.reversal, NEW.override) IS NOT (OLD.reversal, OLD.override))
  BEGIN SELECT RAISE(ABORT, 'messages: a message is only ever given its receipt, once'); END;
