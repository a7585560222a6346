package db

import (
	"strings"
	"testing"

	"github.com/settled/settled/ledger"
)

// The database itself refuses what may not be, whoever asks.
func TestTheDatabaseRefuses(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		pending, done := commit(t, d, accept(anOrder()), nil), completed(t, d)
		c, err := done.Reverse(newID(), newID().String(), 400, 1, ledger.By{Reason: "refund"})
		returning := commit(t, d, c, err)
		if _, err := d.StoreEvents(t.Context(), []ledger.StripeEvent{
			{ID: "evt_1", Type: "transfer.created", Payload: []byte("{}")}, {ID: "evt_2", Type: "transfer.created", Payload: []byte("{}")}}); err != nil {
			t.Fatal(err)
		}
		if err := d.HandleEvents(t.Context(), []string{"evt_2"}); err != nil {
			t.Fatal(err)
		}
		sent := ledger.Message{ID: newID(), Transfer: pending.ID, Type: ledger.MessageHold}
		if _, err := d.StoreMessage(t.Context(), sent, ledger.Pending); err != nil {
			t.Fatal(err)
		}
		if err := d.StoreReceipt(t.Context(), ledger.Receipt{Message: sent.ID}); err != nil {
			t.Fatal(err)
		}
		on := " WHERE id = '" + pending.ID.String() + "'"
		onDone := " WHERE id = '" + returning.ID.String() + "'"
		next := "UPDATE transfers SET version = version + 1, "
		for name, statement := range map[string]string{
			"a version that stays":           "UPDATE transfers SET error_code = 'x'" + on,
			"a version that jumps":           "UPDATE transfers SET version = version + 2" + on,
			"a version that falls":           "UPDATE transfers SET version = version - 1" + onDone,
			"another reference":              next + "reference = 'other'" + on,
			"another amount":                 next + "amount = amount + 1" + on,
			"another currency":               next + "currency = 'usd'" + on,
			"another destination":            next + "destination = 'acct_mine'" + on,
			"another seller":                 next + "seller = 'me'" + on,
			"another source":                 next + "source_transaction = 'ch_2'" + on,
			"another group":                  next + "transfer_group = 'g'" + on,
			"other metadata":                 next + "metadata = '{}'" + on,
			"another description":            next + "description = 'x'" + on,
			"another date":                   next + "not_before = created_at" + on,
			"another birth":                  next + "created_at = '2020-01-01T00:00:00.000000Z'" + on,
			"another ID":                     next + "id = '" + newID().String() + "'" + on,
			"another hash":                   next + "order_hash = ''" + on,
			"a state that there is not":      next + "state = 'lost'" + on,
			"a status that there is not":     next + "status = 'lost'" + on,
			"no state of an operation":       next + "state = 'held'" + on,
			"completed without Stripe":       next + "state = 'completed'" + on,
			"canceled at Stripe":             next + "state = 'canceled', stripe_id = 'tr_9'" + on,
			"pending at Stripe":              next + "stripe_id = 'tr_9'" + on,
			"sending without a request":      next + "state = 'sending'" + on,
			"held by nobody":                 next + "status = 'held'" + on,
			"a hold of what is not held":     next + "held_by = 'operator'" + on,
			"fewer than no sends":            next + "open_sends = -1" + on,
			"reversed but for a part":        next + "status = 'reversed'" + onDone,
			"more reversed than there was":   next + "amount_reversed = amount + 1" + onDone,
			"less than nothing reversed":     next + "amount_reversed = -1" + onDone,
			"two transfers of one Stripe ID": next + "state = 'completed', stripe_id = '" + done.Operation.StripeID + "'" + on,
			"no transfer":                    "DELETE FROM transfers" + on,
			"no transfers":                   "DELETE FROM transfers",

			"another amount of a reversal":   "UPDATE reversals SET amount = 1",
			"another cause":                  "UPDATE reversals SET cause = ''",
			"another transfer of a reversal": "UPDATE reversals SET transfer_id = '" + pending.ID.String() + "'",
			"a reversal without Stripe":      "UPDATE reversals SET state = 'completed'",
			"a reversal sent without key":    "UPDATE reversals SET state = 'sending'",
			"a reversal that is held":        "UPDATE reversals SET state = 'held'",
			"no reversal":                    "DELETE FROM reversals",

			"another history":       "UPDATE history SET detail = 'x'",
			"no history":            "DELETE FROM history",
			"another posting":       "UPDATE postings SET amount = amount + 1",
			"no postings":           "DELETE FROM postings",
			"a posting of nothing":  "INSERT INTO postings SELECT transfer_id, version, 9, at, account, 0, currency FROM postings",
			"a second version":      "INSERT INTO history SELECT * FROM history",
			"another event":         "UPDATE events SET type = 'x' WHERE id = 'evt_1'",
			"another payload":       "UPDATE events SET payload = 'x' WHERE id = 'evt_1'",
			"an event handled anew": "UPDATE events SET handled_at = '2020-01-01T00:00:00.000000Z' WHERE id = 'evt_2'",
			"an event unhandled":    "UPDATE events SET handled_at = NULL WHERE id = 'evt_2'",
			"a payload too early":   "UPDATE events SET payload = substr(payload, 1, 0) WHERE id = 'evt_1'",
			"a payload changed":     "UPDATE events SET payload = 'x' WHERE id = 'evt_2'",
			"emptied and changed":   "UPDATE events SET payload = substr(payload, 1, 0), object = 'x' WHERE id = 'evt_2'",
			"emptied and unhandled": "UPDATE events SET payload = substr(payload, 1, 0), handled_at = NULL WHERE id = 'evt_2'",
			"no event":              "DELETE FROM events",
			"another message":       "UPDATE messages SET reason = 'x'",
			"another override":      "UPDATE messages SET override = 'x'",
			"another receipt":       "UPDATE messages SET refusal = 'x'",
			"no message":            "DELETE FROM messages",
			"half a hash":           "INSERT INTO tokens (name, prefix, hash, role, created_at) VALUES ('a', '', 'abc', '', '2020-01-01T00:00:00.000000Z')",
		} {
			t.Run(name, func(t *testing.T) {
				err := exec(t.Context(), d, statement)
				if err == nil {
					t.Fatalf("taken: %s", statement)
				}
				if Transient(err) {
					t.Errorf("transient: %v", err)
				}
				text := err.Error()
				for _, slip := range []string{"syntax", "no such", "does not exist", "ambiguous", "datatype"} {
					if strings.Contains(text, slip) {
						t.Errorf("refused for another reason: %v", err)
					}
				}
			})
		}
		if d.Dialect() == "sqlite" {
			if err := exec(t.Context(), d, "INSERT OR REPLACE INTO history SELECT * FROM history"); err == nil {
				t.Error("history can be replaced")
			}
			return
		}
		for _, table := range []string{"transfers", "reversals", "history", "postings", "events", "messages"} {
			if err := exec(t.Context(), d, "TRUNCATE "+table+" CASCADE"); err == nil {
				t.Errorf("%s can be emptied", table)
			}
		}
	})
}
