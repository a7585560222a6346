-- The payload of a handled event may be emptied, for it can hold what is personal; nothing else of it ever changes.

DROP TRIGGER events_once;

CREATE TRIGGER events_once BEFORE UPDATE ON events
  WHEN ((NEW.seq, NEW.id, NEW.type, NEW.account, NEW.livemode, NEW.api_version, NEW.object, NEW.created, NEW.claimed_at)
        IS NOT (OLD.seq, OLD.id, OLD.type, OLD.account, OLD.livemode, OLD.api_version, OLD.object, OLD.created, OLD.claimed_at)
        OR OLD.handled_at IS NULL AND NEW.payload IS NOT OLD.payload
        OR OLD.handled_at IS NOT NULL AND (NEW.handled_at IS NOT OLD.handled_at OR length(NEW.payload) > 0))
  BEGIN SELECT RAISE(ABORT, 'events: an event is only ever marked as handled, once, and then relieved of its payload'); END;

CREATE INDEX events_payload ON events (handled_at) WHERE handled_at IS NOT NULL AND length(payload) > 0;
