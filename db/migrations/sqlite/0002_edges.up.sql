-- What comes in: Stripe's events, people's messages, keys of repeated requests; and who may.

CREATE TABLE events (
  seq         integer PRIMARY KEY AUTOINCREMENT,
  id          text NOT NULL CONSTRAINT events_id UNIQUE,
  type        text NOT NULL,
  account     text NOT NULL,
  livemode    integer NOT NULL CHECK (livemode IN (0, 1)),
  api_version text NOT NULL,
  object      text NOT NULL,
  created     text,
  payload     blob NOT NULL,
  claimed_at  text NOT NULL,
  handled_at  text
) STRICT;

CREATE INDEX events_unhandled ON events (seq) WHERE handled_at IS NULL;

CREATE TRIGGER events_once BEFORE UPDATE ON events
  WHEN (OLD.handled_at IS NOT NULL OR (NEW.seq, NEW.id, NEW.type, NEW.account, NEW.livemode, NEW.api_version, NEW.object, NEW.created, NEW.payload, NEW.claimed_at)
        IS NOT (OLD.seq, OLD.id, OLD.type, OLD.account, OLD.livemode, OLD.api_version, OLD.object, OLD.created, OLD.payload, OLD.claimed_at))
  BEGIN SELECT RAISE(ABORT, 'events: an event is only ever marked as handled, once'); END;
CREATE TRIGGER events_keep BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'events: rows are never deleted'); END;

CREATE TABLE messages (
  id            text NOT NULL PRIMARY KEY,
  transfer_id   text NOT NULL,
  type          text NOT NULL,
  principal     text NOT NULL,
  reason        text NOT NULL,
  amount        integer NOT NULL,
  until         text,
  outcome       text NOT NULL,
  stripe_id     text NOT NULL,
  before        text NOT NULL, -- as it was when the message came
  at            text NOT NULL,
  -- the receipt, once
  acted_before  text, -- as it was when the message acted
  acted_after   text,
  refusal       text,
  done_at       text
) STRICT;

CREATE INDEX messages_transfer ON messages (transfer_id, id);

CREATE TRIGGER messages_once BEFORE UPDATE ON messages
  WHEN (OLD.done_at IS NOT NULL OR (NEW.id, NEW.transfer_id, NEW.type, NEW.principal, NEW.reason, NEW.amount, NEW.until, NEW.outcome, NEW.stripe_id, NEW.before, NEW.at)
        IS NOT (OLD.id, OLD.transfer_id, OLD.type, OLD.principal, OLD.reason, OLD.amount, OLD.until, OLD.outcome, OLD.stripe_id, OLD.before, OLD.at))
  BEGIN SELECT RAISE(ABORT, 'messages: a message is only ever given its receipt, once'); END;
CREATE TRIGGER messages_keep BEFORE DELETE ON messages BEGIN SELECT RAISE(ABORT, 'messages: rows are never deleted'); END;

CREATE TABLE idempotency_keys (
  key         text NOT NULL PRIMARY KEY,
  fingerprint text NOT NULL,
  claimed_at  text NOT NULL,
  finished_at text,
  status      integer NOT NULL,
  body        blob
) STRICT;

CREATE INDEX idempotency_keys_claimed_at ON idempotency_keys (claimed_at);

CREATE TABLE tokens (
  name       text NOT NULL PRIMARY KEY,
  prefix     text NOT NULL,
  hash       blob NOT NULL CONSTRAINT tokens_hash UNIQUE,
  role       text NOT NULL,
  created_at text NOT NULL,
  revoked_at text,
  CONSTRAINT tokens_sha256 CHECK (length(hash) = 32)
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
  key   text NOT NULL PRIMARY KEY,
  value text NOT NULL
) STRICT, WITHOUT ROWID;
