-- A person's word on clocks that disagree: which is right, and how far off the others were then. The messages have
-- it too; here stands whether it lasts. The table has a hash over all of its rows, in sums.

CREATE TABLE trusts (
  id             uuid PRIMARY KEY, -- of the message
  clock          text NOT NULL CONSTRAINT trusts_clock CHECK (clock = 'database' OR clock = 'stripe' OR clock = 'machine'),
  principal      text NOT NULL,
  reason         text NOT NULL,
  at             timestamptz NOT NULL,
  database_ahead bigint NOT NULL, -- of the machine's wall clock, in nanoseconds
  stripe_ahead   bigint NOT NULL,
  ended_at       timestamptz,
  ended          text, -- why

  CONSTRAINT trusts_ended CHECK ((ended_at IS NULL) = (ended IS NULL))
);

CREATE TRIGGER trusts_once AFTER UPDATE ON trusts FOR EACH ROW
  WHEN (OLD.ended_at IS NOT NULL OR (NEW.id, NEW.clock, NEW.principal, NEW.reason, NEW.at, NEW.database_ahead, NEW.stripe_ahead) IS DISTINCT FROM
        (OLD.id, OLD.clock, OLD.principal, OLD.reason, OLD.at, OLD.database_ahead, OLD.stripe_ahead))
  EXECUTE FUNCTION settled_refuse('a word is ended once, and changes in nothing else');
CREATE TRIGGER trusts_keep BEFORE DELETE ON trusts FOR EACH ROW EXECUTE FUNCTION settled_refuse('rows are never deleted');
CREATE TRIGGER trusts_keep_all BEFORE TRUNCATE ON trusts EXECUTE FUNCTION settled_refuse('rows are never deleted');
