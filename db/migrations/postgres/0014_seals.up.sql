-- Everything that is stored is covered by a hash that the audit recomputes: see ledger/content.go and seals.go.

-- The hash of the transfer's rows as the step left them.
ALTER TABLE history ADD COLUMN content bytea;

-- The chain across all of the history: each process writes its own, and begins with the ends of those that were there.
CREATE TABLE seal_chains (
  no    bigint NOT NULL PRIMARY KEY, -- from 1
  at    timestamptz NOT NULL,
  heads text NOT NULL, -- the ends of other chains, which none names yet
  hash  text NOT NULL
);

-- One row for each commit: which rows of the history it wrote.
CREATE TABLE seals (
  chain   bigint NOT NULL,
  no      bigint NOT NULL, -- from 1
  at      timestamptz NOT NULL,
  changes bigint NOT NULL, -- how many rows
  rows    bytea NOT NULL, -- which
  hash    text NOT NULL, -- of this seal, of its rows, and of the seal before
  PRIMARY KEY (chain, no)
);

ALTER TABLE seals ALTER COLUMN rows SET STORAGE EXTERNAL; -- it does not get smaller

CREATE TRIGGER seal_chains_keep BEFORE UPDATE OR DELETE ON seal_chains FOR EACH ROW EXECUTE FUNCTION settled_refuse('rows are only ever added');
CREATE TRIGGER seal_chains_keep_all BEFORE TRUNCATE ON seal_chains EXECUTE FUNCTION settled_refuse('rows are only ever added');
CREATE TRIGGER seals_keep BEFORE UPDATE OR DELETE ON seals FOR EACH ROW EXECUTE FUNCTION settled_refuse('rows are only ever added');
CREATE TRIGGER seals_keep_all BEFORE TRUNCATE ON seals EXECUTE FUNCTION settled_refuse('rows are only ever added');

-- Small tables whose rows change have one hash each, over all of their rows.
CREATE TABLE sums (
  name text NOT NULL PRIMARY KEY, -- of the table
  hash text NOT NULL
);

-- Rows that are kept for good, and of which little changes, have a hash each.
ALTER TABLE messages ADD COLUMN seal text, ADD COLUMN receipt_seal text;
ALTER TABLE events ADD COLUMN seal text;

-- Who accepts a finding does so for a time, and one that is about money is accepted by two.
ALTER TABLE drift ADD COLUMN accepted_until timestamptz,
  ADD COLUMN seconded_at timestamptz,
  ADD COLUMN seconded_message uuid,
  ADD COLUMN seconded_by text,
  ADD COLUMN seconded_reason text,
  ADD COLUMN seal text;
UPDATE drift SET accepted_until = accepted_at + interval '90 days' WHERE accepted_at IS NOT NULL;
DROP INDEX drift_open;
CREATE INDEX drift_open ON drift (id) WHERE cleared_at IS NULL;

-- And they are counted, each once: which of them there are.
CREATE TABLE censuses (
  name   text NOT NULL, -- of the table
  no     bigint NOT NULL, -- from 1
  at     timestamptz NOT NULL,
  since  text NOT NULL, -- where the one before ended
  until  text NOT NULL,
  number bigint NOT NULL, -- of rows
  hash   text NOT NULL, -- of their keys, and of the census before
  rows   bytea NOT NULL, -- their keys, and which transfers they are about; empty for events
  PRIMARY KEY (name, no)
);
CREATE INDEX messages_at ON messages (at, id);
CREATE INDEX drift_first_seen ON drift (first_seen, id);

CREATE TRIGGER messages_seal AFTER UPDATE OF seal, receipt_seal ON messages FOR EACH ROW
  WHEN (OLD.seal IS NOT NULL AND NEW.seal IS DISTINCT FROM OLD.seal OR OLD.receipt_seal IS NOT NULL AND OLD.done_at IS NOT NULL AND NEW.receipt_seal IS DISTINCT FROM OLD.receipt_seal)
  EXECUTE FUNCTION settled_refuse('a message is only ever given its receipt, once');
CREATE TRIGGER events_seal AFTER UPDATE OF seal ON events FOR EACH ROW WHEN (OLD.seal IS NOT NULL AND NEW.seal IS DISTINCT FROM OLD.seal)
  EXECUTE FUNCTION settled_refuse('an event is only ever marked as handled, once');
CREATE TRIGGER censuses_keep BEFORE UPDATE OR DELETE ON censuses FOR EACH ROW EXECUTE FUNCTION settled_refuse('rows are only ever added');
CREATE TRIGGER censuses_keep_all BEFORE TRUNCATE ON censuses EXECUTE FUNCTION settled_refuse('rows are only ever added');

-- What is there already gets its hashes, and its seals, once all migrations are applied: see rechain.go.
INSERT INTO meta (key, value) SELECT 'unsealed', 'what is older than the seals' WHERE EXISTS (SELECT 1 FROM transfers)
  OR EXISTS (SELECT 1 FROM messages) OR EXISTS (SELECT 1 FROM events) OR EXISTS (SELECT 1 FROM drift);
