-- How long an answer asked to wait (Retry-After), in nanoseconds.

ALTER TABLE history ADD COLUMN answer_retry_after integer CHECK (answer_retry_after >= 0);

-- A reversal that Stripe has taken, and makes when the seller has the balance. SQLite changes a
-- condition by a new table alone.

CREATE TABLE reversals_0007 (
  id            text NOT NULL PRIMARY KEY,
  transfer_id   text NOT NULL REFERENCES transfers (id),
  no            integer NOT NULL, -- from 0, in the order they were made
  state         text NOT NULL,
  since         text NOT NULL,
  epoch         integer NOT NULL,
  generation    integer NOT NULL,
  request_hash  text NOT NULL,
  first_sent_at text,
  open_sends    integer NOT NULL,
  stripe_id     text,
  error_code    text NOT NULL,
  error_message text NOT NULL,
  external      integer NOT NULL CHECK (external IN (0, 1)),
  amount        integer NOT NULL,
  cause         text NOT NULL,
  created_at    text NOT NULL,

  CONSTRAINT reversals_no UNIQUE (transfer_id, no),
  CONSTRAINT reversals_state CHECK (state = 'pending' OR state = 'sending' OR state = 'failed' OR state = 'unresolved' OR state = 'parked'
    OR state = 'pending_at_stripe' OR state = 'completed' OR state = 'canceled' OR state = 'permanently_failed'),
  CONSTRAINT reversals_amount CHECK (amount >= 1),
  CONSTRAINT reversals_open_sends CHECK (open_sends >= 0 AND generation >= 0),
  CONSTRAINT reversals_at_stripe CHECK ((state = 'completed') = (stripe_id IS NOT NULL)),
  CONSTRAINT reversals_intent CHECK ((state <> 'sending' AND state <> 'unresolved' AND state <> 'parked')
    OR (generation >= 1 AND request_hash <> '' AND first_sent_at IS NOT NULL))
) STRICT;

INSERT INTO reversals_0007 SELECT * FROM reversals;
DROP TABLE reversals;
ALTER TABLE reversals_0007 RENAME TO reversals;

CREATE UNIQUE INDEX reversals_stripe_id ON reversals (stripe_id) WHERE stripe_id IS NOT NULL;

CREATE TRIGGER reversals_order BEFORE UPDATE ON reversals
  WHEN ((NEW.id, NEW.transfer_id, NEW.no, NEW.amount, NEW.cause, NEW.created_at) IS NOT
        (OLD.id, OLD.transfer_id, OLD.no, OLD.amount, OLD.cause, OLD.created_at))
  BEGIN SELECT RAISE(ABORT, 'reversals: what was asked for never changes'); END;
CREATE TRIGGER reversals_keep BEFORE DELETE ON reversals BEGIN SELECT RAISE(ABORT, 'reversals: rows are never deleted'); END;
