-- Everything that is stored is covered by a hash that the audit recomputes: see ledger/content.go and seals.go.

-- The hash of the transfer's rows as the step left them.
ALTER TABLE history ADD COLUMN content blob;

-- The chain across all of the history: each process writes its own, and begins with the ends of those that were there.
CREATE TABLE seal_chains (
  no    integer NOT NULL PRIMARY KEY, -- from 1
  at    text NOT NULL,
  heads text NOT NULL, -- the ends of other chains, which none names yet
  hash  text NOT NULL
) STRICT, WITHOUT ROWID;

-- One row for each commit: which rows of the history it wrote.
CREATE TABLE seals (
  chain   integer NOT NULL,
  no      integer NOT NULL, -- from 1
  at      text NOT NULL,
  changes integer NOT NULL, -- how many rows
  rows    blob NOT NULL, -- which
  hash    text NOT NULL, -- of this seal, of its rows, and of the seal before
  PRIMARY KEY (chain, no)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER seal_chains_keep_update BEFORE UPDATE ON seal_chains BEGIN SELECT RAISE(ABORT, 'seal_chains: rows are only ever added'); END;
CREATE TRIGGER seal_chains_keep BEFORE DELETE ON seal_chains BEGIN SELECT RAISE(ABORT, 'seal_chains: rows are only ever added'); END;
CREATE TRIGGER seals_keep_update BEFORE UPDATE ON seals BEGIN SELECT RAISE(ABORT, 'seals: rows are only ever added'); END;
CREATE TRIGGER seals_keep BEFORE DELETE ON seals BEGIN SELECT RAISE(ABORT, 'seals: rows are only ever added'); END;

-- Small tables whose rows change have one hash each, over all of their rows.
CREATE TABLE sums (
  name text NOT NULL PRIMARY KEY, -- of the table
  hash text NOT NULL
) STRICT, WITHOUT ROWID;

-- Rows that are kept for good, and of which little changes, have a hash each.
ALTER TABLE messages ADD COLUMN seal text;
ALTER TABLE messages ADD COLUMN receipt_seal text;
ALTER TABLE events ADD COLUMN seal text;

-- Who accepts a finding does so for a time, and one that is about money is accepted by two.
ALTER TABLE drift ADD COLUMN accepted_until text;
ALTER TABLE drift ADD COLUMN seconded_at text;
ALTER TABLE drift ADD COLUMN seconded_message text;
ALTER TABLE drift ADD COLUMN seconded_by text;
ALTER TABLE drift ADD COLUMN seconded_reason text;
ALTER TABLE drift ADD COLUMN seal text;
UPDATE drift SET accepted_until = strftime('%Y-%m-%dT%H:%M:%S', accepted_at, '+90 days') || '.000000Z' WHERE accepted_at IS NOT NULL;
DROP INDEX drift_open;
CREATE INDEX drift_open ON drift (id) WHERE cleared_at IS NULL;

-- And they are counted, each once: which of them there are.
CREATE TABLE censuses (
  name   text NOT NULL, -- of the table
  no     integer NOT NULL, -- from 1
  at     text NOT NULL,
  since  text NOT NULL, -- where the one before ended
  until  text NOT NULL,
  number integer NOT NULL, -- of rows
  hash   text NOT NULL, -- of their keys, and of the census before
  rows   blob NOT NULL, -- their keys, and which transfers they are about; empty for events
  PRIMARY KEY (name, no)
) STRICT, WITHOUT ROWID;
CREATE INDEX messages_at ON messages (at, id);
CREATE INDEX drift_first_seen ON drift (first_seen, id);

CREATE TRIGGER messages_seal BEFORE UPDATE OF seal, receipt_seal ON messages
  WHEN (OLD.seal IS NOT NULL AND NEW.seal IS NOT OLD.seal OR OLD.receipt_seal IS NOT NULL AND OLD.done_at IS NOT NULL AND NEW.receipt_seal IS NOT OLD.receipt_seal)
  BEGIN SELECT RAISE(ABORT, 'messages: a message is only ever given its receipt, once'); END;
CREATE TRIGGER events_seal BEFORE UPDATE OF seal ON events WHEN (OLD.seal IS NOT NULL AND NEW.seal IS NOT OLD.seal)
  BEGIN SELECT RAISE(ABORT, 'events: an event is only ever marked as handled, once'); END;
CREATE TRIGGER censuses_keep_update BEFORE UPDATE ON censuses BEGIN SELECT RAISE(ABORT, 'censuses: rows are only ever added'); END;
CREATE TRIGGER censuses_keep BEFORE DELETE ON censuses BEGIN SELECT RAISE(ABORT, 'censuses: rows are only ever added'); END;

-- What is there already gets its hashes, and its seals, once all migrations are applied: see rechain.go.
INSERT INTO meta (key, value) SELECT 'unsealed', 'what is older than the seals' WHERE EXISTS (SELECT 1 FROM transfers)
  OR EXISTS (SELECT 1 FROM messages) OR EXISTS (SELECT 1 FROM events) OR EXISTS (SELECT 1 FROM drift);
