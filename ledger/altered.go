package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// An order is hashed when it is accepted; the hash is stored with the row, and is in the first link
// of its chain. It is computed anew before anything is sent: what was changed in between, by
// whatever hand, is not what was ordered.

// ErrAltered reports an operation that is not as it was ordered. Nothing of it is sent.
var ErrAltered = fmt.Errorf("it is not as it was ordered")

// CodeAltered is the error code of an operation that was set aside because of that.
const CodeAltered = "order_altered"

// Altered reports an operation that is not as it was ordered.
func (t *Transfer) Altered(op *Operation) bool {
	if t.Order.Hash() != t.OrderHash {
		return true
	}
	if op == nil || op.ID == t.ID {
		return false
	}
	r := &t.Reversals[t.index(op)]
	return !r.External && r.OrderHash != t.ReversalHash(r)
}

// ReversalHash names what was asked for by a reversal. The reason is not in it: who asks again may
// word it otherwise.
func (t *Transfer) ReversalHash(r *Reversal) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %s", t.OrderHash, r.Amount, r.Reference))
	return hex.EncodeToString(sum[:])
}

// ordered is what a history row that begins an operation adds to the chain, beside itself: what was
// ordered.
func (t *Transfer) ordered(h *History) string {
	if h.Version == 1 {
		return t.Order.Hash()
	}
	if h.Event == EventReverse && h.Kind == MakeReversal {
		for i := range t.Reversals {
			if r := &t.Reversals[i]; r.ID == h.Subject {
				return t.ReversalHash(r)
			}
		}
	}
	return ""
}

// setApart says that something was altered, for people.
func setApart(kind Kind) string {
	return fmt.Sprintf("The %s in the database is not as it was ordered: somebody or something changed it. Nothing of it is sent.", strings.ToLower(kind.String()))
}

// HashReversals gives reversals of a time before the hash theirs, where it is proved that they are as
// they were asked for, and returns which. Of one that was sent the postings in its history tell the
// amount; of one that was not, the message that asked for it, whose amount is in asked (0: all that
// remained). Nothing else of it is sent, and the cause is in its history. One of which nothing is proved
// keeps none, and is set aside like any that was altered: a person compares and asks again.
func (t *Transfer) HashReversals(rows []History, postings map[int64][]Posting, asked map[ID]int64) (hashed []int) {
	rest := t.Money.Amount
	for i := range t.Reversals {
		r := &t.Reversals[i]
		if r.OrderHash == "" && !r.External && r.asAsked(rest, rows, postings, asked) {
			r.OrderHash, hashed = t.ReversalHash(r), append(hashed, i)
		}
		if r.State != Canceled && r.State != PermanentlyFailed {
			rest -= r.Amount
		}
	}
	return hashed
}

func (r *Reversal) asAsked(rest int64, rows []History, postings map[int64][]Posting, asked map[ID]int64) (proved bool) {
	for i := range rows {
		h := &rows[i]
		if h.Subject != r.ID {
			continue
		}
		for _, p := range postings[h.Version] {
			if p.Amount != r.Amount && p.Amount != -r.Amount {
				return false
			}
			proved = true
		}
		if h.Event != EventReverse {
			continue
		}
		if h.By.Reason != r.Cause {
			return false
		}
		amount, known := asked[h.By.Message]
		proved = proved || known && (amount == r.Amount || amount == 0 && rest == r.Amount)
	}
	return proved
}
