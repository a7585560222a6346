-- What comes in: Stripe's events, people's messages, keys of repeated requests; and who may.

CREATE TABLE events (
  seq         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  id          text NOT NULL CONSTRAINT events_id UNIQUE,
  type        text NOT NULL,
  account     text NOT NULL,
  livemode    boolean NOT NULL,
  api_version text NOT NULL,
  object      text NOT NULL,
  created     timestamptz,
  payload     bytea NOT NULL,
  claimed_at  timestamptz NOT NULL,
  handled_at  timestamptz
);

CREATE INDEX events_unhandled ON events (seq) WHERE handled_at IS NULL;

CREATE TRIGGER events_once AFTER UPDATE ON events FOR EACH ROW
  WHEN (OLD.handled_at IS NOT NULL OR (NEW.seq, NEW.id, NEW.type, NEW.account, NEW.livemode, NEW.api_version, NEW.object, NEW.created, NEW.payload, NEW.claimed_at)
        IS DISTINCT FROM (OLD.seq, OLD.id, OLD.type, OLD.account, OLD.livemode, OLD.api_version, OLD.object, OLD.created, OLD.payload, OLD.claimed_at))
  EXECUTE FUNCTION settled_refuse('an event is only ever marked as handled, once');
CREATE TRIGGER events_keep BEFORE DELETE ON events FOR EACH ROW EXECUTE FUNCTION settled_refuse('rows are never deleted');
CREATE TRIGGER events_keep_all BEFORE TRUNCATE ON events EXECUTE FUNCTION settled_refuse('rows are never deleted');

CREATE TABLE messages (
  id            uuid PRIMARY KEY,
  transfer_id   uuid NOT NULL,
  type          text NOT NULL,
  principal     text NOT NULL,
  reason        text NOT NULL,
  amount        bigint NOT NULL,
  until         timestamptz,
  outcome       text NOT NULL,
  stripe_id     text NOT NULL,
  before        text NOT NULL, -- as it was when the message came
  at            timestamptz NOT NULL,
  -- the receipt, once
  acted_before  text, -- as it was when the message acted
  acted_after   text,
  refusal       text,
  done_at       timestamptz
);

CREATE INDEX messages_transfer ON messages (transfer_id, id);

CREATE TRIGGER messages_once AFTER UPDATE ON messages FOR EACH ROW
  WHEN (OLD.done_at IS NOT NULL OR (NEW.id, NEW.transfer_id, NEW.type, NEW.principal, NEW.reason, NEW.amount, NEW.until, NEW.outcome, NEW.stripe_id, NEW.before, NEW.at)
        IS DISTINCT FROM (OLD.id, OLD.transfer_id, OLD.type, OLD.principal, OLD.reason, OLD.amount, OLD.until, OLD.outcome, OLD.stripe_id, OLD.before, OLD.at))
  EXECUTE FUNCTION settled_refuse('a message is only ever given its receipt, once');
CREATE TRIGGER messages_keep BEFORE DELETE ON messages FOR EACH ROW EXECUTE FUNCTION settled_refuse('rows are never deleted');
CREATE TRIGGER messages_keep_all BEFORE TRUNCATE ON messages EXECUTE FUNCTION settled_refuse('rows are never deleted');

CREATE TABLE idempotency_keys (
  key         text PRIMARY KEY,
  fingerprint text NOT NULL,
  claimed_at  timestamptz NOT NULL,
  finished_at timestamptz,
  status      bigint NOT NULL,
  body        bytea
);

CREATE INDEX idempotency_keys_claimed_at ON idempotency_keys (claimed_at);

CREATE TABLE tokens (
  name       text PRIMARY KEY,
  prefix     text NOT NULL,
  hash       bytea NOT NULL CONSTRAINT tokens_hash UNIQUE,
  role       text NOT NULL,
  created_at timestamptz NOT NULL,
  revoked_at timestamptz,
  CONSTRAINT tokens_sha256 CHECK (length(hash) = 32)
);

CREATE TABLE meta (
  key   text PRIMARY KEY,
  value text NOT NULL
);
