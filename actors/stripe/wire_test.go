package stripe

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	sdk "github.com/stripe/stripe-go/v76"

	"github.com/settled/settled/ledger"
)

// recorder answers like Stripe and keeps what it was asked.
type recorder struct {
	mu    sync.Mutex
	asked []*http.Request // with their forms parsed
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if err := req.ParseForm(); err != nil {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	r.mu.Lock()
	r.asked = append(r.asked, req)
	r.mu.Unlock()
	kind := ledger.CreateTransfer
	if strings.HasSuffix(req.URL.Path, "/reversals") {
		kind = ledger.MakeReversal
	}
	reply{status: 200, body: objectOf(kind).String()}.ServeHTTP(w, req)
}

func TestTheFormSaysAllAndOnlyWhatTheRequestSays(t *testing.T) {
	stripe := &recorder{}
	c := client(t, serve(t, stripe))

	bare := transferRequest()
	bare.SourceTransaction, bare.TransferGroup, bare.Description = "", "", ""
	for _, r := range []ledger.Request{transferRequest(), reversalRequest(), bare} {
		c.Send(t.Context(), r, always)
	}

	meta := func(v url.Values, more map[string]string) url.Values {
		v.Set("metadata[settled_operation]", operation.String())
		v.Set("metadata[settled_generation]", "1")
		v.Set("metadata[settled_epoch]", "0")
		for k, s := range more {
			v.Set("metadata["+k+"]", s)
		}
		return v
	}
	want := []struct {
		path string
		form url.Values
	}{
		{"/v1/transfers", meta(url.Values{
			"amount": {"4200"}, "currency": {"eur"}, "destination": {"acct_9Seller1"}, "source_transaction": {"ch_9Demo"},
			"transfer_group": {"order_77"}, "description": {"Order 77"},
		}, map[string]string{"order": "77"})},
		{"/v1/transfers/tr_9Demo01/reversals", meta(url.Values{"amount": {"700"}, "description": {"Refund"}}, nil)},
		{"/v1/transfers", meta(url.Values{"amount": {"4200"}, "currency": {"eur"}, "destination": {"acct_9Seller1"}}, map[string]string{"order": "77"})},
	}
	if len(stripe.asked) != len(want) {
		t.Fatalf("%d requests arrived, not %d", len(stripe.asked), len(want))
	}
	for i, got := range stripe.asked {
		if got.Method != http.MethodPost || got.URL.Path != want[i].path {
			t.Errorf("request %d is %s %s", i, got.Method, got.URL.Path)
		}
		if diff := cmp.Diff(want[i].form, got.PostForm); diff != "" {
			t.Errorf("request %d: %s", i, diff)
		}
		for header, value := range map[string]string{
			"Authorization": "Bearer " + canary, "Idempotency-Key": ledger.Key(operation, 0, 1), "Stripe-Version": "2023-10-16",
			"Content-Type": "application/x-www-form-urlencoded", "Stripe-Account": "", "X-Stripe-Client-Telemetry": "",
		} {
			if got.Header.Get(header) != value {
				t.Errorf("request %d: %s is %q", i, header, got.Header.Get(header))
			}
		}
		if got.ContentLength <= 0 || len(got.TransferEncoding) > 0 {
			t.Errorf("request %d is sent without its length", i)
		}
	}
}

func TestAResendCarriesTheSameBytes(t *testing.T) {
	var mu sync.Mutex
	var bodies []string
	c := client(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		mu.Lock()
		bodies = append(bodies, string(b))
		mu.Unlock()
		apiError(500, "x").ServeHTTP(w, r)
	})))
	for range 20 {
		c.Send(t.Context(), transferRequest(), always)
	}
	for _, b := range bodies[1:] {
		if b != bodies[0] {
			t.Fatalf("two resends differ:\n%s\n%s", bodies[0], b)
		}
	}
}

// TestNothingIsRetried counts the requests of everything that the SDK or net/http would retry
// by itself.
func TestNothingIsRetried(t *testing.T) {
	for name, answer := range map[string]reply{
		"409":          refusal(409, invalidRequest, "idempotency_key_in_use", "", inUse),
		"lock_timeout": refusal(429, invalidRequest, "lock_timeout", "", locked).but("Stripe-Should-Retry", "true"),
		"503":          apiError(503, "x"),
		"502 HTML":     {status: 502, body: "<html>"},
		"200 garbage":  {status: 200, body: "<html>"},
		"307":          {status: 307, header: map[string]string{"Location": "/v1/transfers"}},
		"308":          {status: 308, header: map[string]string{"Location": "/v1/elsewhere"}},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int32
			c := client(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n.Add(1)
				answer.ServeHTTP(w, r)
			})))
			c.Send(t.Context(), transferRequest(), always)
			if n.Load() != 1 {
				t.Errorf("one Send made %d requests", n.Load())
			}
		})
	}
}

// closing serves the first request of every connection and keeps it open, reads the next one
// and closes without a word, as a server does that dies, or an edge whose idle time-out races.
func closing(t *testing.T, requests *atomic.Int32) string {
	return listener(t, func(conn net.Conn) {
		in := bufio.NewReader(conn)
		if !readRequest(conn, in) {
			return
		}
		requests.Add(1)
		body := transferObject().String()
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		if readRequest(conn, in) {
			requests.Add(1)
		}
	})
}

func TestNetHTTPDoesNotReplayAPost(t *testing.T) {
	var n atomic.Int32
	c := client(t, closing(t, &n))
	if a := c.Send(t.Context(), transferRequest(), always); a.Verdict != ledger.Done {
		t.Fatalf("the first: %+v", a)
	}
	a := c.Send(t.Context(), transferRequest(), always)
	if a.Row != "T25" || a.Verdict != ledger.Unknown {
		t.Errorf("the second: %+v", a)
	}
	if n.Load() != 2 {
		t.Errorf("two Sends made %d requests", n.Load())
	}
}

// TestNetHTTPWouldReplayAPost shows that the test above can fail: with the SDK's request as it
// is, net/http sends the second one again on a new connection.
func TestNetHTTPWouldReplayAPost(t *testing.T) {
	var n atomic.Int32
	base := closing(t, &n)
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	backend := sdk.GetBackendWithConfig(sdk.APIBackend, &sdk.BackendConfig{
		URL: &base, HTTPClient: &http.Client{Transport: transport}, MaxNetworkRetries: sdk.Int64(0), LeveledLogger: sdkLog{client(t, base).log, newSecret(canary)},
	})
	for range 2 {
		path, params := wire(t.Context(), transferRequest())
		_ = backend.Call(http.MethodPost, path, canary, params, &object{})
	}
	if n.Load() < 3 {
		t.Errorf("net/http made %d requests of two: it does not replay any more, and the gate may go", n.Load())
	}
}

func TestOneAttemptMakesOneRequest(t *testing.T) {
	n := 0
	x := &exchange{next: roundTrip(func(r *http.Request) (*http.Response, error) {
		n++
		return answering(200, nil, "{}")(r)
	})}
	a := &attempt{max: answerMax}
	ctx := context.WithValue(t.Context(), attemptKey{}, a)
	for i, want := range []error{nil, errTwice} {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://127.0.0.1/", strings.NewReader("a=1"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.RoundTrip(r); !errors.Is(err, want) {
			t.Errorf("round trip %d: %v", i, err)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://127.0.0.1/", strings.NewReader("a=1"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := x.RoundTrip(r); !errors.Is(err, errNoAttempt) {
		t.Errorf("without an attempt: %v", err)
	}
	if n != 1 {
		t.Errorf("%d requests were made", n)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	var elsewhere atomic.Int32
	other := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		elsewhere.Add(1)
		reply{status: 200, body: transferObject().String()}.ServeHTTP(w, r)
	}))
	for _, status := range []int{301, 302, 303, 307, 308} {
		c := client(t, serve(t, reply{status: status, header: map[string]string{"Location": other + "/v1/transfers"}}))
		if a := c.Send(t.Context(), transferRequest(), always); a.Verdict != ledger.Unknown {
			t.Errorf("%d: %+v", status, a)
		}
		if _, err := c.Transfer(t.Context(), "tr_9Demo01"); err == nil {
			t.Errorf("%d: a read was redirected", status)
		}
	}
	if elsewhere.Load() != 0 {
		t.Errorf("%d redirects were followed, with the key", elsewhere.Load())
	}
}

func TestThePoolKeepsItsConnections(t *testing.T) {
	const width, rounds = 8, 5
	var conns atomic.Int32
	gate := make(chan struct{}, width) // holds width requests until all have come
	var waiting atomic.Int32
	release := make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gate <- struct{}{}
		if waiting.Add(1)%width == 0 {
			for range width - 1 {
				release <- struct{}{}
			}
		} else {
			<-release
		}
		<-gate
		reply{status: 200, body: transferObject().String()}.ServeHTTP(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	c := client(t, s.URL, func(c *Config) { c.Connections = width })
	for range rounds {
		var all sync.WaitGroup
		for range width {
			all.Go(func() {
				if a := c.Send(t.Context(), transferRequest(), always); a.Verdict != ledger.Done {
					t.Errorf("%+v", a)
				}
			})
		}
		all.Wait()
	}
	// A connection becomes idle a moment after its answer was read, so a few may be made anew.
	if n := conns.Load(); n < width || n >= 2*width {
		t.Errorf("%d calls, %d at once, made %d connections", rounds*width, width, n)
	}
}

func TestHTTP2IsSpokenWhereItIsOffered(t *testing.T) {
	var proto atomic.Value
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		proto.Store(r.Proto)
		reply{status: 200, body: transferObject().String()}.ServeHTTP(w, r)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	c := client(t, s.URL)
	pool(c).TLSClientConfig = s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	if a := c.Send(t.Context(), transferRequest(), always); a.Verdict != ledger.Done || proto.Load() != "HTTP/2.0" {
		t.Errorf("over %v: %+v", proto.Load(), a)
	}
}

func TestOurPoolIsSetUpForStripe(t *testing.T) {
	own := newTransport(Config{Connections: 7})
	if own.MaxIdleConnsPerHost != 7 || own.MaxIdleConns != 7 || !own.ForceAttemptHTTP2 || own.TLSHandshakeTimeout == 0 {
		t.Errorf("the pool is not as wide as asked: %d", own.MaxIdleConnsPerHost)
	}
	for base, want := range map[string]bool{"": true, "https://api.stripe.com": true, "http://127.0.0.1:1": false, "https://proxy.example": false} {
		if got := newTransport(Config{Base: base}).Proxy != nil; got != want {
			t.Errorf("base %q: a proxy of the environment is used: %t", base, got)
		}
	}
}

// TestACallEndsInTime lets virtual time pass: a transport that never answers is given up
// after exactly the time-out, and what it read counts as sent.
func TestACallEndsInTime(t *testing.T) {
	for name, reads := range map[string]bool{"after reading": true, "before reading": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := client(t, "", func(c *Config) {
					c.Timeout = 7 * time.Second
					c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
						if reads {
							_, _ = io.Copy(io.Discard, r.Body)
						}
						<-r.Context().Done()
						return nil, r.Context().Err()
					})
				})
				start := time.Now()
				a := c.Send(t.Context(), transferRequest(), always)
				if took := time.Since(start); took != 7*time.Second {
					t.Errorf("it took %s", took)
				}
				want := "T26"
				if reads {
					want = "T25"
				}
				if a.Row != want || a.Code != "timeout" || a.Scope != ledger.ScopeDown {
					t.Errorf("%+v", a)
				}
			})
		})
	}
}

// TestTheBodyIsNotHandedOutAfterwards: once a call has failed unsent, a transport that still
// holds the request gets nothing out of it.
func TestTheBodyIsNotHandedOutAfterwards(t *testing.T) {
	var kept *http.Request
	c := client(t, "", func(c *Config) {
		c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			kept = r
			return nil, errors.New("later")
		})
	})
	if a := c.Send(t.Context(), transferRequest(), always); a.Verdict != ledger.NotExecuted {
		t.Fatalf("%+v", a)
	}
	if b, err := io.ReadAll(kept.Body); err == nil || len(b) != 0 {
		t.Errorf("%d bytes were handed out after the answer was: not sent", len(b))
	}
	if kept.GetBody != nil {
		t.Error("the body can be had twice")
	}
}

func TestARequestThatCouldNotBeRecognisedIsNotSent(t *testing.T) {
	c := client(t, serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })))
	for name, break_ := range map[string]func(*ledger.Request){
		"no key":            func(r *ledger.Request) { r.Key = "" },
		"a long key":        func(r *ledger.Request) { r.Key = strings.Repeat("k", 256) },
		"a key with a tab":  func(r *ledger.Request) { r.Key = "a\tb" },
		"no kind":           func(r *ledger.Request) { r.Kind = 7 },
		"no amount":         func(r *ledger.Request) { r.Amount = 0 },
		"less than nothing": func(r *ledger.Request) { r.Amount = -1 },
		"no currency":       func(r *ledger.Request) { r.Currency = "" },
		"no destination":    func(r *ledger.Request) { r.Destination = "" },
		"no transfer":       func(r *ledger.Request) { r.Kind = reversal },
		"no path":           func(r *ledger.Request) { r.Kind, r.Transfer = reversal, "tr_1/reversals?x=" },
		"no metadata":       func(r *ledger.Request) { r.Metadata = nil },
		"no generation":     func(r *ledger.Request) { r.Metadata = map[string]string{ledger.MetaOperation: operation.String()} },
	} {
		r := transferRequest()
		break_(&r)
		a := c.Send(t.Context(), r, always)
		if a.Row != "T27" || a.Verdict != ledger.NotExecuted || !a.Alert || a.Message == "" {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func TestManyAtOnce(t *testing.T) {
	c := client(t, serve(t, &recorder{}))
	var all sync.WaitGroup
	for i := range 64 {
		all.Go(func() {
			kind := ledger.Kind(i % 2)
			if a := c.Send(t.Context(), requestOf(kind), always); a.Verdict != ledger.Done {
				t.Errorf("%+v", a)
			}
		})
	}
	all.Wait()
}
