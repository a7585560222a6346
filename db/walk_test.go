package db

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/settled/settled/ledger"
)

// walker takes transfers through whatever lives the ledger allows.
type walker struct {
	*rand.Rand
	p         ledger.Policy
	transfers []ledger.Transfer
	stripe    int // numbers Stripe's IDs
}

// texts that statements have got wrong before.
var texts = []string{"", "plain", "O'Brien", `back\slash`, `\'; DROP TABLE transfers; --`, "what? $1 :name ?0", `"quoted"`, "Zoë 🐟 日本", "  spaced  ", "tab\tand\nline", "%_[a-z]", "NULL", `{"a":"\u0000"}`, "/* no comment */ -- at all"}

func (w *walker) text() string { return texts[w.IntN(len(texts))] }

func (w *walker) by() ledger.By {
	by := ledger.By{Principal: w.text(), Reason: w.text()}
	if w.IntN(2) == 0 {
		by.Message = newID()
	}
	return by
}

func (w *walker) order() ledger.Order {
	o := ledger.Order{
		Reference: w.text() + newID().String(), Seller: "s" + w.text(), Destination: fmt.Sprintf("acct_%d", w.IntN(3)),
		Money:         ledger.Money{Amount: 1 + w.Int64N(5), Currency: []ledger.Currency{"eur", "usd", "jpy"}[w.IntN(3)]},
		TransferGroup: w.text(), Description: w.text(),
	}
	switch w.IntN(3) {
	case 0:
		o.Metadata = map[string]string{}
	case 1:
		o.Metadata = map[string]string{"k" + w.text(): w.text(), "other": w.text()}
	}
	if w.IntN(3) == 0 {
		o.SourceTransaction = "ch_1"
	}
	if w.IntN(4) == 0 {
		o.NotBefore = w.moment()
	}
	return o
}

func (w *walker) moment() time.Time {
	return time.UnixMicro(4e15 + w.Int64N(1e15)).In(time.FixedZone("", 3600))
}

func (w *walker) stripeID(prefix string) string {
	w.stripe++
	return fmt.Sprintf("%s_%d", prefix, w.stripe)
}

func (w *walker) answer(kind ledger.Kind) ledger.Answer {
	a := ledger.Answer{
		Row: fmt.Sprintf("T%d", w.IntN(28)), Verdict: ledger.Verdict(w.IntN(4)), Reaction: ledger.Reaction(w.IntN(6)), Scope: ledger.Scope(w.IntN(5)),
		HTTPStatus: []int{0, 200, 400, 429, 500}[w.IntN(5)], Code: w.text(), Param: w.text(), Message: w.text(), RequestID: w.text(),
		Replayed: w.IntN(2) == 0, Alert: w.IntN(2) == 0,
	}
	if a.Verdict == ledger.Done {
		if a.StripeID = w.stripeID("tr"); kind == ledger.MakeReversal {
			a.StripeID = w.stripeID("trr")
		}
	}
	return a
}

// step picks something that the ledger lets happen to t; false: what was picked, it does not.
func (w *walker) step(t ledger.Transfer) (c ledger.Change, ok bool) {
	// The walk knows nothing of Stripe's books: it may say that more came back than there was.
	// The ledger stops at that, and the walk takes another way.
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	var err error
	ok = true
	op, kind := t.Current()
	late := t.Operation.Since.Add(1000 * time.Hour)
	switch w.IntN(16) {
	case 0, 1, 2, 3:
		c, err = t.Begin(w.p, late.Add(-999*time.Hour))
	case 4, 5, 6, 7:
		if op == nil || !op.State.Open() {
			return c, false
		}
		c, ok, err = t.Conclude(op.ID, op.Epoch, op.Generation, w.answer(kind))
	case 8, 9:
		c, err = t.Reverse(newID(), newID().String(), w.Int64N(3), w.p.Epoch, w.by())
	case 10:
		if op == nil || !op.State.Open() {
			return c, false
		}
		if w.IntN(2) == 0 {
			c, err = t.Lost(w.text())
		} else {
			c, err = t.Absent(w.p, w.IntN(2) == 0, late)
		}
	case 11:
		if op == nil {
			return c, false
		}
		if w.IntN(2) == 0 {
			c, err = t.GiveUp(w.text(), w.text())
		} else {
			c, err = t.SetAside(w.text())
		}
	case 12:
		c, err = t.Retry(w.by())
	case 13:
		source := ledger.HoldSources[w.IntN(len(ledger.HoldSources))]
		about := t.ID
		if n := len(t.Reversals); n > 0 && w.IntN(2) == 0 {
			about = t.Reversals[w.IntN(n)].ID
		}
		switch w.IntN(5) {
		case 0:
			c, err = t.LetGo(about, "", w.by())
		case 1:
			c, err = t.LetGo(about, string(source), w.by())
		case 2:
			c, err = t.Lapse(late)
		default:
			if c, err = t.Hold(source, w.moment(), w.by()); about != t.ID {
				c, err = t.HoldReversal(about, source, w.moment(), w.by())
			}
		}
	case 14:
		if w.IntN(4) > 0 { // a canceled transfer's story is over
			return c, false
		}
		if c, err = t.Cancel(w.by()); len(t.Reversals) > 0 {
			c, err = t.CancelReversal(t.Reversals[w.IntN(len(t.Reversals))].ID, w.by())
		}
	case 15:
		if kind != ledger.MakeReversal || op == nil {
			return c, false
		}
		s := ledger.StripeTransfer{ID: t.Operation.StripeID, Amount: t.Money.Amount, Currency: t.Money.Currency, AmountReversed: t.AmountReversed}
		for range 1 + w.IntN(2) {
			amount := min(1+w.Int64N(t.Money.Amount), s.Amount-s.AmountReversed)
			if amount > 0 {
				s.AmountReversed += amount
				s.Reversals = append(s.Reversals, ledger.StripeReversal{ID: w.stripeID("trr"), Amount: amount})
			}
		}
		c, ok, err = t.Reconcile(s, w.answer(kind))
	}
	return c, ok && err == nil
}

// Whatever the ledger lets happen is stored, and read as it was stored.
func TestWalk(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	both(t, func(t *testing.T, d *DB) {
		t.Logf("SEED=%d", seed)
		w := &walker{Rand: rand.New(rand.NewPCG(seed, 1)), p: policy()}
		steps := 600
		if testing.Short() {
			steps = 150
		}
		seen := map[ledger.Event]int{}
		for range steps {
			w.round(t, d, seen)
		}
		sums, err := d.Unbalanced(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for currency, sum := range sums {
			if sum != 0 {
				t.Errorf("all postings in %s sum to %d", currency, sum)
			}
		}
		w.audit(t, d)
		t.Logf("%d transfers; %v", len(w.transfers), seen)
	})
}

// round commits a few changes together and looks at what is stored.
func (w *walker) round(t *testing.T, d *DB, seen map[ledger.Event]int) {
	var changes []ledger.Change
	var of []int
	for range 1 + w.IntN(4) {
		i := len(w.transfers)
		if n := i; n > 5 && w.IntN(12) > 0 {
			i = n - 1 - w.IntN(5) // a few at a time grow old
		}
		if slices.Contains(of, i) {
			continue
		}
		if i == len(w.transfers) {
			w.transfers = append(w.transfers, ledger.Transfer{})
			changes = append(changes, ledger.Accept(w.order(), newID(), w.p.Epoch, time.Now(), w.by()))
			of = append(of, i)
			continue
		}
		for range 20 { // most of what may be picked is illegal most of the time
			if c, ok := w.step(w.transfers[i]); ok {
				changes = append(changes, c)
				of = append(of, i)
				break
			}
		}
	}
	if len(changes) == 0 {
		return
	}
	at, won, err := d.Commit(t.Context(), changes)
	if err != nil {
		t.Fatal(err)
	}
	for j, c := range changes {
		seen[c.History.Event]++
		if !won[j] {
			t.Fatalf("change %d (%s of %s) lost", j, c.History.Event, c.After.ID)
		}
		if !c.History.At.Equal(at) {
			t.Errorf("a change was stamped %s in a commit of %s", c.History.At, at)
		}
		w.transfers[of[j]] = c.After
		w.compare(t, d, &c)
	}
}

// compare holds what is stored against what was committed.
func (w *walker) compare(t *testing.T, d *DB, c *ledger.Change) {
	want := c.After
	r := load(t, d, want.ID)
	if diff := cmp.Diff(want, r.Transfer); diff != "" {
		t.Fatalf("after %s (- committed, + loaded):\n%s", c.History.Event, diff)
	}
	if got, want := r.Transfer.Order.Hash(), want.Order.Hash(); got != want {
		t.Errorf("the order's hash changed on the way")
	}
	dossier, err := d.Dossier(t.Context(), want.ID, 0)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, dossier.Transfer); diff != "" {
		t.Fatalf("the dossier differs (-, +):\n%s", diff)
	}
	if n := len(dossier.History); int64(n) != want.Version {
		t.Fatalf("version %d has %d history rows", want.Version, n)
	}
	if diff := cmp.Diff(c.History, dossier.History[want.Version-1]); diff != "" {
		t.Fatalf("the history row differs (-, +):\n%s", diff)
	}
	var subject ledger.ID
	if op, _ := r.Transfer.Current(); op != nil {
		subject = op.ID
	}
	digest := ledger.Digest{}
	for _, h := range dossier.History {
		if h.Subject == subject {
			digest = digest.Add(h)
		}
	}
	if diff := cmp.Diff(digest, r.Digest); diff != "" {
		t.Fatalf("the digest differs from the history's (-, +):\n%s", diff)
	}
	books := ledger.Books{}
	var own []ledger.Posting
	for _, p := range dossier.Postings {
		books[p.Account] += p.Amount
		if p.Version == want.Version {
			own = append(own, p.Posting)
		}
		if p.Currency != want.Money.Currency {
			t.Errorf("a posting is in %s", p.Currency)
		}
	}
	if diff := cmp.Diff(c.Postings, own); diff != "" && len(c.Postings)+len(own) > 0 {
		t.Fatalf("the postings differ (-, +):\n%s", diff)
	}
	if !sameBooks(books, want.Books()) {
		t.Fatalf("after %s the postings sum to %v, and the states to %v", c.History.Event, books, want.Books())
	}
}

// audit pages through everything.
func (w *walker) audit(t *testing.T, d *DB) {
	byID := map[ledger.ID]ledger.Transfer{}
	for _, x := range w.transfers {
		byID[x.ID] = x
	}
	after, n := uuid.Nil, 0
	for {
		page, err := d.AuditPage(t.Context(), after, 7)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, row := range page {
			x := byID[row.Transfer.ID]
			if diff := cmp.Diff(x, row.Transfer); diff != "" {
				t.Fatalf("the audit's transfer differs (-, +):\n%s", diff)
			}
			if row.Versions != x.Version || row.LastStatus != x.Status() || row.Unbalanced != 0 || !sameBooks(row.Books, x.Books()) {
				t.Errorf("the audit of %s (version %d, %s, %v) says %+v", x.ID, x.Version, x.Status(), x.Books(), row)
			}
			after = row.Transfer.ID
			n++
		}
	}
	if n != len(byID) {
		t.Errorf("the audit saw %d of %d transfers", n, len(byID))
	}
	w.lists(t, d)
}

// lists holds the lists and counts against the transfers.
func (w *walker) lists(t *testing.T, d *DB) {
	type key struct {
		s ledger.State
		c ledger.Currency
	}
	want := map[key]Count{}
	unfinished := 0
	for _, x := range w.transfers {
		k := key{x.Status(), x.Money.Currency}
		c := want[k]
		c.Status, c.Currency = k.s, k.c
		c.Number++
		c.Amount += x.Money.Amount
		if c.Oldest.IsZero() || x.Since.Before(c.Oldest) {
			c.Oldest = x.Since
		}
		want[k] = c
		switch x.Status() {
		case ledger.Pending, ledger.Sending, ledger.FailedState, ledger.Unresolved, ledger.ReversalPending:
			unfinished++
		case ledger.Held:
			if !x.HoldEndsAt.IsZero() {
				unfinished++
			}
		}
	}
	counts, err := d.Counts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[key]Count{}
	for _, c := range counts {
		got[key{c.Status, c.Currency}] = c
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the counts differ (-, +):\n%s", diff)
	}
	for _, s := range ledger.States {
		n := int64(0)
		for k, c := range want {
			if k.s == s {
				n += c.Number
			}
		}
		records, err := d.List(t.Context(), ledger.Filter{Status: s, Limit: 100_000})
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(records)) != n {
			t.Errorf("%d transfers are listed as %s, not %d", len(records), s, n)
		}
	}
	var ids []ledger.ID
	after := uuid.Nil
	for {
		page, err := d.Unfinished(t.Context(), after, 5)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			if diff := cmp.Diff(load(t, d, r.Transfer.ID), r, cmp.FilterPath(func(p cmp.Path) bool { return p.String() == "ReadAt" }, cmp.Ignore())); diff != "" {
				t.Fatalf("an unfinished record differs from the loaded one (-, +):\n%s", diff)
			}
			ids = append(ids, r.Transfer.ID)
		}
		after = ids[len(ids)-1]
	}
	if len(ids) != unfinished || !slices.IsSortedFunc(ids, func(a, b ledger.ID) int { return slices.Compare(a[:], b[:]) }) {
		t.Errorf("%d unfinished, not %d, or not in order", len(ids), unfinished)
	}
	again, err := d.UnfinishedIDs(t.Context(), uuid.Nil, 100_000)
	if err != nil || !slices.Equal(ids, again) {
		t.Errorf("the IDs of unfinished transfers differ: %v", err)
	}
}

// sameBooks compares what accounts hold; one that holds nothing is as good as none.
func sameBooks(a, b ledger.Books) bool {
	trim := func(b ledger.Books) ledger.Books {
		b = maps.Clone(b)
		maps.DeleteFunc(b, func(_ ledger.Account, n int64) bool { return n == 0 })
		return b
	}
	return maps.Equal(trim(a), trim(b))
}
