package stripe

import (
	"fmt"
	"testing"
	"time"
)

func TestStripesDateIsToldOfEveryAnswerOfItsOwn(t *testing.T) {
	at := "Wed, 25 Nov 2026 03:00:00 GMT"
	transferAnswer := func() reply { return reply{status: 200, body: transferObject().String()} }
	n := 0
	for name, tc := range map[string]struct {
		answer reply
		want   int
	}{
		"a read's answer":      {transferAnswer(), 1},
		"a refusal":            {invalid("x", "", "x"), 1},
		"an outage":            {apiError(500, "x"), 1},
		"a cache's":            {transferAnswer().but("Age", "5"), 0},
		"somebody else's":      {transferAnswer().but("Request-Id", ""), 0},
		"a date that is none":  {transferAnswer().but("Date", "yesterday"), 0},
		"the same one, cached": {transferAnswer().but("Request-Id", "req_before"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			n++
			if tc.answer.header["Date"] == "" {
				tc.answer = tc.answer.but("Date", at)
			}
			if _, set := tc.answer.header["Request-Id"]; !set {
				tc.answer = tc.answer.but("Request-Id", fmt.Sprint("req_", n))
			}
			c := client(t, serve(t, tc.answer))
			last := "req_before"
			c.http.Transport.(*exchange).last.Store(&last)
			var heard []Date
			began := time.Now()
			ctx := WithDates(t.Context(), func(d Date) { heard = append(heard, d) })
			_, _ = c.Transfer(ctx, "tr_9Demo01")
			if len(heard) != tc.want {
				t.Fatalf("heard %v", heard)
			}
			for _, d := range heard {
				if d.At.Format(time.RFC1123) != "Wed, 25 Nov 2026 03:00:00 UTC" || d.Before.Before(began) || d.After.Before(d.Before) {
					t.Errorf("heard %+v", d)
				}
			}
		})
	}
	c := client(t, serve(t, reply{status: 200, body: transferObject().String()}.but("Request-Id", "req_x").but("Date", at)))
	heard := 0
	c.Send(WithDates(t.Context(), func(Date) { heard++ }), transferRequest(), always)
	if heard != 1 {
		t.Errorf("an attempt's answer is told %d times", heard)
	}
}
