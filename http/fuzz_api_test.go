package http

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"mime"
	nethttp "net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/valyala/fasthttp"

	"github.com/settled/settled/ledger"
)

// bench is a server's handlers without a network, and the world behind them: what a fuzz
// target calls a hundred thousand times.
type bench struct {
	*world
	server   *Server
	lists    []ledger.Filter // asked of the store
	operator string
}

// List records its filters.
func (b *bench) List(ctx context.Context, f ledger.Filter) ([]ledger.Record, error) {
	b.lists = append(b.lists, f)
	return b.world.List(ctx, f)
}

func newBench(t testing.TB) *bench {
	t.Helper()
	b := &bench{world: newWorld()}
	b.operator = b.token("backend", RoleOperator, nil)
	c := valid(b.world)
	c.Store = b
	c.WebhookSecrets = []string{secretOld, secretNew}
	c.Logger = slog.New(slog.DiscardHandler)
	c.Bootstrap = map[string]string{"root": adminToken}
	var err error
	if b.server, err = New(c); err != nil {
		t.Fatal(err)
	}
	return b
}

// reset forgets earlier inputs, so that each input finds the same world.
func (b *bench) reset() {
	b.set(func(w *world) {
		clear(w.transfers)
		clear(w.reference)
		clear(w.events)
		clear(w.messages)
		clear(w.keys)
		w.order, w.acted, w.commits = nil, 0, 0
	})
	b.lists = nil
	// Ten tokens later nobody is locked out any more.
	b.pass(lockoutFor + lockoutWindow)
}

// call hands one request to the admin side, or with a path of the public side to that.
func (b *bench) call(t testing.TB, method, uri, body string, headers ...string) answer {
	t.Helper()
	var ctx fasthttp.RequestCtx
	ctx.Init(&fasthttp.Request{}, nil, nil)
	r := &ctx.Request
	r.Header.SetMethod(method)
	r.SetRequestURI(uri)
	r.Header.SetHost("x")
	r.SetBodyString(body)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	handler := b.server.admin.Handler
	if strings.HasPrefix(uri, "/webhooks/") {
		handler = b.server.public.Handler
	}
	handler(&ctx)
	a := answer{status: ctx.Response.StatusCode(), header: nethttp.Header{}, body: bytes.Clone(ctx.Response.Body())}
	for k, v := range ctx.Response.Header.All() {
		a.header.Add(string(k), string(v))
	}
	// The rules for every answer to every request.
	switch {
	case a.status >= 500:
		t.Fatalf("%s %q %q: %d %s", method, uri, body, a.status, a.body)
	case !utf8.Valid(a.body) || !json.Valid(a.body):
		t.Fatalf("%s %q %q: the answer is no JSON: %q", method, uri, body, a.body)
	case a.status >= 400:
		var p problem
		if err := json.Unmarshal(a.body, &p); err != nil || p.Status != a.status || !strings.HasPrefix(p.Type, problemBase) || p.RequestID != a.header.Get("X-Request-Id") {
			t.Fatalf("%s %q %q: %d is no problem: %s", method, uri, body, a.status, a.body)
		}
		if p.Status == 422 && strings.HasSuffix(p.Type, invalidRequest.slug) && len(p.Errors) == 0 {
			t.Fatalf("%s %q %q: no field is named: %s", method, uri, body, a.body)
		}
	}
	return a
}

func (b *bench) post(t testing.TB, uri, body string, headers ...string) answer {
	t.Helper()
	return b.call(t, "POST", uri, body, append([]string{"Authorization", "Bearer " + b.operator, "Content-Type", jsonType}, headers...)...)
}

// state is all that a refusal must leave as it was.
func (b *bench) state() string {
	text, _ := json.Marshal([]any{b.transfers, b.reference, b.events, b.messages, b.commits, b.acted})
	return string(text)
}

// An order is refused and nothing happens, or it is taken, and what is stored says the same
// when it is written out and ordered again.
func FuzzOrder(f *testing.F) {
	for _, body := range []string{orderText, order("metadata", `{"a":"b","é":"ü"}`), order("not_before", `"2026-02-01T00:00:00+01:00"`),
		order("description", `"\ud83d\ude00 \\ \" \/ ' -- $1 ?"`), order("currency", `"EUR"`, "transfer_group", `"a\u0000"`), `{}`, `[]`, `null`, "\xff", `{"amount":1e3}`} {
		f.Add([]byte(body), "")
		f.Add([]byte(body), "key")
	}
	b := newBench(f)
	f.Fuzz(func(t *testing.T, body []byte, key string) {
		b.reset()
		var headers []string
		if key = asHeader(key); key != "" {
			headers = []string{"Idempotency-Key", key}
		}
		before := b.state()
		first := b.post(t, "/v1/transfers", string(body), headers...)
		if first.status != 201 {
			if got := b.state(); first.status < 400 || got != before {
				t.Fatalf("%q was answered %d, and left %s", body, first.status, got)
			}
			return
		}
		stored := b.transfers[b.order[0]].Transfer
		if err := stored.Order.Check(); err != nil || stored.Status() != ledger.Pending && stored.Status() != ledger.Held {
			t.Fatalf("%q was stored as %+v: %v", body, stored, err)
		}
		again := b.post(t, "/v1/transfers", string(body), headers...)
		replayed := again.header.Get("Idempotent-Replayed") == "true"
		if want := 200; again.status != want && !(replayed && again.status == 201) || !bytes.Equal(again.body, first.body) || replayed != (key != "") {
			t.Fatalf("%q, sent again: %d %s", body, again.status, again.body)
		}
		// The standard library, which takes more, reads the same order.
		var std struct {
			Reference, Seller, Destination, Description string
			Amount                                      int64
			Metadata                                    map[string]string
		}
		o := stored.Order
		if err := json.Unmarshal(body, &std); err != nil || std.Reference != o.Reference || std.Seller != o.Seller || std.Destination != o.Destination ||
			std.Description != o.Description || std.Amount != o.Money.Amount || !maps.Equal(std.Metadata, o.Metadata) {
			t.Fatalf("%q became %+v, and %+v in the standard library (%v)", body, o, std, err)
		}
		// And the order that was read, written down again, is the same order.
		canonical := map[string]any{"reference": o.Reference, "seller": o.Seller, "destination": o.Destination, "amount": o.Money.Amount, "currency": o.Money.Currency,
			"source_transaction": o.SourceTransaction, "transfer_group": o.TransferGroup, "description": o.Description, "metadata": o.Metadata}
		if !o.NotBefore.IsZero() {
			canonical["not_before"] = o.NotBefore.Format(time.RFC3339Nano)
		}
		text, err := json.Marshal(canonical)
		if err != nil {
			t.Fatal(err)
		}
		if a := b.post(t, "/v1/transfers", string(text)); a.status != 200 || !bytes.Equal(a.body, first.body) || len(b.order) != 1 {
			t.Fatalf("%q, written as %s: %d %s", body, text, a.status, a.body)
		}
	})
}

// Each entry of a batch is answered in its place, and exactly what is answered 201 is there.
func FuzzBatch(f *testing.F) {
	for _, list := range []string{`[` + orderText + `]`, `[` + orderText + `,` + orderText + `]`, `[` + orderText + `,` + order("amount", "2") + `,7,{}]`, `[]`, `{}`, `null`, `[[],[[]]]`, `[{"a":"]"},"}"]`} {
		f.Add([]byte(`{"transfers":` + list + `}`))
	}
	b := newBench(f)
	f.Fuzz(func(t *testing.T, body []byte) {
		b.reset()
		a := b.post(t, batchPath, string(body))
		if a.status != 200 {
			if b.commits != 0 || len(b.order) != 0 {
				t.Fatalf("%q: %d, and %d commits", body, a.status, b.commits)
			}
			return
		}
		var asked struct{ Transfers []json.RawMessage }
		var got struct {
			Data []struct {
				Status   int
				Transfer *struct{ ID uuid.UUID }
				Error    *problem
			}
		}
		if json.Unmarshal(body, &asked) != nil || json.Unmarshal(a.body, &got) != nil || len(asked.Transfers) != len(got.Data) {
			t.Fatalf("%q has %d entries, and %d are answered: %s", body, len(asked.Transfers), len(got.Data), a.body)
		}
		created := 0
		for i, d := range got.Data {
			switch {
			case (d.Transfer == nil) == (d.Error == nil), d.Error != nil && d.Error.Status != d.Status:
				t.Fatalf("%q: entry %d is answered %+v", body, i, d)
			case d.Status == 201:
				created++
			case d.Status != 200 && d.Status != 409 && d.Status != 422:
				t.Fatalf("%q: entry %d is answered %d", body, i, d.Status)
			}
		}
		if created != len(b.order) || b.commits > 1 {
			t.Fatalf("%q: %d are answered 201, %d are there, in %d commits", body, created, len(b.order), b.commits)
		}
	})
}

// A message that is refused as wrong leaves no trace. One that is well-formed is audited with
// who sent it and why, and acts or is refused by the state.
func FuzzMessage(f *testing.F) {
	for _, body := range []string{`{"type":"cancel","reason":"x"}`, `{"type":"hold","reason":"x","until":"2199-12-31T23:59:59Z"}`, `{"type":"reverse","amount":5,"reason":"x"}`,
		`{"type":"resolve","outcome":"completed","stripe_id":"tr_1","reason":"x"}`, `{"type":"restart","reason":"é\u0000"}`, `{"type":"retry","reason":"x","status":"completed"}`,
		`{"type":"release","reason":"x"}`, `{"type":"reverse","reason":"x"}`, `{}`, `[]`, `{"type":"cancel","reason":"x","by":"y"}`} {
		for state := range uint8(3) {
			f.Add([]byte(body), state)
		}
	}
	b := newBench(f)
	f.Fuzz(func(t *testing.T, body []byte, state uint8) {
		b.reset()
		if a := b.post(t, "/v1/transfers", orderText); a.status != 201 {
			t.Fatal(a.status)
		}
		id := b.order[0]
		switch state % 3 {
		case 1:
			b.paid(id)
		case 2:
			b.refused(id)
		}
		before, was := b.state(), b.transfers[id].Transfer
		a := b.post(t, "/v1/transfers/"+id.String()+messagesSuffix, string(body))
		is := b.transfers[id].Transfer
		switch a.status {
		case 202:
			if len(b.messages) != 1 || b.acted != 1 {
				t.Fatalf("%q: %d messages, %d acted", body, len(b.messages), b.acted)
			}
			for _, m := range b.messages {
				if m.By.Principal != "backend" || m.By.Reason == "" || m.Transfer != id || m.Check(b.now()) != nil {
					t.Fatalf("%q was audited as %+v", body, m)
				}
			}
			// Nothing that a person sends says that money moved.
			if is.Operation.StripeID != was.Operation.StripeID || is.Money != was.Money {
				t.Fatalf("%q made %+v of %+v", body, is, was)
			}
		case 409, 422:
			if is.Version != was.Version || b.acted != 0 {
				t.Fatalf("%q is answered %d and acted", body, a.status)
			}
			if a.status == 422 && len(b.messages) != 0 && !bytes.Contains(a.body, []byte(`"field":"amount"`)) { // only the transfer can tell that
				t.Fatalf("%q is answered 422, and was audited", body)
			}
		case 400:
			if b.state() != before {
				t.Fatalf("%q is answered 400, and left a trace", body)
			}
		default:
			t.Fatalf("%q is answered %d", body, a.status)
		}
	})
}

// Any query is refused with the name of the fault, or asks the store for exactly what the
// standard library reads in it.
func FuzzList(f *testing.F) {
	for _, q := range []string{"", "status=failed", "seller=a%26b&limit=5", "created_after=2026-01-31T12:00:00Z", "created_before=2026-01-31T12:00:00%2B01:00", "cursor=" + cursor(uuid.Max),
		"seller=%00", "seller=%ff", "limit=%31", "seller=%", "seller=%zz", "a;b=1", "seller=a;b", "seller=+", "%73eller=a", "seller=a&seller=b", "seller=a=b", "&&", "=", "?seller=a", "error_code='--", "reference=%5C%22%24%24"} {
		f.Add(q)
	}
	b := newBench(f)
	f.Fuzz(func(t *testing.T, q string) {
		if strings.ContainsFunc(q, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '#' }) {
			t.Skip() // ends a query, or never comes over the wire
		}
		b.reset()
		a := b.call(t, "GET", "/v1/transfers?"+q, "", "Authorization", "Bearer "+b.operator)
		if (a.status == 422 || a.status == 400) && len(b.lists) == 0 {
			return
		}
		if a.status != 200 || len(b.lists) != 1 {
			t.Fatalf("%q: %d, %d lists", q, a.status, len(b.lists))
		}
		got := b.lists[0]
		want, err := url.ParseQuery(q)
		if err != nil {
			t.Fatalf("%q was taken: %v", q, err)
		}
		for name, text := range map[string]string{"seller": got.Seller, "destination": got.Destination, "reference": got.Reference, "error_code": got.ErrorCode, "status": string(got.Status)} {
			if want.Get(name) != text || len(want[name]) > 1 || ledger.CheckText(text, 500) != nil {
				t.Fatalf("%q: %s is %q, in the standard library %q", q, name, text, want[name])
			}
			delete(want, name)
		}
		for _, name := range []string{"limit", "cursor", "created_after", "created_before"} {
			delete(want, name)
		}
		if strings.Join(want[""], "") == "" {
			delete(want, "") // an equals sign alone says nothing
		}
		if len(want) != 0 {
			t.Fatalf("%q was taken with %v", q, slices.Collect(maps.Keys(want)))
		}
		if got.Limit < 2 || got.Limit > limitMax+1 {
			t.Fatalf("%q: limit %d", q, got.Limit)
		}
	})
}

// Headers and paths of any content: nobody gets in with another token than his own, nothing
// comes back that was not harmless, and an ID has one spelling.
func FuzzHeaders(f *testing.F) {
	id := "0198a3c0-5b7e-7c21-9d3f-3f1c2a4b5d6e"
	for _, s := range []struct{ token, key, media, request, id string }{
		{adminToken, "k", jsonType, "r-1", id}, {adminToken, "", "application/json; charset=utf-8", "", strings.ToUpper(id)}, {adminToken[1:], "\x00", "text/plain", strings.Repeat("x", 200), "{" + id + "}"},
		{adminToken + " ", "é", "application/json; charset=\"UTF-8\"", "a b", "urn:uuid:" + id}, {"", strings.Repeat("k", 256), ";", "<script>", ""}, {adminToken, "a", "application/json;charset=utf-8;x=y", "..", id + "%00"},
	} {
		f.Add(s.token, s.key, s.media, s.request, s.id)
	}
	b := newBench(f)
	f.Fuzz(func(t *testing.T, token, key, media, request, id string) {
		if strings.ContainsAny(id, "/?# \r\n\x00") {
			t.Skip()
		}
		token, key, media, request = asHeader(token), asHeader(key), asHeader(media), asHeader(request)
		b.reset()
		a := b.call(t, "POST", "/v1/transfers", orderText, "Authorization", "Bearer "+token, "Idempotency-Key", key, "Content-Type", media, "X-Request-Id", request)
		if (a.status == 401) != (token != adminToken && token != b.operator) {
			t.Fatalf("the token %q: %d", token, a.status)
		}
		if got := a.header.Get("X-Request-Id"); got == "" || len(got) > requestIDLongest || strings.Trim(strings.ToLower(got), "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" {
			t.Fatalf("the request ID %q came back as %q", request, got)
		}
		if a.status < 300 {
			kind, params, err := mime.ParseMediaType(media)
			if err != nil || kind != jsonType || params["charset"] != "" && !strings.EqualFold(params["charset"], "utf-8") {
				t.Fatalf("%q was taken as JSON", media)
			}
		}
		for k := range b.keys {
			if len(k) != 64 || a.status == 401 || a.status == 415 {
				t.Fatalf("%d: the key %q was stored as %q", a.status, key, k)
			}
		}
		a = b.call(t, "GET", "/v1/transfers/"+id, "", "Authorization", "Bearer "+adminToken)
		if parsed, err := uuid.Parse(id); a.status != 404 && !(err == nil && parsed.String() == strings.ToLower(id)) && id != "" {
			t.Fatalf("the ID %q: %d", id, a.status)
		}
	})
}

// asHeader makes a text one that fasthttp lets through as a header's value.
func asHeader(s string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' || r == 0 {
			return -1
		}
		return r
	}, s), " \t")
}
