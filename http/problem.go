package http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// problemBase begins every problem's type. The types are stable: clients may compare them.
const problemBase = "urn:settled:problem:"

// kind is one kind of problem (RFC 9457).
type kind struct {
	slug      string // stands after problemBase
	status    int
	title     string
	retryable bool // the same request, sent again, may be answered otherwise
}

// passing reports a refusal whose answer may change by itself: a call under way ends, a command that is too early
// comes of age, and a day's ceiling is over with the day. It is not kept under an Idempotency-Key, or the client would
// hear it for days after it was true.
func (k *kind) passing() bool {
	return k.retryable || k == illegalMove || k == aboveCeiling || k.status >= 500
}

// Every problem that this package answers. There is no other.
var (
	badRequest        = declare("bad-request", 400, "The request is not well-formed HTTP", false)
	malformedJSON     = declare("malformed-json", 400, "The body is not JSON", false)
	invalidHeader     = declare("invalid-header", 400, "A header is wrong", false)
	invalidSignature  = declare("invalid-signature", 400, "The signature does not hold", false)
	unauthorized      = declare("unauthorized", 401, "A valid token is needed", false)
	forbidden         = declare("forbidden", 403, "The token's role does not allow this", false)
	notFound          = declare("not-found", 404, "There is no such thing here", false)
	methodNotAllowed  = declare("method-not-allowed", 405, "The method is not allowed here", false)
	requestTimeout    = declare("request-timeout", 408, "The request came too slowly", true)
	illegalMove       = declare("illegal-move", 409, "The transfer's state forbids this", false)
	tooEarly          = declare("too-early", 409, "It is too early for this", true)
	conflict          = declare("conflict", 409, "This contradicts what the ledger knows", false)
	referenceConflict = declare("reference-conflict", 409, "The reference is taken by another content", false)
	keyInUse          = declare("idempotency-key-in-use", 409, "A request with this Idempotency-Key is running", true)
	bodyTooLarge      = declare("body-too-large", 413, "The body is too large", false)
	unsupportedMedia  = declare("unsupported-media-type", 415, "The body must be plain application/json", false)
	misdirected       = declare("misdirected", 421, "This host is not served here", false)
	invalidRequest    = declare("invalid-request", 422, "The request has wrong fields", false)
	aboveCeiling      = declare("above-ceiling", 422, "The amount is above a ceiling", false)
	keyMismatch       = declare("idempotency-key-mismatch", 422, "The Idempotency-Key was used with another content", false)
	tooManyRequests   = declare("too-many-requests", 429, "There were too many requests", true)
	headersTooLarge   = declare("headers-too-large", 431, "The headers are too large", false)
	internalError     = declare("internal", 500, "Something went wrong here", false)
	unavailable       = declare("unavailable", 503, "The service cannot do this at the moment", true)
)

// problems lists them all, in order.
var problems []*kind

const (
	retryAfterAMoment = 5 * time.Second
	errorsMax         = 50 // wrong fields that one answer names; the rest are for the next try
	itemErrorsMax     = 5  // of one order of a batch
	batchErrorsMax    = 100
	quotedMax         = 64 // characters of the caller's own that a message repeats
)

func declare(slug string, status int, title string, retryable bool) *kind {
	k := &kind{slug, status, title, retryable}
	problems = append(problems, k)
	return k
}

// fault is an error that knows how it is answered.
type fault struct {
	kind       *kind
	detail     string
	fields     ledger.FieldErrors
	existing   *ledger.ID    // the transfer that is in the way
	retryAfter time.Duration // when asking again makes sense; zero: not said
	challenge  string        // WWW-Authenticate
}

func (f *fault) Error() string {
	text := f.kind.slug + ": " + f.detail
	if len(f.fields) > 0 {
		text += ": " + f.fields.Error()
	}
	return text
}

func faultf(k *kind, format string, args ...any) *fault {
	return &fault{kind: k, detail: fmt.Sprintf(format, args...)}
}

// wrongFields is the fault of an input with wrong fields.
func wrongFields(wrong ledger.FieldErrors) *fault {
	return &fault{kind: invalidRequest, detail: "Nothing was done. See errors for each field and its remedy.",
		fields: wrong}
}

// wrongField is the fault of an input with one wrong field.
func wrongField(field, format string, args ...any) *fault {
	return wrongFields(ledger.FieldErrors{{Field: field, Detail: fmt.Sprintf(format, args...)}})
}

// faultOf says how an error is answered. One that is not known here is answered without a word
// about the inside, and false: it belongs in the log.
func faultOf(err error) (f *fault, known bool) {
	var fields ledger.FieldErrors
	switch {
	case errors.As(err, &f):
		return f, true
	case errors.As(err, &fields):
		return wrongFields(fields), true
	case errors.Is(err, ledger.ErrNotFound):
		return faultf(notFound, "No transfer has this ID."), true
	case errors.Is(err, audit.ErrNotFound):
		return faultf(notFound, "No finding has this ID."), true
	case errors.Is(err, ledger.ErrCeiling):
		return faultf(aboveCeiling, "%s", err), true
	case errors.Is(err, ledger.ErrTooEarly):
		return faultf(tooEarly, "%s", ledger.Sentence(err)), true
	case errors.Is(err, ledger.ErrIllegalMove):
		return faultf(illegalMove, "%s", ledger.Sentence(err)), true
	case errors.Is(err, ledger.ErrConflict):
		return faultf(conflict, "%s", ledger.Sentence(err)), true
	case errors.Is(err, ledger.ErrStripeAway):
		_, said, _ := strings.Cut(err.Error(), ledger.ErrStripeAway.Error()+": ")
		f := faultf(unavailable, "Stripe could not be read, so nothing was done (%s). Ask again once it answers.", said)
		f.retryAfter = retryAfterAMoment
		return f, true
	case errors.Is(err, ledger.ErrUnavailable), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, context.Canceled):
		f := faultf(unavailable,
			"The ledger did not answer in time. Ask again: with the same reference or Idempotency-Key nothing happens twice.")
		f.retryAfter = retryAfterAMoment
		return f, true
	}
	return faultf(internalError, "It was logged under the request_id. Nothing about it is told here."), false
}

// problem is a fault as RFC 9457 writes it.
type problem struct {
	Type      string         `json:"type"`
	Title     string         `json:"title"`
	Status    int            `json:"status"`
	Detail    string         `json:"detail"`
	Instance  string         `json:"instance,omitempty"`
	RequestID string         `json:"request_id,omitempty"`
	Retryable bool           `json:"retryable"`
	Existing  *ledger.ID     `json:"existing,omitempty"`
	Errors    []problemField `json:"errors,omitempty"`
}

type problemField struct {
	Field  string `json:"field"`
	Detail string `json:"detail"`
}

func (f *fault) problem(instance, requestID string) problem {
	p := problem{
		Type: problemBase + f.kind.slug, Title: f.kind.title, Status: f.kind.status, Detail: f.detail,
		Instance: instance, RequestID: requestID, Retryable: f.kind.retryable, Existing: f.existing,
	}
	p.name(f.fields, errorsMax)
	return p
}

// name names so many wrong fields, and says how many more there are.
func (p *problem) name(wrong ledger.FieldErrors, most int) {
	named := wrong[:min(len(wrong), most)]
	for _, e := range named {
		p.Errors = append(p.Errors, problemField(e))
	}
	if more := len(wrong) - len(named); more > 0 {
		p.Detail += fmt.Sprintf(" %d more are wrong, and not named here.", more)
	}
}

// itemProblem is a fault of one order of a batch. left is how many wrong fields the whole answer may still name.
func (f *fault) itemProblem(requestID string, left *int) problem {
	short := *f
	short.fields = nil
	p := short.problem("", requestID)
	p.name(f.fields, min(itemErrorsMax, *left))
	*left -= len(p.Errors)
	return p
}

func (f *fault) text(instance, requestID string) []byte {
	return mustJSON(f.problem(instance, requestID))
}

// mustJSON writes a value of ours, which can always be written.
func mustJSON(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("http: %T cannot be written as JSON: %v", v, err))
	}
	return text
}

// quote repeats a caller's own text in a message, bounded.
func quote(s string) string {
	if r := []rune(s); len(r) > quotedMax {
		return fmt.Sprintf("%q…", string(r[:quotedMax]))
	}
	return fmt.Sprintf("%q", s)
}
