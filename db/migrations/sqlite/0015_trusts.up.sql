-- A person's word on clocks that disagree: which is right, and how far off the others were then. The messages have
-- it too; here stands whether it lasts. The table has a hash over all of its rows, in sums.

CREATE TABLE trusts (
  id             text NOT NULL PRIMARY KEY, -- of the message
  clock          text NOT NULL CONSTRAINT trusts_clock CHECK (clock = 'database' OR clock = 'stripe' OR clock = 'machine'),
  principal      text NOT NULL,
  reason         text NOT NULL,
  at             text NOT NULL,
  database_ahead integer NOT NULL, -- of the machine's wall clock, in nanoseconds
  stripe_ahead   integer NOT NULL,
  ended_at       text,
  ended          text, -- why

  CONSTRAINT trusts_ended CHECK ((ended_at IS NULL) = (ended IS NULL))
) STRICT;

CREATE TRIGGER trusts_once BEFORE UPDATE ON trusts
  WHEN (OLD.ended_at IS NOT NULL OR (NEW.id, NEW.clock, NEW.principal, NEW.reason, NEW.at, NEW.database_ahead, NEW.stripe_ahead) IS NOT
        (OLD.id, OLD.clock, OLD.principal, OLD.reason, OLD.at, OLD.database_ahead, OLD.stripe_ahead))
  BEGIN SELECT RAISE(ABORT, 'trusts: a word is ended once, and changes in nothing else'); END;
CREATE TRIGGER trusts_keep BEFORE DELETE ON trusts BEGIN SELECT RAISE(ABORT, 'trusts: rows are never deleted'); END;
