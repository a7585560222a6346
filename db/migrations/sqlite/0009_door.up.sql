-- Who may come in, and for whom: the ledger's mode, the tokens of a principal, and names that are taken for each other.

-- A ledger is bound to an account and a mode. Of one that was bound before, or has orders, the events that it took tell
-- the mode: those of the other one were never stored. Where they do not, a person must say it.
INSERT INTO meta (key, value)
  SELECT 'mode', CASE min(livemode) WHEN 1 THEN 'live' ELSE 'test' END FROM events
  WHERE EXISTS (SELECT 1 FROM meta WHERE key = 'account') OR EXISTS (SELECT 1 FROM transfers)
  HAVING count(*) > 0 AND min(livemode) = max(livemode);

-- A name is a principal's, who may have several tokens: a key that is replaced is still the same client's.
ALTER TABLE tokens RENAME TO tokens_of_one;
CREATE TABLE tokens (
  hash       blob NOT NULL PRIMARY KEY,
  name       text NOT NULL,
  prefix     text NOT NULL,
  role       text NOT NULL,
  created_at text NOT NULL,
  expires_at text,
  revoked_at text,
  CONSTRAINT tokens_sha256 CHECK (length(hash) = 32)
) STRICT, WITHOUT ROWID;
INSERT INTO tokens (hash, name, prefix, role, created_at, revoked_at) SELECT hash, name, prefix, role, created_at, revoked_at FROM tokens_of_one;
DROP TABLE tokens_of_one;

-- References of the last day, by the skeleton that they share with those that people take them for.
CREATE TABLE skeletons (
  skeleton  text NOT NULL, -- a hash of it
  reference text NOT NULL,
  at        text NOT NULL,
  PRIMARY KEY (skeleton, reference)
) STRICT, WITHOUT ROWID;
CREATE INDEX skeletons_at ON skeletons (at);
