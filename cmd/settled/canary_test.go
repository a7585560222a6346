package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver
	_ "modernc.org/sqlite"             // the "sqlite" driver

	"github.com/settled/settled/db/dbtest"
)

// secrets are the canaries: every text that the program is given to keep.
var secrets = map[string]string{
	"the Stripe key":            "sk_test_c4n4ryStripeKey0001",
	"a webhook secret":          "whsec_c4n4ryWebhookSecret0002",
	"the second webhook secret": "whsec_c4n4ryWebhookSecret0003",
	"the admin token":           "c4n4ry-admin-token-0004",
	"the database's password":   "c4n4ry-database-0005",
	"Sentry's key":              "c4n4rySentryKey0006",
}

// told is everything that came out of the program, by where.
type told struct {
	mu    sync.Mutex
	texts map[string][]byte
}

func (o *told) add(where string, text []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.texts[where] = append(append(o.texts[where], text...), '\n')
}

// endsBy is the output of a program that ends once it has said a word.
type endsBy struct {
	said []byte // not a bytes.Buffer, which io.Copy would fill behind its back
	word string
	end  func()
}

func (e *endsBy) Write(text []byte) (int, error) {
	e.said = append(e.said, text...)
	if bytes.Contains(e.said, []byte(e.word)) {
		e.end()
	}
	return len(text), nil
}

// search fails the test for every secret that is in the output, however it is written.
func (o *told) search(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	size := 0
	for where, text := range o.texts {
		size += len(text)
		for what, secret := range secrets {
			tail := secret[strings.LastIndex(secret, "c4n4ry"):] // also when it lost its prefix
			for _, form := range []string{tail, hex.EncodeToString([]byte(tail)), base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)), url.QueryEscape(secret)} {
				if i := bytes.Index(bytes.ToLower(text), []byte(strings.ToLower(form))); i >= 0 {
					t.Errorf("%s tells %s: …%s…", where, what, text[max(0, i-200):min(len(text), i+100)])
				}
			}
		}
	}
	t.Logf("searched %d bytes from %d places", size, len(o.texts))
}

// loose is a Stripe that hands the key back wherever it can.
func loose(t *testing.T) *httptest.Server {
	var n atomic.Int64
	s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		auth := r.Header.Get("Authorization")
		w.Header().Set("Request-Id", auth)
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path == "/v1/account" {
			io.WriteString(w, `{"id":"acct_c","object":"account","charges_enabled":true}`)
			return
		}
		if r.Method == "GET" {
			io.WriteString(w, `{"object":"list","url":"/v1/transfers","has_more":false,"data":[]}`)
			return
		}
		answers := []func(){
			func() {
				w.WriteHeader(400)
				fmt.Fprintf(w, `{"error":{"type":"invalid_request_error","code":"balance_insufficient","message":"%s has too little","param":"%s","doc_url":"%s"}}`, auth, auth, auth)
			},
			func() { w.WriteHeader(500); io.WriteString(w, "<html>"+auth) },
			func() { w.WriteHeader(200); io.WriteString(w, `{"id":"`+auth+`","object":"transfer"`) },
			func() {
				w.WriteHeader(401)
				fmt.Fprintf(w, `{"error":{"type":"invalid_request_error","message":"Invalid API Key provided: %s"}}`, auth)
			},
			func() { w.Header().Set("Location", "http://127.0.0.1:1/"+auth); w.WriteHeader(307) },
			func() { panic(nethttp.ErrAbortHandler) },
		}
		answers[int(n.Add(1))%len(answers)]()
	}))
	t.Cleanup(s.Close)
	return s
}

// In every kind of trouble, and at LOG_LEVEL=debug, no output of the program has a secret in it:
// not its log, its answers, its metrics, its commands, its reports to Sentry, its database, nor
// its last words as it dies.
func TestNoSecretComesOut(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		t.Run("sqlite, "+format, func(t *testing.T) {
			canaries(t, "sqlite:"+filepath.Join(t.TempDir(), "settled.db"), format, nil)
		})
	}
	t.Run("postgres", func(t *testing.T) {
		server := dbtest.NewServer(t)
		address, err := server.CreateDatabase(t.Context(), "canary")
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(u.User.Username(), secrets["the database's password"])
		canaries(t, u.String(), "json", server)
	})
}

func canaries(t *testing.T, database, format string, server *dbtest.Server) {
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	out := &told{texts: map[string][]byte{}}
	sentry := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		body, _ := io.ReadAll(r.Body) // its head has Sentry's key, as it must
		out.add("a report to Sentry", bytes.ReplaceAll(body, []byte(secrets["Sentry's key"]+"@"), nil))
	}))
	t.Cleanup(sentry.Close)
	s := &stand{t: t, secret: secrets["a webhook secret"]}
	public, admin := s.freeAddr(), s.freeAddr()
	dir := t.TempDir()
	env := []string{
		"DATABASE_URL=" + database, "STRIPE_SECRET_KEY=" + secrets["the Stripe key"], "STRIPE_API_BASE=" + loose(t).URL,
		"STRIPE_WEBHOOK_SECRET=" + secrets["a webhook secret"] + "," + secrets["the second webhook secret"], "ADMIN_TOKEN=" + secrets["the admin token"],
		"SENTRY_DSN=http://" + secrets["Sentry's key"] + "@" + strings.TrimPrefix(sentry.URL, "http://") + "/1",
		"PUBLIC_ADDR=" + public, "ADMIN_ADDR=" + admin, "LOG_LEVEL=debug", "LOG_FORMAT=" + format, "SIMULATED_SPEED=20000", "STRIPE_RATE_LIMIT=0", "STRIPE_ENDPOINT_RATE_LIMIT=0",
		"SHUTDOWN_TIMEOUT=5s", "GOTRACEBACK=all",
	}
	s.public, s.api = public, newAPI("http://"+admin, secrets["the admin token"])
	s.worker = &worker{bin: program, dir: dir, log: filepath.Join(dir, "worker.log"), ready: s.api.ready, env: env}
	if err := s.worker.start(ctx); err != nil {
		t.Fatal(err, s.log())
	}
	t.Cleanup(func() {
		s.worker.stop()
		nethttp.DefaultClient.CloseIdleConnections()
	})
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", s.worker.cmd.Process.Pid))
	if err == nil && !regexp.MustCompile(`Max core file size\s+0\s+0\s`).Match(limits) {
		t.Errorf("a core file may be written: %s", limits)
	}

	ask := func(method, address, body, token string, headers ...string) string {
		r, err := nethttp.NewRequestWithContext(ctx, method, "http://"+address, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		if token != "" {
			r.Header.Set("Authorization", token)
		}
		for i := 0; i < len(headers); i += 2 {
			r.Header.Set(headers[i], headers[i+1])
		}
		res, err := nethttp.DefaultClient.Do(r)
		if err != nil {
			return ""
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		head := fmt.Sprint(res.Status, res.Header)
		out.add("an answer to "+method+" "+address, append([]byte(head+"\n"), text...))
		return string(text)
	}
	token := "Bearer " + secrets["the admin token"]
	order := func(n int) string {
		return fmt.Sprintf(`{"reference":"r-%d","seller":"s","destination":"acct_1","amount":100,"currency":"eur"}`, n)
	}
	everything := func(from int) {
		for i := range 12 { // each of Stripe's answers, twice
			ask("POST", admin+"/v1/transfers", order(from+i), token, "Idempotency-Key", fmt.Sprint(from, i))
		}
		for _, bad := range []string{token + "x", "Bearer", "Basic " + token, token + " " + token, strings.ToUpper(token), ""} {
			ask("GET", admin+"/v1/transfers", "", bad)
		}
		for _, body := range []string{`{`, `{"x":1}`, order(from)[:20], `[]`, ""} {
			ask("POST", admin+"/v1/transfers", body, token)
			ask("POST", admin+"/v1/transfers/batch", body, token)
			s.webhook(ctx, body)
		}
		var page struct{ Data []struct{ ID string } }
		s.api.call(ctx, "GET", "/v1/transfers?limit=20", "", nil, &page)
		for _, d := range page.Data {
			for _, m := range []string{"hold", "release", "cancel", "restart", "resolve"} {
				ask("POST", admin+"/v1/transfers/"+d.ID+"/messages", `{"type":"`+m+`","reason":"x"}`, token)
			}
			ask("GET", admin+"/v1/transfers/"+d.ID, "", token)
		}
		for _, path := range []string{"/metrics", "/readyz", "/livez", "/nowhere", "/v1/transfers?limit=100", "/v1/transfers?x=1", "/debug/pprof/", "/debug/vars"} {
			ask("GET", admin+path, "", token)
			ask("GET", public+path, "", token)
		}
		ask("POST", public+"/webhooks/stripe", `{"id":"evt_1"}`, "", "Stripe-Signature", "t=1,v1=00")
		_, said := s.webhook(ctx, fmt.Sprintf(`{"id":"evt_%d","object":"event","type":"transfer.created","api_version":"2023-10-16","created":1,"livemode":false,`+
			`"data":{"object":{"id":"tr_1","object":"transfer","metadata":{"settled_operation":"0198a3c0-5b7e-7c21-9d3f-3f1c2a4b5d6e"}}}}`, from))
		out.add("the answer to a webhook", []byte(said))
	}
	everything(0)
	if server != nil {
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
		everything(100)
		if err := server.Start(ctx); err != nil {
			t.Fatal(err)
		}
		again(ctx, 20*time.Millisecond, func() (bool, error) { return s.api.ready(ctx), nil })
	}
	// An alarm is logged as an error, and so reported.
	err = again(ctx, 20*time.Millisecond, func() (bool, error) {
		out.mu.Lock()
		defer out.mu.Unlock()
		return len(out.texts["a report to Sentry"]) > 0, nil
	})
	if err != nil {
		t.Errorf("nothing was reported to Sentry: %v", err)
	}
	for _, args := range [][]string{{"config"}, {"--help"}, {"serve", "--help"}, {"version"}, {"health"}, {"migrate", "status"}, {"migrate", "up"}, {"audit"}, {"serve"},
		{"config", "--public-addr", "nowhere"}, {"serve", "--log-level", "loud"}, {"fly"}} {
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Dir, cmd.Env = dir, env
		text, _ := cmd.CombinedOutput() // that some fail is the point
		out.add("settled "+strings.Join(args, " "), text)
	}
	for _, change := range []string{"DATABASE_URL=postgres://ann:" + secrets["the database's password"] + "@127.0.0.1:1/x", "STRIPE_SECRET_KEY=pk_test_c4n4ryStripeKey0001", "ADMIN_TOKEN=c4n4ry-admin"} {
		within, end := context.WithCancel(ctx)
		cmd := exec.CommandContext(within, program, "serve")
		cmd.Dir, cmd.Env = dir, append(append([]string{}, env...), "PUBLIC_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", change)
		heard := &endsBy{word: "waiting for it", end: end} // it waits for a database that is away
		cmd.Stdout, cmd.Stderr = heard, heard
		_ = cmd.Run() // that it fails is the point
		end()
		out.add("settled serve with another "+change[:strings.Index(change, "=")], heard.said)
	}
	// Stripe's answer to an order is stored by now, however slow the machine is.
	err = again(ctx, 20*time.Millisecond, func() (bool, error) {
		return regexp.MustCompile(`"error_message": ?"[^"]`).MatchString(ask("GET", admin+"/v1/transfers?limit=100", "", token)), nil
	})
	if err != nil {
		t.Errorf("no order was refused: %v", err)
	}
	// As it dies of SIGQUIT it prints every goroutine, as it does for a panic.
	s.worker.cmd.Process.Signal(syscall.SIGQUIT)
	<-s.worker.done
	log, err := os.ReadFile(s.worker.log)
	if err != nil || !bytes.Contains(log, []byte("goroutine 1 ")) {
		t.Errorf("the log has no goroutines: %v", err)
	}
	out.add("the log", log)
	// A sandbox over the same ledger ends itself: its account is another.
	sandbox := exec.CommandContext(ctx, program, "serve", "--sandbox")
	sandbox.Dir, sandbox.Env = dir, append(append([]string{}, env...), "PUBLIC_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0")
	text, err := sandbox.CombinedOutput()
	if err == nil || !bytes.Contains(text, []byte("sandbox: ")) {
		t.Errorf("a sandbox over another account's ledger: %v: %s", err, text)
	}
	out.add("settled serve --sandbox", text)
	dump(t, out, database)
	for _, must := range []string{"the log", "settled config", "settled audit", "column error_message of transfers", "column reason of messages"} {
		if len(bytes.TrimSpace(out.texts[must])) == 0 {
			t.Errorf("%s said nothing: nothing was tested", must)
		}
	}
	out.search(t)
}

// dump adds every column of every table.
func dump(t *testing.T, out *told, address string) {
	driver, name, list := "pgx", address, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
	if path, lite := strings.CutPrefix(address, "sqlite:"); lite {
		driver, name, list = "sqlite", path, "SELECT name FROM sqlite_master WHERE type = 'table'"
		for _, suffix := range []string{"", "-wal"} { // deleted rows too
			if text, err := os.ReadFile(path + suffix); err == nil {
				out.add("the file settled.db"+suffix, text)
			}
		}
	}
	d, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	read := func(query string, each func(columns []string, values []sql.RawBytes)) {
		rows, err := d.Query(query)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		columns, err := rows.Columns()
		if err != nil {
			t.Fatal(err)
		}
		values, into := make([]sql.RawBytes, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		for rows.Next() {
			if err := rows.Scan(into...); err != nil {
				t.Fatal(err)
			}
			each(columns, values)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	var tables []string
	read(list, func(_ []string, values []sql.RawBytes) { tables = append(tables, string(values[0])) })
	if len(tables) < 8 {
		t.Errorf("there are only the tables %v", tables)
	}
	for _, table := range tables {
		read(`SELECT * FROM "`+table+`"`, func(columns []string, values []sql.RawBytes) {
			for i, c := range columns {
				out.add("column "+c+" of "+table, values[i])
			}
		})
	}
}
