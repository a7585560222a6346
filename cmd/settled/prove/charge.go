package prove

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"github.com/settled/settled/ledger"
)

// charge is a buyer's payment that orders are paid from, by source_transaction. Their transfers
// inherit its group, so they are not found by one of ours.
type charge struct {
	money ledger.Money
	group string
}

// payFromCharge has an order paid from a charge, of its own or another order's too.
func (p *plan) payFromCharge(rng *rand.Rand, o *planned) {
	o.order.TransferGroup = ""
	if n := len(p.charges); n > 0 && rng.IntN(3) > 0 && p.charges[n-1].money.Currency == o.order.Money.Currency {
		p.charges[n-1].money.Amount += 2 * o.order.Money.Amount
	} else {
		c := charge{money: ledger.Money{Amount: 2 * o.order.Money.Amount, Currency: o.order.Money.Currency}}
		if rng.IntN(2) == 0 {
			c.group = fmt.Sprintf("sale-%d", rng.IntN(2))
		}
		p.charges = append(p.charges, c)
	}
	o.charge = len(p.charges)
}

// sell makes the charges.
func (w *world) sell() error {
	for i, c := range w.plan.charges {
		form := url.Values{"amount": {fmt.Sprint(c.money.Amount)}, "currency": {string(c.money.Currency)}, "source": {"tok_visa"}}
		if c.group != "" {
			form.Set("transfer_group", c.group)
		}
		req := httptest.NewRequest(nethttp.MethodPost, "/v1/charges", strings.NewReader(form.Encode()))
		req.Header.Set("Authorization", "Bearer "+secretKey)
		req.Header.Set("Idempotency-Key", fmt.Sprintf("charge-%d-%d", w.seed, i))
		rec := httptest.NewRecorder()
		w.sim.Handler().ServeHTTP(rec, req)
		var made struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal(rec.Body.Bytes(), &made); err != nil || rec.Code != nethttp.StatusOK {
			return fmt.Errorf("a charge was answered %d: %s", rec.Code, rec.Body)
		}
		w.charges = append(w.charges, made.ID)
	}
	return nil
}
