package ledger

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"time"
)

// The history says which step was taken, and not all that the step left in the rows: who is owed,
// how much, under which key, since when. So each history row also carries the hash of the rows as
// the step left them. Those of the newest row must be the hash of the rows as they are; it is in
// the chain, so nobody changes the one to go with the other.
//
// It is four hashes, so that whoever finds a difference can say where it is. Each is cut to what
// still leaves no hope of a second text for it.

const contentPart = 12 // bytes

// parts names the parts of a content, in order.
var parts = [...]string{"its order", "its state", "its reversals", "its holds"}

// pen writes values one after the other, so that no two lists of values give one text.
type pen []byte

func (p *pen) str(s string) {
	*p = binary.AppendUvarint(*p, uint64(len(s)))
	*p = append(*p, s...)
}
func (p *pen) num(n int64) { *p = binary.AppendVarint(*p, n) }
func (p *pen) id(id ID)    { *p = append(*p, id[:]...) }
func (p *pen) flag(b bool) {
	if b {
		p.num(1)
	} else {
		p.num(0)
	}
}
func (p *pen) time(t time.Time) {
	if t.IsZero() { // no database keeps the year 1 as a number
		p.num(0)
		return
	}
	p.num(t.UnixMicro())
}

// operation writes all that is stored of an operation.
func (p *pen) operation(o *Operation) {
	p.id(o.ID)
	p.str(string(o.State))
	p.time(o.Since)
	p.num(int64(o.Epoch))
	p.num(int64(o.Generation))
	p.str(o.RequestHash)
	p.time(o.FirstSentAt)
	p.num(int64(o.OpenSends))
	p.str(o.StripeID)
	p.str(o.ErrorCode)
	p.str(o.ErrorMessage)
	p.id(o.Name)
	p.num(int64(o.Seen))
}

// content returns the hash of a transfer's rows: its own, those of its reversals, and the holds that stand.
func (t *Transfer) content() []byte {
	sum := make([]byte, 0, len(parts)*contentPart)
	text := make(pen, 0, 512) // most parts fit
	cut := func() {
		h := sha256.Sum256(text)
		sum, text = append(sum, h[:contentPart]...), text[:0]
	}
	o := &t.Order
	text.id(t.ID)
	text.str(o.Reference)
	text.str(t.OrderHash)
	text.str(o.Seller)
	text.str(o.Destination)
	text.num(o.Money.Amount)
	text.str(string(o.Money.Currency))
	text.str(o.SourceTransaction)
	text.str(o.TransferGroup)
	text.str(o.Description)
	text.time(o.NotBefore)
	for _, k := range slices.Sorted(maps.Keys(o.Metadata)) {
		text.str(k)
		text.str(o.Metadata[k])
	}
	text.str("")
	text.time(t.CreatedAt)
	cut()

	text.operation(&t.Operation)
	text.num(t.Version)
	text.time(t.Since)
	text.str(string(t.HeldBy))
	text.time(t.HoldEndsAt)
	text.num(t.AmountReversed)
	cut()

	for i := range t.Reversals { // by their numbers
		r := &t.Reversals[i]
		text.operation(&r.Operation)
		text.str(r.Reference)
		text.str(r.OrderHash)
		text.num(r.Amount)
		text.str(r.Cause)
		text.flag(r.External)
		text.time(r.CreatedAt)
	}
	cut()

	holds := t.Holds
	if len(holds) > 1 {
		holds = slices.SortedFunc(slices.Values(holds), func(a, b Hold) int { return cmp.Or(cmp.Compare(a.Begun, b.Begun), bytes.Compare(a.ID[:], b.ID[:])) })
	}
	for i := range holds {
		h := &holds[i]
		text.id(h.ID)
		text.id(h.Operation)
		text.str(string(h.Source))
		text.str(h.Reason)
		text.str(h.By)
		text.time(h.Since)
		text.time(h.Until)
		text.num(h.Begun)
	}
	cut()
	return sum
}

// checkContent compares the rows of a transfer with the hash in its newest history row.
func (t *Transfer) checkContent(newest *History) error {
	is := t.content()
	if len(newest.Content) != len(is) {
		return fmt.Errorf("version %d of its history has no hash of the rows that it left", newest.Version)
	}
	for i, name := range parts {
		found, expected := is[i*contentPart:][:contentPart], newest.Content[i*contentPart:][:contentPart]
		if !bytes.Equal(found, expected) {
			return fmt.Errorf("%s is not as version %d of its history left it: found the hash %s, expected %s",
				name, newest.Version, hex.EncodeToString(found), hex.EncodeToString(expected))
		}
	}
	return nil
}
