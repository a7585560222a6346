package stripesim

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// event is an Event object and how its delivery goes.
type event struct {
	head
	kind     string
	object   json.RawMessage
	previous json.RawMessage // of *.updated only
	account  string          // of sellers' events only
	request  string
	key      string
	version  string
	livemode bool
	thin     bool // of the v2 API
	// pending is what pending_webhooks says: 1 until a receiver took it.
	pending   int
	delivered bool
}

// eventLife is how long GET /v1/events remembers.
const eventLife = 30 * 24 * time.Hour

func eventEndpoints() []*endpoint {
	return []*endpoint{
		{
			name: "GET /v1/events", check: checkEventTypes, run: listEvents,
			params: listing(param{"created", moment, false}, param{"type", text, false}, param{"types", anything, false},
				param{"delivery_success", boolean, false}),
		},
		{name: "GET /v1/events/:id", check: checkEventPath, run: getEvent, params: takes()},
	}
}

// emit records what happened and sends it on its way. A call's request and key are in
// it; what Stripe or a person did by itself has neither (c is nil).
func (s *Sim) emit(c *call, e event) {
	s.thin(&e)
	first := s.record(c, e)
	s.dispatch(c, first)
	if s.strikes(KindEventDuplicate, first) != nil {
		s.dispatch(c, s.record(c, e))
	}
	if s.strikes(KindEventStray, first) != nil {
		s.stray(first)
	}
}

// record makes the Event object.
func (s *Sim) record(c *call, e event) *event {
	e.head = s.stamp(freshID(s, c, "evt_", &s.world.events))
	e.version, e.livemode = APIVersion, s.world.livemode
	if c != nil {
		e.request, e.key = c.id, c.info.Key
	}
	if s.webhook.url != "" {
		e.pending = 1
	} else {
		e.delivered = true
	}
	if s.strikes(KindEventVersion, &e) != nil {
		e.version = "2022-11-15"
	}
	s.world.events.add(&e)
	s.count("event " + e.kind)
	return &e
}

// dispatch plans the first delivery of an event, and the second if it comes twice.
func (s *Sim) dispatch(c *call, e *event) {
	if s.webhook.url == "" {
		return
	}
	if s.strikes(KindEventLost, e) != nil {
		s.count("webhook lost")
		return
	}
	h := mix(s.plan.seed, "delay", e.id)
	if c != nil && s.strikes(KindEventEarly, e) != nil {
		told := make(chan struct{})
		c.early = append(c.early, told)
		s.post.send(delivery{sim: s, event: e, told: told})
		return
	}
	delay := time.Duration(0)
	if s.plan.level != None {
		delay = spread(h, s.cfg.Times.EventDelayMax/256)
	}
	if hit := s.strikes(KindEventLate, e); hit != nil {
		delay = s.delayOf(KindEventLate, hit.delay, scramble(h))
	}
	s.sendAfter(delay, delivery{sim: s, event: e})
	if s.strikes(KindEventTwice, e) != nil {
		s.sendAfter(delay+spread(scramble(h^1), s.cfg.Times.EventDelayMax), delivery{sim: s, event: e})
	}
}

func (s *Sim) sendAfter(d time.Duration, parcel delivery) {
	if d <= 0 {
		s.post.send(parcel)
		return
	}
	s.clock.after(d, func() { s.post.send(parcel) })
}

// strikes decides whether a kind of fault meets an event: by rule, else by the plan.
func (s *Sim) strikes(k Kind, e *event) *fault {
	if rule := s.takeEventRule(k, e.kind); rule != nil {
		s.hit(k)
		return &fault{kind: k, rule: rule, delay: rule.Delay}
	}
	if s.plan.level == None {
		return nil
	}
	spec, _ := specOf(k)
	perMille := spec.light
	if s.plan.level == Heavy {
		perMille = spec.heavy
	}
	if spec.random == 0 || unit(mix(s.plan.seed, "event", e.id, string(k))) >= float64(perMille)/1000 {
		return nil
	}
	s.hit(k)
	return &fault{kind: k}
}

// stray delivers an event of the other mode about an object this account never had,
// as a Connect endpoint of a live account gets from test mode.
func (s *Sim) stray(like *event) {
	if s.webhook.url == "" {
		return
	}
	e := *like
	e.head = s.stamp(s.newID(nil, "evt_"))
	e.livemode = !e.livemode
	e.request, e.key = "", ""
	var object map[string]any
	if err := json.Unmarshal(e.object, &object); err != nil {
		panic("stripesim: an event's object is not an object: " + err.Error())
	}
	prefix, _, _ := strings.Cut(like.objectID(), "_")
	object["id"], object["livemode"], object["metadata"] = s.newID(nil, prefix+"_"), e.livemode, map[string]string{}
	e.object = encode(object)
	s.post.send(delivery{sim: s, event: &e})
}

// objectID reads the id of what the event is about; balances have none.
func (e *event) objectID() string {
	var object struct{ ID string }
	if err := json.Unmarshal(e.object, &object); err != nil {
		panic("stripesim: an event's object is not an object: " + err.Error())
	}
	return object.ID
}

func checkEventPath(s *Sim, c *call) *failure {
	if _, ok := s.world.events.get(c.ids[0]); !ok {
		return noSuch(http.StatusNotFound, "event", c.ids[0], "id")
	}
	return nil
}

func getEvent(s *Sim, c *call) (json.RawMessage, *failure) {
	e, _ := s.world.events.get(c.ids[0])
	return renderEvent(e), nil
}

// typesMax is how many types one list may ask for.
const typesMax = 20

func checkEventTypes(_ *Sim, c *call) *failure {
	types := c.values("types")
	if len(types) > typesMax {
		return invalid("", "types", "You may only specify up to 20 event types.")
	}
	if len(types) > 0 && c.form.Has("type") {
		return invalid("", "types", "You may pass either type or types, but not both.")
	}
	return nil
}

// listEvents lists the platform's events, or a seller's with Stripe-Account. The
// platform's list does not hold its sellers' events, as at Stripe.
func listEvents(s *Sim, c *call) (json.RawMessage, *failure) {
	wanted := make(map[string]bool)
	for _, kind := range append(c.values("types"), c.form["type"]...) {
		wanted[kind] = true
	}
	owner := ""
	if s.foreign(c) {
		owner = c.account.id
	}
	oldest := s.clock.now().Add(-eventLife)
	success, asked := c.form.Get("delivery_success") == "true", c.form.Has("delivery_success")
	return page(c, s.world.events.all, s.world.events.get, "event", func(e *event) bool {
		return e.account == owner && !e.thin && (len(wanted) == 0 || matchesType(wanted, e.kind)) &&
			(!asked || e.delivered == success) && e.at.After(oldest)
	}, renderEvent)
}

// matchesType knows the wildcard form too: charge.* is every event of a charge.
func matchesType(wanted map[string]bool, kind string) bool {
	if wanted[kind] {
		return true
	}
	for w := range wanted {
		if prefix, ok := strings.CutSuffix(w, "*"); ok && strings.HasPrefix(kind, prefix) {
			return true
		}
	}
	return false
}

type wireEvent struct {
	ID              string           `json:"id"`
	Object          string           `json:"object"`
	Account         string           `json:"account,omitempty"`
	APIVersion      string           `json:"api_version"`
	Created         int64            `json:"created"`
	Data            wireEventData    `json:"data"`
	Livemode        bool             `json:"livemode"`
	PendingWebhooks int              `json:"pending_webhooks"`
	Request         wireEventRequest `json:"request"`
	Type            string           `json:"type"`
}

type wireEventData struct {
	Object             json.RawMessage `json:"object"`
	PreviousAttributes json.RawMessage `json:"previous_attributes,omitempty"`
}

type wireEventRequest struct {
	ID             *string `json:"id"`
	IdempotencyKey *string `json:"idempotency_key"`
}

func renderEvent(e *event) json.RawMessage {
	if e.thin {
		return renderThinEvent(e)
	}
	return encode(wireEvent{
		ID: e.id, Object: "event", Account: e.account, APIVersion: e.version, Created: unix(e.at),
		Data: wireEventData{e.object, e.previous}, Livemode: e.livemode, PendingWebhooks: e.pending,
		Request: wireEventRequest{orNull(e.request), orNull(e.key)}, Type: e.kind,
	})
}
