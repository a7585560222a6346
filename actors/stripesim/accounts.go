package stripesim

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
)

func accountEndpoints() []*endpoint {
	details := append(optional(clears, "email", "business_type", "country", "type", "default_currency", "account_token", "external_account"),
		optional(anything, "capabilities", "business_profile", "company", "individual", "settings", "tos_acceptance", "documents", "controller")...)
	details = append(details, param{"metadata", pairs, false})
	return []*endpoint{
		{name: "GET /v1/account", check: checkOwnAccount, run: getAccount, params: takes()},
		{name: "POST /v1/accounts", run: createAccount, params: takes(details...)},
		{name: "GET /v1/accounts", run: listAccounts, params: listing(param{"created", moment, false})},
		{name: "GET /v1/accounts/:id", check: checkAccountPath, run: getAccount, params: takes()},
		{name: "POST /v1/accounts/:id", check: checkAccountPath, run: updateAccount, params: takes(details...)},
		{name: "GET /v1/accounts/:id/capabilities", check: checkAccountPath, run: listCapabilities, params: takes()},
		{name: "GET /v1/accounts/:id/capabilities/:id", check: checkAccountPath, run: getCapability, params: takes()},
		{
			name: "POST /v1/accounts/:id/capabilities/:id", check: checkAccountPath, run: requestCapability,
			params: takes(param{"requested", boolean, false}),
		},
	}
}

// checkOwnAccount finds c.account set by the pipeline. Stripe's refusal names the permission and the account.
func checkOwnAccount(s *Sim, c *call) *failure {
	if !slices.Contains(s.cfg.Withheld, c.auth) {
		return nil
	}
	return &failure{status: http.StatusForbidden, kind: "invalid_request_error",
		message: "The provided key '" + redact(c.auth) + "' does not have the required permissions for this endpoint on account '" + s.world.platform.id +
			"'. Having the 'rak_accounts_kyc_basic_read' permission would allow this request to continue."}
}

// checkAccountPath is a 403 and not a 404: Stripe does not tell which it is.
func checkAccountPath(s *Sim, c *call) *failure {
	id := c.ids[0]
	if id == s.world.platform.id {
		c.account = s.world.platform
		return nil
	}
	a, ok := s.seller(id)
	if !ok || a.closed {
		return &failure{status: http.StatusForbidden, kind: "invalid_request_error", code: "account_invalid",
			message: "The provided key '" + redact(c.auth) + "' does not have access to account '" + id +
				"' (or that account does not exist). Application access may have been revoked."}
	}
	c.account = a
	return nil
}

func getAccount(s *Sim, c *call) (json.RawMessage, *failure) { return s.renderAccount(c.account), nil }

// createAccount makes a seller whose requested capabilities are active at once, as
// test mode does with prefilled data.
func createAccount(s *Sim, c *call) (json.RawMessage, *failure) {
	country := c.form.Get("country")
	if country == "" {
		country = s.world.platform.country
	}
	a := s.addAccount(freshID(s, c, "acct_", &s.world.accounts), country)
	a.caps = make(map[string]string)
	a.email, a.metadata = c.form.Get("email"), metadataOf(c.form, nil)
	if kind := c.form.Get("type"); kind != "" {
		a.kind = kind
	}
	s.requestCapabilities(c, a)
	return s.renderAccount(a), nil
}

func updateAccount(s *Sim, c *call) (json.RawMessage, *failure) {
	a := c.account
	if c.form.Has("email") {
		a.email = c.form.Get("email")
	}
	a.metadata = metadataOf(c.form, a.metadata)
	s.requestCapabilities(c, a)
	body := s.renderAccount(a)
	s.emit(c, event{kind: "account.updated", object: body, account: a.id})
	return body, nil
}

// requestCapabilities reads capabilities[transfers][requested]=true.
func (s *Sim) requestCapabilities(c *call, a *account) {
	for _, name := range sortedKeys(c.form) {
		rest, ok := strings.CutPrefix(name, "capabilities[")
		if !ok {
			continue
		}
		if capability, ok := strings.CutSuffix(rest, "][requested]"); ok {
			s.setCapability(c, a, capability, requestedStatus(c.form.Get(name)))
		}
	}
}

func requestedStatus(requested string) string {
	if requested == "true" {
		return "active"
	}
	return "unrequested"
}

func listAccounts(s *Sim, c *call) (json.RawMessage, *failure) {
	open := func(a *account) bool { return !a.closed }
	return page(c, s.world.accounts.all, s.world.accounts.get, "account", open, s.renderAccount)
}

func listCapabilities(_ *Sim, c *call) (json.RawMessage, *failure) {
	list := wireList{Object: "list", Data: []json.RawMessage{}, URL: c.info.Path}
	for _, name := range sortedKeys(c.account.caps) {
		list.Data = append(list.Data, renderCapability(c.account, name))
	}
	return encode(list), nil
}

func getCapability(_ *Sim, c *call) (json.RawMessage, *failure) {
	if _, ok := c.account.caps[c.ids[1]]; !ok {
		return nil, noSuch(http.StatusNotFound, "capability", c.ids[1], "capability")
	}
	return renderCapability(c.account, c.ids[1]), nil
}

func requestCapability(s *Sim, c *call) (json.RawMessage, *failure) {
	if c.form.Has("requested") {
		s.setCapability(c, c.account, c.ids[1], requestedStatus(c.form.Get("requested")))
	}
	return renderCapability(c.account, c.ids[1]), nil
}

// setCapability changes a status and tells of it, the account first.
func (s *Sim) setCapability(c *call, a *account, name, status string) {
	was, known := a.caps[name]
	if known && was == status {
		return
	}
	a.caps[name] = status
	if !known {
		was = "unrequested"
	}
	previous := encode(map[string]any{"capabilities": map[string]string{name: was}})
	s.emit(c, event{kind: "account.updated", object: s.renderAccount(a), previous: previous, account: a.id})
	s.emit(c, event{kind: "capability.updated", object: renderCapability(a, name),
		previous: encode(map[string]string{"status": was}), account: a.id})
}

// breakCapability is KindCapability: the destination is inactive for a while.
func (s *Sim) breakCapability(c *call) {
	a, ok := s.world.accounts.get(c.form.Get("destination"))
	if !ok || a.caps["transfers"] != "active" || (c.fault.rule == nil && a.outages >= outagesPerSeller) {
		return
	}
	s.hit(KindCapability)
	a.outages++
	s.setCapability(nil, a, "transfers", "inactive")
	s.clock.after(c.fault.delay, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if a.caps["transfers"] == "inactive" {
			s.setCapability(nil, a, "transfers", "active")
		}
	})
}

type wireAccount struct {
	ID               string            `json:"id"`
	Object           string            `json:"object"`
	BusinessType     *string           `json:"business_type"`
	Capabilities     map[string]string `json:"capabilities"`
	ChargesEnabled   bool              `json:"charges_enabled"`
	Country          string            `json:"country"`
	Created          int64             `json:"created"`
	DefaultCurrency  string            `json:"default_currency"`
	DetailsSubmitted bool              `json:"details_submitted"`
	Email            *string           `json:"email"`
	Metadata         map[string]string `json:"metadata"`
	PayoutsEnabled   bool              `json:"payouts_enabled"`
	Requirements     wireRequirements  `json:"requirements"`
	Type             string            `json:"type"`
}

type wireRequirements struct {
	Alternatives        []string `json:"alternatives"`
	CurrentDeadline     *int64   `json:"current_deadline"`
	CurrentlyDue        []string `json:"currently_due"`
	DisabledReason      *string  `json:"disabled_reason"`
	Errors              []string `json:"errors"`
	EventuallyDue       []string `json:"eventually_due"`
	PastDue             []string `json:"past_due"`
	PendingVerification []string `json:"pending_verification"`
}

// requirements are a document when something is wrong, else nothing.
func requirements(wrong bool) wireRequirements {
	r := wireRequirements{Alternatives: []string{}, CurrentlyDue: []string{}, Errors: []string{}, EventuallyDue: []string{},
		PastDue: []string{}, PendingVerification: []string{}}
	if wrong {
		r.CurrentlyDue = []string{"individual.verification.document"}
		r.EventuallyDue, r.PastDue = r.CurrentlyDue, r.CurrentlyDue
		r.DisabledReason = orNull("requirements.past_due")
	}
	return r
}

func (s *Sim) renderAccount(a *account) json.RawMessage {
	caps := make(map[string]string, len(a.caps))
	for name, status := range a.caps {
		if status != "unrequested" {
			caps[name] = status
		}
	}
	wrong := a != s.world.platform && slices.Contains([]string{"inactive", "pending"}, a.caps["transfers"])
	return encode(wireAccount{
		ID: a.id, Object: "account", BusinessType: orNull("individual"), Capabilities: caps, ChargesEnabled: !wrong,
		Country: a.country, Created: unix(a.at), DefaultCurrency: a.currency, DetailsSubmitted: true, Email: orNull(a.email),
		Metadata: orEmpty(a.metadata), PayoutsEnabled: !wrong, Requirements: requirements(wrong), Type: a.kind,
	})
}

type wireCapability struct {
	ID                 string           `json:"id"`
	Object             string           `json:"object"`
	Account            string           `json:"account"`
	FutureRequirements wireRequirements `json:"future_requirements"`
	Requested          bool             `json:"requested"`
	RequestedAt        *int64           `json:"requested_at"`
	Requirements       wireRequirements `json:"requirements"`
	Status             string           `json:"status"`
}

func renderCapability(a *account, name string) json.RawMessage {
	status := a.caps[name]
	if status == "" {
		status = "unrequested"
	}
	at := unix(a.at)
	return encode(wireCapability{ID: name, Object: "capability", Account: a.id, FutureRequirements: requirements(false),
		Requested: status != "unrequested", RequestedAt: &at, Requirements: requirements(status == "inactive" || status == "pending"),
		Status: status})
}
