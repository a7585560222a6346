-- Drift: the walks over Stripe and the ledger, and the differences that they found.

CREATE TABLE walks (
  no         bigint PRIMARY KEY,
  owner      uuid NOT NULL,
  step       bigint NOT NULL, -- guards every write
  began_at   timestamptz NOT NULL,
  touched_at timestamptz NOT NULL,
  until_at   timestamptz, -- what Stripe created before is still to be compared
  ended_at   timestamptz,
  reads      bigint NOT NULL,
  at_stripe  bigint NOT NULL,
  in_ledger  bigint NOT NULL,
  different  bigint NOT NULL,

  CONSTRAINT walks_cursor CHECK ((ended_at IS NULL) = (until_at IS NOT NULL))
);

CREATE TRIGGER walks_once AFTER UPDATE ON walks FOR EACH ROW
  WHEN (OLD.ended_at IS NOT NULL OR NEW.no <> OLD.no OR NEW.began_at <> OLD.began_at)
  EXECUTE FUNCTION settled_refuse('a walk that has ended never changes');
CREATE TRIGGER walks_keep BEFORE DELETE ON walks FOR EACH ROW EXECUTE FUNCTION settled_refuse('rows are never deleted');
CREATE TRIGGER walks_keep_all BEFORE TRUNCATE ON walks EXECUTE FUNCTION settled_refuse('rows are never deleted');

CREATE TABLE drift (
  id              uuid PRIMARY KEY,
  identity        text NOT NULL CONSTRAINT drift_identity UNIQUE, -- class, transfer and Stripe ID: what it is
  class           text NOT NULL,
  transfer_id     uuid,
  stripe_id       text NOT NULL,
  object          text NOT NULL, -- the transfer at Stripe that it is about
  detail          text NOT NULL,
  amount          bigint NOT NULL,
  currency        text NOT NULL,
  walk            bigint NOT NULL, -- that saw it last, or could not look
  first_seen      timestamptz NOT NULL,
  last_seen       timestamptz NOT NULL,
  opened_at       timestamptz NOT NULL,
  cleared_at      timestamptz,
  repair          text NOT NULL,
  applied_at      timestamptz,
  applied_message uuid,
  applied_by      text,
  applied_reason  text,
  accepted_at     timestamptz,
  accepted_message uuid,
  accepted_by     text,
  accepted_reason text
);

CREATE INDEX drift_class ON drift (class, id);
CREATE INDEX drift_there ON drift (object) WHERE cleared_at IS NULL;
CREATE INDEX drift_open ON drift (id) WHERE cleared_at IS NULL AND accepted_at IS NULL;

CREATE TRIGGER drift_same AFTER UPDATE ON drift FOR EACH ROW
  WHEN ((NEW.id, NEW.identity, NEW.class, NEW.transfer_id, NEW.stripe_id, NEW.object, NEW.first_seen) IS DISTINCT FROM
        (OLD.id, OLD.identity, OLD.class, OLD.transfer_id, OLD.stripe_id, OLD.object, OLD.first_seen))
  EXECUTE FUNCTION settled_refuse('a finding stays what it is');
CREATE TRIGGER drift_keep BEFORE DELETE ON drift FOR EACH ROW EXECUTE FUNCTION settled_refuse('rows are never deleted');
CREATE TRIGGER drift_keep_all BEFORE TRUNCATE ON drift EXECUTE FUNCTION settled_refuse('rows are never deleted');

-- What the ledger says Stripe holds, by when it was sent: the order in which it is compared with
-- what Stripe lists.
CREATE INDEX transfers_sent ON transfers (coalesce(first_sent_at, created_at), id, stripe_id) WHERE stripe_id IS NOT NULL;
