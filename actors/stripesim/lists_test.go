package stripesim_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stripe/stripe-go/v76"

	"github.com/settled/settled/actors/stripesim"
)

func TestAListPagesThroughAllNewestFirst(t *testing.T) {
	_, api, _ := serve(t, stripesim.Config{})
	var made []string
	for i := range 25 {
		tr, err := api.Transfers.New(&stripe.TransferParams{Amount: stripe.Int64(int64(100 + i)), Currency: stripe.String("eur"),
			Destination: stripe.String("acct_seller"), TransferGroup: stripe.String("g")})
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, tr.ID)
	}
	slices.Reverse(made)
	params := &stripe.TransferListParams{TransferGroup: stripe.String("g"), Destination: stripe.String("acct_seller")}
	params.Limit = stripe.Int64(7)
	params.CreatedRange = &stripe.RangeQueryParams{GreaterThanOrEqual: time.Now().Add(-time.Hour).Unix()}
	params.AddExpand("data.balance_transaction")
	var got []string
	list := api.Transfers.List(params)
	for list.Next() {
		got = append(got, list.Transfer().ID)
	}
	if list.Err() != nil || !slices.Equal(got, made) {
		t.Fatalf("got %v, want %v: %v", got, made, list.Err())
	}
	params = &stripe.TransferListParams{}
	params.EndingBefore = stripe.String(made[20])
	params.Limit = stripe.Int64(5)
	params.Single = true
	page := api.Transfers.List(params).TransferList()
	ids := make([]string, len(page.Data))
	for i, tr := range page.Data {
		ids[i] = tr.ID
	}
	if !slices.Equal(ids, made[15:20]) || !page.HasMore {
		t.Fatalf("just before the cursor: %v, has_more %v, want %v", ids, page.HasMore, made[15:20])
	}
}

// TestFiltersAgreeWithASearchOfEverything compares lists with the truth, filtered in
// the simplest way.
func TestFiltersAgreeWithASearchOfEverything(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	synctest.Test(t, func(t *testing.T) {
		sim := stripesim.New(stripesim.Config{Seed: seed})
		defer sim.Close()
		w := wire{sim}
		groups, sellers := []string{"", "g1", "g2"}, []string{"acct_1", "acct_2", "acct_3"}
		for range 300 {
			f := form("amount", "10", "currency", "eur", "destination", sellers[rng.IntN(3)])
			if g := groups[rng.IntN(3)]; g != "" {
				f += "&transfer_group=" + g
			}
			w.post("/v1/transfers", f, "")
			sim.Advance(time.Duration(rng.IntN(3)) * 500 * time.Millisecond)
		}
		all := sim.Truth().Transfers
		for range 300 {
			from := all[rng.IntN(len(all))].Created.Unix()
			bounds := map[string]func(created int64) bool{
				"created[gte]": func(n int64) bool { return n >= from }, "created[gt]": func(n int64) bool { return n > from },
				"created[lte]": func(n int64) bool { return n <= from }, "created[lt]": func(n int64) bool { return n < from },
				"created": func(n int64) bool { return n == from },
			}
			query, keep := "limit=100", func(stripesim.Transfer) bool { return true }
			also := func(more func(stripesim.Transfer) bool) {
				before := keep
				keep = func(tr stripesim.Transfer) bool { return before(tr) && more(tr) }
			}
			if rng.IntN(2) == 0 {
				seller := sellers[rng.IntN(3)]
				query += "&destination=" + seller
				also(func(tr stripesim.Transfer) bool { return tr.Destination == seller })
			}
			if rng.IntN(2) == 0 {
				group := groups[1+rng.IntN(2)]
				query += "&transfer_group=" + group
				also(func(tr stripesim.Transfer) bool { return tr.TransferGroup == group })
			}
			for name, fits := range bounds {
				if rng.IntN(4) == 0 {
					query += fmt.Sprintf("&%s=%d", name, from)
					also(func(tr stripesim.Transfer) bool { return fits(tr.Created.Unix()) })
				}
			}
			var want []string
			for _, tr := range slices.Backward(all) {
				if keep(tr) {
					want = append(want, tr.ID)
				}
			}
			var got []string
			for cursor := ""; ; {
				r := w.get("/v1/transfers", query+cursor)
				got = append(got, r.data()...)
				if r.object["has_more"] != true {
					break
				}
				cursor = "&starting_after=" + got[len(got)-1]
			}
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d, %s: got %d, want %d", seed, query, len(got), len(want))
			}
		}
	})
}

func TestALaggingListHidesWhatIsYoung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := stripesim.New(stripesim.Config{})
		defer sim.Close()
		w := wire{sim}
		old := w.pay(t, 100, "old").id()
		sim.Advance(10 * time.Minute)
		young := w.pay(t, 100, "young").id()
		sim.Inject(stripesim.Rule{Kind: stripesim.KindListLag, Delay: 5 * time.Minute})
		if got := w.get("/v1/transfers", "").data(); !slices.Equal(got, []string{old}) {
			t.Fatalf("the list lags: %v", got)
		}
		if r := w.get("/v1/transfers/"+young, ""); r.status != 200 {
			t.Fatalf("the object itself does not: %s", r.body)
		}
		if got := w.get("/v1/transfers", "").data(); !slices.Equal(got, []string{young, old}) {
			t.Fatalf("the next list shows both: %v", got)
		}
		sim.Inject(stripesim.Rule{Kind: stripesim.KindList500})
		if r := w.get("/v1/transfers/"+young, ""); r.status != 200 {
			t.Fatalf("a list fault does not meet an object: %s", r.body)
		}
		if r := w.get("/v1/transfers", ""); r.status != 500 || r.kind() != "api_error" {
			t.Fatalf("the list fails: %d %s", r.status, r.body)
		}
	})
}

func TestReadsFailAtMostTwiceInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := stripesim.New(stripesim.Config{Seed: 8})
		defer sim.Close()
		w := wire{sim}
		id := w.pay(t, 100, "").id()
		sim.SetFaults(stripesim.Heavy)
		for _, path := range []string{"/v1/transfers", "/v1/transfers/" + id} {
			row, failed := 0, 0
			for range 500 {
				if r := w.get(path, ""); r.status == 200 && r.object != nil {
					row = 0
				} else {
					row++
					failed++
				}
				if row > 2 {
					t.Fatalf("%s failed %d times in a row", path, row)
				}
			}
			if failed < 50 {
				t.Fatalf("%s failed only %d times of 500", path, failed)
			}
		}
	})
}

func TestATransferEmbedsItsTenNewestReversals(t *testing.T) {
	_, w := local(t, stripesim.Config{})
	id := w.pay(t, 1200, "").id()
	for i := range 12 {
		w.post("/v1/transfers/"+id+"/reversals", fmt.Sprintf("amount=%d", 10+i), "")
	}
	reversals := w.get("/v1/transfers/"+id, "").object["reversals"].(map[string]any)
	data := reversals["data"].([]any)
	if len(data) != 10 || reversals["has_more"] != true || reversals["total_count"] != 12.0 || data[0].(map[string]any)["amount"] != 21.0 {
		t.Fatalf("the newest ten: %v", reversals)
	}
	if got := w.get("/v1/transfers/"+id+"/reversals", "limit=100").data(); len(got) != 12 {
		t.Fatalf("the list has all: %v", got)
	}
}

func TestUpdatingATransferMergesItsMetadata(t *testing.T) {
	sim, w := local(t, stripesim.Config{})
	id := w.post("/v1/transfers", transferForm(100, "&"+form("metadata[a]", "1", "metadata[b]", "2")), "").id()
	r := w.post("/v1/transfers/"+id, form("metadata[a]", "", "metadata[c]", "3", "description", "changed"), "U")
	if m := r.object["metadata"].(map[string]any); len(m) != 2 || m["b"] != "2" || m["c"] != "3" || r.str("description") != "changed" {
		t.Fatalf("merged: %s", r.body)
	}
	if r := w.post("/v1/transfers/"+id, "amount=1", ""); r.code() != "parameter_unknown" {
		t.Fatalf("the amount cannot be changed: %s", r.body)
	}
	if tr := find(t, sim.Truth(), id); tr.Metadata["b"] != "2" {
		t.Fatalf("the truth: %+v", tr)
	}
	if ids := w.get("/v1/events", "type=transfer.updated").data(); len(ids) != 1 {
		t.Fatalf("one event: %v", ids)
	}
}

func TestChargesOfAGroupHaveACeiling(t *testing.T) {
	_, w := local(t, stripesim.Config{})
	for range 101 {
		w.post("/v1/charges", "amount=1&currency=eur&transfer_group=g", "")
	}
	if r := w.get("/v1/charges", "transfer_group=g"); r.status != 400 || r.message() != "Too many charges with transfer group: g" {
		t.Fatalf("%d %s", r.status, r.body)
	}
}

func TestAPageHoldsNoMoreThanTheWorldAllows(t *testing.T) {
	_, api, _ := serve(t, stripesim.Config{PageMax: 2})
	for range 5 {
		if _, err := api.Transfers.New(&stripe.TransferParams{Amount: stripe.Int64(100), Currency: stripe.String("eur"), Destination: stripe.String("acct_seller")}); err != nil {
			t.Fatal(err)
		}
	}
	params := &stripe.TransferListParams{}
	params.Limit = stripe.Int64(100)
	pages, seen := 0, 0
	for list := api.Transfers.List(params); list.Next(); seen++ {
		if seen%2 == 0 {
			pages++
		}
		if n := len(list.TransferList().Data); n > 2 {
			t.Errorf("a page holds %d", n)
		}
	}
	if seen != 5 || pages != 3 {
		t.Errorf("%d transfers on %d pages", seen, pages)
	}
}
