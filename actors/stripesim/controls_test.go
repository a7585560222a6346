package stripesim_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v76"

	"github.com/settled/settled/actors/stripesim"
)

func TestControlsRefuseWhatTheyDoNotKnow(t *testing.T) {
	_, w := local(t, stripesim.Config{})
	for body, want := range map[string]string{
		`clock {"advnce":"1h"}`:                          `unknown field "advnce"`,
		`clock {"advance":"-1h"}`:                        "does not go back",
		`faults {"level":"medium"}`:                      `"medium" is not none, light or heavy`,
		`rules {"kind":"nonsense"}`:                      `no fault of kind "nonsense"`,
		`rules {"kind":"scripted_answer"}`:               "needs a status",
		`rules {"kind":"drop_before","match":"x"}`:       `unknown field "match"`,
		`accounts {"id":"seller"}`:                       "is not acct_",
		`balance {"currency":"zzz"}`:                     `no currency "zzz"`,
		`reverse {"transfer":"tr_x"}`:                    `no transfer "tr_x"`,
		`transfer {"destination":"x","currency":"eur"}`:  "no amount",
		`refund {"charge":"ch_x"}`:                       `no charge "ch_x"`,
		`dispute {"charge":"ch_x"}`:                      `no charge "ch_x"`,
		`succeed {"payment_intent":"pi_x"}`:              `no payment intent "pi_x"`,
		`events/resend {"id":"evt_x"}`:                   `no event "evt_x"`,
		`down {"for":"soon"}`:                            "invalid duration",
		`auth {"revoke":true} {}`:                        "more than one JSON value",
		`auth {"revoke":"yes"}`:                          "cannot unmarshal",
		`webhook {"url":"http://x","secrets":["a"]}`:     `unknown field "secrets"`,
		`dispute {"id":"du_x","status":"lost"}`:          `no dispute "du_x"`,
		`balance {"account":"nobody","currency":"eur"}`:  `no account "nobody"`,
		`transfer {"amount":1,"currency":"eur","to":""}`: `unknown field "to"`,
	} {
		name, body, _ := strings.Cut(body, " ")
		r := w.tryControl("POST", name, body)
		if r.status != http.StatusBadRequest || !strings.Contains(r.str("error"), want) {
			t.Errorf("%s %s: %d %s, want %q", name, body, r.status, r.body, want)
		}
	}
	if r := w.tryControl("GET", "nonsense", ""); r.status != http.StatusNotFound {
		t.Errorf("an unknown control: %d", r.status)
	}
}

func TestTheTruthIsTheSameOverHTTP(t *testing.T) {
	sim, api, url := serve(t, stripesim.Config{Seed: 7, Now: func() time.Time { return time.Unix(1_700_000_000, 0) }})
	if _, err := api.Transfers.New(&stripe.TransferParams{Amount: stripe.Int64(100), Currency: stripe.String("eur"),
		Destination: stripe.String("acct_seller")}); err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(url + "/_sim/truth")
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer func() { _ = resp.Body.Close() }()
	var got stripesim.Truth
	dec := json.NewDecoder(resp.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(sim.Truth())
	if string(a) != string(b) || len(got.Transfers) != 1 {
		t.Fatalf("\n%s\n%s", a, b)
	}
}

func TestTheTruthIsACopy(t *testing.T) {
	sim, w := local(t, stripesim.Config{})
	id := w.post("/v1/transfers", transferForm(100, "&metadata[a]=1"), "").id()
	truth := sim.Truth()
	truth.Transfers[0].Metadata["a"] = "2"
	truth.Accounts[0].Available["eur"] = 0
	if tr := find(t, sim.Truth(), id); tr.Metadata["a"] != "1" || sim.Truth().Accounts[0].Available["eur"] != 100 {
		t.Fatal("changing a snapshot changed the world")
	}
}

func TestControlsMoveTheWorld(t *testing.T) {
	sim, w := local(t, stripesim.Config{Now: func() time.Time { return time.Unix(1_700_000_000, 0) }})
	if r := w.control(t, "POST", "clock", `{"advance":"1h30m"}`); r.str("now") != "2023-11-14T23:43:20Z" || r.str("advanced") != "1h30m0s" {
		t.Fatalf("the clock: %s", r.body)
	}
	tr := w.control(t, "POST", "transfer", `{"destination":"acct_x","amount":500,"currency":"eur","transfer_group":"g"}`)
	w.control(t, "POST", "reverse", fmt.Sprintf(`{"transfer":%q,"amount":200}`, tr.id()))
	if r := w.tryControl("POST", "reverse", fmt.Sprintf(`{"transfer":%q,"amount":301}`, tr.id())); r.status != 400 {
		t.Fatalf("more than is left: %s", r.body)
	}
	w.control(t, "POST", "reverse", fmt.Sprintf(`{"transfer":%q}`, tr.id()))
	if got := find(t, sim.Truth(), tr.id()); got.AmountReversed != 500 || len(got.Reversals) != 2 || got.IdempotencyKey != "" {
		t.Fatalf("foreign: %+v", got)
	}
	if got := w.get("/v1/events", "types[]=transfer.reversed&types[]=transfer.created").data(); len(got) != 3 {
		t.Fatalf("and told: %v", got)
	}

	w.control(t, "POST", "down", `{"for":"30s"}`)
	if r := w.get("/v1/balance", ""); r.status != 503 {
		t.Fatalf("down: %d", r.status)
	}
	sim.Advance(30 * time.Second)
	if r := w.get("/v1/balance", ""); r.status != 200 {
		t.Fatalf("up again: %d", r.status)
	}
	w.control(t, "POST", "auth", `{"revoke":true}`)
	if r := w.get("/v1/balance", ""); r.status != 401 {
		t.Fatalf("revoked: %d", r.status)
	}
	w.control(t, "POST", "auth", `{"revoke":false}`)
	w.control(t, "POST", "rules", `{"kind":"scripted_answer","path":"/v1/balance","status":429,"code":"lock_timeout","header":{"X-Odd":"1"}}`)
	if r := w.get("/v1/balance", ""); r.status != 429 || r.code() != "lock_timeout" || r.header.Get("X-Odd") != "1" {
		t.Fatalf("scripted: %d %s %v", r.status, r.body, r.header)
	}
	w.control(t, "POST", "rules", `{"kind":"drop_before","times":-1}`)
	w.control(t, "DELETE", "rules", "")
	w.control(t, "POST", "faults", `{"level":"light"}`)
	if r := w.control(t, "GET", "faults", ""); r.str("level") != "light" {
		t.Fatalf("the level: %s", r.body)
	}
	if r := w.control(t, "GET", "counts", ""); r.object["fault scripted_answer"] != 1.0 {
		t.Fatalf("the counts: %s", r.body)
	}
}

func TestCloseLetsWaitingCallsGoAndIsIdempotent(t *testing.T) {
	sim := stripesim.New(stripesim.Config{})
	w := wire{sim}
	entered := make(chan struct{})
	sim.Inject(stripesim.Rule{Kind: stripesim.KindHang, Delay: time.Hour, Match: func(stripesim.RequestInfo) bool {
		close(entered)
		return true
	}})
	answered := make(chan reply, 1)
	go func() { answered <- w.post("/v1/transfers", transferForm(1, ""), "K") }()
	<-entered
	sim.Close()
	sim.Close()
	if r := <-answered; r.err == nil {
		t.Fatalf("its connection breaks: %+v", r)
	}
}

func TestManyClientsAtOnceKeepTheBooksStraight(t *testing.T) {
	sim, api, _ := serve(t, stripesim.Config{Seed: 10, PlatformBalance: map[string]int64{"eur": 100_000}})
	var wg sync.WaitGroup
	for n := range 16 {
		wg.Go(func() {
			for i := range 25 {
				tr, err := api.Transfers.New(&stripe.TransferParams{Amount: stripe.Int64(1000), Currency: stripe.String("eur"),
					Destination: stripe.String(fmt.Sprintf("acct_%d", (n+i)%5))})
				if err != nil {
					if e := stripeError(t, err); e.Code != "balance_insufficient" {
						t.Errorf("transfer: %v", e)
					}
					continue
				}
				if i%3 == 0 {
					_, err := api.TransferReversals.New(&stripe.TransferReversalParams{ID: stripe.String(tr.ID), Amount: stripe.Int64(400)})
					if err != nil {
						t.Errorf("reversal: %v", err)
					}
				}
				if list := api.Transfers.List(&stripe.TransferListParams{Destination: stripe.String("acct_1")}); list.Err() != nil {
					t.Errorf("list: %v", list.Err())
				}
			}
		})
	}
	wg.Wait()
	truth := sim.Truth()
	var sellers, transfers int64
	for _, a := range truth.Accounts {
		sellers += a.Available["eur"]
	}
	for _, tr := range truth.Transfers {
		transfers += tr.Amount - tr.AmountReversed
	}
	if sellers != transfers || truth.Balance["eur"]+sellers != 100_000 || truth.Balance["eur"] < 0 {
		t.Fatalf("platform %d, sellers %d, transfers %d", truth.Balance["eur"], sellers, transfers)
	}
}

func BenchmarkTransfer(b *testing.B) {
	sim := stripesim.New(stripesim.Config{})
	defer sim.Close()
	w := wire{sim}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if r := w.post("/v1/transfers", fmt.Sprintf("amount=100&currency=eur&destination=acct_%d&metadata[op]=%d", i%100, i), fmt.Sprint("K", i)); r.status != 200 {
			b.Fatal(r.body)
		}
	}
}

// A page in a browser may reach the simulator under a name of its own, or with a form.
func TestControlsTakeNothingFromABrowsersPage(t *testing.T) {
	_, _, url := serve(t, stripesim.Config{})
	ask := func(method, path, host, media string) int {
		t.Helper()
		r, err := http.NewRequest(method, url+path, strings.NewReader(`{"level":"heavy"}`))
		if err != nil {
			t.Fatal(err)
		}
		if r.Header.Set("Content-Type", media); host != "" {
			r.Host = host
		}
		got, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got.Body.Close()
		return got.StatusCode
	}
	for _, host := range []string{"evil.example", "evil.example:12111", "localhost.evil.example", "10.1.2.3", "0.0.0.0", "2130706433"} {
		for _, path := range []string{"/_sim/", "/_sim/truth"} {
			if got := ask("GET", path, host, ""); got != http.StatusMisdirectedRequest {
				t.Errorf("GET %s at %s: %d", path, host, got)
			}
		}
		if got := ask("POST", "/_sim/faults", host, "application/json"); got != http.StatusMisdirectedRequest {
			t.Errorf("POST at %s: %d", host, got)
		}
	}
	for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"} {
		if got := ask("POST", "/_sim/faults", "", media); got != http.StatusUnsupportedMediaType {
			t.Errorf("POST of %q: %d", media, got)
		}
	}
	for _, host := range []string{"", "localhost", "LOCALHOST:1", "127.0.0.1:12111", "[::1]:12111"} {
		if got := ask("POST", "/_sim/faults", host, "application/json; charset=utf-8"); got != http.StatusOK {
			t.Errorf("POST at %q: %d", host, got)
		}
	}
}

func TestTheControlsAreListed(t *testing.T) {
	_, w := local(t, stripesim.Config{})
	r := w.control(t, "GET", "", "")
	for _, want := range []string{"GET /_sim/truth", "POST /_sim/faults", "DELETE /_sim/rules", "POST /_sim/events/resend"} {
		if !strings.Contains(r.body, `"`+want+`"`) {
			t.Errorf("%s is not listed: %s", want, r.body)
		}
	}
}
