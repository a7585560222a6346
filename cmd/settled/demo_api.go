package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"net/url"
	"time"

	"github.com/settled/settled/ledger"
)

// api is a client of the admin API, as a platform would write one.
type api struct {
	base, token string
	client      *nethttp.Client
}

// errAskAgain reports a daemon that was not there, or could not answer: asking again is safe.
var errAskAgain = errors.New("the daemon did not answer")

func newAPI(base, token string) *api {
	return &api{base: base, token: token, client: &nethttp.Client{Timeout: 15 * time.Second}}
}

type transferJSON struct {
	ID        ledger.ID    `json:"id"`
	Reference string       `json:"reference"`
	Status    ledger.State `json:"status"`
	Reversals []struct {
		Reference string       `json:"reference"`
		Status    ledger.State `json:"status"`
	} `json:"reversals"`
}

// parked returns the reference of the reversal that waits for a person; empty: the transfer does.
func (t transferJSON) parked() (reversal string, waits bool) {
	if t.Status == ledger.Parked {
		return "", true
	}
	for _, r := range t.Reversals {
		if r.Status == ledger.Parked {
			return r.Reference, true
		}
	}
	return "", false
}

type orderJSON struct {
	Reference   string            `json:"reference"`
	Seller      string            `json:"seller"`
	Destination string            `json:"destination"`
	Amount      int64             `json:"amount"`
	Currency    ledger.Currency   `json:"currency"`
	Metadata    map[string]string `json:"metadata,omitempty"`
}

type message struct {
	Type      ledger.MessageType `json:"type"`
	Reason    string             `json:"reason"`
	Amount    int64              `json:"amount,omitempty"`
	Reference string             `json:"reference,omitempty"`
	Outcome   ledger.Outcome     `json:"outcome,omitempty"`
	StripeID  string             `json:"stripe_id,omitempty"`
}

// create orders transfers and returns their IDs. Ordered again, they are the same transfers.
func (a *api) create(ctx context.Context, part []planned) ([]ledger.ID, error) {
	body := struct {
		Transfers []orderJSON `json:"transfers"`
	}{}
	for _, p := range part {
		o := p.order
		body.Transfers = append(body.Transfers,
			orderJSON{o.Reference, o.Seller, o.Destination, o.Money.Amount, o.Money.Currency, o.Metadata})
	}
	var answer struct {
		Data []struct {
			Status   int             `json:"status"`
			Transfer *transferJSON   `json:"transfer"`
			Error    json.RawMessage `json:"error"`
		} `json:"data"`
	}
	if err := a.call(ctx, "POST", "/v1/transfers/batch", "", body, &answer); err != nil {
		return nil, err
	}
	ids := make([]ledger.ID, len(answer.Data))
	for i, item := range answer.Data {
		if item.Transfer == nil || item.Status >= 300 {
			return nil, fmt.Errorf("order %s: %d %s", body.Transfers[i].Reference, item.Status, item.Error)
		}
		ids[i] = item.Transfer.ID
	}
	return ids, nil
}

func (a *api) get(ctx context.Context, id ledger.ID) (t transferJSON, err error) {
	err = a.call(ctx, "GET", "/v1/transfers/"+id.String(), "", nil, &t)
	return t, err
}

func (a *api) list(ctx context.Context, status ledger.State) ([]transferJSON, error) {
	var page struct {
		Data []transferJSON `json:"data"`
	}
	err := a.call(ctx, "GET", "/v1/transfers?limit=100&status="+url.QueryEscape(string(status)), "", nil, &page)
	return page.Data, err
}

func (a *api) send(ctx context.Context, id ledger.ID, key string, m message) error {
	return a.call(ctx, "POST", "/v1/transfers/"+id.String()+"/messages", key, m, nil)
}

func (a *api) ready(ctx context.Context) bool {
	return a.call(ctx, "GET", "/readyz", "", nil, nil) == nil
}

// call makes one call. Its error is errAskAgain when no definite answer came.
func (a *api) call(ctx context.Context, method, path, key string, body, answer any) error {
	var payload io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(text)
	}
	r, err := nethttp.NewRequestWithContext(ctx, method, a.base+path, payload)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+a.token)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	res, err := a.client.Do(r)
	if err != nil {
		return fmt.Errorf("%w: %w", errAskAgain, err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", errAskAgain, err)
	case res.StatusCode >= 500 || res.StatusCode == nethttp.StatusConflict && key != "" &&
		bytes.Contains(text, []byte("idempotency")):
		return fmt.Errorf("%w: %s", errAskAgain, text)
	case res.StatusCode >= 300:
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, text)
	case answer == nil:
		return nil
	}
	return json.Unmarshal(text, answer)
}
