package stripe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/settled/settled/ledger"
)

// shelf serves objects by GET, as pages where a path is a list.
type shelf struct {
	mu    sync.Mutex
	asked []string // path?query
	items map[string]jsonMap
	lists map[string][]jsonMap
}

func (s *shelf) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	query, _ := url.QueryUnescape(r.URL.RawQuery)
	s.asked = append(s.asked, r.URL.Path+"?"+query)
	if o, ok := s.items[r.URL.Path]; ok {
		reply{status: 200, body: o.String()}.ServeHTTP(w, r)
		return
	}
	all, ok := s.lists[r.URL.Path]
	if !ok {
		refusal(404, invalidRequest, "resource_missing", "id", "No such transfer: "+r.URL.Path).ServeHTTP(w, r)
		return
	}
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	if after := r.URL.Query().Get("starting_after"); after != "" {
		for i, o := range all {
			if o["id"] == after {
				all = all[i+1:]
				break
			}
		}
	}
	reply{status: 200, body: list(all, limit).String()}.ServeHTTP(w, r)
}

func list(all []jsonMap, limit int) jsonMap {
	return jsonMap{"object": "list", "url": "/x", "has_more": len(all) > limit, "data": append([]jsonMap{}, all[:min(limit, len(all))]...)}
}

func reversalN(i int) jsonMap {
	return reversalObject().with("id", fmt.Sprintf("trr_%d", i)).with("amount", 10)
}

func newest(n int) []jsonMap {
	var all []jsonMap
	for i := n; i > 0; i-- {
		all = append(all, reversalN(i))
	}
	return all
}

// transferWith is a transfer with n reversals of 10, of which it embeds at most ten.
func transferWith(n int) jsonMap {
	return transferObject().with("amount_reversed", 10*n).with("reversals", list(newest(n), 10))
}

func TestATransferComesWithAllItsReversals(t *testing.T) {
	for _, n := range []int{0, 1, 10, 11, 100, 101, 250} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			s := &shelf{
				items: map[string]jsonMap{"/v1/transfers/tr_9Demo01": transferWith(n)},
				lists: map[string][]jsonMap{"/v1/transfers/tr_9Demo01/reversals": newest(n)},
			}
			got, err := client(t, serve(t, s)).Transfer(t.Context(), "tr_9Demo01")
			if err != nil {
				t.Fatal(err)
			}
			want := ledger.StripeTransfer{
				ID: "tr_9Demo01", Amount: 4200, AmountReversed: int64(10 * n), Currency: "eur", Destination: "acct_9Seller1",
				SourceTransaction: "ch_9Demo", TransferGroup: "order_77", Description: "Order 77", Created: time.Unix(1767225600, 0).UTC(), Metadata: transferRequest().Metadata,
			}
			for i := n; i > 0; i-- {
				want.Reversals = append(want.Reversals, ledger.StripeReversal{
					ID: fmt.Sprintf("trr_%d", i), Amount: 10, Created: time.Unix(1767229200, 0).UTC(), Metadata: reversalRequest().Metadata,
				})
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			calls := 1
			if n > 10 {
				calls += (n + pageSize - 1) / pageSize
			}
			if len(s.asked) != calls {
				t.Errorf("%d calls were made, not %d: %s", len(s.asked), calls, s.asked)
			}
		})
	}
}

// TestAReversalBetweenTwoReads: the transfer is read, a reversal is made, its list is read.
func TestAReversalBetweenTwoReads(t *testing.T) {
	reads := 0
	c := client(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/transfers/tr_9Demo01" {
			reads++
			reply{status: 200, body: transferWith(10 + reads).String()}.ServeHTTP(w, r)
			return
		}
		reply{status: 200, body: list(newest(12), 100).String()}.ServeHTTP(w, r)
	})))
	got, err := c.Transfer(t.Context(), "tr_9Demo01")
	if err != nil {
		t.Fatal(err)
	}
	if got.AmountReversed != 120 || len(got.Reversals) != 12 || reads != 2 {
		t.Errorf("after %d reads: reversed %d in %d reversals", reads, got.AmountReversed, len(got.Reversals))
	}
}

func TestReversalsThatCameToNothingAreNoEvidence(t *testing.T) {
	o := transferObject().with("amount_reversed", 10).with("reversals", list([]jsonMap{
		reversalN(3).with("status", "canceled"), reversalN(2).with("status", "failed"), reversalN(1).with("status", "succeeded"),
	}, 10))
	c := client(t, serve(t, reply{status: 200, body: o.String()}))
	got, err := c.Transfer(t.Context(), "tr_9Demo01")
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Reversals) != 1 || got.Reversals[0].ID != "trr_1" {
		t.Errorf("%+v", got.Reversals)
	}

	if len(got.Void) != 2 {
		t.Errorf("what came to nothing: %+v", got.Void)
	}

	o = transferObject().with("reversals", list([]jsonMap{reversalN(1).with("status", "queued")}, 10))
	c = client(t, serve(t, reply{status: 200, body: o.String()}))
	_, err = c.Transfer(t.Context(), "tr_9Demo01")
	if e := readError(t, err); e.Code != "reversal_status" {
		t.Errorf("%+v", e)
	}
}

// TestReversalsThatStripeKeepsPendingAreNoMoney: whether Stripe counts them as reversed is not
// documented, so it may or may not.
func TestReversalsThatStripeKeepsPendingAreNoMoney(t *testing.T) {
	for _, says := range []int{10, 20} {
		o := transferObject().with("amount_reversed", says).with("reversals", list([]jsonMap{reversalN(2).with("status", "pending"), reversalN(1)}, 10))
		got, err := client(t, serve(t, reply{status: 200, body: o.String()})).Transfer(t.Context(), "tr_9Demo01")
		if err != nil || got.AmountReversed != 10 || len(got.Reversals) != 1 || len(got.Waiting) != 1 || got.Waiting[0].ID != "trr_2" {
			t.Errorf("with %d reversed: %+v, %v", says, got, err)
		}
	}
}

func readError(t *testing.T, err error) *ReadError {
	t.Helper()
	var e *ReadError
	if !errors.As(err, &e) {
		t.Fatalf("not a ReadError: %v", err)
	}
	return e
}

func TestAFailedReadSaysWhomItConcerns(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.Handler
		want   ReadError
		is     error
	}{
		"not there":      {refusal(404, invalidRequest, "resource_missing", "id", "No such transfer"), ReadError{Scope: none, HTTPStatus: 404, Code: "resource_missing"}, ErrNotThere},
		"unknown URL":    {refusal(404, invalidRequest, "", "", "Unrecognized request URL"), ReadError{Scope: ledger.ScopePlatform, HTTPStatus: 404, Code: "not_found"}, nil},
		"a proxy's 404":  {reply{status: 404, body: "<html>"}, ReadError{Scope: down, HTTPStatus: 404, Code: "http_404"}, nil},
		"endpoint limit": {refusal(429, invalidRequest, "rate_limit", "", "x").but("Stripe-Rate-Limited-Reason", "endpoint-rate"), ReadError{Scope: endpoint, HTTPStatus: 429, Code: "rate_limit"}, nil},
		"global limit":   {refusal(429, invalidRequest, "rate_limit", "", "x").but("Stripe-Rate-Limited-Reason", "global-rate"), ReadError{Scope: account, HTTPStatus: 429, Code: "rate_limit"}, nil},
		"a lock":         {refusal(429, invalidRequest, "lock_timeout", "", "x"), ReadError{Scope: none, HTTPStatus: 429, Code: "lock_timeout"}, nil},
		"a bad key":      {refusal(401, invalidRequest, "", "", "x"), ReadError{Scope: auth, HTTPStatus: 401, Code: "unauthorized"}, nil},
		"500":            {apiError(500, "x"), ReadError{Scope: down, HTTPStatus: 500, Code: "http_500"}, nil},
		"502 HTML":       {reply{status: 502, body: "<html>"}, ReadError{Scope: down, HTTPStatus: 502, Code: "http_502"}, nil},
		"garbage":        {reply{status: 200, body: "<html>"}, ReadError{Scope: down, HTTPStatus: 200, Code: "bad_json"}, nil},
		"nothing in it":  {reply{status: 200, body: "{}"}, ReadError{Scope: none, Code: "wrong_object"}, nil},
		"another one":    {reply{status: 200, body: transferObject().with("id", "tr_2").String()}, ReadError{Scope: none, Code: "wrong_object"}, nil},
		"a redirect":     {reply{status: 302, header: map[string]string{"Location": "/"}, body: transferObject().String()}, ReadError{Scope: down, HTTPStatus: 302, Code: "http_302"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client(t, serve(t, c.answer)).Transfer(t.Context(), "tr_9Demo01")
			got := readError(t, err)
			if got.Scope != c.want.Scope || got.HTTPStatus != c.want.HTTPStatus || got.Code != c.want.Code {
				t.Errorf("%+v", got)
			}
			if errors.Is(err, ErrNotThere) != (c.is == ErrNotThere) {
				t.Errorf("not there: %v", err)
			}
			if !strings.Contains(err.Error(), "read transfer tr_9Demo01") {
				t.Errorf("it does not say what for: %v", err)
			}
		})
	}

	t.Run("nobody there", func(t *testing.T) {
		_, err := refusing(t).Transfer(t.Context(), "tr_9Demo01")
		if e := readError(t, err); e.Scope != down || e.Code != "dial" {
			t.Errorf("%+v", e)
		}
	})
	t.Run("no time", func(t *testing.T) {
		_, err := silent(nil)(t).Transfer(t.Context(), "tr_9Demo01")
		if e := readError(t, err); e.Scope != down || e.Code != "timeout" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%+v", e)
		}
	})
	t.Run("given up", func(t *testing.T) {
		_, err := client(t, "http://127.0.0.1:1").Transfer(canceledContext(), "tr_9Demo01")
		if e := readError(t, err); e.Scope != none || e.Code != "canceled" || !errors.Is(err, context.Canceled) {
			t.Errorf("%+v", e)
		}
	})
	t.Run("no id", func(t *testing.T) {
		for _, id := range []string{"", "tr_", "ch_1", "tr_1/../../account", "tr_1?x"} {
			_, err := client(t, "http://127.0.0.1:1").Transfer(t.Context(), id)
			if e := readError(t, err); e.Code != "bad_id" {
				t.Errorf("%q: %+v", id, e)
			}
		}
	})
}

func TestASearchPageByPageFindsWhatNamesTheOperation(t *testing.T) {
	var all []jsonMap
	for i := range 250 {
		o := transferObject().with("id", fmt.Sprintf("tr_%d", i)).with("metadata", jsonMap{ledger.MetaOperation: fmt.Sprint("other", i)})
		if i == 5 || i == 240 {
			o = transferWith(i%7).with("id", fmt.Sprintf("tr_%d", i))
		}
		if i == 6 {
			o = o.with("metadata", nil)
		}
		all = append(all, o)
	}
	s := &shelf{lists: map[string][]jsonMap{"/v1/transfers": all}}
	since := time.Unix(1767225600, 0)
	got, err := search(t.Context(), client(t, serve(t, s)), operation, PageQuery{Destination: "acct_9Seller1", Group: "order 77", Since: since, Until: since.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].ID != "tr_5" || len(got[0].Reversals) != 5 || got[1].ID != "tr_240" || len(got[1].Reversals) != 2 {
		t.Errorf("%+v", got)
	}
	first := "/v1/transfers?limit=100&destination=acct_9Seller1&transfer_group=order 77&created[gte]=1767225600&created[lt]=1767229200"
	want := []string{first, first + "&starting_after=tr_99", first + "&starting_after=tr_199"}
	if diff := cmp.Diff(want, s.asked); diff != "" {
		t.Error(diff)
	}
}

func TestAnEmptyListIsNoError(t *testing.T) {
	s := &shelf{lists: map[string][]jsonMap{"/v1/transfers": {}}}
	got, err := search(t.Context(), client(t, serve(t, s)), operation, PageQuery{Destination: "acct_9Seller1"})
	if err != nil || len(got) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	if diff := cmp.Diff([]string{"/v1/transfers?limit=100&destination=acct_9Seller1"}, s.asked); diff != "" {
		t.Error(diff)
	}
}

// TestAbsenceIsNotConcludedFromABrokenList: each of these would look like an empty list, or an
// ended one, to somebody who only looks at the data.
func TestAbsenceIsNotConcludedFromABrokenList(t *testing.T) {
	other := transferObject().with("metadata", jsonMap{})
	page := func(more bool, data ...any) jsonMap {
		return jsonMap{"object": "list", "has_more": more, "data": append([]any{}, data...)}
	}
	for name, body := range map[string]string{
		"an empty object":          `{}`,
		"null":                     `null`,
		"no data":                  jsonMap{"object": "list", "has_more": false}.String(),
		"a transfer":               transferObject().String(),
		"an empty page with more":  page(true).String(),
		"the same page for ever":   page(true, other).String(),
		"null in it":               `{"object":"list","has_more":false,"data":[null]}`,
		"something else in it":     page(false, jsonMap{"id": "po_1", "object": "payout"}).String(),
		"an object without an id":  page(false, other.with("id", nil)).String(),
		"a list cut in two":        page(false, other).String()[:80],
		"an error with status 200": invalid("x", "", "x").body,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := search(t.Context(), client(t, serve(t, reply{status: 200, body: body})), operation, PageQuery{})
			if err == nil {
				t.Fatalf("no error, and %d found", len(got))
			}
			if errors.Is(err, ErrNotThere) {
				t.Errorf("it says that nothing is there: %v", err)
			}
			readError(t, err)
		})
	}
	t.Run("a 404 for the list", func(t *testing.T) {
		_, err := search(t.Context(), client(t, serve(t, refusal(404, invalidRequest, "resource_missing", "", "x"))), operation, PageQuery{})
		if err == nil || errors.Is(err, ErrNotThere) {
			t.Errorf("%v", err)
		}
	})
	t.Run("the second page fails", func(t *testing.T) {
		n := 0
		got, err := search(t.Context(), client(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if n++; n > 1 {
				apiError(500, "x").ServeHTTP(w, r)
				return
			}
			reply{status: 200, body: page(true, transferObject()).String()}.ServeHTTP(w, r)
		}))), operation, PageQuery{})
		if err == nil || got != nil {
			t.Errorf("%v, %v", got, err)
		}
	})
}

func TestListYieldsAWindow(t *testing.T) {
	var all []jsonMap
	for i := range 150 {
		o := transferObject().with("id", fmt.Sprintf("tr_%d", i))
		if i == 120 {
			o = transferWith(12).with("id", "tr_120")
		}
		all = append(all, o)
	}
	s := &shelf{
		lists: map[string][]jsonMap{"/v1/transfers": all, "/v1/transfers/tr_120/reversals": newest(12)},
		items: map[string]jsonMap{"/v1/transfers/tr_120": transferWith(12).with("id", "tr_120")},
	}
	c := client(t, serve(t, s))
	var ids []string
	err := c.List(t.Context(), time.Unix(1000, 0), time.Unix(2000, 0), func(tr ledger.StripeTransfer) error {
		ids = append(ids, tr.ID)
		if want := map[string]int{"tr_120": 12}[tr.ID]; len(tr.Reversals) != want {
			t.Errorf("%s has %d reversals", tr.ID, len(tr.Reversals))
		}
		return nil
	})
	if err != nil || len(ids) != 150 || ids[0] != "tr_0" || ids[149] != "tr_149" {
		t.Errorf("%d transfers, %v", len(ids), err)
	}
	if s.asked[0] != "/v1/transfers?created[gte]=1000&created[lt]=2000&limit=100" {
		t.Errorf("asked %s", s.asked[0])
	}

	stop := errors.New("enough")
	n := 0
	if err := c.List(t.Context(), time.Time{}, time.Time{}, func(ledger.StripeTransfer) error { n++; return stop }); err != stop || n != 1 {
		t.Errorf("after %d: %v", n, err)
	}
}

func TestAccountSaysWhoseKeyItIs(t *testing.T) {
	s := serve(t, &shelf{items: map[string]jsonMap{"/v1/account": {"id": "acct_1Platform", "object": "account"}}})
	for key, live := range map[string]bool{"sk_test_1": false, "rk_test_1": false, "sk_live_1": true, "rk_live_1": true} {
		id, livemode, err := client(t, s, func(c *Config) { c.Key = key }).Account(t.Context())
		if id != "acct_1Platform" || livemode != live || err != nil {
			t.Errorf("%s: %s, %t, %v", key, id, livemode, err)
		}
	}
	bare := reply{status: 200, body: `{"object":"account","id":"acct_1Platform"}`}.but("Request-Id", "")
	if id, _, err := client(t, serve(t, bare)).Account(t.Context()); id != "acct_1Platform" || err != nil {
		t.Errorf("an account that some proxy carried is believed by its ID: %q, %v", id, err)
	}
	for _, body := range []string{`{}`, transferObject().String(), `{"object":"account","id":"x"}`} {
		if _, _, err := client(t, serve(t, reply{status: 200, body: body})).Account(t.Context()); err == nil {
			t.Errorf("%s is an account", body)
		}
	}
}
