package stripe

import (
	"context"
	"net/http"
	"time"
)

// Date is what Stripe's clock said: the Date header of one answer. It was written between two
// instants of this machine, and the second that it names had begun and not ended.
type Date struct {
	At            time.Time // whole seconds
	Before, After time.Time // with monotonic readings
}

type datesKey struct{}

// WithDates has hear called with the Date of each of Stripe's answers to calls made under ctx,
// reads and attempts alike, before the call returns. It may be called by many goroutines at once.
func WithDates(ctx context.Context, hear func(Date)) context.Context {
	return context.WithValue(ctx, datesKey{}, hear)
}

// date passes the Date of an answer on. An answer that does not carry Stripe's Request-Id was
// dated by somebody else; one with an Age, or with the ID of the last one, was kept by a cache.
func (x *exchange) date(ctx context.Context, header http.Header, before time.Time) {
	hear, ok := ctx.Value(datesKey{}).(func(Date))
	id := header.Get("Request-Id")
	if !ok || id == "" || header.Get("Age") != "" {
		return
	}
	at, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return
	}
	if last := x.last.Swap(&id); last != nil && *last == id {
		return
	}
	hear(Date{At: at, Before: before, After: time.Now()})
}
