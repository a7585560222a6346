package prove

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"strings"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/cmd/settled/adapt"
	"github.com/settled/settled/db"
	"github.com/settled/settled/db/faulty"
	"github.com/settled/settled/http"
	"github.com/settled/settled/ledger"
)

// What a daemon shares with the world passes through here: its database, Stripe, and who calls
// it. Each passing is a step of the driver's, and a place where the process may die.

// at lets a statement group happen, or go wrong.
func (n *node) at(ctx context.Context, what string, do func() error) error {
	w, name := n.w, n.name+" db "+what
	if n.dead.Load() {
		return errDead
	}
	if err := w.driver.park(ctx, name); err != nil {
		return err
	}
	if w.troubled() && w.strikes("slow", w.plan.Slow, name) {
		pause(ctx, w.chance.within(time.Minute, "how slow "+name))
		if err := w.driver.park(ctx, name+" at last"); err != nil {
			return err
		}
	}
	if n.dead.Load() {
		return errDead
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !w.troubled() {
		return do()
	}
	switch {
	case w.strikes("db before", w.plan.FailBefore, name):
		return errOutage
	case w.strikes("die before db", w.plan.DieBefore, name):
		n.die("before " + what)
		return errDead
	case w.strikes("statement", w.plan.FailInside, name):
		w.failing = 1 + w.chance.below(8, "which statement "+name)
		err := do()
		w.failing = 0
		return err
	case w.strikes("die inside db", w.plan.DieInside, name):
		w.failing = 1 + w.chance.below(8, "which statement "+name)
		w.dying = n
		err := do()
		w.failing, w.dying = 0, nil
		if n.dead.Load() {
			return errDead
		}
		return err
	case w.strikes("db after", w.plan.FailAfter, name):
		do()
		return errOutage
	case w.strikes("die after db", w.plan.DieAfter, name):
		do()
		n.die("after " + what)
		return errDead
	}
	return do()
}

// statement lets a statement of the database fail, or the process die at it: then none that
// follows has an effect either.
func (w *world) statement(p faulty.Point) faulty.Fault {
	if w.failing == 0 || p.Call == faulty.Rollback || p.Call == faulty.Fetch || p.Call == faulty.Connect {
		return faulty.None
	}
	if w.failing > 1 {
		w.failing--
		return faulty.None
	}
	if w.dying == nil {
		w.failing = 0
	} else {
		w.dying.die("inside a transaction")
	}
	return faulty.Failed
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// seam is the database as a daemon's tree has it.
type seam struct {
	*db.DB
	n *node
}

// Commit shows what was committed to the watch, whether or not the daemon hears of it.
func (s *seam) Commit(ctx context.Context, changes []ledger.Change) (at time.Time, won []bool, err error) {
	err = s.n.at(ctx, commitOf(changes), func() (err error) {
		if at, won, err = s.DB.Commit(ctx, changes); err == nil {
			s.n.w.committed(changes, won)
			s.n.goesOn(won)
		}
		return err
	})
	return at, won, err
}

// commitOf names a commit by what is in it.
func commitOf(changes []ledger.Change) string {
	name := []byte("commit")
	for i := range changes {
		h := &changes[i].History
		name = fmt.Appendf(name, " %s %s", h.Event, h.Subject)
		if h.Subject != h.Transfer {
			name = fmt.Appendf(name, " of %s", h.Transfer)
		}
	}
	return string(name)
}

func (s *seam) Load(ctx context.Context, ids []ledger.ID) (r []ledger.Record, err error) {
	err = s.n.at(ctx, "load "+about(ids), func() (err error) { r, err = s.DB.Load(ctx, ids); return err })
	return r, err
}

func (s *seam) ByReference(ctx context.Context, references []string) (r []ledger.Record, err error) {
	err = s.n.at(ctx, "by_reference "+about(references), func() (err error) { r, err = s.DB.ByReference(ctx, references); return err })
	return r, err
}

func (s *seam) ByName(ctx context.Context, names []ledger.ID) (r []ledger.Record, err error) {
	err = s.n.at(ctx, "by_name "+about(names), func() (err error) { r, err = s.DB.ByName(ctx, names); return err })
	return r, err
}

// Lost shows the watch what was made again.
func (s *seam) Lost(ctx context.Context, created time.Time, skew time.Duration, rebuilt *ledger.Change) (stored, raised bool, err error) {
	err = s.n.at(ctx, "lost", func() (err error) {
		if stored, raised, err = s.DB.Lost(ctx, created, skew, rebuilt); err == nil && stored {
			s.n.w.committed([]ledger.Change{*rebuilt}, []bool{true})
		}
		return err
	})
	return stored, raised, err
}

func (s *seam) Unfinished(ctx context.Context, after ledger.ID, limit int) (r []ledger.Record, err error) {
	err = s.n.at(ctx, "unfinished", func() (err error) { r, err = s.DB.Unfinished(ctx, after, limit); return err })
	return r, err
}

func (s *seam) UnfinishedIDs(ctx context.Context, after ledger.ID, limit int) (r []ledger.ID, err error) {
	err = s.n.at(ctx, "unfinished_ids", func() (err error) { r, err = s.DB.UnfinishedIDs(ctx, after, limit); return err })
	return r, err
}

func (s *seam) Ping(ctx context.Context) error {
	return s.n.at(ctx, "ping", func() error { return s.DB.Ping(ctx) })
}

func (s *seam) StoreEvents(ctx context.Context, events []ledger.StripeEvent) (fresh []bool, err error) {
	err = s.n.at(ctx, "store_events "+events[0].ID, func() (err error) { fresh, err = s.DB.StoreEvents(ctx, events); return err })
	return fresh, err
}

func (s *seam) UnhandledEvents(ctx context.Context, after string, limit int) (e []ledger.StripeEvent, err error) {
	err = s.n.at(ctx, "unhandled_events", func() (err error) { e, err = s.DB.UnhandledEvents(ctx, after, limit); return err })
	return e, err
}

func (s *seam) HandleEvents(ctx context.Context, ids []string) error {
	return s.n.at(ctx, "handle_events", func() error { return s.DB.HandleEvents(ctx, ids) })
}

func (s *seam) StoreMessage(ctx context.Context, m ledger.Message, before ledger.State) (fresh bool, err error) {
	s.n.w.told(m)
	err = s.n.at(ctx, "store_message "+m.ID.String(), func() (err error) { fresh, err = s.DB.StoreMessage(ctx, m, before); return err })
	return fresh, err
}

func (s *seam) StoreReceipt(ctx context.Context, r ledger.Receipt) error {
	return s.n.at(ctx, "store_receipt "+r.Message.String(), func() error { return s.DB.StoreReceipt(ctx, r) })
}

func (s *seam) Receipt(ctx context.Context, message ledger.ID) (r ledger.Receipt, found bool, err error) {
	err = s.n.at(ctx, "receipt "+message.String(), func() (err error) { r, found, err = s.DB.Receipt(ctx, message); return err })
	return r, found, err
}

// about names a call by the first of what it is about.
func about[T any](list []T) string {
	if len(list) == 0 {
		return "nothing"
	}
	return fmt.Sprint(list[0])
}

// httpSeam is the database as a daemon's handlers have it.
type httpSeam struct {
	adapt.Store
	n *node
}

func (s *httpSeam) at(ctx context.Context, what string, do func() error) error {
	err := s.n.at(ctx, what, do)
	if errors.Is(err, errOutage) || errors.Is(err, errDead) {
		return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
	}
	return err
}

func (s *httpSeam) Dossier(ctx context.Context, id ledger.ID, latest int) (d ledger.Dossier, err error) {
	err = s.at(ctx, "dossier "+id.String(), func() (err error) { d, err = s.Store.Dossier(ctx, id, latest); return err })
	return d, err
}

func (s *httpSeam) List(ctx context.Context, f ledger.Filter) (r []ledger.Record, err error) {
	err = s.at(ctx, "list", func() (err error) { r, err = s.Store.List(ctx, f); return err })
	return r, err
}

func (s *httpSeam) Tokens(ctx context.Context) (t []http.Token, err error) {
	err = s.at(ctx, "tokens", func() (err error) { t, err = s.Store.Tokens(ctx); return err })
	return t, err
}

func (s *httpSeam) ClaimKey(ctx context.Context, key, fingerprint string, staleAfter time.Duration) (c http.Claim, err error) {
	err = s.at(ctx, "claim_key "+key, func() (err error) { c, err = s.Store.ClaimKey(ctx, key, fingerprint, staleAfter); return err })
	return c, err
}

func (s *httpSeam) FinishKey(ctx context.Context, key string, status int, body []byte) error {
	return s.at(ctx, "finish_key "+key, func() error { return s.Store.FinishKey(ctx, key, status, body) })
}

func (s *httpSeam) ReleaseKey(ctx context.Context, key string) error {
	return s.at(ctx, "release_key "+key, func() error { return s.Store.ReleaseKey(ctx, key) })
}

// wire takes a daemon's calls to Stripe. What Stripe and the way to it do wrong is the
// simulator's business; here the process may die, before the call and after it.
type wire struct{ n *node }

var errBroken = errors.New("connection broken")

func (x wire) RoundTrip(r *nethttp.Request) (*nethttp.Response, error) {
	w, n := x.n.w, x.n
	key := r.Header.Get("Idempotency-Key")
	name := fmt.Sprintf("%s %s %s %s", n.name, r.Method, r.URL.RequestURI(), key)
	if err := w.driver.park(r.Context(), name); err != nil {
		return nil, err
	}
	trouble := w.befalls(r.Method, name)
	if trouble == closed {
		return nil, errNoDial // its body was not touched, which proves that nothing was sent
	}
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	if n.dead.Load() {
		return nil, errBroken
	}
	if w.troubled() && w.strikes("die before call", w.plan.DieBefore, name) {
		n.die("before a call")
		return nil, errBroken
	}
	if r.URL.Query().Has("starting_after") {
		w.met("page after the first")
	}
	if r.Method == nethttp.MethodPost {
		w.sent(key, r.URL.Path, string(body))
	}
	if trouble != "" {
		return x.endure(r, body, trouble, name)
	}
	done := w.sim.Carry(r, body)
	var res *nethttp.Response
	select {
	case res = <-done:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	if w.troubled() && w.strikes("die after call", w.plan.DieAfter, name) {
		n.die("after a call")
	}
	if err := w.driver.park(r.Context(), name+" answered"); err != nil {
		return nil, err
	}
	if n.dead.Load() || res == nil {
		return nil, errBroken
	}
	if err := w.answered(key, res); err != nil {
		return nil, err
	}
	return res, nil
}

// hook takes Stripe's events to the daemons' webhook handlers: late, twice, or not at all.
type hook struct{ w *world }

func (h hook) RoundTrip(r *nethttp.Request) (*nethttp.Response, error) {
	w := h.w
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	id := eventID(body)
	if bytes.Contains(body, []byte(`"v2.core.event"`)) {
		w.met("event of the v2 API")
	}
	if err := w.driver.park(r.Context(), "event "+id); err != nil {
		return nil, err
	}
	times := 1
	if w.troubled() {
		switch {
		case w.strikes("event lost", w.plan.LoseEvent, id):
			return nil, errBroken
		case w.strikes("event twice", w.plan.TwiceEvent, id):
			times = 2
		}
	}
	status := 0
	for range times {
		if status = w.deliver(id, body, r.Header.Get("Stripe-Signature")); status == 0 {
			return nil, errBroken
		}
	}
	if w.troubled() && w.strikes("event lies", w.plan.LieEvent, id) {
		if lie := w.lie("evt_lie" + strings.TrimPrefix(id, "evt_")); lie != nil {
			w.deliver(eventID(lie), lie, signed(lie))
		}
	}
	return &nethttp.Response{StatusCode: status, Body: nethttp.NoBody, Request: r}, nil
}

// deliver brings an event to a daemon.
func (w *world) deliver(id string, body []byte, signature string) (status int) {
	w.mu.Lock()
	w.herd.hears(body)
	w.mu.Unlock()
	losses := w.lossesYet()
	if n := w.anyNode("event " + id); n != nil {
		status, _ = n.call(n.public, "POST", "/webhooks/stripe", body, map[string]string{"Content-Type": "application/json", "Stripe-Signature": signature})
	}
	w.turn(fmt.Sprintf("event %s answered %d", id, status))
	if status == 200 {
		w.acknowledged(id, losses)
	}
	return status
}

// lie makes an event that says that Stripe holds an operation which it does not.
func (w *world) lie(id string) []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.orders {
		o := w.orders[(i+len(id)+w.posts)%len(w.orders)]
		if t := w.watch.Row(o.id); t != nil && t.Operation.StripeID == "" {
			return fmt.Appendf(nil, `{"id":%q,"object":"event","type":"transfer.created","api_version":%q,"livemode":false,"created":%d,`+
				`"data":{"object":{"id":"tr_that_is_not","object":"transfer","amount":%d,"metadata":{%q:%q}}}}`,
				id, stripesim.APIVersion, time.Now().Unix(), t.Money.Amount, ledger.MetaOperation, t.Named("").Operation.Name)
		}
	}
	return nil
}

// signed signs an event as Stripe does.
func signed(body []byte) string {
	at := time.Now().Unix()
	mac := hmac.New(sha256.New, []byte(webhookSecret))
	fmt.Fprintf(mac, "%d.%s", at, body)
	return fmt.Sprintf("t=%d,v1=%x", at, mac.Sum(nil))
}

// call brings a request to one of the daemon's handlers. A process that dies on the way
// answers nothing: status 0.
func (n *node) call(handler fasthttp.RequestHandler, method, path string, body []byte, header map[string]string) (status int, answer []byte) {
	var req fasthttp.Request
	req.Header.SetMethod(method)
	req.SetRequestURI(path)
	req.Header.SetHost("localhost")
	for name, value := range header {
		req.Header.Set(name, value)
	}
	if body != nil {
		req.SetBody(body)
		req.Header.SetContentLength(len(body))
	}
	var ctx fasthttp.RequestCtx
	ctx.Init(&req, nil, nil)
	handler(&ctx)
	if n.dead.Load() {
		return 0, nil
	}
	answer = ctx.Response.Body()
	n.w.search("an answer", answer)
	return ctx.Response.StatusCode(), answer
}

// canary is where the logs go.
type canary struct{ w *world }

func (c canary) Write(line []byte) (int, error) {
	c.w.search("a log line", line)
	if text := string(line); strings.Contains(text, `"msg":"panic"`) || strings.Contains(text, "the ledger refused a change") {
		c.w.breaks(29, "%.600s", text)
	}
	return len(line), nil
}

// search looks for secrets where none may be.
func (w *world) search(where string, text []byte) {
	for _, secret := range []string{secretKey, webhookSecret, adminToken} {
		if strings.Contains(string(text), secret) {
			w.breaks(24, "%s holds a secret: %s", where, text)
		}
	}
}
