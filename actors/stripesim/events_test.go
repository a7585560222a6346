package stripesim_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/webhook"

	"github.com/settled/settled/actors/stripesim"
)

const secret = "whsec_simulated"

// receiver is a webhook endpoint that keeps what it takes.
type receiver struct {
	mu     sync.Mutex
	refuse int // answer this many deliveries with 500 first
	got    []stripe.Event
	raw    []string
	errs   []error
}

func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	event, err := webhook.ConstructEvent(body, r.Header.Get("Stripe-Signature"), secret)
	rc.mu.Lock()
	defer rc.mu.Unlock()
	if rc.refuse > 0 {
		rc.refuse--
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if err != nil {
		rc.errs = append(rc.errs, err)
	}
	rc.got = append(rc.got, event)
	rc.raw = append(rc.raw, string(body))
}

// types is what came, of a type with the prefix.
func (rc *receiver) types(prefix string) []stripe.Event {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	var out []stripe.Event
	for _, e := range rc.got {
		if strings.HasPrefix(string(e.Type), prefix) {
			out = append(out, e)
		}
	}
	return out
}

// RoundTrip lets the receiver stand in for a network in a bubble.
func (rc *receiver) RoundTrip(r *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	rc.ServeHTTP(rec, r)
	return rec.Result(), nil
}

// listen makes a simulator that delivers to a receiver, without sockets.
func listen(cfg stripesim.Config) (*stripesim.Sim, wire, *receiver) {
	rc := &receiver{}
	cfg.WebhookURL, cfg.WebhookSecret = "http://settled.test/webhooks/stripe", secret
	cfg.HTTPClient = &http.Client{Transport: rc}
	sim := stripesim.New(cfg)
	return sim, wire{sim}, rc
}

func TestEventsAreDeliveredSignedOverHTTP(t *testing.T) {
	rc := &receiver{}
	server := httptest.NewServer(rc)
	defer server.Close()
	sim, api, _ := serve(t, stripesim.Config{WebhookURL: server.URL, WebhookSecret: secret})
	params := &stripe.TransferParams{Amount: stripe.Int64(100), Currency: stripe.String("eur"), Destination: stripe.String("acct_seller")}
	params.SetIdempotencyKey("K")
	tr, err := api.Transfers.New(params)
	if err != nil {
		t.Fatal(err)
	}
	sim.Flush()
	events := rc.types("transfer.created")
	if len(events) != 1 || len(rc.errs) != 0 {
		t.Fatalf("one verified event: %v %v", events, rc.errs)
	}
	e := events[0]
	if e.Data.Object["id"] != tr.ID || e.Request.IdempotencyKey != "K" || e.Request.ID != tr.LastResponse.RequestID ||
		e.APIVersion != "2023-10-16" || e.Account != "" || e.PendingWebhooks != 1 {
		t.Fatalf("the event: %+v", e)
	}
	stored, err := api.Events.Get(e.ID, nil)
	if err != nil || stored.PendingWebhooks != 0 {
		t.Fatalf("once taken nothing is pending: %+v %v", stored, err)
	}
	if err := webhook.ValidatePayload([]byte(rc.raw[0]), "t=1,v1=00", secret); err == nil {
		t.Fatal("the check checks")
	}
}

func TestSellersEventsNameTheAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, w, rc := listen(stripesim.Config{})
		defer sim.Close()
		w.pay(t, 1000, "")
		w.control(t, "POST", "accounts", `{"id":"acct_seller","capabilities":{"transfers":"inactive"}}`)
		w.control(t, "POST", "balance", `{"account":"acct_seller","currency":"eur","available":5000}`)
		synctest.Wait()
		for _, kind := range []string{"account.updated", "capability.updated", "balance.available"} {
			events := rc.types(kind)
			if len(events) != 1 || events[0].Account != "acct_seller" || events[0].Request.ID != "" {
				t.Fatalf("%s: %+v", kind, events)
			}
		}
		if got := rc.types("capability.updated")[0]; got.Data.Object["status"] != "inactive" || got.Data.PreviousAttributes["status"] != "active" {
			t.Fatalf("what changed: %+v", got.Data)
		}
		if ids := w.get("/v1/events", "type=capability.updated").data(); len(ids) != 0 {
			t.Fatal("the platform's list does not hold its sellers' events")
		}
		if ids := w.ask(t.Context(), "GET", "/v1/events", "type=capability.updated", "", "acct_seller").data(); len(ids) != 1 {
			t.Fatalf("the seller's list does: %v", ids)
		}
	})
}

func TestARefusedDeliveryIsTriedAgainWithPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, w, rc := listen(stripesim.Config{})
		defer sim.Close()
		rc.refuse = 3
		w.pay(t, 100, "K")
		synctest.Wait()
		if ids := w.get("/v1/events", "delivery_success=false").data(); len(ids) != 1 {
			t.Fatalf("not delivered yet: %v", ids)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if got := rc.types("transfer.created"); len(got) != 1 {
			t.Fatalf("it came in the end: %v", got)
		}
		if n := sim.Counts()["webhook refused"]; n != 3 {
			t.Fatalf("after %d refusals", n)
		}
		if ids := w.get("/v1/events", "delivery_success=false").data(); len(ids) != 0 {
			t.Fatalf("all delivered: %v", ids)
		}
	})
}

func TestAReceiverThatIsGoneIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, w, rc := listen(stripesim.Config{})
		defer sim.Close()
		rc.refuse = 1000
		w.pay(t, 100, "K")
		synctest.Wait()
		for range 20 {
			sim.Advance(24 * time.Hour)
			synctest.Wait()
		}
		if c := sim.Counts(); c["webhook given_up"] != 1 || c["webhook refused"] > 20 {
			t.Fatalf("bounded: %v", c)
		}
		rc.mu.Lock()
		rc.refuse = 0
		rc.mu.Unlock()
		w.control(t, "POST", "events/resend", `{}`)
		synctest.Wait()
		if got := rc.types(""); len(got) != 1 {
			t.Fatalf("resent by hand: %v", got)
		}
	})
}

func TestEveryFaultOfAnEventShows(t *testing.T) {
	for name, tc := range map[string]struct {
		kind  stripesim.Kind
		delay time.Duration
		check func(t *testing.T, sim *stripesim.Sim, w wire, rc *receiver)
	}{
		"lost, but listed": {stripesim.KindEventLost, 0, func(t *testing.T, _ *stripesim.Sim, w wire, rc *receiver) {
			if len(rc.types("")) != 0 || len(w.get("/v1/events", "delivery_success=false").data()) != 1 {
				t.Fatal("it must be listed and not delivered")
			}
		}},
		"twice": {stripesim.KindEventTwice, 0, func(t *testing.T, _ *stripesim.Sim, _ wire, rc *receiver) {
			if got := rc.types(""); len(got) != 2 || got[0].ID != got[1].ID {
				t.Fatalf("the same event, twice: %v", got)
			}
		}},
		"two objects": {stripesim.KindEventDuplicate, 0, func(t *testing.T, _ *stripesim.Sim, w wire, rc *receiver) {
			got := rc.types("")
			if len(got) != 2 || got[0].ID == got[1].ID || got[0].Data.Object["id"] != got[1].Data.Object["id"] {
				t.Fatalf("two events of one change: %v", got)
			}
			if len(w.get("/v1/events", "").data()) != 2 {
				t.Fatal("both are listed")
			}
		}},
		"another version": {stripesim.KindEventVersion, 0, func(t *testing.T, _ *stripesim.Sim, _ wire, rc *receiver) {
			if got := rc.types(""); len(got) != 1 || got[0].APIVersion == "2023-10-16" || len(rc.errs) != 1 {
				t.Fatalf("stripe-go refuses its version: %v %v", got, rc.errs)
			}
		}},
		"the other mode": {stripesim.KindEventStray, 0, func(t *testing.T, _ *stripesim.Sim, w wire, rc *receiver) {
			got := rc.types("")
			if len(got) != 2 || got[0].Livemode == got[1].Livemode {
				t.Fatalf("one of each mode: %v", got)
			}
			for _, e := range got {
				id := e.Data.Object["id"].(string)
				if status := w.get("/v1/transfers/"+id, "").status; (status == 404) != e.Livemode {
					t.Fatalf("%s of livemode %v: %d", id, e.Livemode, status)
				}
			}
		}},
		"late": {stripesim.KindEventLate, 40 * time.Minute, func(t *testing.T, sim *stripesim.Sim, _ wire, rc *receiver) {
			if got := rc.types(""); len(got) != 1 {
				t.Fatalf("it came: %v", got)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sim, w, rc := listen(stripesim.Config{Seed: 5})
				defer sim.Close()
				sim.Inject(stripesim.Rule{Kind: tc.kind, Path: "transfer.created", Delay: tc.delay})
				w.pay(t, 100, "K")
				synctest.Wait()
				if tc.delay > 0 {
					if got := rc.types(""); len(got) != 0 {
						t.Fatalf("not yet: %v", got)
					}
				}
				sim.Advance(2 * time.Hour)
				synctest.Wait()
				tc.check(t, sim, w, rc)
				if n := sim.Counts()["fault "+string(tc.kind)]; n != 1 {
					t.Fatalf("counted %d times", n)
				}
			})
		})
	}
}

func TestAnEventCanOvertakeItsAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, w, rc := listen(stripesim.Config{})
		defer sim.Close()
		sim.Inject(stripesim.Rule{Kind: stripesim.KindEventEarly, Path: "transfer.created"})
		sim.Inject(stripesim.Rule{Kind: stripesim.KindEventEarly, Path: "transfer.reversed"})
		id := w.pay(t, 100, "K").id()
		if got := rc.types("transfer.created"); len(got) != 1 || got[0].Data.Object["id"] != id {
			t.Fatalf("the event was there before the answer: %v", got)
		}
		w.post("/v1/transfers/"+id+"/reversals", "amount=30", "R")
		got := rc.types("transfer.reversed")
		if len(got) != 1 || got[0].Data.Object["object"] != "transfer" {
			t.Fatalf("transfer.reversed carries the transfer: %v", got)
		}
		var tr stripe.Transfer
		if err := json.Unmarshal(got[0].Data.Raw, &tr); err != nil || tr.AmountReversed != 30 || tr.Reversed {
			t.Fatalf("with what was reversed so far: %+v %v", tr, err)
		}
	})
}

func TestUnderHeavyFaultsEventsComeOutOfOrderAndNotAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, w, rc := listen(stripesim.Config{Seed: 6, Faults: stripesim.Heavy, Times: stripesim.Times{KeyLife: 10_000 * time.Hour}})
		defer sim.Close()
		drive(w, 300, 4)
		sim.Advance(48 * time.Hour)
		synctest.Wait()
		sim.Flush()
		got := rc.types("transfer.created")
		distinct, objects := map[string]bool{}, map[string]bool{}
		disordered := 0
		for i, e := range got {
			distinct[e.ID], objects[e.Data.Object["id"].(string)] = true, true
			if i > 0 && e.Created < got[i-1].Created {
				disordered++
			}
		}
		made := len(sim.Truth().Transfers)
		if len(objects) >= made || len(objects) < made*8/10 || len(distinct) == len(got) || len(objects) == len(distinct) || disordered == 0 {
			t.Fatalf("%d transfers: %d deliveries of %d events about %d objects, %d out of order", made, len(got), len(distinct), len(objects), disordered)
		}
	})
}

func TestPaymentsRefundsAndDisputesTellTheirStory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, w, rc := listen(stripesim.Config{})
		defer sim.Close()
		pi := w.post("/v1/payment_intents", form("amount", "6000", "currency", "eur", "transfer_group", "order_9", "metadata[order]", "9"), "")
		if pi.str("status") != "requires_payment_method" {
			t.Fatalf("not paid yet: %s", pi.body)
		}
		paid := w.control(t, "POST", "succeed", fmt.Sprintf(`{"payment_intent":%q}`, pi.id()))
		charge := paid.str("latest_charge")
		w.control(t, "POST", "refund", fmt.Sprintf(`{"charge":%q,"amount":1000}`, charge))
		refunds := w.get("/v1/refunds", "charge="+charge).data()
		w.control(t, "POST", "refund", fmt.Sprintf(`{"fail":%q}`, refunds[0]))
		d := w.control(t, "POST", "dispute", fmt.Sprintf(`{"charge":%q,"status":"warning_needs_response"}`, charge))
		for _, status := range []string{"needs_response", "lost", "won"} {
			w.control(t, "POST", "dispute", fmt.Sprintf(`{"id":%q,"status":%q}`, d.id(), status))
		}
		synctest.Wait()
		count := map[string]int{}
		for _, e := range rc.types("") {
			count[string(e.Type)]++
		}
		want := map[string]int{
			"payment_intent.created": 1, "payment_intent.succeeded": 1, "charge.succeeded": 1, "charge.refunded": 1,
			"charge.refund.updated": 1, "charge.dispute.created": 1, "charge.dispute.funds_withdrawn": 1,
			"charge.dispute.updated": 1, "charge.dispute.closed": 2, "charge.dispute.funds_reinstated": 1,
		}
		if fmt.Sprint(count) != fmt.Sprint(want) {
			t.Fatalf("got  %v\nwant %v", count, want)
		}
		if got := w.get("/v1/disputes", "charge="+charge); len(got.data()) != 1 {
			t.Fatalf("the dispute is listed: %s", got.body)
		}
		truth := sim.Truth()
		if truth.Balance["eur"] != 6000 || truth.Disputes[0].Status != "won" || truth.Refunds[0].Status != "failed" || truth.Charges[0].AmountRefunded != 0 {
			t.Fatalf("all the money is back: %+v", truth)
		}
	})
}

// Accounts v2 tell of their changes in thin events: no data, and the account in related_object.
func TestAccountsOfTheV2APISpeakInThinEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, w, rc := listen(stripesim.Config{Seed: 5, AccountsV2: true, Strict: true})
		defer sim.Close()
		id := w.post("/v1/accounts", "type=express&capabilities[transfers][requested]=true", "K").id()
		synctest.Wait()
		const want = "v2.core.account[configuration.recipient].capability_status_updated"
		found := false
		for _, raw := range rc.raw {
			var e struct {
				Object, Type, Created string
				Data                  any
				RelatedObject         struct{ ID, Type string } `json:"related_object"`
			}
			if err := json.Unmarshal([]byte(raw), &e); err != nil {
				t.Fatalf("%s: %v", raw, err)
			}
			if e.Object != "v2.core.event" || e.Data != nil || e.RelatedObject.ID != id || e.RelatedObject.Type != "v2.core.account" {
				t.Errorf("no thin event of %s: %s", id, raw)
			}
			found = found || e.Type == want
		}
		if !found {
			t.Errorf("no %s in %v", want, rc.raw)
		}
	})
}
