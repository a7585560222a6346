package prove

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	nethttp "net/http"
	"net/http/httptest"
	"time"

	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// The reconciler's part of a daemon's database.

func (s *seam) OpenWalk(ctx context.Context, owner ledger.ID, every, stale, ahead time.Duration) (walk audit.Walk, mine bool, err error) {
	err = s.n.at(ctx, "open_walk", func() (err error) { walk, mine, err = s.DB.OpenWalk(ctx, owner, every, stale, ahead); return err })
	return walk, mine, err
}

func (s *seam) SaveWalk(ctx context.Context, walk audit.Walk) (after audit.Walk, ok bool, err error) {
	err = s.n.at(ctx, "save_walk", func() (err error) { after, ok, err = s.DB.SaveWalk(ctx, walk); return err })
	return after, ok, err
}

func (s *seam) LeaveWalk(ctx context.Context, walk audit.Walk) error {
	return s.n.at(ctx, "leave_walk", func() error { return s.DB.LeaveWalk(ctx, walk) })
}

func (s *seam) Walks(ctx context.Context) (newest, ended audit.Walk, err error) {
	err = s.n.at(ctx, "walks", func() (err error) { newest, ended, err = s.DB.Walks(ctx); return err })
	return newest, ended, err
}

func (s *seam) ByStripeID(ctx context.Context, ids []string) (r []ledger.Record, err error) {
	err = s.n.at(ctx, "by_stripe_id "+about(ids), func() (err error) { r, err = s.DB.ByStripeID(ctx, ids); return err })
	return r, err
}

func (s *seam) Sent(ctx context.Context, since, until time.Time, after audit.Sent, limit int) (page []audit.Sent, err error) {
	err = s.n.at(ctx, "sent", func() (err error) { page, err = s.DB.Sent(ctx, since, until, after, limit); return err })
	return page, err
}

func (s *seam) StoreFindings(ctx context.Context, objects []string, walk int64, found []audit.Finding) (stored []audit.Finding, opened []bool, err error) {
	err = s.n.at(ctx, "judge "+about(objects), func() (err error) { stored, opened, err = s.DB.StoreFindings(ctx, objects, walk, found); return err })
	return stored, opened, err
}

func (s *seam) KeepFindings(ctx context.Context, objects []string, walk int64) error {
	return s.n.at(ctx, "keep_findings", func() error { return s.DB.KeepFindings(ctx, objects, walk) })
}

func (s *seam) Finding(ctx context.Context, id ledger.ID) (f audit.Finding, err error) {
	err = s.n.at(ctx, "finding "+id.String(), func() (err error) { f, err = s.DB.Finding(ctx, id); return err })
	return f, err
}

func (s *seam) MarkApplied(ctx context.Context, id ledger.ID, by ledger.By) error {
	return s.n.at(ctx, "mark_applied "+id.String(), func() error { return s.DB.MarkApplied(ctx, id, by) })
}

func (s *seam) MarkAccepted(ctx context.Context, id ledger.ID, by ledger.By, until time.Time) error {
	return s.n.at(ctx, "mark_accepted "+id.String(), func() error { return s.DB.MarkAccepted(ctx, id, by, until) })
}

// meddle has people act in Stripe's own dashboard, past the daemons.
func (w *world) meddle() {
	for i, m := range w.plan.meddling {
		w.background(func() {
			time.Sleep(m.at)
			w.turn(fmt.Sprintf("dashboard %d", i))
			if m.amount > 0 {
				w.atStripe("POST", "/_sim/transfer", map[string]any{"destination": m.order.Destination, "amount": m.amount, "currency": "eur"})
				w.foreign++
				return
			}
			// Of what there is, some transfer that still has something to give back.
			held := w.sim.Truth().Transfers
			for n := range held {
				t := &held[(n+i*7)%len(held)]
				if rest := t.Amount - t.AmountReversed; rest > 0 && t.Metadata[ledger.MetaOperation] != "" {
					w.atStripe("POST", "/_sim/reverse", map[string]any{"transfer": t.ID, "amount": 1 + rest/3})
					w.outside++
					return
				}
			}
		})
	}
}

// atStripe uses a control of the simulator's.
func (w *world) atStripe(method, path string, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	rec := httptest.NewRecorder()
	r := httptest.NewRequest(method, "http://localhost"+path, bytes.NewReader(text))
	r.Header.Set("Content-Type", "application/json")
	w.sim.Handler().ServeHTTP(rec, r)
	if rec.Code != nethttp.StatusOK {
		w.breaks(22, "the dashboard answers %d: %s", rec.Code, rec.Body)
	}
}

// reconcile asks for a walk over Stripe and the ledger, and for another while one mends
// something. After that nothing may differ but what others made, each of it found once.
func (w *world) reconcile() {
	ctx := context.Background()
	for n := 1; ; n++ {
		before, _, err := w.db.Walks(ctx)
		if err != nil {
			w.breaks(22, "the walks cannot be read: %v", err)
			return
		}
		w.ask("operator walks", "POST", "/v1/actors/reconciler/messages", fmt.Sprintf("walk-%d-%d", w.seed, n), map[string]any{"type": "run", "reason": "somebody wants to know"})
		for asked := time.Now(); ; time.Sleep(10 * time.Minute) {
			w.turn("somebody waits for the walk")
			_, ended, err := w.db.Walks(ctx)
			if err == nil && ended.No > before.No {
				w.walks = ended.No
				break
			}
			if err != nil || time.Since(asked) > 24*time.Hour {
				w.breaks(22, "no walk comes to its end: %v", err)
				return
			}
		}
		open, err := w.db.Findings(ctx, audit.Filter{Open: true, Limit: 1000})
		foreign, others := 0, ""
		for _, f := range open {
			if f.Class == audit.Foreign {
				foreign++
			} else {
				others += "; " + f.Difference.String()
			}
		}
		switch {
		case err == nil && foreign == w.foreign && others == "":
			return
		case n == 4 || err != nil:
			w.breaks(22, "after %d walks %d of %d foreign transfers are found, and there is still drift: %s, %v", n, foreign, w.foreign, others, err)
			return
		}
	}
}
