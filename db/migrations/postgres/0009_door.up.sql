-- Who may come in, and for whom: the ledger's mode, the tokens of a principal, and names that are taken for each other.

-- A ledger is bound to an account and a mode. Of one that was bound before, or has orders, the events that it took tell
-- the mode: those of the other one were never stored. Where they do not, a person must say it.
INSERT INTO meta (key, value)
  SELECT 'mode', CASE WHEN bool_and(livemode) THEN 'live' ELSE 'test' END FROM events
  WHERE EXISTS (SELECT 1 FROM meta WHERE key = 'account') OR EXISTS (SELECT 1 FROM transfers)
  HAVING count(*) > 0 AND bool_and(livemode) = bool_or(livemode);

-- A name is a principal's, who may have several tokens: a key that is replaced is still the same client's.
ALTER TABLE tokens DROP CONSTRAINT tokens_pkey, DROP CONSTRAINT tokens_hash,
  ADD CONSTRAINT tokens_pkey PRIMARY KEY (hash), ADD COLUMN expires_at timestamptz;

-- References of the last day, by the skeleton that they share with those that people take them for.
CREATE TABLE skeletons (
  skeleton  text NOT NULL, -- a hash of it
  reference text NOT NULL,
  at        timestamptz NOT NULL,
  PRIMARY KEY (skeleton, reference)
);
CREATE INDEX skeletons_at ON skeletons (at);
