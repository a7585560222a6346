-- The ledger: transfers, their reversals, and the append-only record of what happened to them.
--
-- No condition here asks for membership in a longer list: SQLite makes a table of such a list
-- each time it asks, which costs more than the row.

CREATE TABLE transfers (
  -- what changes, guarded by version
  id              text NOT NULL PRIMARY KEY,
  version         integer NOT NULL,
  state           text NOT NULL,
  since           text NOT NULL,
  epoch           integer NOT NULL,
  generation      integer NOT NULL,
  request_hash    text NOT NULL,
  first_sent_at   text,
  open_sends      integer NOT NULL,
  stripe_id       text,
  error_code      text NOT NULL,
  error_message   text NOT NULL,
  held_by         text NOT NULL,
  held_until      text,
  amount_reversed integer NOT NULL,
  -- what never does
  reference          text NOT NULL CONSTRAINT transfers_reference UNIQUE,
  order_hash         text NOT NULL,
  seller             text NOT NULL,
  destination        text NOT NULL,
  amount             integer NOT NULL,
  currency           text NOT NULL,
  source_transaction text NOT NULL,
  transfer_group     text NOT NULL,
  description        text NOT NULL,
  not_before         text,
  metadata           text NOT NULL,
  created_at         text NOT NULL,

  CONSTRAINT transfers_state CHECK (state = 'completed' OR state = 'sending' OR state = 'pending' OR state = 'held' OR state = 'failed'
    OR state = 'unresolved' OR state = 'parked' OR state = 'reversal_pending' OR state = 'partially_reversed' OR state = 'reversed'
    OR state = 'canceled' OR state = 'permanently_failed'),
  CONSTRAINT transfers_version CHECK (version >= 1),
  CONSTRAINT transfers_amount CHECK (amount >= 1),
  CONSTRAINT transfers_amount_reversed CHECK (amount_reversed >= 0 AND amount_reversed <= amount),
  CONSTRAINT transfers_reversed CHECK (state <> 'reversed' OR amount_reversed = amount),
  CONSTRAINT transfers_currency CHECK (currency GLOB '[a-z][a-z][a-z]'),
  CONSTRAINT transfers_open_sends CHECK (open_sends >= 0 AND generation >= 0),
  CONSTRAINT transfers_held CHECK ((state = 'held') = (held_by <> '')),
  CONSTRAINT transfers_at_stripe CHECK (CASE state
    WHEN 'completed' THEN stripe_id IS NOT NULL
    WHEN 'reversal_pending' THEN stripe_id IS NOT NULL
    WHEN 'partially_reversed' THEN stripe_id IS NOT NULL
    WHEN 'reversed' THEN stripe_id IS NOT NULL
    WHEN 'permanently_failed' THEN 1
    ELSE stripe_id IS NULL END),
  -- Intent before call: what may have moved money says under which key, and since when.
  CONSTRAINT transfers_intent CHECK ((state <> 'sending' AND state <> 'unresolved' AND state <> 'parked')
    OR (generation >= 1 AND request_hash <> '' AND first_sent_at IS NOT NULL))
) STRICT;

CREATE UNIQUE INDEX transfers_stripe_id ON transfers (stripe_id) WHERE stripe_id IS NOT NULL;
CREATE INDEX transfers_unfinished ON transfers (id)
  WHERE state = 'pending' OR state = 'sending' OR state = 'failed' OR state = 'unresolved' OR state = 'reversal_pending'
    OR (state = 'held' AND held_until IS NOT NULL);
CREATE INDEX transfers_seller ON transfers (seller, id);
CREATE INDEX transfers_destination ON transfers (destination, id);
-- Lists by state, and all that the counts by state and currency read.
CREATE INDEX transfers_by_state ON transfers (state, id, currency, amount, since);
CREATE INDEX transfers_error_code ON transfers (error_code, id) WHERE error_code <> '';
CREATE INDEX transfers_created_at ON transfers (created_at);

CREATE TRIGGER transfers_guard BEFORE UPDATE ON transfers
  WHEN (NEW.version <> OLD.version + 1) BEGIN SELECT RAISE(ABORT, 'transfers: a change must raise the version by one'); END;
CREATE TRIGGER transfers_order BEFORE UPDATE OF id, reference, order_hash, seller, destination, amount, currency, source_transaction,
    transfer_group, description, not_before, metadata, created_at ON transfers
  WHEN ((NEW.id, NEW.reference, NEW.order_hash, NEW.seller, NEW.destination, NEW.amount, NEW.currency, NEW.source_transaction,
         NEW.transfer_group, NEW.description, NEW.not_before, NEW.metadata, NEW.created_at) IS NOT
        (OLD.id, OLD.reference, OLD.order_hash, OLD.seller, OLD.destination, OLD.amount, OLD.currency, OLD.source_transaction,
         OLD.transfer_group, OLD.description, OLD.not_before, OLD.metadata, OLD.created_at))
  BEGIN SELECT RAISE(ABORT, 'transfers: an order never changes once accepted'); END;
CREATE TRIGGER transfers_keep BEFORE DELETE ON transfers BEGIN SELECT RAISE(ABORT, 'transfers: rows are never deleted'); END;

CREATE TABLE reversals (
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
    OR state = 'completed' OR state = 'canceled' OR state = 'permanently_failed'),
  CONSTRAINT reversals_amount CHECK (amount >= 1),
  CONSTRAINT reversals_open_sends CHECK (open_sends >= 0 AND generation >= 0),
  CONSTRAINT reversals_at_stripe CHECK ((state = 'completed') = (stripe_id IS NOT NULL)),
  CONSTRAINT reversals_intent CHECK ((state <> 'sending' AND state <> 'unresolved' AND state <> 'parked')
    OR (generation >= 1 AND request_hash <> '' AND first_sent_at IS NOT NULL))
) STRICT;

CREATE UNIQUE INDEX reversals_stripe_id ON reversals (stripe_id) WHERE stripe_id IS NOT NULL;

CREATE TRIGGER reversals_order BEFORE UPDATE ON reversals
  WHEN ((NEW.id, NEW.transfer_id, NEW.no, NEW.amount, NEW.cause, NEW.created_at) IS NOT
        (OLD.id, OLD.transfer_id, OLD.no, OLD.amount, OLD.cause, OLD.created_at))
  BEGIN SELECT RAISE(ABORT, 'reversals: what was asked for never changes'); END;
CREATE TRIGGER reversals_keep BEFORE DELETE ON reversals BEGIN SELECT RAISE(ABORT, 'reversals: rows are never deleted'); END;

-- history and postings name their transfer without a foreign key: they are written by one
-- statement each, for transfers that the same transaction wrote, and a check of each row
-- would cost more than the rest of the commit. The audit compares them.
CREATE TABLE history (
  transfer_id        text NOT NULL,
  version            integer NOT NULL,
  subject            text NOT NULL,
  kind               text NOT NULL,
  at                 text NOT NULL,
  event              text NOT NULL,
  from_state         text NOT NULL,
  to_state           text NOT NULL,
  status             text NOT NULL,
  epoch              integer NOT NULL,
  generation         integer NOT NULL,
  open_sends         integer NOT NULL,
  answer_row         text,
  answer_verdict     text,
  answer_reaction    text,
  answer_scope       integer,
  answer_stripe_id   text,
  answer_http_status integer,
  answer_code        text,
  answer_param       text,
  answer_message     text,
  answer_request_id  text,
  answer_replayed    integer CHECK (answer_replayed IN (0, 1)),
  answer_alert       integer CHECK (answer_alert IN (0, 1)),
  message_id         text,
  principal          text,
  reason             text,
  detail             text,
  PRIMARY KEY (transfer_id, version),
  CONSTRAINT history_kind CHECK (kind = 'transfer' OR kind = 'reversal')
) STRICT, WITHOUT ROWID;

CREATE TRIGGER history_keep_update BEFORE UPDATE ON history BEGIN SELECT RAISE(ABORT, 'history: rows are only ever added'); END;
CREATE TRIGGER history_keep BEFORE DELETE ON history BEGIN SELECT RAISE(ABORT, 'history: rows are only ever added'); END;

CREATE TABLE postings (
  transfer_id text NOT NULL,
  version     integer NOT NULL, -- with transfer_id: the history row that is the entry
  no          integer NOT NULL,
  at          text NOT NULL,
  account     text NOT NULL,
  amount      integer NOT NULL,
  currency    text NOT NULL,
  PRIMARY KEY (transfer_id, version, no),
  CONSTRAINT postings_account CHECK (account = 'owed' OR account = 'in_flight' OR account = 'paid' OR account = 'clearing' OR account = 'returning'),
  CONSTRAINT postings_amount CHECK (amount <> 0)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER postings_keep_update BEFORE UPDATE ON postings BEGIN SELECT RAISE(ABORT, 'postings: rows are only ever added'); END;
CREATE TRIGGER postings_keep BEFORE DELETE ON postings BEGIN SELECT RAISE(ABORT, 'postings: rows are only ever added'); END;
