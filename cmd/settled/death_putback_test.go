package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/db"
	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
)

var putBacksWanted = flag.Int("putbacks", 4, "how often the database is put back to a copy, or its clock steps")

// Three daemons over one PostgreSQL that is put back to an older copy of itself, by a snapshot that
// nothing tells of or by a backup, under daemons that run or that were killed, and whose clock
// steps; a platform that lost answers repeats its orders. Each is paid once.
func TestDeathOfADatabasePutBack(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), hang+time.Duration(*putBacksWanted)*time.Minute)
	defer cancel()
	p := newPutBack(t, ctx, seedOf(t))
	for round := range *putBacksWanted {
		p.round(ctx, round)
		if t.Failed() {
			break
		}
	}
	p.finish(ctx)
}

// putBack is the loop's world.
type putBack struct {
	*stand
	rng    *rand.Rand
	server *dbtest.Server
	clock  *dbtest.Clock
	nodes  []*node
	plan   []planned
	next   int // of the plan: the first that was never ordered
	did    map[string]int
	lost   int // orders that were answered, and of which the database then knew nothing
}

func newPutBack(t *testing.T, ctx context.Context, seed uint64) *putBack {
	t.Helper()
	server := dbtest.NewServer(t)
	clock, err := server.UseClock(ctx)
	if errors.Is(err, dbtest.ErrNoFaketime) && os.Getenv("CI") != "true" {
		t.Skipf("NOT TESTED WITH A CLOCK THAT STEPS: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	url, err := server.CreateDatabase(ctx, "put_back")
	if err != nil {
		t.Fatal(err)
	}
	p := &putBack{
		stand: prepareStand(t, ctx, url, "light", seed, standSpeed), server: server, clock: clock,
		rng: rand.New(rand.NewPCG(seed, 29)), plan: planTraffic(seed, 16*(*putBacksWanted+1)), did: map[string]int{},
	}
	p.migrate(ctx)
	for i := range 3 {
		n := p.newNode(fmt.Sprintf("node-%d", i), "TRANSFER_RETRY_INTERVAL=1s", "REVERSAL_CHECK_INTERVAL=1s", "RECONCILE_INTERVAL=6h")
		p.nodes = append(p.nodes, n)
		if i == 0 {
			p.adopt(n)
		}
		if err := n.launch(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		for _, n := range p.nodes {
			n.stop()
			if t.Failed() {
				t.Logf("%s:\n%s", n.log, lastLog(n.log))
			}
		}
	})
	return p
}

// revive starts daemons that have ended, as their supervisor would.
func (p *putBack) revive() {
	for _, n := range p.nodes {
		select {
		case <-n.done:
			if err := n.launch(); err != nil {
				p.t.Fatal(err)
			}
		default:
		}
	}
}

// killAll ends all daemons as a power cut would.
func (p *putBack) killAll() {
	for _, n := range p.nodes {
		n.end()
	}
}

// round orders, loses orders, or steps the clock, and has the platform repeat itself.
func (p *putBack) round(ctx context.Context, round int) {
	p.t.Helper()
	first := max(0, p.next-16)
	p.order(ctx, p.next, p.next+8)
	kind := []string{"snapshot under killed daemons", "snapshot that was told of", "snapshot under live daemons",
		"backup under live daemons", "the clock steps", "the clock steps"}[(round+p.rng.IntN(2))%6]
	p.did[kind]++
	if kind == "the clock steps" {
		p.step(ctx)
	} else {
		p.lose(ctx, kind)
	}
	if p.rng.IntN(2) == 0 {
		p.nodes[p.rng.IntN(len(p.nodes))].end()
		p.did["a daemon is killed"]++
	}
	p.order(ctx, first, p.next) // the platform repeats orders that may be lost
	p.reverse(ctx, first, p.next)
}

// step has the database's clock step by more than the windows while orders arrive, and back.
func (p *putBack) step(ctx context.Context) {
	p.t.Helper()
	off := 12 * time.Hour / standSpeed // beyond QUIET
	if p.rng.IntN(2) == 0 {
		off = -30 * time.Hour / standSpeed // beyond a key's life
	}
	for _, off := range []time.Duration{off, 0} {
		if err := p.clock.Step(off); err != nil {
			p.t.Fatal(err)
		}
		p.order(ctx, p.next, p.next+4)
	}
}

// lose puts the database back to a copy from before the last orders.
func (p *putBack) lose(ctx context.Context, kind string) {
	p.t.Helper()
	must := func(err error) {
		p.t.Helper()
		if err != nil {
			p.t.Fatal(err)
		}
	}
	must(p.server.Save(ctx))
	from := p.next
	p.order(ctx, from, from+8)
	// Some of them are to be paid: the copy does not know of a transfer that Stripe holds.
	_ = again(ctx, 5*time.Millisecond, func() (bool, error) {
		p.revive()
		paid := p.paid()
		n := 0
		for _, x := range p.plan[from:p.next] {
			n += paid[x.order.Metadata["order"]]
		}
		return n >= 2, nil
	})
	switch kind {
	case "snapshot under killed daemons":
		p.killAll()
		must(p.server.PutBack(ctx))
	case "snapshot that was told of":
		p.killAll()
		must(p.server.PutBack(ctx))
		cmd := exec.CommandContext(ctx, program, "migrate", "restored")
		cmd.Dir, cmd.Env = p.worker.dir, p.worker.env
		if out, err := cmd.CombinedOutput(); err != nil {
			p.t.Fatalf("migrate restored: %v\n%s", err, out)
		}
	case "snapshot under live daemons":
		must(p.server.PutBack(ctx))
	case "backup under live daemons":
		must(p.server.Restore(ctx))
	}
	p.reopen(ctx)
	known, err := p.db.ByReference(ctx, references(p.plan[from:p.next]))
	must(err)
	p.lost += p.next - from - len(known)
	if len(known) == p.next-from {
		p.t.Error("no order was lost: nothing was tested")
	}
}

// reopen has the stand read the copy that is there now.
func (p *putBack) reopen(ctx context.Context) {
	p.t.Helper()
	p.db.Close()
	var err error
	if p.db, err = db.Open(ctx, strings.TrimPrefix(p.shared[0], "DATABASE_URL="), db.Options{}); err != nil {
		p.t.Fatal(err)
	}
	opened := p.db
	p.t.Cleanup(func() { opened.Close() })
}

func references(part []planned) []string {
	var all []string
	for _, x := range part {
		all = append(all, x.order.Reference)
	}
	return all
}

// order has a part of the plan ordered by whichever daemon answers; what was ordered before is
// the same transfer.
func (p *putBack) order(ctx context.Context, from, to int) {
	p.t.Helper()
	err := again(ctx, 10*time.Millisecond, func() (bool, error) {
		p.revive()
		_, err := p.nodes[p.rng.IntN(len(p.nodes))].api.create(ctx, p.plan[from:to])
		if errors.Is(err, errAskAgain) {
			return false, nil
		}
		return true, err
	})
	if err != nil {
		p.t.Fatalf("order: %v", err)
	}
	p.next = max(p.next, to)
}

// reverse asks for a third of every fourth transfer that is paid, by a reference, so that asking
// again asks for the same.
func (p *putBack) reverse(ctx context.Context, from, to int) {
	p.t.Helper()
	for i := from; i < to; i++ {
		if i%4 != 0 {
			continue
		}
		x := p.plan[i].order
		records, err := p.db.ByReference(ctx, []string{x.Reference})
		if err != nil || len(records) == 0 || records[0].Transfer.Operation.StripeID == "" {
			continue // another round comes
		}
		m := message{Type: ledger.MessageReverse, Reason: "a refund", Reference: "refund " + x.Reference, Amount: x.Money.Amount/3 + 1}
		err = p.nodes[p.rng.IntN(len(p.nodes))].api.send(ctx, records[0].Transfer.ID, "", m)
		if err != nil && !errors.Is(err, errAskAgain) && !strings.Contains(err.Error(), "409") {
			p.t.Errorf("reverse: %v", err)
		}
	}
}

// paid counts the transfers that Stripe really holds, by the platform's own name of the order.
func (p *putBack) paid() map[string]int {
	paid := map[string]int{}
	for _, x := range p.truth().Transfers {
		paid[x.Metadata["order"]]++
	}
	return paid
}

// finish repeats every order, waits for the end of each, and compares.
func (p *putBack) finish(ctx context.Context) {
	t := p.t
	t.Helper()
	if err := p.clock.Step(0); err != nil {
		t.Fatal(err)
	}
	for from := 0; from < p.next; from += 200 {
		p.order(ctx, from, min(p.next, from+200))
	}
	last := time.Now()
	err := again(ctx, 100*time.Millisecond, func() (bool, error) {
		p.revive()
		if time.Since(last) > time.Second {
			p.operate(ctx)
			last = time.Now()
		}
		over, total, _ := p.states(ctx)
		return over == total && total >= p.next, nil
	})
	if err != nil {
		_, total, by := p.states(context.Background())
		t.Errorf("%d ordered, %d rows, not all came to their end: %v; %v", p.next, total, by, err)
	}
	p.calm()
	for _, n := range p.nodes {
		n.stop()
	}
	paid := p.paid()
	for i, x := range p.plan[:p.next] {
		if n := paid[x.order.Metadata["order"]]; n > 1 {
			t.Errorf("order %d (%s) was paid %d times", i, x.order.Reference, n)
		}
	}
	for _, x := range p.truth().Transfers {
		if len(x.Reversals) > 1 {
			t.Errorf("%s was reversed %d times for one refund", x.ID, len(x.Reversals))
		}
	}
	r := p.auditTwice(ctx)
	if r.Transfers != p.next {
		t.Errorf("%d orders, and %d rows", p.next, r.Transfers)
	}
	p.figures(r, "%d rounds (%v), %d orders lost by the database and repeated", *putBacksWanted, p.did, p.lost)
}
