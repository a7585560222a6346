package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/settled/settled/ledger"
)

// platform orders transfers and partial reversals of whichever node answers, and remembers
// what it was told: an order that was answered must be there for ever.
type platform struct {
	apis  []*api
	plan  []planned
	rng   *rand.Rand
	batch int // orders in one request
	every int // one of so many is reversed in part
	// forbidden has it send messages that a transfer's state forbids, after each reversal.
	forbidden bool

	ids   []ledger.ID // as answered, in the order of the plan
	owed  []int       // of the plan: ordered, and its reversal not asked for yet
	asked map[int]int64
	again int  // requests without a definite answer
	lost  bool // the last order had none: it may be there

	enough atomic.Bool // no new orders, once there are
	least  int
}

func newPlatform(apis []*api, plan []planned, seed uint64) *platform {
	return &platform{apis: apis, plan: plan, rng: rand.New(rand.NewPCG(seed, 7)), batch: 8, every: 4, asked: map[int]int64{}}
}

// any draws a node.
func (p *platform) any() *api { return p.apis[p.rng.IntN(len(p.apis))] }

// run orders as many as it may, by then, until all is ordered and all reversals are asked for.
func (p *platform) run(ctx context.Context, may func() int) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	more := func() bool {
		// An order without an answer may be there, and has to be known in the end.
		return len(p.ids) < len(p.plan) && (p.lost || len(p.ids) < p.least || !p.enough.Load())
	}
	for more() || len(p.owed) > 0 {
		if more() {
			if err := p.order(ctx, min(may(), len(p.plan))); err != nil {
				return err
			}
		}
		if err := p.reverse(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d ordered, %d reversals to be asked for: %w", len(p.ids), len(p.plan), len(p.owed), ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// order sends one batch, and now and then one that was answered already.
func (p *platform) order(ctx context.Context, most int) error {
	from := len(p.ids)
	if from > 0 && p.rng.IntN(10) == 0 {
		i := p.rng.IntN(from)
		ids, err := p.any().create(ctx, p.plan[i:i+1])
		switch {
		case errors.Is(err, errAskAgain):
			p.again++
		case err != nil:
			return fmt.Errorf("order once more: %w", err)
		case ids[0] != p.ids[i]:
			return fmt.Errorf("order %s was answered as %s, and then as %s", p.plan[i].order.Reference, p.ids[i], ids[0])
		}
	}
	part := p.plan[from:max(from, min(from+p.batch, most))]
	if len(part) == 0 {
		return nil
	}
	ids, err := p.any().create(ctx, part)
	if p.lost = errors.Is(err, errAskAgain); p.lost {
		p.again++
		return nil
	}
	if err != nil {
		return fmt.Errorf("order: %w", err)
	}
	for i := range ids {
		if (from+i)%p.every == 0 {
			p.owed = append(p.owed, from+i)
		}
	}
	p.ids = append(p.ids, ids...)
	return nil
}

// reverse looks after a few of the transfers that are to come back in part.
func (p *platform) reverse(ctx context.Context) error {
	for range min(4, len(p.owed)) {
		i := p.owed[0]
		p.owed = append(p.owed[1:], i)
		a := p.any()
		x, err := a.get(ctx, p.ids[i])
		switch {
		case errors.Is(err, errAskAgain):
			p.again++
			return nil
		case err != nil:
			return fmt.Errorf("read %s: %w", p.ids[i], err)
		case x.Status == ledger.PermanentlyFailed && len(x.Reversals) == 0:
			p.owed = p.owed[:len(p.owed)-1]
			continue
		case x.Status != ledger.Completed && len(x.Reversals) == 0:
			continue
		}
		amount := p.plan[i].order.Money.Amount/3 + 1
		err = a.send(ctx, p.ids[i], "reverse "+p.plan[i].order.Reference, message{Type: ledger.MessageReverse, Reason: "a refund", Amount: amount})
		if errors.Is(err, errAskAgain) {
			p.again++
			return nil
		}
		if err != nil {
			return fmt.Errorf("reverse: %w", err)
		}
		p.asked[i] = amount
		p.owed = p.owed[:len(p.owed)-1]
		if p.forbidden {
			err = a.send(ctx, p.ids[i], "", message{Type: ledger.MessageRelease, Reason: "it never was held"})
			if err == nil || !errors.Is(err, errAskAgain) && !strings.Contains(err.Error(), "409") {
				return fmt.Errorf("a release of what is not held is not refused: %v", err)
			}
		}
	}
	return nil
}

// check compares the answers to the platform with the ledger: each answered order
// under its ID, each reversal that was accepted once.
func (p *platform) check(ctx context.Context, s *stand) {
	s.t.Helper()
	const page = 500
	for from := 0; from < len(p.ids); from += page {
		ids := p.ids[from:min(from+page, len(p.ids))]
		records, err := s.db.Load(ctx, ids)
		if err != nil {
			s.t.Fatal(err)
		}
		by := make(map[ledger.ID]ledger.Transfer, len(records))
		for _, r := range records {
			by[r.Transfer.ID] = r.Transfer
		}
		for i, id := range ids {
			x, there := by[id]
			want := p.plan[from+i].order
			if !there || x.Reference != want.Reference || x.Money != want.Money {
				s.t.Errorf("order %s was answered as %s, and the ledger has: %v %s", want.Reference, id, there, x.Reference)
			}
			amount, reversed := p.asked[from+i]
			if reversed && (len(x.Reversals) != 1 || x.Reversals[0].Amount != amount) || !reversed && len(x.Reversals) > 0 {
				s.t.Errorf("%s: a reversal of %d was accepted (%v), and the ledger has %d", want.Reference, amount, reversed, len(x.Reversals))
			}
		}
	}
}
