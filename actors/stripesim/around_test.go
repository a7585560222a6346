package stripesim_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stripe/stripe-go/v76"

	"github.com/settled/settled/actors/stripesim"
)

func TestAccountsAndTheirCapabilitiesChangeOverTheAPI(t *testing.T) {
	sim, api, _ := serve(t, stripesim.Config{Strict: true})
	params := &stripe.AccountParams{Type: stripe.String("custom"), Email: stripe.String("a@example.com")}
	seller, err := api.Accounts.New(params)
	if err != nil || seller.Email != "a@example.com" || seller.Type != "custom" {
		t.Fatalf("the account: %+v %v", seller, err)
	}
	pay := func() error {
		_, err := api.Transfers.New(&stripe.TransferParams{Amount: stripe.Int64(1), Currency: stripe.String("eur"), Destination: stripe.String(seller.ID)})
		return err
	}
	if e := stripeError(t, pay()); e.Code != "insufficient_capabilities_for_transfer" {
		t.Fatalf("nothing was requested: %v", e)
	}
	request := &stripe.CapabilityParams{Account: stripe.String(seller.ID), Requested: stripe.Bool(true)}
	if capability, err := api.Capabilities.Update("transfers", request); err != nil || capability.Status != "active" {
		t.Fatalf("requested: %+v %v", capability, err)
	}
	if err := pay(); err != nil {
		t.Fatal(err)
	}
	list := api.Capabilities.List(&stripe.CapabilityListParams{Account: stripe.String(seller.ID)})
	if !list.Next() || list.Capability().ID != "transfers" || list.Next() {
		t.Fatalf("its capabilities: %v", list.Err())
	}
	params = &stripe.AccountParams{Email: stripe.String("b@example.com"),
		Capabilities: &stripe.AccountCapabilitiesParams{Transfers: &stripe.AccountCapabilitiesTransfersParams{Requested: stripe.Bool(false)}}}
	if got, err := api.Accounts.Update(seller.ID, params); err != nil || got.Email != "b@example.com" || got.Capabilities.Transfers != "" {
		t.Fatalf("updated: %+v %v", got, err)
	}
	if e := stripeError(t, pay()); e.Code != "insufficient_capabilities_for_transfer" {
		t.Fatalf("taken away: %v", e)
	}
	accounts := api.Accounts.List(&stripe.AccountListParams{})
	if !accounts.Next() || accounts.Account().ID != seller.ID || accounts.Next() {
		t.Fatalf("one account: %v", accounts.Err())
	}
	_, err = api.Accounts.GetByID("acct_nobody", nil)
	if e := stripeError(t, err); e.HTTPStatusCode != 403 {
		t.Fatalf("an account of somebody else: %v", e)
	}
	if n := len(sim.Truth().Accounts); n != 1 {
		t.Fatalf("%d accounts", n)
	}
}

func TestWhatSurroundsAPaymentCanBeReadAndChanged(t *testing.T) {
	sim, api, _ := serve(t, stripesim.Config{SettleCurrency: "usd"})
	w := wire{sim}
	pi, err := api.PaymentIntents.New(&stripe.PaymentIntentParams{Amount: stripe.Int64(1000), Currency: stripe.String("eur"),
		Customer: stripe.String("cus_1"), TransferGroup: stripe.String("first")})
	if err != nil {
		t.Fatal(err)
	}
	if pi, err = api.PaymentIntents.Update(pi.ID, &stripe.PaymentIntentParams{TransferGroup: stripe.String("order"),
		Description: stripe.String("d"), Metadata: map[string]string{"a": "1"}}); err != nil || pi.TransferGroup != "order" {
		t.Fatalf("updated: %+v %v", pi, err)
	}
	if pi, err = api.PaymentIntents.Confirm(pi.ID, nil); err != nil || pi.Status != "succeeded" {
		t.Fatalf("confirmed: %+v %v", pi, err)
	}
	_, err = api.PaymentIntents.Confirm(pi.ID, nil)
	if e := stripeError(t, err); e.Code != "payment_intent_unexpected_state" {
		t.Fatalf("twice: %v", e)
	}
	if got, err := api.PaymentIntents.Get(pi.ID, nil); err != nil || got.LatestCharge.ID != pi.LatestCharge.ID || got.Metadata["a"] != "1" {
		t.Fatalf("read: %+v %v", got, err)
	}
	intents := api.PaymentIntents.List(&stripe.PaymentIntentListParams{Customer: stripe.String("cus_1")})
	if !intents.Next() || intents.PaymentIntent().ID != pi.ID || intents.Next() {
		t.Fatalf("listed: %v", intents.Err())
	}
	charge, err := api.Charges.Update(pi.LatestCharge.ID, &stripe.ChargeParams{Description: stripe.String("changed")})
	if err != nil || charge.Description != "changed" || charge.TransferGroup != "order" {
		t.Fatalf("the charge: %+v %v", charge, err)
	}
	charges := api.Charges.List(&stripe.ChargeListParams{PaymentIntent: stripe.String(pi.ID)})
	if !charges.Next() || charges.Charge().ID != charge.ID || charges.Next() {
		t.Fatalf("charges: %v", charges.Err())
	}
	txn, err := api.BalanceTransactions.Get(charge.BalanceTransaction.ID, nil)
	if err != nil || txn.Currency != "usd" || txn.Amount != 1000 || txn.Type != "charge" {
		t.Fatalf("it settled in another currency: %+v %v", txn, err)
	}
	_, err = api.Transfers.New(&stripe.TransferParams{Amount: stripe.Int64(1), Currency: stripe.String("eur"),
		Destination: stripe.String("acct_seller"), SourceTransaction: stripe.String(charge.ID)})
	if e := stripeError(t, err); e.Param != "source_transaction" {
		t.Fatalf("T8: %v", e)
	}
	refund, err := api.Refunds.New(&stripe.RefundParams{PaymentIntent: stripe.String(pi.ID)})
	if err != nil || refund.Amount != 1000 {
		t.Fatalf("refunded by its payment: %+v %v", refund, err)
	}
	_, err = api.Refunds.New(&stripe.RefundParams{Charge: stripe.String(charge.ID)})
	if e := stripeError(t, err); e.Code != stripe.ErrorCodeChargeAlreadyRefunded {
		t.Fatalf("twice: %v", e)
	}
	if _, err := api.Refunds.Update(refund.ID, &stripe.RefundParams{Metadata: map[string]string{"x": "y"}}); err != nil {
		t.Fatal(err)
	}
	if got, err := api.Refunds.Get(refund.ID, nil); err != nil || got.Metadata["x"] != "y" || got.Charge.ID != charge.ID {
		t.Fatalf("the refund: %+v %v", got, err)
	}
	d := w.control(t, "POST", "dispute", fmt.Sprintf(`{"charge":%q,"amount":1200,"status":"lost"}`, charge.ID))
	dispute, err := api.Disputes.Get(d.id(), nil)
	if err != nil || dispute.Amount != 1200 || dispute.Status != "lost" || len(dispute.BalanceTransactions) != 1 {
		t.Fatalf("born lost, and higher than the charge: %+v %v", dispute, err)
	}
	if got, err := api.Charges.Get(charge.ID, nil); err != nil || !got.Disputed || !got.Refunded {
		t.Fatalf("the charge in the end: %+v %v", got, err)
	}
}

func TestAReversalsMetadataCanBeChanged(t *testing.T) {
	_, api, _ := serve(t, stripesim.Config{})
	tr, err := api.Transfers.New(&stripe.TransferParams{Amount: stripe.Int64(10), Currency: stripe.String("jpy"), Destination: stripe.String("acct_a")})
	if err != nil {
		t.Fatal(err)
	}
	rev, err := api.TransferReversals.New(&stripe.TransferReversalParams{ID: stripe.String(tr.ID)})
	if err != nil || rev.Amount != 10 {
		t.Fatalf("without an amount all that is left is reversed: %+v %v", rev, err)
	}
	p := &stripe.TransferReversalParams{ID: stripe.String(tr.ID), Metadata: map[string]string{"a": "b"}}
	if rev, err = api.TransferReversals.Update(rev.ID, p); err != nil || rev.Metadata["a"] != "b" {
		t.Fatalf("changed: %+v %v", rev, err)
	}
	p = &stripe.TransferReversalParams{ID: stripe.String(tr.ID)}
	p.AddExpand("transfer")
	if rev, err = api.TransferReversals.Get(rev.ID, p); err != nil || rev.Transfer.AmountReversed != 10 || !rev.Transfer.Reversed {
		t.Fatalf("expanded: %+v %v", rev, err)
	}
}

func TestASellerSeesOnlyItsOwnSide(t *testing.T) {
	_, w := local(t, stripesim.Config{})
	id := w.pay(t, 100, "").id()
	as := func(path string) reply { return w.ask(t.Context(), "GET", path, "", "", "acct_seller") }
	if r := as("/v1/account"); r.id() != "acct_seller" {
		t.Fatalf("itself: %s", r.body)
	}
	if r := as("/v1/transfers/" + id); r.status != 404 {
		t.Fatalf("the transfer is the platform's: %d", r.status)
	}
	if r := as("/v1/transfers"); len(r.data()) != 0 {
		t.Fatalf("and is not listed: %s", r.body)
	}
	r := as("/v1/balance_transactions")
	if len(r.data()) != 1 || w.get("/v1/balance_transactions/"+r.data()[0], "").status != 404 {
		t.Fatalf("its payment is its own: %s", r.body)
	}
	if r := w.ask(t.Context(), "POST", "/v1/transfers", transferForm(1, ""), "", "acct_seller"); r.code() != "resource_missing" {
		t.Fatalf("a seller has no sellers: %s", r.body)
	}
}

func TestAdvanceStopsAtEverythingOnTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim := stripesim.New(stripesim.Config{})
		defer sim.Close()
		w := wire{sim}
		start := sim.Now()
		delays := []time.Duration{3 * time.Hour, time.Hour, 2 * time.Hour}
		for i, d := range delays {
			sim.Inject(stripesim.Rule{Kind: stripesim.KindLate500, Delay: d})
			w.post("/v1/transfers", transferForm(i+1, ""), fmt.Sprint("K", i))
		}
		sim.Advance(150 * time.Minute)
		truth := sim.Truth()
		if len(truth.Transfers) != 2 || truth.Pending != 1 || !sim.Now().Equal(start.Add(150*time.Minute)) {
			t.Fatalf("two of three are due at %v: %+v", sim.Now(), truth)
		}
		for i, want := range []time.Duration{time.Hour, 2 * time.Hour} {
			if got := truth.Transfers[i].Created.Sub(start); got != want {
				t.Fatalf("transfer %d came after %v, want %v", i, got, want)
			}
		}
		// The last comes by itself when time passes.
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if n := len(sim.Truth().Transfers); n != 3 {
			t.Fatalf("%d transfers", n)
		}
	})
}

func TestEventsGoWhereTheyAreSentLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sim, w, rc := listen(stripesim.Config{})
		defer sim.Close()
		sim.SetWebhook("", "")
		w.pay(t, 1, "")
		synctest.Wait()
		if got := rc.types(""); len(got) != 0 {
			t.Fatalf("nowhere: %v", got)
		}
		w.control(t, "POST", "webhook", fmt.Sprintf(`{"url":"http://settled.test/","secret":%q}`, secret))
		w.pay(t, 2, "")
		synctest.Wait()
		if got := rc.types(""); len(got) != 1 || len(rc.errs) != 0 {
			t.Fatalf("here again: %v %v", got, rc.errs)
		}
		w.control(t, "POST", "events/resend", `{"all":true}`)
		synctest.Wait()
		if got := rc.types(""); len(got) != 3 {
			t.Fatalf("and all of them: %v", got)
		}
	})
}
