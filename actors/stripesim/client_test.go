package stripesim_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v76"

	"github.com/settled/settled/actors/stripesim"
)

// stripeError is the error of a call that must have been refused by Stripe.
func stripeError(t *testing.T, err error) *stripe.Error {
	t.Helper()
	var e *stripe.Error
	if !errors.As(err, &e) {
		t.Fatalf("want a Stripe error, got %v", err)
	}
	return e
}

func TestStripesClientDrivesATransferFromStartToFullReversal(t *testing.T) {
	sim, api, _ := serve(t, stripesim.Config{Seed: 1})
	params := &stripe.TransferParams{
		Amount: stripe.Int64(4200), Currency: stripe.String("eur"), Destination: stripe.String("acct_seller"),
		TransferGroup: stripe.String("order_77"), Description: stripe.String("first"),
	}
	params.AddMetadata("obligation", "obl_77")
	params.SetIdempotencyKey("xfer:obl_77:1")
	tr, err := api.Transfers.New(params)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(tr.ID, "tr_") || tr.Amount != 4200 || tr.Currency != "eur" || tr.Destination.ID != "acct_seller" ||
		tr.Metadata["obligation"] != "obl_77" || tr.TransferGroup != "order_77" || tr.Description != "first" || tr.Reversed ||
		!strings.HasPrefix(tr.DestinationPayment.ID, "py_") || tr.BalanceTransaction.ID == "" || tr.SourceType != "card" {
		t.Fatalf("the transfer is not what was asked for: %+v", tr)
	}
	h := tr.LastResponse.Header
	if h.Get("Stripe-Should-Retry") != "false" || h.Get("Idempotency-Key") != "xfer:obl_77:1" || h.Get("Request-Id") == "" ||
		h.Get("Original-Request") != h.Get("Request-Id") || h.Get("Stripe-Version") != "2023-10-16" || h.Get("Idempotent-Replayed") != "" {
		t.Fatalf("headers of a first execution: %v", h)
	}

	reverse := func(key string, amount int64) (*stripe.TransferReversal, error) {
		p := &stripe.TransferReversalParams{ID: stripe.String(tr.ID), Amount: stripe.Int64(amount)}
		p.AddMetadata("refund", key)
		p.SetIdempotencyKey(key)
		return api.TransferReversals.New(p)
	}
	first, err := reverse("rev:1", 700)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(first.ID, "trr_") || first.Amount != 700 || first.Transfer.ID != tr.ID || first.Metadata["refund"] != "rev:1" ||
		!strings.HasPrefix(first.DestinationPaymentRefund.ID, "pyr_") {
		t.Fatalf("the reversal is not what was asked for: %+v", first)
	}
	got, err := api.Transfers.Get(tr.ID, nil)
	if err != nil || got.AmountReversed != 700 || got.Reversed || len(got.Reversals.Data) != 1 {
		t.Fatalf("after a partial reversal: %+v %v", got, err)
	}

	if e := stripeError(t, second(reverse("rev:2", 3501))); e.HTTPStatusCode != 400 || e.Code != "" || e.Param != "amount" {
		t.Fatalf("R3, more than is left: %+v", e)
	}
	if _, err := reverse("rev:3", 3500); err != nil {
		t.Fatal(err)
	}
	e := stripeError(t, second(reverse("rev:4", 1)))
	if want := fmt.Sprintf("The transfer %s is already fully reversed.", tr.ID); e.Msg != want || e.Code != "" ||
		e.Type != stripe.ErrorTypeInvalidRequest || e.HTTPStatusCode != 400 {
		t.Fatalf("R2: %+v, want %q", e, want)
	}
	if e.LastResponse.Header.Get("Stripe-Should-Retry") != "false" {
		t.Fatal("an executed failure says that a retry is useless")
	}

	list := api.TransferReversals.List(&stripe.TransferReversalListParams{ID: stripe.String(tr.ID)})
	var amounts []int64
	for list.Next() {
		amounts = append(amounts, list.TransferReversal().Amount)
	}
	if list.Err() != nil || fmt.Sprint(amounts) != "[3500 700]" {
		t.Fatalf("reversals, newest first: %v %v", amounts, list.Err())
	}
	one, err := api.TransferReversals.Get(first.ID, &stripe.TransferReversalParams{ID: stripe.String(tr.ID)})
	if err != nil || one.Amount != 700 {
		t.Fatalf("one reversal: %+v %v", one, err)
	}

	truth := find(t, sim.Truth(), tr.ID)
	if truth.AmountReversed != 4200 || len(truth.Reversals) != 2 || truth.IdempotencyKey != "xfer:obl_77:1" ||
		truth.Reversals[0].IdempotencyKey != "rev:1" || truth.Metadata["obligation"] != "obl_77" {
		t.Fatalf("the truth: %+v", truth)
	}
	for _, a := range sim.Truth().Accounts {
		if a.Available["eur"] != 0 {
			t.Fatalf("the seller gave everything back but has %v", a.Available)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestStripesClientReadsWhatIsAroundATransfer(t *testing.T) {
	_, api, _ := serve(t, stripesim.Config{Seed: 2, AccountID: "acct_platform"})
	if me, err := api.Accounts.Get(); err != nil || me.ID != "acct_platform" {
		t.Fatalf("the platform: %v %v", me, err)
	}
	charge, err := api.Charges.New(&stripe.ChargeParams{Amount: stripe.Int64(7000), Currency: stripe.String("eur"),
		TransferGroup: stripe.String("order_1")})
	if err != nil || charge.Status != "succeeded" || charge.Refunds != nil {
		t.Fatalf("the charge: %+v %v", charge, err)
	}
	tr, err := api.Transfers.New(&stripe.TransferParams{Amount: stripe.Int64(6000), Currency: stripe.String("eur"),
		Destination: stripe.String("acct_seller"), SourceTransaction: stripe.String(charge.ID)})
	if err != nil || tr.SourceTransaction.ID != charge.ID || tr.TransferGroup != "order_1" {
		t.Fatalf("the transfer inherits its charge's group: %+v %v", tr, err)
	}
	_, err = api.Transfers.New(&stripe.TransferParams{Amount: stripe.Int64(1001), Currency: stripe.String("eur"),
		Destination: stripe.String("acct_seller"), SourceTransaction: stripe.String(charge.ID)})
	if e := stripeError(t, err); e.Msg != "Transfers using this transaction as a source must not exceed the source amount of "+
		"€70.00. (There is already a transfer using this source, amounting to €60.00.)" {
		t.Fatalf("T7: %+v", e)
	}
	_, err = api.Transfers.New(&stripe.TransferParams{Amount: stripe.Int64(1), Currency: stripe.String("usd"),
		Destination: stripe.String("acct_seller"), SourceTransaction: stripe.String(charge.ID)})
	if e := stripeError(t, err); e.Param != "source_transaction" || !strings.Contains(e.Msg, "(eur) must be the same as the transfer currency (usd)") {
		t.Fatalf("T8: %+v", e)
	}
	p := &stripe.BalanceParams{}
	p.SetStripeAccount("acct_seller")
	balance, err := api.Balance.Get(p)
	if err != nil || balance.Available[0].Amount != 6000 || balance.Available[0].Currency != "eur" {
		t.Fatalf("the seller's balance: %+v %v", balance, err)
	}
	txns := api.BalanceTransactions.List(&stripe.BalanceTransactionListParams{Type: stripe.String("transfer"), Source: stripe.String(tr.ID)})
	if !txns.Next() || txns.BalanceTransaction().Amount != -6000 || txns.BalanceTransaction().Source.ID != tr.ID || txns.Next() || txns.Err() != nil {
		t.Fatalf("one balance transaction of -6000: %v", txns.Err())
	}
	capability, err := api.Capabilities.Get("transfers", &stripe.CapabilityParams{Account: stripe.String("acct_seller")})
	if err != nil || capability.Status != "active" {
		t.Fatalf("the capability: %+v %v", capability, err)
	}
	refund, err := api.Refunds.New(&stripe.RefundParams{Charge: stripe.String(charge.ID), Amount: stripe.Int64(500)})
	if err != nil || refund.Status != "succeeded" {
		t.Fatalf("the refund: %+v %v", refund, err)
	}
	_, err = api.Refunds.New(&stripe.RefundParams{Charge: stripe.String(charge.ID), Amount: stripe.Int64(6501)})
	if e := stripeError(t, err); e.Msg != "Refund amount (€65.01) is greater than unrefunded amount on charge (€65.00)" || e.Param != "amount" {
		t.Fatalf("too large a refund: %+v", e)
	}
	refunds := api.Refunds.List(&stripe.RefundListParams{Charge: stripe.String(charge.ID)})
	if !refunds.Next() || refunds.Refund().ID != refund.ID || refunds.Next() {
		t.Fatal("the charge's refunds are listed")
	}
	pi, err := api.PaymentIntents.New(&stripe.PaymentIntentParams{Amount: stripe.Int64(900), Currency: stripe.String("eur"), Confirm: stripe.Bool(true)})
	if err != nil || pi.Status != "succeeded" || pi.LatestCharge == nil || pi.AmountReceived != 900 {
		t.Fatalf("the payment intent: %+v %v", pi, err)
	}
	seller, err := api.Accounts.New(&stripe.AccountParams{Type: stripe.String("express"), Country: stripe.String("FR"),
		Capabilities: &stripe.AccountCapabilitiesParams{Transfers: &stripe.AccountCapabilitiesTransfersParams{Requested: stripe.Bool(true)}}})
	if err != nil || seller.Capabilities.Transfers != "active" || seller.Country != "FR" {
		t.Fatalf("the account: %+v %v", seller, err)
	}
	events := api.Events.List(&stripe.EventListParams{Types: stripe.StringSlice([]string{"transfer.created", "charge.refunded"})})
	var kinds []string
	for events.Next() {
		kinds = append(kinds, string(events.Event().Type))
	}
	if fmt.Sprint(kinds) != "[charge.refunded transfer.created]" || events.Err() != nil {
		t.Fatalf("events, newest first: %v %v", kinds, events.Err())
	}
}

func TestRefusalsBeforeTheIdempotencyLayerAreNotStored(t *testing.T) {
	_, w := local(t, stripesim.Config{Seed: 3, Strict: true})
	w.control(t, "POST", "accounts", `{"id":"acct_seller"}`)
	long := strings.Repeat("x", 501)
	for name, tc := range map[string]struct {
		method, path, form string
		status             int
		code, message      string
	}{
		"an unknown URL":               {"GET", "/v1/nonsense", "", 404, "", "Unrecognized request URL (GET: /v1/nonsense)"},
		"an unknown parameter":         {"POST", "/v1/transfers", transferForm(1, "&foo=1"), 400, "parameter_unknown", "Received unknown parameter: foo"},
		"no currency":                  {"POST", "/v1/transfers", "amount=1&destination=acct_seller", 400, "parameter_missing", "Missing required param: currency."},
		"an empty destination":         {"POST", "/v1/transfers", "amount=1&currency=eur&destination=", 400, "parameter_invalid_empty", "You passed an empty string for 'destination'"},
		"amount zero":                  {"POST", "/v1/transfers", transferForm(0, ""), 400, "parameter_invalid_integer", "This value must be greater than or equal to 1."},
		"amount no number":             {"POST", "/v1/transfers", "amount=1.5&currency=eur&destination=acct_seller", 400, "parameter_invalid_integer", "Invalid integer: 1.5"},
		"amount too large":             {"POST", "/v1/transfers", "amount=1000000000000&currency=eur&destination=acct_seller", 400, "amount_too_large", "Amount must be no more than"},
		"no such currency":             {"POST", "/v1/transfers", "amount=1&currency=zzz&destination=acct_seller", 400, "", "Invalid currency: zzz."},
		"an unknown destination":       {"POST", "/v1/transfers", "amount=1&currency=eur&destination=acct_nobody", 400, "resource_missing", "No such destination: 'acct_nobody'"},
		"an unknown charge":            {"POST", "/v1/transfers", transferForm(1, "&source_transaction=ch_x"), 400, "resource_missing", "No such charge: 'ch_x'"},
		"an unknown transfer":          {"GET", "/v1/transfers/tr_x", "", 404, "resource_missing", "No such transfer: 'tr_x'"},
		"reversing an unknown one":     {"POST", "/v1/transfers/tr_x/reversals", "amount=1", 404, "resource_missing", "No such transfer: 'tr_x'"},
		"a metadata value too long":    {"POST", "/v1/transfers", transferForm(1, "&"+form("metadata[k]", long)), 400, "", "Metadata values can have up to 500"},
		"a metadata key too long":      {"POST", "/v1/transfers", transferForm(1, "&"+form("metadata["+long[:41]+"]", "v")), 400, "", "Metadata keys can have up to 40"},
		"a limit beyond a hundred":     {"GET", "/v1/transfers", "limit=101", 400, "parameter_invalid_integer", "less than or equal to 100"},
		"a cursor that does not exist": {"GET", "/v1/transfers", "starting_after=tr_x", 400, "resource_missing", "No such transfer: 'tr_x'"},
		"a bound that does not exist":  {"GET", "/v1/transfers", "created[ge]=1", 400, "parameter_unknown", "Received unknown parameter"},
		"a fourth segment too many":    {"GET", "/v1/transfers/tr_x/reversals/trr_x/more", "", 404, "", "Unrecognized request URL"},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 {
				r := w.ask(t.Context(), tc.method, tc.path, tc.form, "K:"+name, "")
				if r.status != tc.status || r.code() != tc.code || !strings.HasPrefix(r.message(), tc.message) && !strings.Contains(r.message(), tc.message) {
					t.Fatalf("got %d %s", r.status, r.body)
				}
				if r.header.Get("Idempotent-Replayed") != "" || r.header.Get("Stripe-Should-Retry") != "" {
					t.Fatalf("it must be neither stored nor advised on: %v", r.header)
				}
			}
		})
	}
}

func TestFiftyOneMetadataKeysAreOneTooMany(t *testing.T) {
	_, w := local(t, stripesim.Config{})
	var pairs []string
	for i := range 50 {
		pairs = append(pairs, fmt.Sprintf("metadata[k%d]", i), "v")
	}
	if r := w.post("/v1/transfers", transferForm(1, "&"+form(pairs...)), ""); r.status != 200 {
		t.Fatalf("fifty are allowed: %s", r.body)
	}
	pairs = append(pairs, "metadata[k50]", "v")
	if r := w.post("/v1/transfers", transferForm(1, "&"+form(pairs...)), ""); r.status != 400 {
		t.Fatalf("fifty-one are not: %s", r.body)
	}
}

func TestAKeyOpensTheDoorOrDoesNot(t *testing.T) {
	_, w := local(t, stripesim.Config{Secrets: []string{"sk_test_other"}})
	if r := w.get("/v1/account", ""); r.status != 401 || r.message() != "Invalid API Key provided: sk_test_*****ated" {
		t.Fatalf("a wrong key: %d %s", r.status, r.body)
	}
	_, w = local(t, stripesim.Config{Strict: true})
	if r := w.ask(t.Context(), "GET", "/v1/balance", "", "", "acct_nobody"); r.status != 403 || r.code() != "account_invalid" {
		t.Fatalf("T15: %d %s", r.status, r.body)
	}
	req, err := http.NewRequest("GET", "http://stripe.test/v1/account", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := w.RoundTrip(req)
	if err != nil || resp.StatusCode != 401 {
		t.Fatalf("without a key: %v %v", resp, err)
	}
	_ = resp.Body.Close()
}

func TestTheStateRefusesAndTheRefusalIsStored(t *testing.T) {
	for name, tc := range map[string]struct {
		prepare       func(t *testing.T, w wire)
		form          string
		code, message string
	}{
		"T2, the platform is out of funds": {
			func(t *testing.T, w wire) { w.control(t, "POST", "balance", `{"currency":"eur","available":99}`) },
			transferForm(100, ""), "balance_insufficient", "You have insufficient funds in your Stripe account.",
		},
		"T3, the seller cannot receive": {
			func(t *testing.T, w wire) {
				w.control(t, "POST", "accounts", `{"id":"acct_seller","capabilities":{"transfers":"inactive"}}`)
			},
			transferForm(100, ""), "insufficient_capabilities_for_transfer", "Your destination account needs",
		},
		"T6, the seller is in another region": {
			func(t *testing.T, w wire) { w.control(t, "POST", "accounts", `{"id":"acct_seller","country":"US"}`) },
			transferForm(100, ""), "transfers_not_allowed", "Funds can't be sent to accounts located in US",
		},
	} {
		t.Run(name, func(t *testing.T) {
			sim, w := local(t, stripesim.Config{Seed: 4})
			tc.prepare(t, w)
			for i := range 2 {
				r := w.post("/v1/transfers", tc.form, "K")
				if r.status != 400 || r.code() != tc.code || !strings.HasPrefix(r.message(), tc.message) {
					t.Fatalf("got %d %s", r.status, r.body)
				}
				if r.header.Get("Stripe-Should-Retry") != "false" || (r.header.Get("Idempotent-Replayed") == "true") != (i == 1) {
					t.Fatalf("attempt %d: %v", i, r.header)
				}
			}
			// What was wrong is mended, but the key remembers.
			w.control(t, "POST", "accounts", `{"id":"acct_seller","country":"DE","capabilities":{"transfers":"active"}}`)
			w.control(t, "POST", "balance", `{"currency":"eur","available":100000}`)
			if r := w.post("/v1/transfers", tc.form, "K"); r.code() != tc.code {
				t.Fatalf("the stored refusal stays: %s", r.body)
			}
			if r := w.post("/v1/transfers", tc.form, "K2"); r.status != 200 {
				t.Fatalf("a new key succeeds: %s", r.body)
			}
			if n := len(sim.Truth().Transfers); n != 1 {
				t.Fatalf("%d transfers", n)
			}
		})
	}
}

func TestAReversalNeedsTheSellersMoney(t *testing.T) {
	for name, tc := range map[string]struct {
		negative bool
		status   int
	}{"it fails without": {false, 400}, "or drives the seller below zero": {true, 200}} {
		t.Run(name, func(t *testing.T) {
			_, w := local(t, stripesim.Config{NegativeSellers: tc.negative})
			id := w.pay(t, 1000, "").id()
			w.control(t, "POST", "balance", `{"account":"acct_seller","currency":"eur","available":300}`)
			r := w.post("/v1/transfers/"+id+"/reversals", "amount=400", "R")
			if r.status != tc.status || tc.status == 400 && r.code() != "balance_insufficient" {
				t.Fatalf("R4: %d %s", r.status, r.body)
			}
			if r := w.post("/v1/transfers/"+id+"/reversals", "amount=300&expand[]=transfer", "R2"); r.status != 200 && !tc.negative {
				t.Fatalf("what the seller has comes back: %s", r.body)
			} else if expanded, ok := r.object["transfer"].(map[string]any); !ok || expanded["id"] != id {
				t.Fatalf("the transfer is expanded: %s", r.body)
			}
		})
	}
}

func TestAClosedSellerIsGone(t *testing.T) {
	_, w := local(t, stripesim.Config{})
	id := w.pay(t, 1000, "").id()
	w.control(t, "POST", "accounts", `{"id":"acct_seller","closed":true}`)
	if r := w.post("/v1/transfers", transferForm(1, ""), "A"); r.status != 400 || r.code() != "resource_missing" {
		t.Fatalf("T4: %s", r.body)
	}
	if r := w.post("/v1/transfers/"+id+"/reversals", "amount=1", "B"); r.status != 400 {
		t.Fatalf("R7: %s", r.body)
	}
}

func TestALimiterRefusesAndRefills(t *testing.T) {
	sim, w := local(t, stripesim.Config{RateLimit: 3, Now: func() time.Time { return time.Unix(1_700_000_000, 0) }})
	for i := range 4 {
		r := w.post("/v1/transfers", transferForm(1, ""), fmt.Sprint("K", i))
		if want := map[bool]int{true: 200, false: 429}[i < 3]; r.status != want {
			t.Fatalf("call %d: %d %s", i, r.status, r.body)
		} else if i == 3 && (r.code() != "rate_limit" || r.header.Get("Stripe-Rate-Limited-Reason") != "global-rate") {
			t.Fatalf("T12: %s %v", r.body, r.header)
		}
	}
	sim.Advance(time.Second)
	if r := w.post("/v1/transfers", transferForm(1, ""), "K3"); r.status != 200 || r.header.Get("Idempotent-Replayed") != "" {
		t.Fatalf("a second later the same key executes: %s", r.body)
	}
}
