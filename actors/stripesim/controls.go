package stripesim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// control is one thing a test or a person at the loopback can do to the world. It is
// called without mu held, and returns what to show.
type control func(s *Sim, body []byte) (any, error)

// controls is everything under /_sim/, by method and name. Fields that a control
// does not know are refused with their name.
var controls = map[string]control{
	"GET truth":          func(s *Sim, _ []byte) (any, error) { return s.Truth(), nil },
	"GET counts":         func(s *Sim, _ []byte) (any, error) { return s.Counts(), nil },
	"GET clock":          func(s *Sim, _ []byte) (any, error) { return s.clockView(), nil },
	"POST clock":         advanceClock,
	"GET faults":         func(s *Sim, _ []byte) (any, error) { return s.faultsView(), nil },
	"POST faults":        setFaults,
	"POST rules":         addRule,
	"DELETE rules":       clearRules,
	"POST webhook":       setWebhook,
	"POST accounts":      putAccount,
	"POST balance":       putBalance,
	"POST transfer":      foreignTransfer,
	"POST reverse":       foreignReversal,
	"POST refund":        foreignRefund,
	"POST dispute":       putDispute,
	"POST succeed":       succeedPayment,
	"POST events/resend": resendEvents,
	"POST down":          goDown,
	"POST auth":          revokeAuth,
}

// listControls shows which controls there are.
func listControls() any {
	list := slices.Sorted(maps.Keys(controls))
	for i, c := range list {
		method, name, _ := strings.Cut(c, " ")
		list[i] = method + " /_sim/" + name
	}
	return map[string]any{"controls": list}
}

// serveControl answers a control. There is no authentication: the simulator is a
// tool for the loopback. A page in a browser may reach it there too: under a name of its own, which
// is refused, or with what a form can send, which is no JSON.
func (s *Sim) serveControl(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/_sim/")
	if !local(r) {
		writeControl(w, http.StatusMisdirectedRequest, map[string]string{"error": "the controls answer to loopback's names only, not to " + r.Host})
		return
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); r.Method == http.MethodPost && (err != nil || media != "application/json") {
		writeControl(w, http.StatusUnsupportedMediaType, map[string]string{"error": "send the header Content-Type: application/json"})
		return
	}
	if r.Method == http.MethodGet && name == "" {
		writeControl(w, http.StatusOK, listControls())
		return
	}
	do, ok := controls[r.Method+" "+name]
	if !ok {
		writeControl(w, http.StatusNotFound, map[string]string{"error": "no control " + r.Method + " " + r.URL.Path})
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyMax))
	if err != nil {
		writeControl(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	shown, err := do(s, body)
	if err != nil {
		writeControl(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	writeControl(w, http.StatusOK, shown)
}

// local reports that a request was meant for this machine, or for the address that it came to.
func local(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	if err != nil {
		return strings.EqualFold(host, "localhost")
	}
	to, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ip.IsLoopback() || to != nil && to.AddrPort().Addr().Unmap() == ip.Unmap()
}

func writeControl(w http.ResponseWriter, status int, shown any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(shown)
}

// strictly decodes one JSON object and refuses fields it does not have.
func strictly(body []byte, into any) error {
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	if dec.More() {
		return errors.New("more than one JSON value")
	}
	return nil
}

// duration is written like "1h30m" in controls.
type duration time.Duration

// UnmarshalText reads what time.ParseDuration reads.
func (d *duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	*d = duration(parsed)
	return err
}

func (s *Sim) clockView() any {
	return map[string]string{"now": s.Now().Format(time.RFC3339Nano), "advanced": s.clock.advanced().String()}
}

func advanceClock(s *Sim, body []byte) (any, error) {
	var in struct {
		Advance duration `json:"advance"`
	}
	if err := strictly(body, &in); err != nil {
		return nil, err
	}
	if in.Advance < 0 {
		return nil, errors.New("the clock does not go back")
	}
	s.Advance(time.Duration(in.Advance))
	return s.clockView(), nil
}

func (s *Sim) faultsView() any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]string{"level": s.plan.level.String()}
}

func setFaults(s *Sim, body []byte) (any, error) {
	var in struct {
		Level string `json:"level"`
	}
	if err := strictly(body, &in); err != nil {
		return nil, err
	}
	level, err := ParseFaults(in.Level)
	if err != nil {
		return nil, err
	}
	s.SetFaults(level)
	return s.faultsView(), nil
}

// addRule takes a Rule in snake_case, without Match; delay is like "30s".
func addRule(s *Sim, body []byte) (any, error) {
	var in struct {
		Kind    Kind              `json:"kind"`
		Path    string            `json:"path"`
		Key     string            `json:"key"`
		Arrival int               `json:"arrival"`
		Times   int               `json:"times"`
		Delay   duration          `json:"delay"`
		Amount  int64             `json:"amount"`
		Status  int               `json:"status"`
		Body    string            `json:"body"`
		Header  map[string]string `json:"header"`
		Code    string            `json:"code"`
		Type    string            `json:"type"`
		Message string            `json:"message"`
		Param   string            `json:"param"`
		Store   bool              `json:"store"`
		Execute bool              `json:"execute"`
	}
	if err := strictly(body, &in); err != nil {
		return nil, err
	}
	r := Rule{
		Kind: in.Kind, Path: in.Path, Key: in.Key, Arrival: in.Arrival, Times: in.Times, Delay: time.Duration(in.Delay),
		Amount: in.Amount, Status: in.Status, Body: in.Body, Header: in.Header, Code: in.Code, Type: in.Type,
		Message: in.Message, Param: in.Param, Store: in.Store, Execute: in.Execute,
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	s.Inject(r)
	return map[string]bool{"ok": true}, nil
}

func clearRules(s *Sim, _ []byte) (any, error) {
	s.ClearRules()
	return map[string]bool{"ok": true}, nil
}

func setWebhook(s *Sim, body []byte) (any, error) {
	var in struct {
		URL    string `json:"url"`
		Secret string `json:"secret"`
	}
	if err := strictly(body, &in); err != nil {
		return nil, err
	}
	s.SetWebhook(in.URL, in.Secret)
	return map[string]bool{"ok": true}, nil
}

// goDown answers every call with 503 for a while; "0s" ends it.
func goDown(s *Sim, body []byte) (any, error) {
	var in struct {
		For duration `json:"for"`
	}
	if err := strictly(body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.downUntil = s.clock.now().Add(time.Duration(in.For))
	return map[string]string{"until": s.downUntil.Format(time.RFC3339Nano)}, nil
}

// revokeAuth answers every call with 401 until it is taken back.
func revokeAuth(s *Sim, body []byte) (any, error) {
	var in struct {
		Revoke bool `json:"revoke"`
	}
	if err := strictly(body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked = in.Revoke
	return map[string]bool{"revoked": s.revoked}, nil
}

// resendEvents delivers again: one event by id, all, or (by default) all that no
// receiver has taken.
func resendEvents(s *Sim, body []byte) (any, error) {
	var in struct {
		ID  string `json:"id"`
		All bool   `json:"all"`
	}
	if err := strictly(body, &in); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.world.events.get(in.ID); in.ID != "" && !ok {
		return nil, fmt.Errorf("no event %q", in.ID)
	}
	n := 0
	for _, e := range s.world.events.all {
		if e.id == in.ID || in.ID == "" && (in.All || !e.delivered) {
			s.post.send(delivery{sim: s, event: e})
			n++
		}
	}
	return map[string]int{"resent": n}, nil
}

// putAccount creates or changes a seller. Closing one refuses transfers to it (T4)
// and reversals from it (R7).
func putAccount(s *Sim, body []byte) (any, error) {
	var in struct {
		ID           string            `json:"id"`
		Country      string            `json:"country"`
		Capabilities map[string]string `json:"capabilities"`
		Balance      map[string]int64  `json:"balance"`
		Closed       *bool             `json:"closed"`
	}
	if err := strictly(body, &in); err != nil {
		return nil, err
	}
	if !wellFormedAccount(in.ID) {
		return nil, fmt.Errorf("id %q is not acct_…", in.ID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.ID == s.world.platform.id {
		return nil, errors.New("this is the platform itself")
	}
	a, ok := s.world.accounts.get(in.ID)
	if !ok {
		a = s.addAccount(in.ID, s.world.platform.country)
	}
	if in.Country != "" {
		a.country = in.Country
	}
	if in.Closed != nil {
		a.closed = *in.Closed
	}
	for _, name := range sortedKeys(in.Capabilities) {
		s.setCapability(nil, a, name, in.Capabilities[name])
	}
	for _, currency := range sortedKeys(in.Balance) {
		s.setBalance(a, currency, in.Balance[currency])
	}
	return json.RawMessage(s.renderAccount(a)), nil
}

// setBalance makes an available balance what it should be, by a payout or a top-up.
func (s *Sim) setBalance(a *account, currency string, want int64) {
	a.limited[currency] = true
	change := want - a.balance[currency]
	switch {
	case change < 0:
		s.move(nil, a, "payout", "payout", change, currency, s.newID(nil, "po_"))
	case change > 0:
		s.move(nil, a, "topup", "topup", change, currency, s.newID(nil, "tu_"))
		s.announceBalance(a)
	}
}

// putBalance sets the available balance of a seller, or of the platform without an
// account; the platform's in that currency is limited from then on.
func putBalance(s *Sim, body []byte) (any, error) {
	var in struct {
		Account   string `json:"account"`
		Currency  string `json:"currency"`
		Available int64  `json:"available"`
	}
	if err := strictly(body, &in); err != nil {
		return nil, err
	}
	if _, ok := currencies[in.Currency]; !ok {
		return nil, fmt.Errorf("no currency %q", in.Currency)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.world.platform
	if in.Account != "" && in.Account != a.id {
		seller, ok := s.seller(in.Account)
		if !ok {
			return nil, fmt.Errorf("no account %q", in.Account)
		}
		a = seller
	}
	s.setBalance(a, in.Currency, in.Available)
	return maps.Clone(a.balance), nil
}
