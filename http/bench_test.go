package http

import (
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// BenchmarkWebhookVerifyAndParse is the cost of a webhook before it is stored.
func BenchmarkWebhookVerifyAndParse(b *testing.B) {
	now := time.Unix(1769860800, 0)
	v, err := newVerifier([]string{secretOld, secretNew}, func() time.Time { return now })
	if err != nil {
		b.Fatal(err)
	}
	body := strings.Replace(eventText, `"a": "`, `"a": "`+strings.Repeat("x", 2000), 1) // 2.5 kB, as real ones have
	header := sign(secretNew, body, now)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := v.verify(header, []byte(body)); err != nil {
			b.Fatal(err)
		}
		if _, err := parseEvent([]byte(body)); err != nil {
			b.Fatal(err)
		}
	}
}

// handle returns a way to call a server's handler without a network.
func handle(b *testing.B, admin bool) (*world, func(prepare func(*fasthttp.Request)) int) {
	w := newWorld()
	conf := valid(w)
	conf.Logger = slog.New(slog.DiscardHandler)
	conf.Bootstrap = map[string]string{"root": adminToken}
	s, err := New(conf)
	if err != nil {
		b.Fatal(err)
	}
	handler := s.public.Handler
	if admin {
		handler = s.admin.Handler
	}
	var ctx fasthttp.RequestCtx
	ctx.Init(&fasthttp.Request{}, nil, nil)
	return w, func(prepare func(*fasthttp.Request)) int {
		ctx.Request.Reset()
		ctx.Response.Reset()
		ctx.ResetUserValues()
		prepare(&ctx.Request)
		handler(&ctx)
		return ctx.Response.StatusCode()
	}
}

// BenchmarkWebhook is a whole webhook but for the network and the store.
func BenchmarkWebhook(b *testing.B) {
	w, call := handle(b, false)
	header := sign(secretOld, eventText, w.now())
	b.ReportAllocs()
	for b.Loop() {
		status := call(func(r *fasthttp.Request) {
			r.Header.SetMethod("POST")
			r.SetRequestURI("/webhooks/stripe")
			r.Header.Set("Stripe-Signature", header)
			r.SetBodyString(eventText)
		})
		if status != 200 {
			b.Fatal(status)
		}
	}
}

// BenchmarkCreate is a whole request for one transfer but for the network and the engine.
func BenchmarkCreate(b *testing.B) {
	_, call := handle(b, true)
	body := order("metadata", `{"order":"17","cart":"b"}`, "description", `"Two chairs and a table"`)
	b.ReportAllocs()
	for b.Loop() {
		// Always the same reference: the engine in memory shall not grow meanwhile.
		status := call(func(r *fasthttp.Request) {
			r.Header.SetMethod("POST")
			r.SetRequestURI("/v1/transfers")
			r.Header.SetContentType(jsonType)
			r.Header.Set("Authorization", "Bearer "+adminToken)
			r.SetBodyString(body)
		})
		if status > 201 {
			b.Fatal(status)
		}
	}
}

// BenchmarkBatch is the same for a thousand at once.
func BenchmarkBatch(b *testing.B) {
	_, call := handle(b, true)
	items := make([]string, batchMax)
	for i := range items {
		items[i] = order("reference", fmt.Sprintf(`"r-%d"`, i), "metadata", `{"order":"17","cart":"b"}`)
	}
	body := `{"transfers":[` + strings.Join(items, ",") + `]}`
	b.ReportAllocs()
	for b.Loop() {
		status := call(func(r *fasthttp.Request) {
			r.Header.SetMethod("POST")
			r.SetRequestURI(batchPath)
			r.Header.SetContentType(jsonType)
			r.Header.Set("Authorization", "Bearer "+adminToken)
			r.SetBodyString(body)
		})
		if status != 200 {
			b.Fatal(status)
		}
	}
}

// BenchmarkWebhookOverLoopback is a whole webhook with its network.
func BenchmarkWebhookOverLoopback(b *testing.B) {
	s := open(b)
	header := sign(secretOld, eventText, s.now())
	client := &fasthttp.HostClient{Addr: s.public, MaxConns: 64}
	defer client.CloseIdleConnections()
	var failed atomic.Int64
	b.SetParallelism(32)
	b.RunParallel(func(pb *testing.PB) {
		request, response := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
		request.Header.SetMethod("POST")
		request.SetRequestURI("http://" + s.public + "/webhooks/stripe")
		request.Header.Set("Stripe-Signature", header)
		request.SetBodyString(eventText)
		for pb.Next() {
			if err := client.Do(request, response); err != nil || response.StatusCode() != 200 {
				failed.Add(1)
			}
		}
	})
	if n := failed.Load(); n > 0 {
		b.Errorf("%d failed", n)
	}
}
