package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/settled/settled/db/dbtest"
)

// trouble can befall a network. One that is no toxic cuts the connections and refuses new ones.
type trouble struct {
	name   string
	toxics []string // one for each direction
}

// both is a toxic in both directions.
func both(kind, attributes string) (list []string) {
	for _, stream := range []string{"upstream", "downstream"} {
		list = append(list, fmt.Sprintf(`{"name":"%s-%s","type":"%s","stream":"%s","attributes":{%s}}`, kind, stream, kind, stream, attributes))
	}
	return list
}

var troubles = []trouble{
	{"cut", nil},
	{"latency", both("latency", `"latency":150,"jitter":100`)},
	{"bandwidth", both("bandwidth", `"rate":4`)}, // kB/s
	{"slicer", both("slicer", `"average_size":40,"size_variation":30,"delay":2000`)},
	{"reset_peer", both("reset_peer", `"timeout":5`)},
	{"half-open", both("timeout", `"timeout":0`)}, // nothing passes, nothing is closed
	{"half-open, answers only", both("timeout", `"timeout":0`)[1:]},
	{"slow_close", both("slow_close", `"delay":1000`)},
	{"limit_data", both("limit_data", `"bytes":3000`)},
}

// newProxy starts a fault proxy in front of an address.
func newProxy(t testing.TB, name, upstream string) *toxiproxy.Proxy {
	t.Helper()
	zerolog.SetGlobalLevel(zerolog.Disabled) // some toxics log to wherever they like
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())
	port, err := dbtest.FreePort() // it is bound again after each cut
	if err != nil {
		t.Fatal(err)
	}
	p := toxiproxy.NewProxy(server, name, fmt.Sprintf("127.0.0.1:%d", port), upstream)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// befall has a trouble last for a while.
func befall(ctx context.Context, t testing.TB, p *toxiproxy.Proxy, x trouble, lasts time.Duration) {
	t.Helper()
	if x.toxics == nil {
		p.Stop()
	}
	for _, toxic := range x.toxics {
		if _, err := p.Toxics.AddToxicJson(strings.NewReader(toxic)); err != nil {
			t.Fatal(err)
		}
	}
	end := time.NewTimer(lasts)
	select {
	case <-end.C:
	case <-ctx.Done():
	}
	p.Toxics.ResetToxics(ctx)
	if x.toxics == nil {
		if err := p.Start(); err != nil {
			t.Fatal(err)
		}
	}
}

// through replaces the host of a URL.
func through(t testing.TB, address, host string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = host
	return u.String()
}

func hostOf(t testing.TB, address string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u.Host
}

// The network to PostgreSQL, and then that to Stripe, is cut, slowed, torn and half-open while
// transfers are driven. The daemon goes on by itself, in the same process.
func TestDeathOfTheNetwork(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	seed := seedOf(t)
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	url := dbtest.Postgres(t)
	s := prepareStand(t, ctx, url, "light", seed, standSpeed)
	s.migrate(ctx)
	ledger, stripe := newProxy(t, "PostgreSQL", hostOf(t, url)), newProxy(t, "Stripe", hostOf(t, s.sim))
	direct := slices.Clone(s.worker.env)
	s.worker.env = append(s.worker.env, "DATABASE_URL="+through(t, url, ledger.Listen), "STRIPE_API_BASE="+through(t, s.sim, stripe.Listen))
	s.begin(ctx)
	s.api.client.Timeout = 20 * time.Second

	p := newPlatform([]*api{s.api}, planTraffic(seed, 100_000), seed)
	p.batch, p.every = 2, 3
	ordered := make(chan error, 1)
	go func() { ordered <- p.run(ctx, func() int { return len(p.plan) }) }()
	next := 0
	for _, proxy := range []*toxiproxy.Proxy{ledger, stripe} {
		for _, x := range troubles {
			befall(ctx, t, proxy, x, 1500*time.Millisecond)
			next++
			took := s.works(ctx, seed+1_000_000, next)
			t.Logf("%s, %s: works again after %s", proxy.Name, x.name, took.Round(time.Millisecond))
		}
	}
	p.enough.Store(true)
	s.finish(ctx, p, ordered, next, direct, fmt.Sprintf("%d troubles", next))
}

// works waits until an order is accepted and can be read, and others come to their end at
// Stripe; it says how long that took.
func (s *stand) works(ctx context.Context, seed uint64, n int) time.Duration {
	s.t.Helper()
	from := time.Now()
	before, _, _ := s.states(ctx)
	probe := planTraffic(seed, n)[n-1:]
	err := again(ctx, 20*time.Millisecond, func() (bool, error) {
		ids, err := s.api.create(ctx, probe)
		if err != nil {
			return false, nil
		}
		_, err = s.api.get(ctx, ids[0])
		over, _, _ := s.states(ctx)
		return err == nil && over >= before+5, nil
	})
	if err != nil {
		s.t.Fatalf("the daemon did not recover: %v\n%s", err, s.log())
	}
	return time.Since(from)
}

// finish waits for a platform's orders, and for so many orders more, and audits. The daemon
// must be the process that it was.
func (s *stand) finish(ctx context.Context, p *platform, ordered <-chan error, more int, direct []string, happened string) {
	s.t.Helper()
	awake, sleep := context.WithCancel(ctx)
	var operator sync.WaitGroup
	operator.Go(func() {
		_ = again(awake, time.Second, func() (bool, error) { s.operate(awake); return false, nil })
	})
	err := <-ordered
	sleep()
	operator.Wait()
	if err != nil {
		s.t.Fatal(err)
	}
	s.settleAll(ctx, len(p.ids)+more)
	select {
	case <-s.worker.done:
		s.t.Errorf("the daemon ended: %s", s.worker.cmd.ProcessState)
	default:
	}
	s.calm()
	s.worker.stop()
	s.worker.env = direct
	p.check(ctx, s)
	r := s.auditTwice(ctx)
	s.figures(r, "%s; %d requests asked again", happened, p.again)
}

// relay passes connections on until they are frozen: then they stay open and nothing passes
// any more, as when a firewall forgets them or a host vanishes, while new ones are fine.
type relay struct {
	net.Listener
	upstream string

	mu     sync.Mutex
	conns  []net.Conn
	frozen chan struct{} // closed to freeze those that are open
}

func newRelay(t testing.TB, upstream string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, upstream: upstream, frozen: make(chan struct{})}
	go r.serve()
	t.Cleanup(func() {
		l.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, c := range r.conns {
			c.Close()
		}
	})
	return r
}

func (r *relay) serve() {
	for {
		client, err := r.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", r.upstream)
		if err != nil {
			client.Close()
			continue
		}
		r.mu.Lock()
		frozen := r.frozen
		r.conns = append(r.conns, client, server)
		r.mu.Unlock()
		go pass(client, server, frozen)
		go pass(server, client, frozen)
	}
}

// pass copies until either side ends, or for ever holds the bytes that come after the freeze.
func pass(from, to net.Conn, frozen chan struct{}) {
	buffer := make([]byte, 16<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-frozen:
			return
		default:
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				from.Close()
				return
			}
		}
		if err != nil {
			if err == io.EOF {
				to.Close()
			}
			return
		}
	}
}

// freeze freezes the open connections, and says how many those were.
func (r *relay) freeze() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.frozen)
	r.frozen = make(chan struct{})
	return len(r.conns) / 2
}

// Every connection goes dead at once without anybody being told, in the middle of transactions
// whose locks the server keeps. The daemon finds out by itself and goes on with new ones.
func TestDeathOfEveryConnectionWithoutAWord(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	seed := seedOf(t)
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	url := dbtest.Postgres(t)
	s := prepareStand(t, ctx, url, "light", seed, standSpeed)
	s.migrate(ctx)
	ledger, stripe := newRelay(t, hostOf(t, url)), newRelay(t, hostOf(t, s.sim))
	direct := slices.Clone(s.worker.env)
	s.worker.env = append(s.worker.env, "DATABASE_URL="+through(t, url, ledger.Addr().String()), "STRIPE_API_BASE="+through(t, s.sim, stripe.Addr().String()))
	s.begin(ctx)
	s.api.client.Timeout = 20 * time.Second
	p := newPlatform([]*api{s.api}, planTraffic(seed, 100_000), seed)
	p.batch, p.every = 10, 5
	ordered := make(chan error, 1)
	go func() { ordered <- p.run(ctx, func() int { return len(p.plan) }) }()
	for i, r := range []*relay{stripe, ledger} {
		if err := again(ctx, 5*time.Millisecond, func() (bool, error) {
			over, _, _ := s.states(ctx)
			return over >= 100*(i+1), nil // it is at work
		}); err != nil {
			t.Fatal(err)
		}
		n := r.freeze()
		t.Logf("%d connections to %s frozen: works again after %s", n, []string{"Stripe", "PostgreSQL"}[i], s.works(ctx, seed+1_000_000, i+1).Round(time.Millisecond))
	}
	p.enough.Store(true)
	s.finish(ctx, p, ordered, 2, direct, "2 freezes")
}
