package prove

import (
	"context"
	sqldriver "database/sql/driver"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// loss is a time when the database is put back to an older copy of itself.
type loss struct {
	Copied, PutBack time.Duration // since the world began
	Told            bool          // as `settled migrate restored` does
	Dead            bool          // all daemons are killed before
	Again           float64       // share of what was lost that the platform asks for again
	Within          time.Duration // that it does so
}

func (l loss) String() string {
	s := fmt.Sprintf("a copy of %s put back at %s", l.Copied.Round(time.Minute), l.PutBack.Round(time.Minute))
	if l.Dead {
		s += " under dead daemons"
	}
	if l.Told {
		s += ", told"
	}
	return s
}

// drawLosses has the database put back in one of four worlds. It draws by itself: what else a seed
// plans stays as it is, but for what nobody could tell from a payment that is lost: the effect of
// a 500 after every window, and clocks that are wrong.
func (p *plan) drawLosses(rng *rand.Rand) {
	if rng.IntN(4) != 0 {
		return
	}
	p.Wrong = nil
	p.Outages = slices.DeleteFunc(p.Outages, func(o outage) bool { return o.Kind == errors500 })
	for range 1 + rng.IntN(2) {
		l := loss{Told: rng.IntN(3) == 0, Dead: rng.IntN(2) == 0, Again: []float64{0, 0.5, 1, 1}[rng.IntN(4)]}
		if l.Dead {
			// Nobody is left who was told of the newest commit, so nothing shows the loss: see SECURITY.md.
			l.Told = true
		}
		at := rng.Float64() * rng.Float64() // most of it happens early
		l.Copied = time.Duration(at * 0.8 * float64(p.Troubled))
		late, again := 8*time.Hour, 6*time.Hour
		if l.Told {
			late, again = 30*time.Hour, 40*time.Hour // Stripe may have forgotten the keys
		}
		if rng.IntN(3) == 0 {
			late = 20 * time.Minute
		}
		l.PutBack = min(l.Copied+time.Duration(rng.Float64()*float64(late)), p.Troubled)
		l.Within = time.Duration(rng.Float64() * float64(again))
		p.Losses = append(p.Losses, l)
	}
	p.Walk = 3 * time.Hour // what nobody asks for again only a walk can find
	if l := &p.Losses[0]; l.Told && rng.IntN(2) == 0 {
		p.forget(rng, l)
	}
}

// forget has a copy be put back when Stripe has forgotten the keys of what was lost, and all of that
// be asked for again at once. No walk finds it before: each order must be looked up.
func (p *plan) forget(rng *rand.Rand, l *loss) {
	l.Copied /= 10
	l.PutBack = l.Copied + 26*time.Hour + time.Duration(rng.Float64()*float64(12*time.Hour))
	l.Within, l.Again = time.Hour, 1
	p.Troubled = max(p.Troubled, l.PutBack+2*time.Hour)
	p.Losses, p.Walk = []loss{*l}, -1
}

// single is the one connection of a database in memory.
type single struct {
	sqldriver.Connector
	conn   sqldriver.Conn
	copies int
}

// of has the connections of a connector be known.
func (s *single) of(real sqldriver.Connector) sqldriver.Connector {
	s.Connector = real
	return s
}

func (s *single) Connect(ctx context.Context) (_ sqldriver.Conn, err error) {
	s.conn, err = s.Connector.Connect(ctx)
	return s.conn, err
}

// execute runs statements beside whatever the database's users do: nothing of theirs is under way.
func (s *single) execute(statements ...string) error {
	for _, text := range statements {
		if _, err := s.conn.(sqldriver.ExecerContext).ExecContext(context.Background(), text, nil); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return nil
}

// list returns the one column of a query.
func (s *single) list(query string) (list []string, err error) {
	rows, err := s.conn.(sqldriver.QueryerContext).QueryContext(context.Background(), query, nil)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for value := make([]sqldriver.Value, 1); ; {
		switch err := rows.Next(value); err {
		case nil:
			list = append(list, fmt.Sprint(value[0]))
		case io.EOF:
			return list, nil
		default:
			return nil, err
		}
	}
}

const tablesOf = "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"

// copied copies every table into a database beside, and names it.
func (s *single) copied() (name string, err error) {
	s.copies++
	name = fmt.Sprintf("past%d", s.copies)
	if err := s.execute("ATTACH ':memory:' AS " + name); err != nil {
		return "", err
	}
	tables, err := s.list(tablesOf)
	for _, t := range tables {
		if err == nil {
			err = s.execute(fmt.Sprintf("CREATE TABLE %s.%s AS SELECT * FROM main.%s", name, t, t))
		}
	}
	return name, err
}

// putBack has every table be as it was copied. Triggers, which guard what is only ever added,
// are away meanwhile.
func (s *single) putBack(name string) error {
	tables, err := s.list(tablesOf)
	if err != nil {
		return err
	}
	triggers, err := s.list("SELECT name FROM main.sqlite_master WHERE type = 'trigger' ORDER BY name")
	if err != nil {
		return err
	}
	made, err := s.list("SELECT sql FROM main.sqlite_master WHERE type = 'trigger' ORDER BY name")
	if err != nil {
		return err
	}
	statements := []string{"PRAGMA foreign_keys = OFF", "BEGIN IMMEDIATE"}
	for _, t := range triggers {
		statements = append(statements, "DROP TRIGGER main."+t)
	}
	for _, t := range tables {
		statements = append(statements, "DELETE FROM main."+t, fmt.Sprintf("INSERT INTO main.%s SELECT * FROM %s.%s", t, name, t))
	}
	statements = append(append(statements, made...), "COMMIT", "PRAGMA foreign_keys = ON")
	return s.execute(statements...)
}

// past is a copy of the database, and of what may be said of a world that has it.
type past struct {
	copy   string // its name
	newest int    // the number of its newest commit
	watch  audit.Past
	acked  map[string]bool
	orders []asked
}

// lose makes copies of the database, and puts them back.
func (w *world) lose() {
	for i, l := range w.plan.Losses {
		w.background(func() {
			time.Sleep(l.Copied)
			w.turn(fmt.Sprintf("copy %d", i))
			copied, err := w.copied()
			if err == nil {
				time.Sleep(l.PutBack - l.Copied)
				w.turn(fmt.Sprintf("put back %d", i))
				err = w.putBack(i, l, copied)
			}
			if err != nil {
				w.breaks(18, "the database cannot be put back: %v", err)
			}
		})
	}
}

func (w *world) copied() (p past, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p.newest, p.watch, p.acked = w.commits, w.watch.Past(), maps.Clone(w.acked)
	for _, o := range w.orders {
		c := *o
		c.granted = maps.Clone(o.granted)
		p.orders = append(p.orders, c)
	}
	p.copy, err = w.single.copied()
	return p, err
}

func (w *world) putBack(no int, l loss, p past) error {
	kind := "put back under live daemons"
	if l.Dead {
		kind = "put back under dead daemons"
		for _, n := range w.live() {
			n.die("before its database is put back")
		}
	}
	if err := w.single.putBack(p.copy); err != nil {
		return err
	}
	if l.Told {
		kind += ", told"
		if _, err := w.db.RaiseEpoch(context.Background()); err != nil {
			return err
		}
	}
	w.met(kind)
	w.mu.Lock()
	w.losses++
	for _, n := range w.nodes {
		if n != nil {
			n.outlived = n.newest > p.newest
		}
	}
	w.watch.PutBack(p.watch)
	w.acked = maps.Clone(p.acked)
	gone := make([]asked, len(w.orders))
	for i, o := range w.orders {
		gone[i] = *o
		o.id, o.accepted, o.granted = p.orders[i].id, p.orders[i].accepted, maps.Clone(p.orders[i].granted)
		if o.accepted {
			o.forgone = false
		}
	}
	w.mu.Unlock()
	for i := range gone {
		w.asksAgain(fmt.Sprintf("%d of loss %d", i, no), i, l, gone[i])
	}
	return nil
}

// goesOn takes in what a daemon was told of a commit. One whose newest commit was lost must not be
// told of another: it would go by what the database does not know.
func (n *node) goesOn(won []bool) {
	if !slices.Contains(won, true) {
		return
	}
	if n.outlived {
		n.w.breaks(31, "%s goes on over a database that lacks what it was told", n.name)
	}
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	n.w.commits++
	n.newest, n.outlived = n.w.commits, false
}

// asksAgain has the platform ask again for some of what it was granted and the database lost. What
// it does not ask for again may be there all the same, when Stripe holds it.
func (w *world) asksAgain(name string, i int, l loss, before asked) {
	o := w.orders[i]
	if before.accepted && !o.accepted {
		if !w.strikes("lost order repeated", l.Again, name) {
			o.forgone = true
			w.met("lost order not repeated")
		} else {
			after := w.chance.within(l.Within, "repeats "+name)
			w.background(func() {
				time.Sleep(after)
				w.order(i, w.plan.orders[i])
			})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(before.granted)) {
		if _, has := o.granted[key]; has || o.forgone || !w.strikes("lost reversal repeated", l.Again, key+" "+name) {
			continue
		}
		m := before.granted[key]
		m.then = nil // it was said, or is about a reversal that is not there
		after := w.chance.within(l.Within, "repeats "+key+" "+name)
		w.background(func() {
			time.Sleep(after)
			w.say(key, m)
		})
	}
}

// lost reports a world whose database loses commits.
func (w *world) lost() bool { return len(w.plan.Losses) > 0 }

// missing counts the orders that nobody waits for any more, and those that are still awaited.
func (w *world) missing() (forgone, awaited int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.orders {
		switch {
		case o.forgone:
			forgone++
		case !o.accepted:
			awaited++
		}
	}
	return forgone, awaited
}

// forgives finds the row of an order that was lost and not asked for again: it is there only if
// Stripe held it, or if it was lost before its loss was.
func (w *world) forgives(i int, rows map[ledger.ID]*ledger.Transfer) {
	reference := w.plan.orders[i].order.Reference
	for _, t := range rows {
		if t.Reference == reference {
			return
		}
	}
	for _, t := range w.sim.Truth().Transfers {
		if t.Metadata[ledger.MetaReference] == reference {
			w.breaks(31, "Stripe holds %s of order %s, and the ledger has not got it back", t.ID, reference)
		}
	}
}
