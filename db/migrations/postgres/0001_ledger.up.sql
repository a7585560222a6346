-- The ledger: transfers, their reversals, and the append-only record of what happened to them.

CREATE FUNCTION settled_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION '%: %', TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation';
END $$;

CREATE TABLE transfers (
  -- what changes, guarded by version
  id              uuid PRIMARY KEY,
  version         bigint NOT NULL,
  state           text NOT NULL,
  since           timestamptz NOT NULL,
  epoch           bigint NOT NULL,
  generation      bigint NOT NULL,
  request_hash    text NOT NULL,
  first_sent_at   timestamptz,
  open_sends      bigint NOT NULL,
  stripe_id       text,
  error_code      text NOT NULL,
  error_message   text NOT NULL,
  held_by         text NOT NULL,
  held_until      timestamptz,
  amount_reversed bigint NOT NULL,
  -- what never does
  reference          text NOT NULL CONSTRAINT transfers_reference UNIQUE,
  order_hash         text NOT NULL,
  seller             text NOT NULL,
  destination        text NOT NULL,
  amount             bigint NOT NULL,
  currency           text NOT NULL,
  source_transaction text NOT NULL,
  transfer_group     text NOT NULL,
  description        text NOT NULL,
  not_before         timestamptz,
  metadata           text NOT NULL,
  created_at         timestamptz NOT NULL,

  CONSTRAINT transfers_state CHECK (state IN ('held', 'pending', 'sending', 'failed', 'unresolved', 'parked', 'completed',
    'reversal_pending', 'partially_reversed', 'reversed', 'canceled', 'permanently_failed')),
  CONSTRAINT transfers_version CHECK (version >= 1),
  CONSTRAINT transfers_amount CHECK (amount >= 1),
  CONSTRAINT transfers_amount_reversed CHECK (amount_reversed >= 0 AND amount_reversed <= amount),
  CONSTRAINT transfers_reversed CHECK (state <> 'reversed' OR amount_reversed = amount),
  CONSTRAINT transfers_currency CHECK (currency ~ '^[a-z]{3}$'),
  CONSTRAINT transfers_open_sends CHECK (open_sends >= 0 AND generation >= 0),
  CONSTRAINT transfers_held CHECK ((state = 'held') = (held_by <> '')),
  CONSTRAINT transfers_at_stripe CHECK (CASE
    WHEN state IN ('completed', 'reversal_pending', 'partially_reversed', 'reversed') THEN stripe_id IS NOT NULL
    WHEN state = 'permanently_failed' THEN true
    ELSE stripe_id IS NULL END),
  -- Intent before call: what may have moved money says under which key, and since when.
  CONSTRAINT transfers_intent CHECK (state NOT IN ('sending', 'unresolved', 'parked')
    OR (generation >= 1 AND request_hash <> '' AND first_sent_at IS NOT NULL))
);

CREATE UNIQUE INDEX transfers_stripe_id ON transfers (stripe_id) WHERE stripe_id IS NOT NULL;
CREATE INDEX transfers_unfinished ON transfers (id)
  WHERE state = 'pending' OR state = 'sending' OR state = 'failed' OR state = 'unresolved' OR state = 'reversal_pending'
    OR (state = 'held' AND held_until IS NOT NULL);
CREATE INDEX transfers_seller ON transfers (seller, id);
CREATE INDEX transfers_destination ON transfers (destination, id);
-- Lists by state, and all that the counts by state and currency read.
CREATE INDEX transfers_by_state ON transfers (state, id) INCLUDE (currency, amount, since);
CREATE INDEX transfers_error_code ON transfers (error_code, id) WHERE error_code <> '';
CREATE INDEX transfers_created_at ON transfers (created_at);

-- Conditions, not bodies: they cost no call of a function when they do not hold, and the
-- second is not even asked by a statement that sets none of its columns. After, not before:
-- a row that is looked at before its update is locked first, which is one more record of WAL.
CREATE TRIGGER transfers_guard AFTER UPDATE ON transfers FOR EACH ROW
  WHEN (NEW.version <> OLD.version + 1) EXECUTE FUNCTION settled_refuse('a change must raise the version by one');
CREATE TRIGGER transfers_order AFTER UPDATE OF id, reference, order_hash, seller, destination, amount, currency, source_transaction,
    transfer_group, description, not_before, metadata, created_at ON transfers FOR EACH ROW
  WHEN ((NEW.id, NEW.reference, NEW.order_hash, NEW.seller, NEW.destination, NEW.amount, NEW.currency, NEW.source_transaction,
         NEW.transfer_group, NEW.description, NEW.not_before, NEW.metadata, NEW.created_at) IS DISTINCT FROM
        (OLD.id, OLD.reference, OLD.order_hash, OLD.seller, OLD.destination, OLD.amount, OLD.currency, OLD.source_transaction,
         OLD.transfer_group, OLD.description, OLD.not_before, OLD.metadata, OLD.created_at))
  EXECUTE FUNCTION settled_refuse('an order never changes once accepted');
CREATE TRIGGER transfers_keep BEFORE DELETE ON transfers FOR EACH ROW EXECUTE FUNCTION settled_refuse('rows are never deleted');
CREATE TRIGGER transfers_keep_all BEFORE TRUNCATE ON transfers EXECUTE FUNCTION settled_refuse('rows are never deleted');

CREATE TABLE reversals (
  id            uuid PRIMARY KEY,
  transfer_id   uuid NOT NULL REFERENCES transfers (id),
  no            bigint NOT NULL, -- from 0, in the order they were made
  state         text NOT NULL,
  since         timestamptz NOT NULL,
  epoch         bigint NOT NULL,
  generation    bigint NOT NULL,
  request_hash  text NOT NULL,
  first_sent_at timestamptz,
  open_sends    bigint NOT NULL,
  stripe_id     text,
  error_code    text NOT NULL,
  error_message text NOT NULL,
  external      boolean NOT NULL,
  amount        bigint NOT NULL,
  cause         text NOT NULL,
  created_at    timestamptz NOT NULL,

  CONSTRAINT reversals_no UNIQUE (transfer_id, no),
  CONSTRAINT reversals_state CHECK (state IN ('pending', 'sending', 'failed', 'unresolved', 'parked', 'completed', 'canceled', 'permanently_failed')),
  CONSTRAINT reversals_amount CHECK (amount >= 1),
  CONSTRAINT reversals_open_sends CHECK (open_sends >= 0 AND generation >= 0),
  CONSTRAINT reversals_at_stripe CHECK ((state = 'completed') = (stripe_id IS NOT NULL)),
  CONSTRAINT reversals_intent CHECK (state NOT IN ('sending', 'unresolved', 'parked')
    OR (generation >= 1 AND request_hash <> '' AND first_sent_at IS NOT NULL))
);

CREATE UNIQUE INDEX reversals_stripe_id ON reversals (stripe_id) WHERE stripe_id IS NOT NULL;

CREATE TRIGGER reversals_order AFTER UPDATE ON reversals FOR EACH ROW
  WHEN ((NEW.id, NEW.transfer_id, NEW.no, NEW.amount, NEW.cause, NEW.created_at) IS DISTINCT FROM
        (OLD.id, OLD.transfer_id, OLD.no, OLD.amount, OLD.cause, OLD.created_at))
  EXECUTE FUNCTION settled_refuse('what was asked for never changes');
CREATE TRIGGER reversals_keep BEFORE DELETE ON reversals FOR EACH ROW EXECUTE FUNCTION settled_refuse('rows are never deleted');
CREATE TRIGGER reversals_keep_all BEFORE TRUNCATE ON reversals EXECUTE FUNCTION settled_refuse('rows are never deleted');

-- history and postings name their transfer without a foreign key: they are written by one
-- statement each, for transfers that the same transaction wrote, and a check of each row
-- would cost more than the rest of the commit. The audit compares them.
CREATE TABLE history (
  transfer_id        uuid NOT NULL,
  version            bigint NOT NULL,
  subject            uuid NOT NULL,
  kind               text NOT NULL,
  at                 timestamptz NOT NULL,
  event              text NOT NULL,
  from_state         text NOT NULL,
  to_state           text NOT NULL,
  status             text NOT NULL,
  epoch              bigint NOT NULL,
  generation         bigint NOT NULL,
  open_sends         bigint NOT NULL,
  answer_row         text,
  answer_verdict     text,
  answer_reaction    text,
  answer_scope       bigint,
  answer_stripe_id   text,
  answer_http_status bigint,
  answer_code        text,
  answer_param       text,
  answer_message     text,
  answer_request_id  text,
  answer_replayed    boolean,
  answer_alert       boolean,
  message_id         uuid,
  principal          text,
  reason             text,
  detail             text,
  PRIMARY KEY (transfer_id, version),
  CONSTRAINT history_kind CHECK (kind IN ('transfer', 'reversal'))
);

CREATE TRIGGER history_keep BEFORE UPDATE OR DELETE ON history FOR EACH ROW EXECUTE FUNCTION settled_refuse('rows are only ever added');
CREATE TRIGGER history_keep_all BEFORE TRUNCATE ON history EXECUTE FUNCTION settled_refuse('rows are only ever added');

CREATE TABLE postings (
  transfer_id uuid NOT NULL,
  version     bigint NOT NULL, -- with transfer_id: the history row that is the entry
  no          bigint NOT NULL,
  at          timestamptz NOT NULL,
  account     text NOT NULL,
  amount      bigint NOT NULL,
  currency    text NOT NULL,
  PRIMARY KEY (transfer_id, version, no),
  CONSTRAINT postings_account CHECK (account IN ('clearing', 'owed', 'in_flight', 'paid', 'returning')),
  CONSTRAINT postings_amount CHECK (amount <> 0)
);

CREATE TRIGGER postings_keep BEFORE UPDATE OR DELETE ON postings FOR EACH ROW EXECUTE FUNCTION settled_refuse('rows are only ever added');
CREATE TRIGGER postings_keep_all BEFORE TRUNCATE ON postings EXECUTE FUNCTION settled_refuse('rows are only ever added');
