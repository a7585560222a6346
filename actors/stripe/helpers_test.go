package stripe

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/settled/settled/ledger"
)

// canary is the key of all tests: no output may hold a part of it.
const canary = "sk_test_CANARY51Zq9vXyKeyMaterialQw8Lr2TnVb"

var operation = uuid.MustParse("0195a1c2-0000-7000-8000-000000000001")

func always() error { return nil }

func transferRequest() ledger.Request {
	return ledger.Request{
		Kind: ledger.CreateTransfer, Operation: operation, Key: ledger.Key(operation, 0, 1),
		Amount: 4200, Currency: "eur", Destination: "acct_9Seller1", SourceTransaction: "ch_9Demo",
		TransferGroup: "order_77", Description: "Order 77",
		Metadata: map[string]string{
			ledger.MetaOperation: operation.String(), ledger.MetaGeneration: "1", ledger.MetaEpoch: "0", "order": "77",
		},
	}
}

func reversalRequest() ledger.Request {
	return ledger.Request{
		Kind: ledger.MakeReversal, Operation: operation, Key: ledger.Key(operation, 0, 1),
		Amount: 700, Currency: "eur", Transfer: "tr_9Demo01", Description: "Refund",
		Metadata: map[string]string{ledger.MetaOperation: operation.String(), ledger.MetaGeneration: "1", ledger.MetaEpoch: "0"},
	}
}

func requestOf(k ledger.Kind) ledger.Request {
	if k == ledger.MakeReversal {
		return reversalRequest()
	}
	return transferRequest()
}

// jsonMap is a JSON object under construction.
type jsonMap map[string]any

func (m jsonMap) with(key string, value any) jsonMap {
	out := jsonMap{}
	for k, v := range m {
		out[k] = v
	}
	if value == nil {
		delete(out, key)
	} else {
		out[key] = value
	}
	return out
}

func (m jsonMap) String() string {
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// transferObject is what Stripe answers to transferRequest.
func transferObject() jsonMap {
	r := transferRequest()
	return jsonMap{
		"id": "tr_9Demo01", "object": "transfer", "amount": r.Amount, "amount_reversed": 0, "created": 1767225600,
		"currency": "eur", "description": r.Description, "destination": r.Destination, "destination_payment": "py_9DemoB",
		"livemode": false, "metadata": r.Metadata, "reversed": false, "source_transaction": r.SourceTransaction,
		"source_type": "card", "transfer_group": r.TransferGroup,
		"reversals": jsonMap{"object": "list", "has_more": false, "total_count": 0, "url": "/v1/transfers/tr_9Demo01/reversals", "data": []any{}},
	}
}

// reversalObject is what Stripe answers to reversalRequest.
func reversalObject() jsonMap {
	r := reversalRequest()
	return jsonMap{
		"id": "trr_9Demo02", "object": "transfer_reversal", "amount": r.Amount, "balance_transaction": "txn_9DemoC",
		"created": 1767229200, "currency": "eur", "destination_payment_refund": "pyr_9DemoD", "metadata": r.Metadata,
		"source_refund": nil, "transfer": r.Transfer,
	}
}

func objectOf(k ledger.Kind) jsonMap {
	if k == ledger.MakeReversal {
		return reversalObject()
	}
	return transferObject()
}

// reply is one canned answer.
type reply struct {
	status int
	header map[string]string
	body   string
}

func (r reply) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	_, _ = io.Copy(io.Discard, req.Body)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Request-Id", "req_9B")
	for k, v := range r.header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(r.status)
	_, _ = io.WriteString(w, r.body)
}

// refusal is a Stripe error as it comes over the wire.
func refusal(status int, typ, code, param, message string) reply {
	e := jsonMap{"type": typ, "message": message, "request_log_url": "https://dashboard.stripe.com/test/logs/req_9B?t=1767225600"}
	if code != "" {
		e["code"] = code
	}
	if param != "" {
		e["param"] = param
	}
	return reply{status: status, body: jsonMap{"error": e}.String()}
}

// invalid is a 400 of the commonest type.
func invalid(code, param, message string) reply {
	return refusal(400, "invalid_request_error", code, param, message)
}

func (r reply) but(header, value string) reply {
	h := map[string]string{header: value}
	for k, v := range r.header {
		h[k] = v
	}
	r.header = h
	return r
}

func (r reply) replayed() reply { return r.but("Idempotent-Replayed", "true") }

// serve answers every request of a server on loopback with h.
func serve(t testing.TB, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// client makes a client of base that logs into the test's log book.
func client(t testing.TB, base string, change ...func(*Config)) *Client {
	t.Helper()
	cfg := Config{Key: canary, Base: base, Connections: 8, Log: slog.New(slog.NewTextHandler(book(t), &slog.HandlerOptions{Level: trace}))}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// logBook collects what a test logs; at the end it must not hold the key.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBook) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func book(t testing.TB) *logBook {
	b := &logBook{}
	t.Cleanup(func() { noCanary(t, "the log", b.String()) })
	return b
}

// noCanary fails when a text holds the key, or a piece of its secret part.
func noCanary(t testing.TB, where, text string) {
	t.Helper()
	secretPart := canary[len("sk_test_"):]
	for i := 0; i+6 <= len(secretPart); i++ {
		if strings.Contains(text, secretPart[i:i+6]) {
			t.Errorf("%s holds a part of the key: %.300q", where, text)
			return
		}
	}
}

// listener accepts raw connections on loopback and hands each to handle, in a goroutine that
// the test waits for.
func listener(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(2 * time.Minute))
				handle(conn)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return "http://" + l.Addr().String()
}

// roundTrip is an in-process transport.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// answering is an in-process transport that reads the request and answers it.
func answering(status int, header http.Header, body string) roundTrip {
	return func(r *http.Request) (*http.Response, error) {
		if r.Body != nil {
			_, _ = io.Copy(io.Discard, r.Body)
			r.Body.Close()
		}
		if header == nil {
			header = http.Header{}
		}
		return &http.Response{
			StatusCode: status, Status: fmt.Sprint(status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
			Header: header, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: r,
		}, nil
	}
}

// search reads a list page by page to its end, and returns what names the operation.
func search(ctx context.Context, c *Client, operation ledger.ID, q PageQuery) (found []ledger.StripeTransfer, err error) {
	for {
		page, err := c.Page(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, x := range page.Transfers {
			if ledger.Names(x.Metadata, operation) {
				found = append(found, x)
			}
		}
		if !page.More {
			return found, nil
		}
		q.After = page.Transfers[len(page.Transfers)-1].ID
	}
}
