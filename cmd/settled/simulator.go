package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	randv2 "math/rand/v2"
	"net"
	nethttp "net/http"
	"os"
	"time"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/db"
	"github.com/settled/settled/ledger"
)

type simulatorCommand struct {
	Addr          string  `default:"127.0.0.1:12111" help:"Where it listens."`
	Seed          *uint64 `help:"Seed of every fault and ID; random, and printed, when absent."`
	Faults        string  `enum:"none,light,heavy" default:"none" help:"How much goes wrong: none, light or heavy."`
	Webhook       string  `placeholder:"URL" help:"Where events are posted."`
	WebhookSecret string  `default:"whsec_simulator_secret" help:"Signs the events."`
	Strict        bool    `help:"Refuse destinations that were not created first."`
	Speed         int     `default:"1" help:"How many times faster its time passes: keys live 24 h divided by this, and so on. Give the daemon the same SIMULATED_SPEED."`
}

// Run serves the simulator until the process is told to end.
func (c simulatorCommand) Run(ctx context.Context, proc process) error {
	faults, err := stripesim.ParseFaults(c.Faults)
	if err != nil {
		return usageError{err}
	}
	if c.Speed < 1 {
		return usageError{fmt.Errorf("--speed: %d is not at least 1", c.Speed)}
	}
	ln, err := net.Listen("tcp", c.Addr)
	if err != nil {
		return usageError{fmt.Errorf("--addr: %w", err)}
	}
	seed := seedOr(c.Seed)
	sim := stripesim.New(stripesim.Config{
		Seed: seed, Faults: faults, Strict: c.Strict, Times: simulatedTimes(c.Speed), AccountID: randomAccount(),
		WebhookURL: c.Webhook, WebhookSecret: c.WebhookSecret,
	})
	defer sim.Close()
	fmt.Fprintf(proc.stdout, "simulator on http://%s, seed %d, faults %s, speed %d\n", ln.Addr(), seed, faults, c.Speed)
	server := &nethttp.Server{Handler: sim.Handler(), ReadHeaderTimeout: 10 * time.Second,
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	return serveUntil(ctx, server, ln)
}

// serveUntil serves until ctx ends, then lets requests under way end for a moment.
func serveUntil(ctx context.Context, server *nethttp.Server, ln net.Listener) error {
	end := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	})
	defer end()
	if err := server.Serve(ln); !errors.Is(err, nethttp.ErrServerClosed) {
		return err
	}
	return nil
}

// simulatedTimes are Stripe's spans of time, shrunk, but never so far that a busy machine
// could not keep them.
func simulatedTimes(speed int) stripesim.Times {
	t := stripesim.DefaultTimes()
	n := time.Duration(speed)
	for _, d := range []*time.Duration{&t.KeyLife, &t.LateMax, &t.WireMax, &t.ListLag, &t.EventDelayMax, &t.SlowMax} {
		*d /= n
	}
	return t
}

func seedOr(seed *uint64) uint64 {
	if seed != nil {
		return *seed
	}
	return randv2.Uint64N(1_000_000)
}

// randomAccount names a platform account that no ledger was ever bound to: a simulator that
// starts again has forgotten everything, and a ledger that remembers must not go on with it.
func randomAccount() string {
	var b [8]byte
	rand.Read(b[:])
	return "acct_sim" + hex.EncodeToString(b[:])
}

// sandbox is a simulator in the daemon's own process.
type sandbox struct {
	sim    *stripesim.Sim
	server *nethttp.Server
	dir    string // of a throw-away database
}

// openSandbox starts a simulator and points the configuration at it. Without a database that
// was named, it makes one that is thrown away: the simulator forgets everything at the end,
// and so must the ledger.
func openSandbox(ctx context.Context, conf *config, public string, throwaway bool, log *slog.Logger) (*sandbox, error) {
	var b sandbox
	if throwaway {
		dir, url, err := throwAway()
		if err != nil {
			return nil, err
		}
		b.dir, conf.databaseURL = dir, url
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	account := randomAccount()
	if own := sandboxOf(ctx, conf.databaseURL); own != "" {
		account = own
		conf.notices = append(conf.notices, ledger.Notice{Code: "sandbox_forgot",
			Text: "The simulator has forgotten all that this ledger knows of the last time: what was paid then is not there."})
	}
	secret := "whsec_" + rand.Text()
	b.sim = stripesim.New(stripesim.Config{
		Seed: seedOr(nil), Times: simulatedTimes(conf.speed), AccountID: account,
		WebhookURL: "http://" + public + "/webhooks/stripe", WebhookSecret: secret,
	})
	b.server = &nethttp.Server{Handler: b.sim.Handler(), ReadHeaderTimeout: 10 * time.Second}
	go b.server.Serve(ln)
	conf.stripeKey, conf.stripeBase = "sk_test_sandbox", "http://"+ln.Addr().String()
	conf.webhookSecrets = []string{secret}
	log.Info("sandbox: a simulated Stripe, and nothing real", "simulator", conf.stripeBase,
		"database", db.ShowURL(conf.databaseURL), "thrown_away", throwaway)
	return &b, nil
}

// introduce says how to begin.
func (b *sandbox) introduce(w io.Writer, conf config, admin string) {
	token := "the admin token, which is printed once, at the first start"
	if conf.adminToken != "" {
		token = "your ADMIN_TOKEN"
	}
	if host, port, err := net.SplitHostPort(admin); err == nil && net.ParseIP(host).IsUnspecified() {
		admin = net.JoinHostPort("localhost", port)
	}
	fmt.Fprintf(w, `Sandbox: Stripe is simulated at %s (what can be done there: %s/_sim/), and its webhooks are signed with %s
Begin, with TOKEN for %s:
  curl -H "Authorization: Bearer $TOKEN" -H 'Content-Type: application/json' http://%s/v1/transfers \
    -d '{"reference":"order-1","seller":"anna","destination":"acct_anna","amount":1230,"currency":"eur"}'
`, conf.stripeBase, conf.stripeBase, conf.webhookSecrets[0], token, admin)
}

// sandboxOf tells the account of a sandbox's own ledger; empty: it is none, or has no account yet. A database that
// cannot be read says the reason when it is opened for good.
func sandboxOf(ctx context.Context, url string) string {
	d, err := db.Open(ctx, url, db.Options{})
	if err != nil {
		return ""
	}
	defer d.Close()
	if d.Check(ctx) != nil {
		return ""
	}
	if bound, err := d.Binding(ctx); err == nil && bound.Mode == ledger.SandboxMode {
		return bound.Account
	}
	return ""
}

// Close ends the simulator and removes the throw-away database.
func (b *sandbox) Close() {
	b.server.Close()
	b.sim.Close()
	if b.dir != "" {
		os.RemoveAll(b.dir)
	}
}
