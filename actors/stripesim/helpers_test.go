package stripesim_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stripe/stripe-go/v76"
	"github.com/stripe/stripe-go/v76/client"
	"go.uber.org/goleak"

	"github.com/settled/settled/actors/stripesim"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const apiKey = "sk_test_simulated"

// serve runs a simulator on the loopback and gives stripe-go's client for it.
func serve(t *testing.T, cfg stripesim.Config) (*stripesim.Sim, *client.API, string) {
	t.Helper()
	sim := stripesim.New(cfg)
	server := httptest.NewServer(sim.Handler())
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		sim.Close()
		server.Close()
	})
	config := func() *stripe.BackendConfig {
		return &stripe.BackendConfig{
			URL: stripe.String(server.URL), HTTPClient: &http.Client{Transport: transport},
			MaxNetworkRetries: stripe.Int64(0), EnableTelemetry: stripe.Bool(false),
			LeveledLogger: &stripe.LeveledLogger{Level: stripe.LevelNull},
		}
	}
	backends := &stripe.Backends{
		API:     stripe.GetBackendWithConfig(stripe.APIBackend, config()),
		Connect: stripe.GetBackendWithConfig(stripe.ConnectBackend, config()),
		Uploads: stripe.GetBackendWithConfig(stripe.UploadsBackend, config()),
	}
	return sim, client.New(apiKey, backends), server.URL
}

// wire calls a simulator without any socket, so that it also works in a bubble of
// testing/synctest. A connection the handler breaks is an error, as on a wire.
type wire struct {
	sim *stripesim.Sim
}

var errBroken = errors.New("connection broken")

// RoundTrip lets the handler run on when the client's context ends, as a server does.
func (w wire) RoundTrip(r *http.Request) (*http.Response, error) {
	type result struct {
		rec *httptest.ResponseRecorder
		err error
	}
	done := make(chan result, 1)
	go func() {
		rec := httptest.NewRecorder()
		var err error
		defer func() {
			if p := recover(); p != nil {
				if p != http.ErrAbortHandler {
					panic(p)
				}
				err = errBroken
			}
			done <- result{rec, err}
		}()
		w.sim.Handler().ServeHTTP(rec, r)
	}()
	select {
	case res := <-done:
		if res.err != nil {
			return nil, res.err
		}
		return res.rec.Result(), nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

// reply is an answer as a test wants to see it.
type reply struct {
	err    error
	status int
	header http.Header
	body   string
	object map[string]any
}

func (r reply) id() string { return r.str("id") }

func (r reply) str(name string) string {
	s, _ := r.object[name].(string)
	return s
}

func (r reply) code() string {
	e, _ := r.object["error"].(map[string]any)
	s, _ := e["code"].(string)
	return s
}

func (r reply) message() string {
	e, _ := r.object["error"].(map[string]any)
	s, _ := e["message"].(string)
	return s
}

func (r reply) kind() string {
	e, _ := r.object["error"].(map[string]any)
	s, _ := e["type"].(string)
	return s
}

// data is the ids of a list.
func (r reply) data() []string {
	rows, _ := r.object["data"].([]any)
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.(map[string]any)["id"].(string)
	}
	return ids
}

// ask makes one call; form is "a=1&b=2", key and seller may be empty.
func (w wire) ask(ctx context.Context, method, path, form, key, seller string) reply {
	var body io.Reader
	target := "http://stripe.test" + path
	if method == http.MethodPost {
		body = strings.NewReader(form)
	} else if form != "" {
		target += "?" + form
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		panic(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	if seller != "" {
		req.Header.Set("Stripe-Account", seller)
	}
	resp, err := w.RoundTrip(req)
	if err != nil {
		return reply{err: err}
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	r := reply{err: err, status: resp.StatusCode, header: resp.Header, body: string(raw)}
	_ = json.Unmarshal(raw, &r.object)
	return r
}

func (w wire) post(path, form, key string) reply {
	return w.ask(context.Background(), http.MethodPost, path, form, key, "")
}

func (w wire) get(path, query string) reply {
	return w.ask(context.Background(), http.MethodGet, path, query, "", "")
}

// control drives /_sim/ and fails the test on a refusal.
func (w wire) control(t *testing.T, method, name, body string) reply {
	t.Helper()
	r := w.tryControl(method, name, body)
	if r.status != http.StatusOK {
		t.Fatalf("%s /_sim/%s %s: %d %s", method, name, body, r.status, r.body)
	}
	return r
}

func (w wire) tryControl(method, name, body string) reply {
	req, err := http.NewRequest(method, "http://localhost/_sim/"+name, bytes.NewBufferString(body))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := w.RoundTrip(req)
	if err != nil {
		return reply{err: err}
	}
	raw, _ := io.ReadAll(resp.Body)
	r := reply{status: resp.StatusCode, header: resp.Header, body: string(raw)}
	_ = json.Unmarshal(raw, &r.object)
	return r
}

// local makes a simulator that is called in process.
func local(t *testing.T, cfg stripesim.Config) (*stripesim.Sim, wire) {
	t.Helper()
	sim := stripesim.New(cfg)
	t.Cleanup(sim.Close)
	return sim, wire{sim}
}

// transferForm is a transfer of an amount of cents to a seller.
func transferForm(amount int, more string) string {
	return fmt.Sprintf("amount=%d&currency=eur&destination=acct_seller%s", amount, more)
}

// pay makes a transfer that must succeed.
func (w wire) pay(t *testing.T, amount int, key string) reply {
	t.Helper()
	r := w.post("/v1/transfers", transferForm(amount, ""), key)
	if r.status != http.StatusOK {
		t.Fatalf("transfer: %d %s", r.status, r.body)
	}
	return r
}

// find is a transfer in the truth.
func find(t *testing.T, truth stripesim.Truth, id string) stripesim.Transfer {
	t.Helper()
	for _, tr := range truth.Transfers {
		if tr.ID == id {
			return tr
		}
	}
	t.Fatalf("no transfer %s in the truth", id)
	return stripesim.Transfer{}
}

func form(pairs ...string) string {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v.Encode()
}
