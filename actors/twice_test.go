package actors_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// overlapping is Stripe whose pages overlap: each lists its transfers twice, and the last one of
// the page before once more.
type overlapping struct {
	actors.Stripe
	mu   sync.Mutex
	last map[string]ledger.StripeTransfer // by its ID, after which the next page begins
}

func (o *overlapping) Page(ctx context.Context, q stripe.PageQuery) (page stripe.TransferPage, err error) {
	p, err := o.Stripe.Page(ctx, q)
	if err != nil {
		return p, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	page.More = p.More
	add := func(t ledger.StripeTransfer) {
		page.Transfers, page.Partial = append(page.Transfers, t), append(page.Partial, false)
	}
	if before, ok := o.last[q.After]; ok {
		add(before)
	}
	for _, t := range p.Transfers {
		add(t)
		add(t)
		o.last[t.ID] = t
	}
	return page, nil
}

func overlap(c *actors.Config) {
	c.Stripe = &overlapping{Stripe: c.Stripe, last: map[string]ledger.StripeTransfer{}}
}

func TestATransferThatIsListedTwiceWasPaidOnce(t *testing.T) {
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		w.script(stripesim.Rule{Kind: stripesim.KindLoseAnswer, Times: 1000})
		id := w.one()
		w.becomes(id, ledger.Completed)
		if n := w.count("alarms_total"); n != 0 {
			w.Errorf("%v alarms", n)
		}
	}, overlap)
}

// lines is a log that a test reads.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(line)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

func (l *lines) count(text string) int { return strings.Count(l.String(), text) }

func TestAFirstWalkTellsOfOthersTransfersInOneLine(t *testing.T) {
	log := &lines{}
	inWorld(t, stripesim.Config{}, func(w *world) {
		w.deaf()
		const foreign = 250 // three pages
		for range foreign {
			w.dashboard("", 700, "eur", "acct_seller1")
		}
		w.restart(overlap, func(c *actors.Config) {
			c.Reconcile = actors.Reconcile{Interval: time.Hour, Rate: -1}
			c.Log = slog.New(slog.NewTextHandler(log, nil))
		})
		w.passes(10 * time.Minute)
		found := 0
		for _, f := range w.drift() {
			if f.Class == audit.Foreign {
				found++
			}
		}
		if found != foreign {
			w.Errorf("%d findings about others' transfers, not %d", found, foreign)
		}
		if n := log.count("msg=drift"); n != 0 {
			w.Errorf("%d lines about single transfers", n)
		}
		if n := log.count("others made transfers in this account"); n != 1 || log.count("transfers=250") != 1 {
			w.Errorf("%d lines tell of others' transfers:\n%s", n, log.all.String())
		}
		w.passes(3 * time.Hour)
		if n := log.count("others made transfers"); n != 1 {
			w.Errorf("the next walks tell again: %d lines", n)
		}
	}, func(c *actors.Config) { c.Reconcile = actors.Reconcile{Interval: -1} })
}
