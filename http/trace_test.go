package http

import (
	"bufio"
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
)

// diary keeps the lines of the log.
type diary struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (d *diary) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(b)
}

// lines returns the entries with a message, and forgets all.
func (d *diary) lines(t *testing.T, message string) (all []map[string]any) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	for lines := bufio.NewScanner(bytes.NewReader(d.text.Bytes())); lines.Scan(); {
		var entry map[string]any
		if err := json.Unmarshal(lines.Bytes(), &entry); err != nil {
			t.Fatal(err)
		}
		if entry["msg"] == message {
			all = append(all, entry)
		}
	}
	d.text.Reset()
	return all
}

// watched is a site whose log can be read, as far as it is on by default.
func watched(t *testing.T) (*site, *diary) {
	d := &diary{}
	return open(t, func(c *Config) { c.Logger = slog.New(slog.NewJSONHandler(d, nil)) }), d
}

// denied is how often somebody was not let in for a cause.
func (s *site) denied(t *testing.T, cause denial) float64 {
	t.Helper()
	var m dto.Metric
	if err := s.server.metrics.denied.WithLabelValues(string(cause)).Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func TestWhoIsNotLetInLeavesATrace(t *testing.T) {
	s, log := watched(t)
	revoked := s.token("anna", RoleAdmin, func(k *Token) { k.RevokedAt = s.clock })
	expired := s.token("ben", RoleAdmin, func(k *Token) { k.ExpiresAt = s.clock })
	viewer := s.token("vera", RoleViewer, nil)
	s.get("/v1/transfers") // the tokens are known from here on
	s.pass(tokensPause)
	for _, c := range []struct {
		cause  denial
		header string
		name   string // the log's attribute of the owner
	}{
		{deniedMissing, "", ""},
		{deniedMalformed, "Basic YTpi", ""},
		{deniedUnknown, "Bearer settled_abcdefgh_" + strings.Repeat("A", 43), ""},
		{deniedRevoked, "Bearer " + revoked, "anna"},
		{deniedExpired, "Bearer " + expired, "ben"},
		{deniedRole, "Bearer " + viewer, "vera"},
	} {
		log.lines(t, "")
		before := s.denied(t, c.cause)
		s.post("/v1/transfers", orderText, "Authorization", c.header, "X-Request-Id", "the-callers")
		lines := log.lines(t, "access denied")
		if len(lines) != 1 || lines[0]["level"] != "WARN" || lines[0]["cause"] != string(c.cause) || lines[0]["path"] != "/v1/transfers" || lines[0]["remote"] == "" {
			t.Errorf("%s: %v", c.cause, lines)
			continue
		}
		if own, _ := lines[0]["settled_request_id"].(string); own == "" || own == "the-callers" {
			t.Errorf("%s: our own ID is %q", c.cause, own)
		}
		if c.name != "" && lines[0]["token"] != c.name && lines[0]["principal"] != c.name {
			t.Errorf("%s: whose it was is not told: %v", c.cause, lines[0])
		}
		if n := s.denied(t, c.cause); n != before+1 {
			t.Errorf("%s was counted %v times", c.cause, n-before)
		}
	}
	s.send("GET", s.admin+"/livez", "", "Authorization", "") // no token is needed: nothing is denied
	if lines := log.lines(t, "access denied"); len(lines) != 0 {
		t.Errorf("%v", lines)
	}
	text := string(s.get("/metrics").body)
	for _, cause := range denials {
		if !strings.Contains(text, `settled_http_denied_total{cause="`+string(cause)+`"}`) {
			t.Errorf("no count of %s", cause)
		}
	}
	if strings.Contains(text, viewer) || strings.Contains(text, revoked) {
		t.Error("a token is shown")
	}
}

func TestALockoutIsToldOnceAndGuessesDoNotFillTheLog(t *testing.T) {
	s, log := watched(t)
	for range 3 * denialsTold {
		s.get("/v1/transfers", "Authorization", "Bearer "+strings.Repeat("w", 20))
	}
	if n := s.denied(t, deniedLocked); n != 3*denialsTold-lockoutAfter {
		t.Errorf("%v were turned away", n)
	}
	log.mu.Lock()
	text := log.text.String()
	log.mu.Unlock()
	if n := strings.Count(text, "too many wrong tokens"); n != 1 || !strings.Contains(text, `"address":"127.0.0.1"`) {
		t.Errorf("the lock-out was told %d times", n)
	}
	if n := len(log.lines(t, "access denied")); n != denialsTold {
		t.Errorf("%d lines", n)
	}
	s.pass(time.Minute)
	s.get("/v1/transfers", "Authorization", "")
	if lines := log.lines(t, "access denied"); len(lines) != 1 || lines[0]["untold_before"] != float64(2*denialsTold) {
		t.Errorf("%v", lines)
	}
}

func TestReadingLeavesATraceOfWhoAndHowMuch(t *testing.T) {
	s, log := watched(t)
	s.post("/v1/transfers", orderText)
	s.post("/v1/transfers", order("reference", `"inv-2"`))
	log.lines(t, "")
	a := s.get("/v1/transfers", "X-Request-Id", "the-callers")
	lines := log.lines(t, "request")
	if len(lines) != 1 || lines[0]["level"] != "INFO" || lines[0]["principal"] != "backend" || lines[0]["rows"] != float64(2) {
		t.Fatalf("%v", lines)
	}
	own := a.header.Get("Settled-Request-Id")
	if own == "" || lines[0]["settled_request_id"] != own || lines[0]["request_id"] != "the-callers" || a.header.Get("X-Request-Id") != "the-callers" {
		t.Errorf("%v %v", lines[0], a.header)
	}
	if again := s.get("/v1/transfers", "X-Request-Id", "the-callers").header.Get("Settled-Request-Id"); again == own {
		t.Error("two requests have one name of ours")
	}
}
