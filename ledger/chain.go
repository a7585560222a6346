package ledger

import (
	"fmt"
)

// A transfer's history is a chain: each row carries the hash of the row before and of its own
// content with its postings, and the transfer carries the last. A row that is changed, taken
// out, put in or exchanged breaks it, by whatever hand. (Who can write to the database, past
// its triggers, and knows this file can forge all of a transfer's chain: it shows accidents
// and clumsy hands. An auditor who keeps the last hashes elsewhere sees that as well.)

// link returns the hash of a row that follows the one with the hash prev, empty for none.
func (h *History) link(prev string, postings []Posting) string {
	text := make(pen, 0, 640) // most rows fit
	str, num, flag := text.str, text.num, text.flag
	str(prev)
	text = append(text, h.Transfer[:]...)
	num(h.Version)
	text = append(text, h.Subject[:]...)
	str(h.Kind.String())
	num(h.At.UnixMicro())
	str(string(h.Event))
	str(string(h.From))
	str(string(h.To))
	str(string(h.Status))
	num(int64(h.Epoch))
	num(int64(h.Generation))
	num(int64(h.OpenSends))
	a := &h.Answer
	str(a.Row)
	str(a.Verdict.String())
	str(a.Reaction.String())
	num(int64(a.Scope))
	str(a.StripeID)
	num(int64(a.HTTPStatus))
	str(a.Code)
	str(a.Param)
	str(a.Message)
	str(a.RequestID)
	flag(a.Replayed)
	flag(a.Alert)
	if a.RetryAfter != 0 { // rows that were written before it was known have none
		str("retry_after")
		num(int64(a.RetryAfter))
	}
	text = append(text, h.By.Message[:]...)
	str(h.By.Principal)
	str(h.By.Reason)
	str(h.Detail)
	for _, p := range postings {
		str(string(p.Account))
		num(p.Amount)
		str(string(p.Currency))
	}
	for i := range h.Holds {
		// No account is called so: rows without holds hash as they did before there were any.
		switch d := &h.Holds[i]; {
		case d.Begun == h.Version:
			str("hold begins")
			text = append(text, d.ID[:]...)
			text = append(text, d.Operation[:]...)
			str(string(d.Source))
			str(d.Reason)
			str(d.By)
			num(d.Since.UnixMicro())
			num(d.Until.UnixMicro())
		default:
			str("hold ends")
			text = append(text, d.ID[:]...)
			num(d.EndedAt.UnixMicro())
		}
	}
	if h.Content != nil { // all but the newest of the rows that are older than the content
		str("content")
		str(string(h.Content))
	}
	return hash(text)
}

// CheckChain reports the first row at which a transfer's history does not hang together, or leads to
// other rows than those that are there, or nil. The rows come by version, with the postings of each.
func (t *Transfer) CheckChain(rows []History, postings map[int64][]Posting) error {
	prev := ""
	for i := range rows {
		h := &rows[i]
		if h.Version != int64(i)+1 {
			return fmt.Errorf("row %d of its history is version %d", i+1, h.Version)
		}
		if is := h.link(prev+t.ordered(h), postings[h.Version]); h.Chain != is {
			return fmt.Errorf("version %d of its history, or a posting or hold of it, is not as it was written: found the hash %s, expected %s",
				h.Version, short(is), short(h.Chain))
		}
		prev = h.Chain
	}
	if prev != t.Chain {
		return fmt.Errorf("its history does not end with the row that it was written with last: found the hash %s, expected %s", short(prev), short(t.Chain))
	}
	if len(rows) == 0 {
		return fmt.Errorf("it has no history")
	}
	return t.checkContent(&rows[len(rows)-1])
}

// short is the beginning of a hash, for people.
func short(hash string) string {
	if hash == "" {
		return "none"
	}
	return hash[:min(len(hash), 16)]
}

// Rechain gives a history that is older than the chain, or than a part of what it covers, its hashes.
// What has a hash already must be as that says: where it is not, nothing is changed, and the audit
// goes on to tell of it.
func (t *Transfer) Rechain(rows []History, postings map[int64][]Posting) error {
	prev := ""
	for i := range rows {
		h := &rows[i]
		if h.Chain == "" && prev == "" {
			continue
		}
		if h.Chain != h.link(prev+t.ordered(h), postings[h.Version]) && h.Chain != h.link(prev, postings[h.Version]) {
			// The second is of a time when the order was not in the chain.
			return fmt.Errorf("version %d of its history is not as it was written", h.Version)
		}
		prev = h.Chain
	}
	if prev != t.Chain {
		return fmt.Errorf("its history does not end with the row that it was written with last")
	}
	prev = ""
	for i := range rows {
		h := &rows[i]
		h.Content = nil
		if i == len(rows)-1 {
			h.Content = t.content()
		}
		h.Chain = h.link(prev+t.ordered(h), postings[h.Version])
		prev = h.Chain
	}
	t.Chain = prev
	return nil
}
