-- The payload of a handled event may be emptied, for it can hold what is personal; nothing else of it ever changes.

DROP TRIGGER events_once ON events;

CREATE TRIGGER events_once AFTER UPDATE ON events FOR EACH ROW
  WHEN ((NEW.seq, NEW.id, NEW.type, NEW.account, NEW.livemode, NEW.api_version, NEW.object, NEW.created, NEW.claimed_at)
        IS DISTINCT FROM (OLD.seq, OLD.id, OLD.type, OLD.account, OLD.livemode, OLD.api_version, OLD.object, OLD.created, OLD.claimed_at)
        OR OLD.handled_at IS NULL AND NEW.payload IS DISTINCT FROM OLD.payload
        OR OLD.handled_at IS NOT NULL AND (NEW.handled_at IS DISTINCT FROM OLD.handled_at OR length(NEW.payload) > 0))
  EXECUTE FUNCTION settled_refuse('an event is only ever marked as handled, once, and then relieved of its payload');

CREATE INDEX events_payload ON events (handled_at) WHERE handled_at IS NOT NULL AND length(payload) > 0;
