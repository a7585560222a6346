package actors_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// crowd is a group of a great many transfers at Stripe, all of them others'. Each page takes a
// while, now and then one fails, and no answer to a POST ever comes.
type crowd struct {
	pages  int
	makes  bool                   // the first POST makes a transfer, which stands on the last page
	ours   atomic.Pointer[string] // its form
	asked  atomic.Int64           // pages
	before time.Time              // the list's upper bound
}

func (x *crowd) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	if r.Method == http.MethodPost {
		if text := string(body); x.makes {
			x.ours.CompareAndSwap(nil, &text)
		}
		return nil, errBroken
	}
	time.Sleep(250 * time.Millisecond)
	n := x.asked.Add(1)
	w := httptest.NewRecorder()
	w.Header().Set("Request-Id", fmt.Sprintf("req_%d", n))
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	if n%50 == 0 {
		w.WriteHeader(http.StatusInternalServerError)
		return w.Result(), nil
	}
	page, q := 0, r.URL.Query()
	if after := q.Get("starting_after"); after != "" {
		at, _ := strconv.Atoi(strings.TrimPrefix(after, "tr_"))
		page = at/100 + 1
	}
	if until, err := strconv.ParseInt(q.Get("created[lt]"), 10, 64); err == nil {
		x.before = time.Unix(until, 0)
	}
	var data []map[string]any
	for i := range 100 {
		data = append(data, map[string]any{"object": "transfer", "id": fmt.Sprintf("tr_%d", page*100+i), "amount": 5, "currency": "eur",
			"destination": "acct_1", "created": 1, "reversals": map[string]any{"object": "list", "data": []any{}}})
	}
	if form := x.ours.Load(); form != nil && page == x.pages-1 {
		posted, _ := url.ParseQuery(*form)
		amount, _ := strconv.Atoi(posted.Get("amount"))
		data[99] = map[string]any{"object": "transfer", "id": "tr_ours", "amount": amount, "currency": posted.Get("currency"),
			"destination": posted.Get("destination"), "created": 1, "reversals": map[string]any{"object": "list", "data": []any{}},
			"metadata": map[string]string{ledger.MetaOperation: posted.Get("metadata[" + ledger.MetaOperation + "]")}}
	}
	json.NewEncoder(w).Encode(map[string]any{"object": "list", "has_more": page < x.pages-1, "data": data})
	return w.Result(), nil
}

// amid runs a transfer of a shared group in a crowd.
func amid(t *testing.T, x *crowd, test func(*world, ledger.ID)) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.forged, w.aside = true, true
		o := order(1)
		o.TransferGroup = "crowd"
		test(w, w.orders(o)[0])
	}, func(c *actors.Config) {
		c.Stripe, _ = stripe.New(stripe.Config{Key: "sk_test_crowd", Base: "http://stripe.test", Log: quietLog(), Transport: x})
		c.Limits.EndpointRate = 10
	})
}

func TestReadingForAbsenceComesToItsEndOverThreeHundredPages(t *testing.T) {
	x := &crowd{pages: 300}
	amid(t, x, func(w *world, id ledger.ID) {
		w.becomes(id, ledger.Unresolved)
		first := w.transfer(id).Operation.FirstSentAt
		w.passes(10 * time.Hour)
		before := x.asked.Load()
		w.until(id, "proved absent", func(x ledger.Transfer) bool {
			return x.Status() == ledger.FailedState || x.Operation.Generation > 1
		})
		if n := x.asked.Load() - before; n < 300 || n > 1000 {
			t.Errorf("%d pages were read", n)
		}
		if !x.before.After(first.Add(10*time.Hour+30*time.Minute)) || x.before.After(first.Add(12*time.Hour)) {
			t.Errorf("the list ends at %s, and the first send was at %s", x.before, first)
		}
	})
}

func TestEvidenceOnTheLastOfThreeHundredPagesIsFound(t *testing.T) {
	x := &crowd{pages: 300, makes: true}
	amid(t, x, func(w *world, id ledger.ID) {
		if got := w.becomes(id, ledger.Completed); got.Operation.StripeID != "tr_ours" {
			t.Errorf("settled by %s", got.Operation.StripeID)
		}
	})
}

// strip removes the metadata of all transfers at Stripe, as somebody may in the dashboard.
func (w *world) strip() {
	w.Helper()
	for _, held := range w.sim.Truth().Transfers {
		form := url.Values{"metadata[" + ledger.MetaOperation + "]": {""}}.Encode()
		r := httptest.NewRequest("POST", "/v1/transfers/"+held.ID, strings.NewReader(form))
		r.Header.Set("Authorization", "Bearer sk_test_dashboard")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rec := httptest.NewRecorder()
		if w.sim.Handler().ServeHTTP(rec, r); rec.Code != http.StatusOK {
			w.Fatalf("the dashboard answers %d %s", rec.Code, rec.Body)
		}
	}
	w.forged = true
}

// loses has the answer of every POST to come lost; the first is executed.
func (w *world) loses() {
	w.deaf()
	w.script(stripesim.Rule{Kind: stripesim.KindLoseAnswer, Times: 1}, stripesim.Rule{Kind: stripesim.KindDrop, Times: -1})
}

func TestATransferInItsOwnGroupIsRecognisedWithoutItsMetadata(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.script(stripesim.Rule{Kind: stripesim.KindList500, Path: "GET /v1/transfers", Times: 3})
		w.loses()
		id := w.one()
		w.becomes(id, ledger.Unresolved)
		w.strip()
		x := w.becomes(id, ledger.Completed)
		h := w.history(id)
		if w.paysOnce(1); x.Operation.StripeID == "" || !strings.Contains(h[len(h)-1].Detail, "its metadata was removed") || w.count("alarms_total", "kind", "stripped") != 1 {
			t.Errorf("%+v", h[len(h)-1])
		}
	})
}

func TestATransferWithoutMetadataInASharedGroupParksAndAPersonSaysThatItIsTheOne(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.script(stripesim.Rule{Kind: stripesim.KindList500, Path: "GET /v1/transfers", Times: 3})
		w.loses()
		o := order(1)
		o.TransferGroup = "shared"
		id := w.orders(o)[0]
		w.becomes(id, ledger.Unresolved)
		w.strip()
		x := w.becomes(id, ledger.Parked)
		at := w.sim.Truth().Transfers[0].ID
		if w.paysOnce(1); x.Operation.ErrorCode != "metadata_removed" || !strings.Contains(x.Operation.ErrorMessage, at) {
			t.Errorf("parked for %s: %s", x.Operation.ErrorCode, x.Operation.ErrorMessage)
		}
		x = w.says(id, ledger.Message{Type: ledger.MessageResolve, Outcome: ledger.OutcomeCompleted, StripeID: at})
		if x.Status() != ledger.Completed || x.Operation.StripeID != at {
			t.Errorf("after a person's word it is %s as %q", x.Status(), x.Operation.StripeID)
		}
	})
}

func TestATransferThatAnotherRowHasIsNotSuspected(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		a, b := order(1), order(1)
		a.TransferGroup, b.TransferGroup, b.Reference = "shared", "shared", "another"
		w.becomes(w.orders(a)[0], ledger.Completed)
		w.strip()
		w.script(stripesim.Rule{Kind: stripesim.KindDrop, Times: 14})
		id := w.orders(b)[0]
		if x := w.becomes(id, ledger.Completed, ledger.Parked); x.Status() != ledger.Completed {
			t.Errorf("it is %s: %s", x.Status(), x.Operation.ErrorMessage)
		}
		w.paysOnce(2)
	})
}
