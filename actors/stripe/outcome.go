package stripe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	sdk "github.com/stripe/stripe-go/v76"

	"github.com/settled/settled/ledger"
)

// outcome is what an attempt came to, reduced to what the table asks about. Its texts are
// clean: see secret.clean.
type outcome struct {
	shape  shape
	kind   ledger.Kind
	status int
	typ    sdk.ErrorType
	code   string // Stripe's, or a word of ours where it did not speak
	param  string
	limit  string // Stripe-Rate-Limited-Reason

	gaveUp    bool   // the caller did, so it is nobody else's fault
	id        string // of a believed object
	message   string
	requestID string
	replayed  bool

	again      bool          // Stripe-Should-Retry: true
	retryAfter time.Duration // Retry-After
}

// observe reduces an attempt and the SDK's word about it. The object's shape, once it could be
// read at all, is for the caller to say: only it knows what was asked for.
func (c *Client) observe(ctx context.Context, a *attempt, kind ledger.Kind, err error) outcome {
	o := outcome{kind: kind, status: a.status, gaveUp: err != nil && errors.Is(ctx.Err(), context.Canceled)}
	if a.status == 0 {
		o.shape = lost
		if a.unsent() {
			o.shape = unsent
		}
		o.code, o.message = c.failure(ctx, a, err)
		return o
	}

	o.requestID = c.key.clean(a.header.Get("Request-Id"), wordMax)
	if a.strayed {
		o.shape = stray
		o.message = c.key.clean(fmt.Sprintf("status %d: %v", a.status, a.cut), messageMax)
		return o
	}
	o.limit = a.header.Get("Stripe-Rate-Limited-Reason")
	o.replayed = strings.EqualFold(a.header.Get("Idempotent-Replayed"), "true")
	o.again = strings.EqualFold(a.header.Get("Stripe-Should-Retry"), "true")
	o.retryAfter = retryAfter(a.header)

	var refusal *sdk.Error
	switch isSDK := errors.As(err, &refusal); {
	case a.status >= 200 && a.status < 300:
		o.shape = believed
		if err != nil {
			o.shape = garbled
			o.code, o.message = c.failure(ctx, a, err)
		}
	case isSDK && a.status >= 400 && a.status < 600 && slices.Contains(stripeTypes, refusal.Type) && signed(a.header):
		o.shape = refused
		o.typ = refusal.Type
		o.code = c.key.clean(string(refusal.Code), wordMax)
		o.param = c.key.clean(refusal.Param, wordMax)
		o.message = c.key.clean(refusal.Msg, messageMax)
	case a.cut != nil:
		o.shape = foreign
		o.code, o.message = c.failure(ctx, a, err)
	default:
		o.shape = foreign
		o.message = c.key.clean(fmt.Sprintf("status %d %s without a Stripe error in its body: %s",
			a.status, http.StatusText(a.status), a.body[:min(len(a.body), bodySample)]), messageMax)
	}
	return o
}

// stripeTypes lists the types of Stripe's errors, those of older versions included. An error of
// another type is somebody else's: gateways answer JSON of the same form.
var stripeTypes = []sdk.ErrorType{sdk.ErrorTypeAPI, sdk.ErrorTypeCard, sdk.ErrorTypeIdempotency, sdk.ErrorTypeInvalidRequest,
	"rate_limit_error", "authentication_error", "permission_error", "api_connection_error"}

// signed reports an answer that names its request, as every one of Stripe's does (W).
func signed(h http.Header) bool { return strings.TrimSpace(h.Get("Request-Id")) != "" }

// bodySample is how much of a page that is not Stripe's goes into a message, in bytes.
const bodySample = 200

// failure is a word for what went wrong, and a sentence.
func (c *Client) failure(ctx context.Context, a *attempt, err error) (word, message string) {
	message = c.key.clean(fmt.Sprint(err), messageMax)
	if refusal := a.refusal.Load(); refusal != nil && a.status == 0 && a.gate.Load() == gateShut {
		return "key_too_old", c.key.clean((*refusal).Error(), messageMax)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return "canceled", message
	}
	if a.status != 0 && a.cut == nil {
		return "bad_json", message
	}
	word = nameOf(err)
	if word == "" && a.cut != nil {
		word = "unreadable"
	}
	return word, message
}

// nameOf is a short word for a network's error.
func nameOf(err error) string {
	var (
		dns    *net.DNSError
		op     *net.OpError
		cert   *tls.CertificateVerificationError
		record tls.RecordHeaderError
		alert  tls.AlertError
		slow   net.Error
	)
	switch {
	case errors.As(err, &dns):
		return "dns"
	case errors.As(err, &slow) && slow.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.As(err, &op) && op.Op == "dial":
		return "dial"
	case errors.As(err, &cert), errors.As(err, &record), errors.As(err, &alert):
		return "tls"
	case errors.Is(err, errTooLarge):
		return "body_too_large"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "connection_reset"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "truncated"
	case errors.Is(err, io.EOF):
		return "connection_closed"
	}
	return "" // the row's word
}
