package http

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/ledger"
)

// requests has one well-formed request for each route that takes a token. A route that is not
// here fails the test: nobody adds one without saying who may use it.
var requests = map[string]struct {
	path, body string
	least      Role
	status     int // when it is allowed
}{
	"POST /v1/transfers":                  {"/v1/transfers", order(), RoleOperator, 200},
	"POST /v1/transfers/batch":            {"/v1/transfers/batch", `{"transfers":[` + order() + `]}`, RoleOperator, 200},
	"GET /v1/transfers":                   {"/v1/transfers", "", RoleViewer, 200},
	"GET /v1/transfers/{id}":              {"/v1/transfers/{id}", "", RoleViewer, 200},
	"GET /v1/transfers/{id}/history":      {"/v1/transfers/{id}/history", "", RoleViewer, 200},
	"POST /v1/transfers/{id}/messages":    {"/v1/transfers/{id}/messages", `{"type":"restart","reason":"x"}`, RoleOperator, 202},
	"GET /v1/drift":                       {"/v1/drift", "", RoleViewer, 200},
	"GET /v1/drift/{id}":                  {"/v1/drift/" + findingID, "", RoleViewer, 200},
	"POST /v1/drift/{id}/messages":        {"/v1/drift/" + findingID + "/messages", `{"type":"accept","reason":"x"}`, RoleOperator, 202},
	"GET /v1/actors/reconciler":           {"/v1/actors/reconciler", "", RoleViewer, 200},
	"POST /v1/actors/reconciler/messages": {"/v1/actors/reconciler/messages", `{"type":"run","reason":"x"}`, RoleOperator, 202},
	"GET /v1/actors/clocks":               {"/v1/actors/clocks", "", RoleViewer, 200},
	"POST /v1/actors/clocks/messages":     {"/v1/actors/clocks/messages", `{"type":"trust","clock":"stripe","reason":"x"}`, RoleOperator, 409},
	"GET /livez":                          {"/livez", "", anyone, 200},
	"HEAD /livez":                         {"/livez", "", anyone, 200},
	"GET /readyz":                         {"/readyz", "", anyone, 200},
	"HEAD /readyz":                        {"/readyz", "", anyone, 200},
	"GET /metrics":                        {"/metrics", "", anyone, 200},
}

func TestEveryRouteIsClosedUnlessTheRoleOpensIt(t *testing.T) {
	s := open(t)
	id := s.created().String()
	later := func(d time.Duration) func(*Token) { return func(t *Token) { t.ExpiresAt = s.now().Add(d) } }
	revoked := s.token("revoked", RoleAdmin, func(t *Token) { t.RevokedAt = s.now() })
	viewer := s.token("viewer", RoleViewer, nil)
	_, _, hash := NewToken(rand.Reader)
	holders := []struct {
		name, header string
		role         Role // none: 401
		count        bool // as a wrong token
	}{
		{"no token", "", RoleNone, false},
		{"malformed: no scheme", viewer, RoleNone, true},
		{"malformed: another scheme", "Basic " + viewer, RoleNone, true},
		{"malformed: two spaces", "Bearer  " + viewer, RoleNone, true},
		{"malformed: nothing behind it", "Bearer", RoleNone, true},
		{"malformed: too long", "Bearer " + strings.Repeat("x", 300), RoleNone, true},
		{"unknown", "Bearer settled_zzzzzzzz_" + strings.Repeat("A", 43), RoleNone, true},
		{"the hash instead of the token", fmt.Sprintf("Bearer %x", hash), RoleNone, true},
		{"one character changed", "Bearer " + viewer[:len(viewer)-2] + flip(viewer[len(viewer)-2]) + viewer[len(viewer)-1:], RoleNone, true},
		{"one character less", "Bearer " + viewer[:len(viewer)-1], RoleNone, true},
		{"the bootstrap token in capitals", "Bearer " + strings.ToUpper(adminToken), RoleNone, true},
		{"revoked", "Bearer " + revoked, RoleNone, true},
		{"expired", "Bearer " + s.token("expired", RoleAdmin, later(0)), RoleNone, true},
		{"viewer", "Bearer " + viewer, RoleViewer, false},
		{"viewer, the scheme in lower case", "bearer " + viewer, RoleViewer, false},
		{"operator", "Bearer " + s.token("operator", RoleOperator, later(1000*time.Hour)), RoleOperator, false},
		{"admin", "Bearer " + s.token("admin", RoleAdmin, nil), RoleAdmin, false},
		{"bootstrap", "Bearer " + adminToken, RoleAdmin, false},
		{"a role that nobody knows", "Bearer " + s.token("root2", "root", nil), "root", false},
	}
	s.pass(2 * time.Second) // the new tokens are seen
	r, err := s.server.newRouter(adminRoutes, nil)
	if err != nil {
		t.Fatal(err)
	}
	for method, paths := range r.List() {
		for _, path := range paths {
			c, known := requests[method+" "+path]
			if !known {
				t.Errorf("route %s %s has no entry in this test", method, path)
				continue
			}
			for _, h := range holders {
				t.Run(method+" "+path+" by "+h.name, func(t *testing.T) {
					s.pass(2 * time.Minute) // no lock-out meanwhile
					a := s.send(method, s.admin+strings.ReplaceAll(c.path, "{id}", id), c.body, "Authorization", h.header, "Content-Type", jsonType)
					switch {
					case c.least == anyone || h.role.allows(c.least):
						if a.status != c.status {
							t.Errorf("%d %s", a.status, a.body)
						}
					case h.role == RoleNone:
						a.wants(t, unauthorized)
						challenge := `Bearer realm="settled"`
						if h.count {
							challenge += `, error="invalid_token"`
						}
						if got := a.header.Get("WWW-Authenticate"); got != challenge {
							t.Errorf("WWW-Authenticate %q", got)
						}
					default:
						a.wants(t, forbidden)
					}
				})
			}
		}
	}
	if public, err := s.server.newRouter(publicRoutes, nil); err != nil || fmt.Sprint(public.List()) != "map[GET:[/livez] HEAD:[/livez] POST:[/webhooks/stripe]]" {
		t.Errorf("the public routes are %v (%v)", public.List(), err)
	}
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

func TestARouteWithoutARoleIsRefused(t *testing.T) {
	s := open(t)
	for _, role := range []Role{RoleNone, "root"} {
		if _, err := s.server.newRouter([]route{{method: "GET", path: "/x", role: role}}, nil); err == nil {
			t.Errorf("a route with the role %q was taken", role)
		}
	}
}

func TestARoleIncludesTheOnesBelow(t *testing.T) {
	for _, c := range []struct {
		has, needed Role
		allowed     bool
	}{
		{RoleViewer, RoleViewer, true}, {RoleViewer, RoleOperator, false}, {RoleViewer, RoleAdmin, false},
		{RoleOperator, RoleViewer, true}, {RoleOperator, RoleOperator, true}, {RoleOperator, RoleAdmin, false},
		{RoleAdmin, RoleViewer, true}, {RoleAdmin, RoleAdmin, true},
		{RoleNone, RoleNone, false}, {RoleNone, RoleViewer, false}, {"root", RoleViewer, false}, {anyone, RoleViewer, false},
	} {
		if got := c.has.allows(c.needed); got != c.allowed {
			t.Errorf("%q allows %q: %v", c.has, c.needed, got)
		}
	}
}

func TestATokenHas256BitsAndIsKnownByItsPrefix(t *testing.T) {
	form := regexp.MustCompile(`^settled_([a-z2-9]{8})_[A-Za-z0-9_-]{43}$`)
	seen := make(map[string]bool)
	for range 1000 {
		token, prefix, hash := NewToken(rand.Reader)
		m := form.FindStringSubmatch(token)
		if m == nil || m[1] != prefix || !bytes.Equal(hash, HashToken(token)) || len(hash) != 32 || seen[token] {
			t.Fatalf("token %s, prefix %s", token, prefix)
		}
		seen[token] = true
	}
	defer func() {
		if recover() == nil {
			t.Error("a token was made without chance")
		}
	}()
	NewToken(strings.NewReader("short"))
}

func TestARevokedTokenEndsWithinSeconds(t *testing.T) {
	s := open(t)
	if a := s.get("/v1/transfers"); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	asked := s.asked
	for range 10 {
		s.get("/v1/transfers")
	}
	if s.asked != asked {
		t.Errorf("the tokens were read %d times more", s.asked-asked)
	}
	s.set(func(w *world) { w.tokens[0].RevokedAt = w.clock })
	s.pass(tokensFresh)
	s.get("/v1/transfers").wants(t, unauthorized)
}

func TestANewTokenIsSeenAtOnceAndUnknownOnesCostLittle(t *testing.T) {
	s := open(t)
	s.get("/v1/transfers")
	s.pass(tokensPause)
	fresh := s.token("new", RoleViewer, nil)
	if a := s.get("/v1/transfers", "Authorization", "Bearer "+fresh); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	asked := s.asked
	for i := range 10 {
		token, _, _ := NewToken(rand.Reader)
		if a := s.get("/v1/transfers", "Authorization", "Bearer "+token); a.status != 401 {
			t.Errorf("%d: %d", i, a.status)
		}
	}
	if s.asked > asked+1 {
		t.Errorf("ten unknown tokens were looked up %d times", s.asked-asked)
	}
}

// The part that is not secret may be the same in two tokens: by accident, or by somebody who
// may store one.
func TestTokensOfTheSamePrefixAreToldApart(t *testing.T) {
	s := open(t)
	const prefix = "abcdefgh"
	tokens := map[string]Role{"settled_" + prefix + "_" + strings.Repeat("A", 43): RoleViewer, "settled_" + prefix + "_" + strings.Repeat("B", 43): RoleOperator}
	revoked := "settled_" + prefix + "_" + strings.Repeat("C", 43)
	s.set(func(w *world) {
		w.tokens = append(w.tokens, Token{Name: "revoked", Prefix: prefix, Hash: HashToken(revoked), Role: RoleAdmin, RevokedAt: w.clock})
		for token, role := range tokens {
			w.tokens = append(w.tokens, Token{Name: string(role), Prefix: prefix, Hash: HashToken(token), Role: role})
		}
	})
	for token, role := range tokens {
		if who, _, err := s.server.keyring.find(t.Context(), token); err != nil || who != (Principal{string(role), role}) {
			t.Errorf("the %s's token is %+v's: %v", role, who, err)
		}
	}
	for _, none := range []string{revoked, "settled_" + prefix + "_" + strings.Repeat("D", 43)} {
		s.get("/v1/transfers", "Authorization", "Bearer "+none).wants(t, unauthorized)
	}
}

func TestTokensOutliveAShortOutageOfTheirStore(t *testing.T) {
	s := open(t)
	s.get("/v1/transfers")
	s.set(func(w *world) { w.badToken = errors.New("connection refused") })
	s.pass(tokensStale - time.Second)
	if a := s.get("/v1/transfers"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	s.pass(time.Second)
	s.get("/v1/transfers").wants(t, unavailable)
	if a := s.get("/v1/transfers", "Authorization", "Bearer "+adminToken); a.status != 200 {
		t.Errorf("bootstrap: %d %s", a.status, a.body)
	}
	s.set(func(w *world) { w.badToken = nil })
	if a := s.get("/v1/transfers"); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
}

// Guesses are turned away, and a right token never: whoever guesses from an address that others share,
// a proxy's or loopback's, would lock them out.
func TestGuessesAreTurnedAwayAndARightTokenIsNot(t *testing.T) {
	s := open(t)
	prefix := s.operator[:len("settled_abcdefgh_")]
	wrong := []string{"Authorization", "Bearer " + strings.Repeat("w", 20)}
	near := []string{"Authorization", "Bearer " + prefix + strings.Repeat("w", 43)}
	for range lockoutAfter {
		s.get("/v1/transfers", wrong...).wants(t, unauthorized)
	}
	for range 5 { // no token is no guess
		s.get("/v1/transfers", "Authorization", "").wants(t, unauthorized)
	}
	a := s.get("/v1/transfers", wrong...)
	a.wants(t, tooManyRequests)
	if a.header.Get("Retry-After") != "60" {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
	s.get("/v1/transfers", "Authorization", "Bearer settled_zzzzzzzz_"+strings.Repeat("w", 43)).wants(t, tooManyRequests)
	// A token that is like a stored one is counted for itself.
	for range lockoutAfter {
		s.get("/v1/transfers", near...).wants(t, unauthorized)
	}
	s.get("/v1/transfers", near...).wants(t, tooManyRequests)
	for _, token := range []string{s.operator, adminToken} {
		if a := s.get("/v1/transfers", "Authorization", "Bearer "+token); a.status != 200 {
			t.Errorf("a right token is locked out: %d %s", a.status, a.body)
		}
	}
	if a := s.get("/readyz"); a.status != 200 {
		t.Errorf("readyz: %d", a.status)
	}
	s.pass(lockoutFor)
	s.get("/v1/transfers", wrong...).wants(t, unauthorized)
	s.pass(lockoutWindow + 1)
	for range 2 * lockoutAfter { // slowly
		s.get("/v1/transfers", wrong...).wants(t, unauthorized)
		s.pass(lockoutWindow / (lockoutAfter - 2))
	}
}

func TestTheLockoutRemembersABoundedNumberOfGuesses(t *testing.T) {
	now := time.Unix(0, 0)
	l := newLockout(func() time.Time { return now })
	for i := range 5 * lockoutGuesses {
		l.fail(guess{from: netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})})
	}
	if len(l.seen) > lockoutGuesses {
		t.Errorf("%d guesses", len(l.seen))
	}
	now = now.Add(time.Hour)
	l.fail(guess{from: netip.AddrFrom4([4]byte{11})})
	if len(l.seen) != 1 {
		t.Errorf("%d guesses are left", len(l.seen))
	}
}

func TestAnIPv6NetworkIsOneAddress(t *testing.T) {
	at := func(ip string) netip.Addr { return addressOf(&net.TCPAddr{IP: net.ParseIP(ip)}) }
	if at("2001:db8::1") != at("2001:db8::ffff:1") || at("2001:db8::1") == at("2001:db8:0:1::1") {
		t.Error("an IPv6 network is its first 64 bits")
	}
	if at("::ffff:10.0.0.1") != at("10.0.0.1") || at("10.0.0.1") == at("10.0.0.2") {
		t.Error("an IPv4 address is one, however written")
	}
	if addressOf(&net.UnixAddr{}).IsValid() {
		t.Error("a socket file has no address")
	}
}

func TestWhoWaitedTooLongForTheTokensIsNotKeptLonger(t *testing.T) {
	w := newWorld()
	k, err := newKeyring(w, nil, w.now)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := k.candidates(ctx, "x"); !errors.Is(err, context.Canceled) || w.asked != 0 {
		t.Errorf("%v, asked %d", err, w.asked)
	}
	w.badToken = errors.New("x")
	if _, err := k.candidates(t.Context(), "x"); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("%v", err)
	}
}

func TestAStoreOfTokensThatIsDownIsNotHammered(t *testing.T) {
	s := open(t)
	s.get("/v1/transfers")
	s.set(func(w *world) { w.badToken = errors.New("connection refused") })
	s.pass(tokensFresh)
	asked := s.asked
	for range 10 {
		if a := s.get("/v1/transfers"); a.status != 200 {
			t.Errorf("%d %s", a.status, a.body)
		}
	}
	if s.asked != asked+1 {
		t.Errorf("asked %d times", s.asked-asked)
	}
}
