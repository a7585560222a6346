package stripe

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	sdk "github.com/stripe/stripe-go/v76"

	"github.com/settled/settled/ledger"
)

// answerMax bounds the body of an answer to a POST, in bytes: a transfer with its ten newest
// reversals and all the metadata there can be is a fifth of it.
const answerMax = 2 << 20

// keyMax is the longest idempotency key that Stripe takes (docs.stripe.com/api/idempotent_requests).
const keyMax = 255

// Send makes one attempt and says what its answer means. It never retries, and never returns
// before the attempt has ended or timed out.
//
// fresh says whether the key may still be used. It is asked when the request is about to be
// made, when a connection is dialled and when one was got; once it errs nothing is sent, and
// the answer is NotExecuted with the code "key_too_old". It may be called by other goroutines,
// and once more after Send has returned.
func (c *Client) Send(ctx context.Context, r ledger.Request, fresh func() error) ledger.Answer {
	if err := sendable(r, fresh); err != nil {
		return classify(&outcome{shape: local, kind: r.Kind, message: c.key.clean(err.Error(), messageMax)})
	}
	if err := ctx.Err(); err != nil { // before anything is dialled: nothing was tried, nobody is down
		return classify(&outcome{shape: unsent, kind: r.Kind, gaveUp: true, code: "canceled", message: err.Error()})
	}

	a := &attempt{fresh: fresh, max: answerMax}
	var got object
	err := c.call(ctx, a, func(ctx context.Context) error {
		path, params := wire(ctx, r)
		return c.backend.Call(http.MethodPost, path, c.key.reveal(), params, &got)
	})
	o := c.observe(ctx, a, r.Kind, err)
	if o.shape == believed {
		o.weigh(c, &got, r)
	}
	return classify(&o)
}

// weigh looks at the object of a 2xx before it is believed.
func (o *outcome) weigh(c *Client, got *object, r ledger.Request) {
	flaw := got.flaw(r, c.lenient)
	switch {
	case flaw != "":
		o.shape, o.message = odd, flaw
	case r.Kind == ledger.CreateTransfer || got.happened():
		o.id = got.ID
	case got.Status == statusPending:
		o.shape, o.id, o.message = waiting, got.ID, got.ID+" is pending: the seller's balance is too low"
	case got.void(): // it was taken, and came to nothing since: the read that follows tells the rest
		o.shape, o.id, o.message = waiting, got.ID, got.ID+" is "+got.Status+" already"
	default:
		o.shape, o.message = odd, fmt.Sprintf("%s: the answer's status is %q, which is not modelled", got.ID, got.Status)
	}
	o.message = c.key.clean(o.message, messageMax)
}

// wire is the request in the SDK's terms. Stripe-Account is never set: the platform acts.
func wire(ctx context.Context, r ledger.Request) (path string, params sdk.ParamsContainer) {
	common := sdk.Params{Context: ctx, IdempotencyKey: &r.Key}
	if r.Kind == ledger.MakeReversal {
		return sdk.FormatURLPath("/v1/transfers/%s/reversals", r.Transfer), &sdk.TransferReversalParams{
			Params:      common,
			Amount:      &r.Amount, // always: what an omitted one means after a partial reversal is not documented
			Description: optional(r.Description),
			Metadata:    r.Metadata,
		}
	}
	currency := string(r.Currency)
	return "/v1/transfers", &sdk.TransferParams{
		Params:            common,
		Amount:            &r.Amount,
		Currency:          &currency,
		Description:       optional(r.Description),
		Destination:       &r.Destination,
		Metadata:          r.Metadata,
		SourceTransaction: optional(r.SourceTransaction),
		TransferGroup:     optional(r.TransferGroup),
	}
}

// optional leaves an empty field out of a form.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// sendable reports a request that must not reach the wire: its answer could not be recognised,
// or its key would not be the one that was journalled.
func sendable(r ledger.Request, fresh func() error) error {
	switch {
	case fresh == nil:
		return errors.New("send: nobody says whether the key is still young")
	case r.Kind != ledger.CreateTransfer && r.Kind != ledger.MakeReversal:
		return fmt.Errorf("send: %d is no kind of operation", uint8(r.Kind))
	case r.Key == "": // the SDK would send an empty header, and Stripe would take it for none
		return errors.New("send: the idempotency key is empty")
	case len(r.Key) > keyMax:
		return fmt.Errorf("send: the idempotency key has %d characters, %d are allowed", len(r.Key), keyMax)
	case strings.ContainsFunc(r.Key, func(c rune) bool { return c <= ' ' || c > '~' }): // the SDK would trim it
		return errors.New("send: the idempotency key has a blank or a character outside ASCII in it")
	case r.Amount < 1:
		return fmt.Errorf("send: the amount is %d", r.Amount)
	case r.Currency == "":
		return errors.New("send: the currency is empty")
	case r.Kind == ledger.CreateTransfer && r.Destination == "":
		return errors.New("send: the destination is empty")
	case r.Kind == ledger.MakeReversal && !isID(r.Transfer, transferPrefix):
		return fmt.Errorf("send: %q is no transfer to reverse", r.Transfer)
	case !ledger.Names(r.Metadata, r.Operation):
		return fmt.Errorf("send: the metadata does not name the operation %s", r.Operation)
	case r.Metadata[ledger.MetaGeneration] == "":
		return errors.New("send: the metadata does not name the generation")
	}
	return nil
}
