-- How long an answer asked to wait (Retry-After), in nanoseconds.

ALTER TABLE history ADD COLUMN answer_retry_after bigint CHECK (answer_retry_after >= 0);

-- A reversal that Stripe has taken, and makes when the seller has the balance.

ALTER TABLE reversals DROP CONSTRAINT reversals_state;
ALTER TABLE reversals ADD CONSTRAINT reversals_state CHECK (state IN ('pending', 'sending', 'failed', 'unresolved', 'parked', 'pending_at_stripe', 'completed', 'canceled', 'permanently_failed'));
