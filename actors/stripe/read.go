package stripe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	sdk "github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/form"

	"github.com/settled/settled/ledger"
)

const (
	pageSize = 100      // the most that Stripe gives
	pageMax  = 64 << 20 // bytes of one page: 100 transfers, each with 10 reversals, all with full metadata
	// looks is how often a transfer is read again when its reversals do not add up, because one
	// was made between the reading of the two.
	looks = 3
)

// ErrNotThere reports that Stripe holds no such object: a definite 404.
var ErrNotThere = errors.New("stripe holds no such object")

// ReadError is a read that gave no evidence, neither for nor against.
type ReadError struct {
	Scope      ledger.Scope // whom it concerns: a 429, a 401 and a Stripe that is down concern the gate
	HTTPStatus int          // 0 when no answer came
	Code       string       // Stripe's error code, or a short word
	Said       string       // Stripe's own sentence; empty when the answer is not Stripe's
	Err        error        // what for, and why

	RetryAfter time.Duration // how long Stripe asks to wait
}

func (e *ReadError) Error() string { return e.Err.Error() }

// Unwrap reaches [ErrNotThere], [context.Canceled] and [context.DeadlineExceeded].
func (e *ReadError) Unwrap() error { return e.Err }

// Transfer reads a transfer with all of its reversals, newest first. They add up to
// AmountReversed, but for reversals that Stripe counts otherwise; that is then logged.
func (c *Client) Transfer(ctx context.Context, id string) (ledger.StripeTransfer, error) {
	what := "read transfer " + c.key.clean(id, wordMax)
	if !isID(id, transferPrefix) {
		return ledger.StripeTransfer{}, c.badRead(what, "bad_id", "it does not begin with tr_, or has odd letters in it")
	}
	for look := 1; ; look++ {
		var t object
		if err := c.get(ctx, "/v1/transfers/"+id, nil, what, &t); err != nil {
			return ledger.StripeTransfer{}, err
		}
		if t.Object != aTransfer || t.ID != id && !c.lenient {
			return ledger.StripeTransfer{}, c.badRead(what, "wrong_object", fmt.Sprintf("the answer is %s %q", t.Object, t.ID))
		}
		all, whole, err := c.embedded(&t, what)
		if err == nil && !whole {
			all, err = c.reversals(ctx, id)
		}
		if err != nil {
			return ledger.StripeTransfer{}, err
		}
		if t.addsUp(all) || c.lenient || look == looks {
			if !t.addsUp(all) {
				c.log.Warn("reversals do not add up to what Stripe says is reversed", "transfer", id, "amount_reversed", t.AmountReversed)
			}
			return t.evidence(all), nil
		}
	}
}

// embedded is the reversals within a transfer, and whether they are all there are: Stripe
// embeds the newest ten.
func (c *Client) embedded(t *object, what string) (all []*object, whole bool, err error) {
	l := t.Reversals
	if l == nil || l.Object != aList || l.Data == nil {
		return nil, false, nil
	}
	for _, r := range l.Data {
		if err := c.readable(r, aReversal, reversalPrefix, what); err != nil {
			return nil, false, err
		}
	}
	return l.Data, !l.HasMore && (t.addsUp(l.Data) || c.lenient), nil
}

// reversals lists a transfer's reversals, newest first.
func (c *Client) reversals(ctx context.Context, id string) ([]*object, error) {
	var all []*object
	what := "list reversals of transfer " + id
	err := c.pages(ctx, "/v1/transfers/"+id+"/reversals", &form.Values{}, what, func(r *object) error {
		all = append(all, r)
		return c.readable(r, aReversal, reversalPrefix, what)
	})
	return all, err
}

// List yields every transfer created from since until before until (zero: now), newest first,
// each with all of its reversals. What yield returns ends it, and is returned as it is.
func (c *Client) List(ctx context.Context, since, until time.Time, yield func(ledger.StripeTransfer) error) error {
	what := fmt.Sprintf("list transfers since %s", since.UTC().Format(time.RFC3339))
	filter := &form.Values{}
	if !since.IsZero() {
		filter.Add("created[gte]", strconv.FormatInt(since.Unix(), 10))
	}
	if !until.IsZero() {
		filter.Add("created[lt]", strconv.FormatInt(until.Unix(), 10))
	}
	return c.pages(ctx, "/v1/transfers", filter, what, func(t *object) error {
		if err := c.readable(t, aTransfer, transferPrefix, what); err != nil {
			return err
		}
		whole, err := c.whole(ctx, t, what)
		if err != nil {
			return err
		}
		return yield(whole)
	})
}

// whole completes a listed transfer, reading it anew when it came without some reversal.
func (c *Client) whole(ctx context.Context, t *object, what string) (ledger.StripeTransfer, error) {
	all, whole, err := c.embedded(t, what)
	switch {
	case err != nil:
		return ledger.StripeTransfer{}, err
	case whole:
		return t.evidence(all), nil
	}
	read, err := c.Transfer(ctx, t.ID)
	if errors.Is(err, ErrNotThere) { // a list that names it and a read that does not are no proof of anything
		return read, c.badRead(what, "contradiction", t.ID+" is listed, but cannot be read")
	}
	return read, err
}

// Account reads whose key it is. Accounts do not say whether they are live; the key does.
func (c *Client) Account(ctx context.Context) (id string, livemode bool, err error) {
	const what = "read the account of the key"
	var account object
	// Its ID is compared with the ledger's: an account is evidence by what it says, whoever carried it.
	if _, err := c.fetch(ctx, "/v1/account", nil, what, &account); err != nil {
		return "", false, err
	}
	if account.Object != "account" || !isID(account.ID, "acct_") {
		return "", false, c.badRead(what, "wrong_object", fmt.Sprintf("the answer is %s %q", account.Object, account.ID))
	}
	return account.ID, c.live, nil
}

// readable reports an object that is not what a list should hold, or a reversal of a status that
// nobody knows: it is evidence of nothing, and its absence from evidence would be a lie.
func (c *Client) readable(o *object, kind, prefix, what string) error {
	switch {
	case o == nil || o.Object != kind || !isID(o.ID, prefix):
		return c.badRead(what, "wrong_object", "the list holds something else than a "+strings.ReplaceAll(kind, "_", " "))
	case kind == aReversal && !o.happened() && !o.void() && o.Status != statusPending:
		return c.badRead(what, "reversal_status", fmt.Sprintf("%s is %q: not modelled", o.ID, o.Status))
	}
	return nil
}

// pages walks a list to its end. A list that does not say so, or does not go on, is an error
// and not an end: absence is concluded from it.
func (c *Client) pages(ctx context.Context, path string, filter *form.Values, what string, each func(*object) error) error {
	filter.Add("limit", strconv.Itoa(pageSize))
	seen := map[string]bool{} // cursors
	for {
		p, err := c.page(ctx, path, filter, what)
		if err != nil {
			return err
		}
		for _, o := range p.Data {
			if err := each(o); err != nil {
				return err
			}
		}
		if !p.HasMore {
			return nil
		}
		cursor := p.Data[len(p.Data)-1].ID
		if seen[cursor] {
			return c.badRead(what, "bad_list", "the list turns in circles")
		}
		seen[cursor] = true
		filter.Set("starting_after", cursor)
	}
}

// page reads one page of a list.
func (c *Client) page(ctx context.Context, path string, filter *form.Values, what string) (*page, error) {
	var p page
	if err := c.get(ctx, path, filter, what, &p); err != nil {
		return nil, err
	}
	switch {
	case p.Object != aList || p.Data == nil:
		return nil, c.badRead(what, "bad_list", "the answer is no list")
	case p.HasMore && len(p.Data) == 0:
		return nil, c.badRead(what, "bad_list", "an empty page says that there is more")
	}
	return &p, nil
}

// get makes one GET. It has no idempotency key, so net/http may repeat it on a broken
// connection, which is welcome.
func (c *Client) get(ctx context.Context, path string, query *form.Values, what string, into sdk.LastResponseSetter) error {
	header, err := c.fetch(ctx, path, query, what, into)
	if err == nil && !signed(header) && !c.lenient { // a gateway's empty list would prove absence
		return &ReadError{Scope: ledger.ScopeDown, HTTPStatus: http.StatusOK, Code: "not_stripe",
			Err: &cause{what + ": the answer carries no Request-Id, so it is not Stripe's", nil}}
	}
	return err
}

// fetch is get for answers from which nothing is concluded that they do not say.
func (c *Client) fetch(ctx context.Context, path string, query *form.Values, what string, into sdk.LastResponseSetter) (http.Header, error) {
	a := &attempt{max: pageMax}
	err := c.call(ctx, a, func(ctx context.Context) error {
		return c.backend.CallRaw(http.MethodGet, path, c.key.reveal(), query, &sdk.Params{Context: ctx}, into)
	})
	if err == nil && a.status >= 200 && a.status < 300 {
		return a.header, nil
	}
	o := c.observe(ctx, a, ledger.CreateTransfer, err)
	n := classify(&o)

	text := fmt.Sprintf("%s: %s: %s", what, n.Code, n.Message)
	var is error
	switch {
	case query == nil && o.status == http.StatusNotFound && o.shape == refused && o.code == string(sdk.ErrorCodeResourceMissing):
		is = ErrNotThere
	case errors.Is(err, context.Canceled):
		is = context.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		is = context.DeadlineExceeded
	}
	failed := &ReadError{Scope: n.Scope, HTTPStatus: n.HTTPStatus, Code: n.Code, Err: &cause{text, is}, RetryAfter: n.RetryAfter}
	if o.shape == refused {
		failed.Said = o.message
	}
	return nil, failed
}

// badRead is an answer that was read and cannot be used.
func (c *Client) badRead(what, code, why string) error {
	return &ReadError{Code: code, Err: &cause{what + ": " + c.key.clean(why, messageMax), nil}}
}

// cause is a clean text with, at most, one of the errors that callers decide on: the SDK's own
// errors print whole bodies.
type cause struct {
	text string
	is   error
}

func (c *cause) Error() string { return c.text }
func (c *cause) Unwrap() error { return c.is }
