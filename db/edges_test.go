package db

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
)

func hash(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

func TestInbox(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		var events []ledger.StripeEvent
		for i := range 5 {
			events = append(events, ledger.StripeEvent{
				ID: fmt.Sprintf("evt_%d", 9-i), Type: "transfer.created", Account: "acct_1", Livemode: i%2 == 0, APIVersion: "2023-10-16",
				Object: "tr_1", Created: time.Unix(int64(1000-i), 0).UTC(), Payload: []byte{'{', 0, 0xff, '\'', '\\', '}'},
			})
		}
		events[3].Payload, events[3].Created = []byte{}, time.Time{}
		fresh, err := d.StoreEvents(t.Context(), append(events, events[1]))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]bool{true, true, true, true, true, false}, fresh); diff != "" {
			t.Error(diff)
		}
		fresh, err = d.StoreEvents(t.Context(), []ledger.StripeEvent{events[0], {ID: "evt_new"}})
		if err != nil || fresh[0] || !fresh[1] {
			t.Errorf("%v, %v", fresh, err)
		}
		page, err := d.UnhandledEvents(t.Context(), "", 3)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(events[:3], page); diff != "" {
			t.Errorf("by arrival (-, +):\n%s", diff)
		}
		page, err = d.UnhandledEvents(t.Context(), page[2].ID, 2)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(events[3:], page); diff != "" {
			t.Errorf("the next page (-, +):\n%s", diff)
		}
		for range 2 { // to say it again changes nothing
			if err := d.HandleEvents(t.Context(), []string{events[0].ID, events[2].ID, "evt_unknown"}); err != nil {
				t.Fatal(err)
			}
		}
		page, err = d.UnhandledEvents(t.Context(), "", 100)
		if err != nil || len(page) != 4 || page[0].ID != events[1].ID {
			t.Errorf("%v, %v", page, err)
		}
		if page, err = d.UnhandledEvents(t.Context(), "evt_new", 1); err != nil || len(page) != 0 {
			t.Errorf("%v, %v", page, err)
		}
		if fresh, err = d.StoreEvents(t.Context(), events[:1]); err != nil || fresh[0] {
			t.Errorf("a handled event came again: %v, %v", fresh, err)
		}
	})
}

// payloads is how long the payload of each event is.
func payloads(t *testing.T, d *DB) map[string]int {
	t.Helper()
	var rows []struct {
		ID string
		N  int
	}
	if err := d.read.NewRaw("SELECT id, length(payload) AS n FROM events").Scan(t.Context(), &rows); err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, r := range rows {
		n[r.ID] = r.N
	}
	return n
}

func TestThePayloadOfAnEventIsStoredOnlyIfItIsUsedAndUntilItIsOld(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		var events []ledger.StripeEvent
		for i, kind := range []string{"transfer.created", "balance.available", "transfer.reversed", "account.updated", "invoice.finalized",
			"v2.core.account[requirements].updated"} {
			events = append(events, ledger.StripeEvent{ID: fmt.Sprintf("evt_%d", i), Type: kind, Account: "acct_1", Payload: []byte(`{"name":"Ann"}`)})
		}
		if _, err := d.StoreEvents(t.Context(), events); err != nil {
			t.Fatal(err)
		}
		stored := map[string]int{"evt_0": 14, "evt_1": 14, "evt_2": 14, "evt_3": 0, "evt_4": 0, "evt_5": 0}
		if diff := cmp.Diff(stored, payloads(t, d)); diff != "" {
			t.Errorf("(-, +):\n%s", diff)
		}
		if err := d.HandleEvents(t.Context(), []string{"evt_0", "evt_1", "evt_3"}); err != nil {
			t.Fatal(err)
		}
		if n, err := d.EmptyEvents(t.Context(), time.Hour); n != 0 || err != nil {
			t.Errorf("%d payloads were emptied before their time: %v", n, err)
		}
		if n, err := d.EmptyEvents(t.Context(), -time.Minute); n != 2 || err != nil {
			t.Errorf("%d payloads were emptied: %v", n, err)
		}
		stored["evt_0"], stored["evt_1"] = 0, 0 // what was not handled is kept
		if diff := cmp.Diff(stored, payloads(t, d)); diff != "" {
			t.Errorf("(-, +):\n%s", diff)
		}
	})
}

func TestMessages(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		m := ledger.Message{
			ID: newID(), Transfer: newID(), Type: ledger.MessageReverse, By: ledger.By{Principal: "ann", Reason: "O'Brien asked"},
			Amount: 12, Until: time.Now(), Outcome: ledger.OutcomeCompleted, StripeID: "tr_1",
		}
		for i := range 2 {
			fresh, err := d.StoreMessage(t.Context(), m, ledger.Pending)
			if err != nil || fresh != (i == 0) {
				t.Fatalf("%d: %v, %v", i, fresh, err)
			}
		}
		if _, done, err := d.Receipt(t.Context(), m.ID); done || err != nil {
			t.Errorf("a receipt before its time: %v", err)
		}
		r := ledger.Receipt{Message: m.ID, Before: ledger.Held, After: ledger.Pending, Refusal: "no", Class: ledger.RefusedConflict}
		if err := d.StoreReceipt(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		if err := d.StoreReceipt(t.Context(), ledger.Receipt{Message: m.ID, Refusal: "no"}); err != nil {
			t.Errorf("a second receipt: %v", err)
		}
		got, done, err := d.Receipt(t.Context(), m.ID)
		if err != nil || !done || got != r {
			t.Errorf("%+v, %v, %v", got, done, err)
		}
		if err := d.StoreReceipt(t.Context(), ledger.Receipt{Message: newID()}); !errors.Is(err, ErrNotFound) {
			t.Errorf("a receipt of nothing: %v", err)
		}
		var reason, before string
		if err := d.write.NewRaw("SELECT reason, before FROM messages").Scan(t.Context(), &reason, &before); err != nil || reason != m.By.Reason || before != "pending" {
			t.Errorf("stored as %q, %q: %v", reason, before, err)
		}
	})
}

func TestIdempotencyKeys(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		claim := func(key, fingerprint string, stale time.Duration, want Claim) {
			t.Helper()
			got, err := d.ClaimKey(t.Context(), key, fingerprint, stale)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
		claim("a", "x", time.Hour, Claim{State: ClaimNew})
		claim("a", "x", time.Hour, Claim{State: ClaimRunning})
		claim("a", "y", time.Hour, Claim{State: ClaimMismatch})
		claim("a", "y", -time.Hour, Claim{State: ClaimMismatch})
		claim("a", "x", -time.Hour, Claim{State: ClaimNew}) // its owner died
		body := []byte("{\"a\":\"\\u0000'\"}\x00\xff")
		if err := d.FinishKey(t.Context(), "a", 201, body); err != nil {
			t.Fatal(err)
		}
		if err := d.FinishKey(t.Context(), "a", 500, nil); err != nil {
			t.Fatal(err)
		}
		if err := d.ReleaseKey(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		claim("a", "x", -time.Hour, Claim{State: ClaimDone, Status: 201, Body: body})
		claim("a", "y", time.Hour, Claim{State: ClaimMismatch})

		claim("b", "x", time.Hour, Claim{State: ClaimNew})
		if err := d.ReleaseKey(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		claim("b", "y", time.Hour, Claim{State: ClaimNew})

		if n, err := d.ForgetKeys(t.Context(), time.Hour); err != nil || n != 0 {
			t.Errorf("forgot %d young keys: %v", n, err)
		}
		if n, err := d.ForgetKeys(t.Context(), -time.Hour); err != nil || n != 2 {
			t.Errorf("forgot %d: %v", n, err)
		}
		claim("a", "z", time.Hour, Claim{State: ClaimNew})
	})
}

func TestAKeyIsClaimedByOne(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		var wg sync.WaitGroup
		claims := make(chan Claim, 16)
		for range 16 {
			wg.Go(func() {
				c, err := d.ClaimKey(t.Context(), "k", "f", time.Hour)
				if err != nil {
					t.Error(err)
				}
				claims <- c
			})
		}
		wg.Wait()
		close(claims)
		n := 0
		for c := range claims {
			if c.State == ClaimNew {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d claimed it", n)
		}
	})
}

func TestEpoch(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		expect := func(want int, wantRaised bool) time.Time {
			t.Helper()
			epoch, since, raised, err := d.Epoch(t.Context())
			if err != nil || epoch != want || raised != wantRaised || since.IsZero() != (want == 1) {
				t.Fatalf("epoch %d since %s, raised %v, %v", epoch, since, raised, err)
			}
			return since
		}
		expect(1, false)
		expect(1, false)
		if epoch, err := d.RaiseEpoch(t.Context()); err != nil || epoch != 2 {
			t.Fatal(epoch, err)
		}
		since := expect(2, false)
		if d.Dialect() == "sqlite" {
			return
		}
		// The data are found in another cluster, by many at once: one of them begins the epoch.
		if err := exec(t.Context(), d, "UPDATE meta SET value = '1/00000001/1' WHERE key = 'identity'"); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		raisers := make(chan bool, 8)
		for range 8 {
			wg.Go(func() {
				epoch, at, raised, err := d.Epoch(t.Context())
				if err != nil || epoch != 3 || !at.After(since) {
					t.Errorf("epoch %d since %s: %v", epoch, at, err)
				}
				raisers <- raised
			})
		}
		wg.Wait()
		close(raisers)
		n := 0
		for raised := range raisers {
			if raised {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d raised it", n)
		}
		expect(3, false)
	})
}

func TestEpochBeforeItsTime(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		if epoch, err := d.RaiseEpoch(t.Context()); err != nil || epoch != 2 {
			t.Fatal(epoch, err)
		}
		if epoch, since, raised, err := d.Epoch(t.Context()); err != nil || epoch != 2 || raised || since.IsZero() {
			t.Fatal(epoch, since, raised, err)
		}
	})
}

// A process that goes by an epoch writes nothing once another has raised it.
func TestAProcessBehindTheEpochWritesNothing(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		d, other := open(t, url), open(t, url)
		for _, x := range []*DB{d, other} {
			if _, _, _, err := x.Epoch(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		x := commit(t, d, accept(anOrder()), nil)
		if _, err := other.RaiseEpoch(t.Context()); err != nil {
			t.Fatal(err)
		}
		send, err := x.Begin(policy(), x.CreatedAt)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, _, err := d.Commit(t.Context(), []ledger.Change{send}); !errors.Is(err, ledger.ErrNewEpoch) || !Transient(err) {
				t.Fatalf("a send of the old epoch: %v", err)
			}
		}
		if got := load(t, d, x.ID).Transfer; got.Version != x.Version {
			t.Errorf("it was written: %s", got.Status())
		}
		if epoch, _, _, err := d.Epoch(t.Context()); err != nil || epoch != 2 {
			t.Fatal(epoch, err)
		}
		commit(t, d, accept(anOrder()), nil)
	})
}

func TestADatabaseInMemory(t *testing.T) {
	d := open(t, "sqlite::memory:")
	x := completed(t, d)
	if got := load(t, d, x.ID); got.Transfer.Status() != ledger.Completed {
		t.Error(got)
	}
	if s := d.Stats(); s.MaxOpenConnections != 1 {
		t.Errorf("%d connections would be as many databases", s.MaxOpenConnections)
	}
}
