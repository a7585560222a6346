package stripe

import (
	"net/http"
	"testing"

	"github.com/settled/settled/ledger"
)

// BenchmarkSend is the client's own cost: an in-process stub answers at once.
func BenchmarkSend(b *testing.B) {
	for _, kind := range []ledger.Kind{transfer, reversal} {
		b.Run(kind.String(), func(b *testing.B) {
			body := objectOf(kind).String()
			c := client(b, "", func(c *Config) {
				c.Transport = answering(200, http.Header{"Request-Id": {"req_9B"}}, body)
				c.Log = discard
			})
			r := requestOf(kind)
			b.ReportAllocs()
			for b.Loop() {
				if a := c.Send(b.Context(), r, always); a.Verdict != ledger.Done {
					b.Fatalf("%+v", a)
				}
			}
		})
	}
}

// BenchmarkSendLoopback has HTTP/1.1 on loopback and the stub's server in it, too.
func BenchmarkSendLoopback(b *testing.B) {
	c := client(b, serve(b, reply{status: 200, body: transferObject().String()}), func(c *Config) { c.Connections, c.Log = 64, discard })
	r := transferRequest()
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if a := c.Send(b.Context(), r, always); a.Verdict != ledger.Done {
				b.Errorf("%+v", a)
			}
		}
	})
}
