-- Drift: the walks over Stripe and the ledger, and the differences that they found.

CREATE TABLE walks (
  no         integer NOT NULL PRIMARY KEY,
  owner      text NOT NULL,
  step       integer NOT NULL, -- guards every write
  began_at   text NOT NULL,
  touched_at text NOT NULL,
  until_at   text, -- what Stripe created before is still to be compared
  ended_at   text,
  reads      integer NOT NULL,
  at_stripe  integer NOT NULL,
  in_ledger  integer NOT NULL,
  different  integer NOT NULL,

  CONSTRAINT walks_cursor CHECK ((ended_at IS NULL) = (until_at IS NOT NULL))
) STRICT;

CREATE TRIGGER walks_once BEFORE UPDATE ON walks WHEN (OLD.ended_at IS NOT NULL OR NEW.no <> OLD.no OR NEW.began_at <> OLD.began_at)
  BEGIN SELECT RAISE(ABORT, 'walks: a walk that has ended never changes'); END;
CREATE TRIGGER walks_keep BEFORE DELETE ON walks BEGIN SELECT RAISE(ABORT, 'walks: rows are never deleted'); END;

CREATE TABLE drift (
  id              text NOT NULL PRIMARY KEY,
  identity        text NOT NULL CONSTRAINT drift_identity UNIQUE, -- class, transfer and Stripe ID: what it is
  class           text NOT NULL,
  transfer_id     text,
  stripe_id       text NOT NULL,
  object          text NOT NULL, -- the transfer at Stripe that it is about
  detail          text NOT NULL,
  amount          integer NOT NULL,
  currency        text NOT NULL,
  walk            integer NOT NULL, -- that saw it last, or could not look
  first_seen      text NOT NULL,
  last_seen       text NOT NULL,
  opened_at       text NOT NULL,
  cleared_at      text,
  repair          text NOT NULL,
  applied_at      text,
  applied_message text,
  applied_by      text,
  applied_reason  text,
  accepted_at     text,
  accepted_message text,
  accepted_by     text,
  accepted_reason text
) STRICT;

CREATE INDEX drift_class ON drift (class, id);
CREATE INDEX drift_there ON drift (object) WHERE cleared_at IS NULL;
CREATE INDEX drift_open ON drift (id) WHERE cleared_at IS NULL AND accepted_at IS NULL;

CREATE TRIGGER drift_same BEFORE UPDATE ON drift
  WHEN ((NEW.id, NEW.identity, NEW.class, NEW.transfer_id, NEW.stripe_id, NEW.object, NEW.first_seen) IS NOT
        (OLD.id, OLD.identity, OLD.class, OLD.transfer_id, OLD.stripe_id, OLD.object, OLD.first_seen))
  BEGIN SELECT RAISE(ABORT, 'drift: a finding stays what it is'); END;
CREATE TRIGGER drift_keep BEFORE DELETE ON drift BEGIN SELECT RAISE(ABORT, 'drift: rows are never deleted'); END;

-- What the ledger says Stripe holds, by when it was sent: the order in which it is compared with
-- what Stripe lists.
CREATE INDEX transfers_sent ON transfers (coalesce(first_sent_at, created_at), id, stripe_id) WHERE stripe_id IS NOT NULL;
