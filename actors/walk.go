package actors

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/settled/settled/actors/gate"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// walker is the goroutine of a walk, and of the looks between walks.
type walker struct {
	sys     *System
	owner   ledger.ID
	self    *actor.PID // the reconciler
	inc     uint64
	permits chan uint64
	ctx     context.Context
	cancel  context.CancelFunc
	walking atomic.Bool

	at      audit.Walk          // how far it is
	saved   time.Time           // when that was last stored
	seen    map[string]struct{} // Stripe's IDs in this window that were compared with their rows
	before  map[string]struct{} // those of the window before
	debt    int                 // calls that reads made beyond their permits
	listed  map[string]struct{} // Stripe's IDs on the page before
	foreign int                 // findings about others' transfers that nobody was told of yet

	mu    sync.Mutex
	queue []glance
}

const (
	sentPage  = 1000 // rows of the ledger in one query
	readTries = 10   // a page that cannot be read so often in a row ends the walk for now
	oddTries  = 3    // a transfer that cannot be read by itself is passed over
)

// whole makes a walk, or goes on with the one that was begun, to its end.
func (w *walker) whole(every time.Duration) walkEnded {
	s := w.sys
	defer w.tellForeign()
	stale := s.stale()
	if m := w.aside(); m.in > 0 {
		return m
	}
	var mine bool
	err := w.store(func(ctx context.Context) (err error) {
		// Stripe's clock stamps what it creates: it may be ahead of the database's.
		w.at, mine, err = s.conf.Store.OpenWalk(ctx, w.owner, every, stale, s.conf.Policy.Windows.Skew)
		return err
	})
	interval := s.conf.Reconcile.Interval
	switch {
	case err != nil:
		return w.failed(err)
	case !mine && w.at.Ended(): // another process made one
		s.metrics.walked.Set(float64(w.at.EndedAt.Unix()))
		return walkEnded{in: max(interval-time.Since(w.at.BeganAt), stale)}
	case !mine: // another process is at it; whoever asked did so for what happened since that one began
		return walkEnded{in: stale, again: every == 0}
	}
	w.walking.Store(true)
	defer w.walking.Store(false)
	began := time.Now()
	w.saved = began
	for !w.at.Ended() {
		if err := w.window(); err != nil {
			return w.failed(err)
		}
	}
	w.glances()
	s.metrics.walks.WithLabelValues("done").Inc()
	s.metrics.walked.Set(float64(w.at.EndedAt.Unix()))
	s.log.Info("walked Stripe and the ledger", "walk", w.at.No, "took", time.Since(began).Round(time.Millisecond), "reads", w.at.Reads,
		"at_stripe", w.at.AtStripe, "in_ledger", w.at.InLedger, "differences", w.at.Different)
	return walkEnded{in: max(interval-time.Since(w.at.BeganAt), time.Millisecond)}
}

// failed ends a walk for now. What is compared stays compared.
func (w *walker) failed(err error) walkEnded {
	s := w.sys
	result := "failed"
	switch {
	case errors.Is(err, errStopping):
		result = "stopped"
	case errors.Is(err, errTaken):
		result = "taken"
	default:
		s.log.Warn("a walk over Stripe and the ledger could not go on; it is taken up again", "walk", w.at.No, "err", err)
	}
	s.metrics.walks.WithLabelValues(result).Inc()
	if w.at.No > 0 && result != "taken" {
		// In vain at worst: then it is taken up when it has gone stale.
		_ = s.query(func(ctx context.Context) error { return s.conf.Store.LeaveWalk(ctx, w.at) })
	}
	return walkEnded{in: s.stale(), again: result == "failed"}
}

// aside looks at what events said, before or between walks: what it finds counts as found by
// the newest walk.
func (w *walker) aside() walkEnded {
	defer w.tellForeign()
	var ended audit.Walk
	err := w.store(func(ctx context.Context) (err error) {
		w.at, ended, err = w.sys.conf.Store.Walks(ctx)
		return err
	})
	if err != nil {
		w.at = audit.Walk{}
		return w.failed(err)
	}
	if ended.Ended() {
		w.sys.metrics.walked.Set(float64(ended.EndedAt.Unix()))
	}
	w.glances()
	w.at = audit.Walk{}
	return walkEnded{}
}

// window compares the newest part that is left: first each transfer that Stripe lists with its
// row, then each row of the same time that was not met, by reading its transfer. Then the
// cursor moves past it.
func (w *walker) window() error {
	w.seen, w.before = make(map[string]struct{}), w.seen
	rest := time.Time{} // what was created before is left; zero: nothing is
	q := stripe.PageQuery{Until: w.at.Until}
	for listed := 0; ; {
		var page stripe.TransferPage
		err := w.read(readTries, func(ctx context.Context) (calls int, err error) {
			page, err = w.sys.conf.Stripe.Page(ctx, q)
			return 1, err
		})
		if err != nil {
			return fmt.Errorf("list Stripe's transfers: %w", err)
		}
		if err := w.page(page); err != nil {
			return err
		}
		if !page.More {
			break
		}
		last := page.Transfers[len(page.Transfers)-1]
		q.After = last.ID
		listed += len(page.Transfers)
		// Times at Stripe are whole seconds: those of the last one's may go on.
		rest = last.Created.Add(time.Second)
		if listed >= w.sys.conf.Reconcile.Window && rest.Before(w.at.Until) {
			break
		}
		rest = time.Time{}
		if err := w.heartbeat(); err != nil {
			return err
		}
		w.glances()
	}
	if err := w.rows(rest); err != nil {
		return err
	}
	w.at.Until = rest
	return w.save()
}

// page compares one page of Stripe's transfers with their rows, which are read after it.
func (w *walker) page(page stripe.TransferPage) error {
	page = w.fresh(page)
	w.at.AtStripe += int64(len(page.Transfers))
	w.sys.metrics.walkCompared.WithLabelValues("stripe").Add(float64(len(page.Transfers)))
	var names []ledger.ID
	references := make(map[ledger.ID]string)
	var strangers []ledger.StripeTransfer
	for _, s := range page.Transfers {
		if op, named := audit.Named(s); !named {
			strangers = append(strangers, s)
		} else if op != (ledger.ID{}) {
			names, references[op] = append(names, op), s.Metadata[ledger.MetaReference]
		}
	}
	rows, err := w.byName(names, references)
	if err != nil {
		return err
	}
	for i, s := range page.Transfers {
		op, named := audit.Named(s)
		if !named {
			continue
		}
		if page.Partial[i] || !w.agree(rows[op], s) {
			if err := w.judge(op, s.ID, references[op]); err != nil {
				return err
			}
		}
	}
	return w.strangers(strangers)
}

// fresh leaves out what the page before had too: pages overlap when objects come while they are
// read, and a transfer that is listed twice is one transfer.
func (w *walker) fresh(page stripe.TransferPage) stripe.TransferPage {
	before := w.listed
	w.listed = make(map[string]struct{}, len(page.Transfers))
	out := stripe.TransferPage{More: page.More}
	for i, s := range page.Transfers {
		_, again := before[s.ID]
		_, twice := w.listed[s.ID]
		w.listed[s.ID] = struct{}{}
		if !again && !twice {
			out.Transfers, out.Partial = append(out.Transfers, s), append(out.Partial, page.Partial[i])
		}
	}
	return out
}

// agree compares a transfer as Stripe lists it with its row. What does not agree is only a
// suspicion: one of the two may have moved since it was read.
func (w *walker) agree(t *ledger.Transfer, s ledger.StripeTransfer) bool {
	one := []ledger.StripeTransfer{s}
	if t == nil || t.Operation.StripeID != "" && t.Operation.StripeID != s.ID || len(audit.Compare(t, one)) > 0 {
		return false
	}
	if t.Operation.StripeID == s.ID {
		w.seen[s.ID] = struct{}{}
	}
	for _, e := range audit.Unsettled(t, one) {
		switch {
		case e.State == ledger.Parked:
			return false
		case e.State == ledger.Unresolved && !w.sys.conf.Reconcile.ReportOnly:
			w.nudge(t, e)
		}
	}
	return true
}

// strangers keeps transfers that do not name us: others made them, unless a row claims one. What
// nobody here made cannot become ours, so it needs no second look.
func (w *walker) strangers(list []ledger.StripeTransfer) error {
	if len(list) == 0 {
		return nil
	}
	ids := make([]string, len(list))
	for i, s := range list {
		ids[i] = s.ID
	}
	var claims []ledger.Record
	err := w.store(func(ctx context.Context) (err error) {
		claims, err = w.sys.conf.Store.ByStripeID(ctx, ids)
		return err
	})
	if err != nil {
		return err
	}
	claimed := make(map[string]ledger.ID, len(claims))
	for i := range claims {
		claimed[claims[i].Transfer.Operation.StripeID] = claims[i].Transfer.Operation.Name
	}
	var objects []string
	var found []audit.Finding
	for _, s := range list {
		if id, ours := claimed[s.ID]; ours {
			if err := w.judge(id, s.ID, ""); err != nil {
				return err
			}
		} else if !w.sys.conf.Reconcile.IgnoreForeign {
			objects = append(objects, s.ID)
			found = append(found, audit.Found(audit.Unclaimed(s), nil, []ledger.StripeTransfer{s}))
		}
	}
	if len(found) == 0 {
		return nil
	}
	_, err = w.record(objects, found)
	return err
}

// rows reads, by their IDs, the transfers of the window that the ledger says Stripe holds and
// that were not listed: Stripe may have created them much later than they were first sent, or
// may not have them. What was sent just now is left to the next walk.
func (w *walker) rows(since time.Time) error {
	until := w.at.Until
	if settled := w.at.BeganAt.Add(-w.sys.conf.Policy.Windows.Lag); settled.Before(until) {
		until = settled
	}
	for after := (audit.Sent{}); ; {
		var page []audit.Sent
		err := w.store(func(ctx context.Context) (err error) {
			page, err = w.sys.conf.Store.Sent(ctx, since, until, after, sentPage)
			return err
		})
		if err != nil {
			return err
		}
		w.at.InLedger += int64(len(page))
		w.sys.metrics.walkCompared.WithLabelValues("ledger").Add(float64(len(page)))
		for _, row := range page {
			_, now := w.seen[row.StripeID]
			_, before := w.before[row.StripeID]
			if now || before {
				continue
			}
			if err := w.judge(ledger.ID{}, row.StripeID, ""); err != nil {
				return err
			}
			if err := w.heartbeat(); err != nil {
				return err
			}
		}
		if len(page) < sentPage {
			return nil
		}
		after = page[len(page)-1]
	}
}

// heartbeat tells others, now and then, that the walk has its owner.
func (w *walker) heartbeat() error {
	if time.Since(w.saved) < w.sys.stale()/4 {
		return nil
	}
	return w.save()
}

func (w *walker) save() error {
	var ok bool
	err := w.store(func(ctx context.Context) error {
		after, won, err := w.sys.conf.Store.SaveWalk(ctx, w.at)
		if err == nil {
			w.at, ok = after, won
		}
		return err
	})
	if err == nil && !ok {
		err = errTaken
	}
	w.saved = time.Now()
	return err
}

func (w *walker) byName(names []ledger.ID, references map[ledger.ID]string) (map[ledger.ID]*ledger.Transfer, error) {
	var records map[ledger.ID]*ledger.Record
	err := w.store(func(ctx context.Context) (err error) {
		records, err = w.sys.named(ctx, names, references)
		return err
	})
	rows := make(map[ledger.ID]*ledger.Transfer, len(records))
	for name, r := range records {
		rows[name] = &r.Transfer
	}
	return rows, err
}

// store asks the ledger, waiting an outage out.
func (w *walker) store(call func(context.Context) error) error {
	for wait := outageBackoff; ; wait = min(2*wait, outageMost) {
		if w.ctx.Err() != nil {
			return errStopping
		}
		err := w.sys.query(call)
		if err == nil || !w.sys.transient(err) {
			return err
		}
		if !w.pause(wait) {
			return errStopping
		}
	}
}

// read reads Stripe, by one permit of the gate for each call that it takes. What fails is tried
// again, so many times: an outage passes, and the gate waits for its end.
func (w *walker) read(tries int, call func(context.Context) (calls int, err error)) error {
	for n := 1; ; n++ {
		for ; w.debt > 0; w.debt-- { // calls that the last read made beyond its permit
			no, err := w.permit()
			if err != nil {
				return err
			}
			w.sys.tell(w.sys.gate, gate.Release{No: no, Unused: true})
		}
		no, err := w.permit()
		if err != nil {
			return err
		}
		calls, err := w.call(no, call)
		switch {
		case err == nil || errors.Is(err, stripe.ErrNotThere):
			w.debt = max(calls-1, 0)
			return err
		case w.ctx.Err() != nil:
			return errStopping
		case n == tries:
			return err
		}
		if !w.pause(w.sys.conf.Limits.Cooldown * time.Duration(min(1<<n, 100))) {
			return errStopping
		}
	}
}

// call makes one read with a permit, and gives the permit back with what it taught.
func (w *walker) call(no uint64, call func(context.Context) (int, error)) (calls int, err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(w.ctx, w.sys.conf.ReadTimeout)
	defer cancel()
	defer func() {
		if bug := recover(); bug != nil {
			w.sys.bug("reconciler's read", bug)
			err = fmt.Errorf("read: %v", bug)
		}
		n := int64(max(calls, 1))
		w.at.Reads += n
		w.sys.metrics.walkReads.Add(float64(n))
		w.sys.metrics.stripeSeconds.WithLabelValues(gate.Walks.String()).Observe(time.Since(began).Seconds())
		w.sys.tell(w.sys.gate, gate.AfterRead(no, gate.Walks, err))
	}()
	return call(ctx)
}

// permit waits for the gate.
func (w *walker) permit() (no uint64, err error) {
	w.sys.tell(w.sys.gate, gate.Ask{Endpoint: gate.Walks, From: w.self, Inc: w.inc})
	select {
	case no = <-w.permits:
		return no, nil
	case <-w.ctx.Done():
		return 0, errStopping
	}
}

// pause waits, and reports false when the walk is to end meanwhile.
func (w *walker) pause(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.ctx.Done():
		return false
	}
}

func (w *walker) push(g glance) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) < glancesMost {
		w.queue = append(w.queue, g)
	}
}

// left returns the glances that nobody came to, and forgets them.
func (w *walker) left() []glance {
	w.mu.Lock()
	defer w.mu.Unlock()
	left := w.queue
	w.queue = nil
	return left
}

// glances looks at what events, or people, said. What fails is left to the next walk.
func (w *walker) glances() {
	for _, g := range w.left() {
		if err := w.judge(g.operation, g.stripeID, g.reference); err != nil && !errors.Is(err, errStopping) {
			w.sys.log.Warn("a transfer could not be compared; the next walk does", "stripe_id", g.stripeID, "err", err)
		}
	}
}
