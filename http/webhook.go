package http

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/settled/settled/ledger"
)

// received is the whole answer to a stored event.
var received = []byte(`{"received":true}`)

// The results of a webhook, as its metric says.
const (
	webhookReceived     = "received"
	webhookIgnored      = "ignored"       // of the other mode
	webhookBadSignature = "bad_signature" // forged, malformed, or of a secret that we do not have
	webhookStale        = "stale"         // rightly signed, at another time
	webhookBadEvent     = "bad_event"     // rightly signed, but no event
	webhookTooLarge     = "too_large"
	webhookUnavailable  = "unavailable" // it could not be stored: Stripe sends it again
	webhookFailed       = "failed"
)

// webhook takes one event of Stripe: verified before anything of it is parsed, and
// acknowledged only when it is durable. Nothing in it is believed but which object to read.
func (s *Server) webhook(c *call) (reply, error) {
	body := c.ctx.PostBody()
	count := func(eventType, result string) { s.metrics.webhooks.WithLabelValues(knownType(eventType), result).Inc() }

	headers := c.ctx.Request.Header.PeekAll("Stripe-Signature")
	err := errSignatureForm
	if len(headers) == 1 { // of two, a proxy may have checked the other
		err = s.verifier.verify(string(headers[0]), body)
	}
	switch {
	case errors.Is(err, errSignatureStale):
		count("", webhookStale)
		s.complain(c, err)
		return reply{}, faultf(invalidSignature,
			"The signature's time is more than %s from now: is it a replay, or is a clock wrong?", signatureTolerance)
	case err != nil:
		count("", webhookBadSignature)
		s.complain(c, err)
		return reply{}, faultf(invalidSignature, "The Stripe-Signature header does not prove that Stripe sent this.")
	}
	if f := connOf(c.ctx).know(); f != nil {
		count("", webhookUnavailable)
		c.ctx.Response.SetConnectionClose()
		return reply{}, f
	}
	event, err := parseEvent(body)
	if err != nil {
		count("", webhookBadEvent)
		s.complain(c, err)
		return reply{}, err
	}
	if s.livemode != nil && event.Livemode != *s.livemode {
		// A live Connect endpoint is sent test events too. Refusing them would have Stripe
		// send them again for days, and then disable the endpoint.
		count(event.Type, webhookIgnored)
		s.log.Info("webhook of the other mode ignored", "event", event.ID, "type", event.Type,
			"livemode", event.Livemode)
		return reply{status: 200, body: received}, nil
	}
	if err := s.engine.Receive(c.within, []ledger.StripeEvent{event}); err != nil {
		result := webhookFailed
		if f, _ := faultOf(err); f.kind == unavailable {
			result = webhookUnavailable
		}
		count(event.Type, result)
		return reply{}, fmt.Errorf("store event %s: %w", event.ID, err)
	}
	count(event.Type, webhookReceived)
	s.log.LogAttrs(c.within, slog.LevelDebug, "webhook stored", slog.String("event", event.ID),
		slog.String("type", event.Type))
	return reply{status: 200, body: received}, nil
}

// complainEvery bounds how often refused webhooks are logged: anybody can send them. The metric
// counts them all.
const complainEvery = 10 * time.Second

func (s *Server) complain(c *call, why error) {
	level, now, last := slog.LevelWarn, s.now().UnixNano(), s.complained.Load()
	if now-last < int64(complainEvery) || !s.complained.CompareAndSwap(last, now) {
		level = slog.LevelDebug
	}
	s.log.LogAttrs(c.within, level, "webhook refused", slog.Any("why", why), slog.String("request_id", c.id))
}

var (
	eventIDForm = regexp.MustCompile(`^evt_[A-Za-z0-9_]{1,251}$`)
	accountForm = regexp.MustCompile(`^acct_[A-Za-z0-9_]{1,64}$`)
)

// longestText is of an event's type, account, version or object.
const longestText = 255

// parseEvent reads the few fields that are needed, of an event of any API version, and copies all that it keeps. A
// text that Stripe signed is refused only when it is no event: Stripe would send it again for days and then disable
// the endpoint. So a type may be any text, and a field that is not understood is left out. Events of the v2 API are
// thin: they have no data, and name their object in related_object.
func parseEvent(body []byte) (ledger.StripeEvent, error) {
	text, err := checkJSON(body, eventDepth)
	if err != nil {
		return ledger.StripeEvent{}, err
	}
	if text[0] != '{' {
		return ledger.StripeEvent{}, faultf(malformedJSON, "An event must be a JSON object.")
	}
	var e ledger.StripeEvent
	var related reference
	wrong := ""
	word := func(raw []byte) string {
		if raw[0] == 'n' {
			return ""
		}
		if raw[0] != '"' {
			wrong = "a field has the wrong type"
			return ""
		}
		s, _ := unquote(raw)
		return s
	}
	members(text, func(key, value []byte) bool {
		switch string(key) {
		case `"id"`:
			e.ID = word(value)
		case `"type"`:
			e.Type = word(value)
		case `"account"`:
			e.Account = textOf(value)
		case `"api_version"`:
			e.APIVersion = textOf(value)
		case `"livemode"`:
			e.Livemode = bytes.Equal(value, []byte("true"))
			if t := typeOf(value); t != "a boolean" {
				wrong = "livemode is " + t
			}
		case `"created"`:
			// Stripe's v2 events write text here; it is never used for order, so it may be absent.
			if n, err := strconv.ParseInt(string(value), 10, 64); err == nil && n > 0 && n < 1<<36 {
				e.Created = time.Unix(n, 0).UTC()
			}
		case `"data"`:
			if object := member(value, `"object"`); object != nil {
				e.Object = textOf(member(object, `"id"`))
				related.owner = textOf(member(object, `"account"`))
			}
		case `"related_object"`:
			related.object = textOf(member(value, `"id"`))
		}
		return true
	})
	attribute(&e, related)
	switch {
	case wrong != "":
	case !eventIDForm.MatchString(e.ID):
		wrong = "id is not of the form evt_…"
	case e.Type == "" || ledger.CheckText(e.Type, longestText) != nil:
		wrong = "type is missing or malformed"
	}
	if wrong != "" {
		return ledger.StripeEvent{}, faultf(malformedJSON, "This is no event of Stripe: %s.", wrong)
	}
	e.Payload = bytes.Clone(body)
	return e, nil
}

// reference is where else than in account an event may say whom it is about.
type reference struct {
	object string // related_object.id: of a thin event
	owner  string // data.object.account: of a capability
}

// attribute settles whose event it is. A seller's event names the account in
// account; events of v2 and of an organization's endpoint may name it in the object alone.
func attribute(e *ledger.StripeEvent, related reference) {
	if e.Object == "" {
		e.Object = related.object
	}
	if ledger.SubjectOf(e.Type) != ledger.AboutSeller {
		return
	}
	for _, id := range []string{e.Account, related.owner, e.Object} {
		if accountForm.MatchString(id) {
			e.Account = id
			return
		}
	}
	e.Account = ""
}

// member returns the value of a member of an object, or nil.
func member(object []byte, name string) (found []byte) {
	if object[0] != '{' {
		return nil
	}
	members(object, func(key, value []byte) bool {
		if string(key) == name {
			found = value
		}
		return true
	})
	return found
}

// textOf returns a value that is a text worth keeping; empty when it is none, as a balance has no ID.
func textOf(value []byte) string {
	if value == nil || value[0] != '"' {
		return ""
	}
	s, _ := unquote(value)
	if ledger.CheckText(s, longestText) != nil {
		return ""
	}
	return s
}

// eventTypes are those that settled knows; a metric's label may not be anything a caller says.
var eventTypes = map[string]bool{
	"payment_intent.succeeded": true, "charge.succeeded": true, "charge.refunded": true, "charge.refund.updated": true,
	"refund.created": true, "refund.updated": true, "refund.failed": true,
	"charge.dispute.created": true, "charge.dispute.updated": true, "charge.dispute.closed": true,
	"charge.dispute.funds_withdrawn": true, "charge.dispute.funds_reinstated": true,
	"transfer.created": true, "transfer.reversed": true, "transfer.updated": true,
	"account.updated": true, "capability.updated": true, "payout.failed": true, "balance.available": true,
}

func knownType(t string) string {
	if eventTypes[t] {
		return t
	}
	if strings.HasPrefix(t, "v2.") && ledger.SubjectOf(t) == ledger.AboutSeller {
		return "v2.core.account"
	}
	return "other"
}
