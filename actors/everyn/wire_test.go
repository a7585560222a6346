package everyn_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"time"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
)

// callFault is what goes wrong with a call to Stripe.
type callFault uint8

const (
	callFine         callFault = iota
	callRefused                // nobody listens: it was not sent
	callSwallowed              // it never arrives, and the caller waits until it has enough
	callLate                   // it arrives when the caller has had enough, and is executed then
	callReset                  // executed; the connection breaks
	callHangs                  // executed; the caller waits for the answer until it has enough
	callCut                    // executed; half of the answer's body comes
	call429                    // turned away
	call500                    // rolled back; the 500 is stored
	call500Done                // executed; the 500 is stored
	call500Late                // executed some time after the 500
	call502                    // by a proxy, before Stripe
	call502Done                // by a proxy, behind which it was executed
	callDiesBefore             // the process ends before it sends
	callDiesAfter              // the process ends when it was executed
	callDiesOnItsWay           // the process ends; it arrives some time later, and is executed then
)

// rules is what the simulator is told to do. Kinds that are about POSTs alone become a proxy's
// word when a GET meets them.
var rules = map[callFault]stripesim.Rule{
	call429:          {Kind: stripesim.KindRateLimit},
	call500:          {Kind: stripesim.KindRolledBack500},
	call500Done:      {Kind: stripesim.KindStored500},
	call500Late:      {Kind: stripesim.KindLate500},
	call502:          {Kind: stripesim.KindBadGateway},
	call502Done:      {Kind: stripesim.KindBadGateway, Execute: true},
	callLate:         {Kind: stripesim.KindHang},
	callDiesOnItsWay: {Kind: stripesim.KindHang},
}

// wire takes a daemon's calls to the simulator, without a socket.
type wire struct {
	life   *life
	daemon *daemon // nil: of nobody whose calls fail
}

var (
	errNobody = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	errBroken = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
)

// RoundTrip implements [http.RoundTripper]. An error before the body was read says that
// nothing was sent.
func (x wire) RoundTrip(r *http.Request) (*http.Response, error) {
	fault := callFine
	if x.daemon != nil {
		if x.daemon.isDead() {
			return nil, errNobody
		}
		if fault = x.daemon.points.stripe(); fault == callDiesBefore {
			x.daemon.faults.Kill()
		}
	}
	if fault == callRefused || fault == callDiesBefore {
		return nil, errNobody
	}
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	if x.daemon != nil && x.daemon.isDead() { // it died as it wrote: nothing arrives
		return nil, errBroken
	}
	if r.Method == http.MethodPost {
		x.life.sees(r, string(body))
	}
	if rule, ok := rules[fault]; ok {
		if r.Method != http.MethodPost && (fault == call500 || fault == call500Done || fault == call500Late) {
			rule = rules[call502]
		}
		rule.Path, rule.Delay = r.Method+" "+r.URL.Path+"$", x.life.pace.onItsWay
		x.life.sim.Inject(rule)
	}
	ctx := context.WithoutCancel(r.Context()) // a server carries on when its client has gone
	switch fault {
	case callSwallowed:
		<-r.Context().Done()
		return nil, r.Context().Err()
	case callLate:
		ctx = r.Context()
	case callDiesOnItsWay:
		x.daemon.faults.Kill()
		gone, cancel := context.WithCancel(ctx)
		cancel()
		ctx = gone
	}
	res, err := x.life.serve(r.Clone(ctx), body)
	if fault == callDiesAfter {
		x.daemon.faults.Kill()
	}
	switch {
	case fault == callReset, x.daemon != nil && x.daemon.isDead():
		return nil, errBroken
	case r.Context().Err() != nil:
		return nil, r.Context().Err()
	case err != nil:
		return nil, err
	case fault == callHangs:
		<-r.Context().Done()
		return nil, r.Context().Err()
	case fault == callCut:
		all, _ := io.ReadAll(res.Body)
		res.Body = io.NopCloser(io.MultiReader(bytes.NewReader(all[:len(all)/2]), broken{}))
	}
	return res, nil
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// serve has the simulator answer a call.
func (l *life) serve(r *http.Request, body []byte) (res *http.Response, err error) {
	r.Body = io.NopCloser(bytes.NewReader(body))
	rec := httptest.NewRecorder()
	defer func() {
		if bug := recover(); bug == http.ErrAbortHandler {
			err = errBroken
		} else if bug != nil {
			panic(bug)
		}
	}()
	l.sim.Handler().ServeHTTP(rec, r)
	return rec.Result(), nil
}

// hook takes Stripe's events to a daemon, as the webhook's handler does.
type hook struct{ *life }

// RoundTrip implements [http.RoundTripper].
func (h hook) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	res := httptest.NewRecorder()
	if d := h.listener(); d == nil || d.system.Receive(r.Context(), []ledger.StripeEvent{h.event(body)}) != nil || d.isDead() {
		res.Code = http.StatusServiceUnavailable
	}
	return res.Result(), nil
}

// event reads an event as package http does.
func (l *life) event(body []byte) ledger.StripeEvent {
	var e struct {
		ID         string `json:"id"`
		Type       string `json:"type"`
		Account    string `json:"account"`
		Livemode   bool   `json:"livemode"`
		APIVersion string `json:"api_version"`
		Created    int64  `json:"created"`
		Data       struct {
			Object struct {
				ID string `json:"id"`
			} `json:"object"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &e); err != nil {
		l.Errorf("an event: %v", err)
	}
	return ledger.StripeEvent{ID: e.ID, Type: e.Type, Account: e.Account, Livemode: e.Livemode, APIVersion: e.APIVersion,
		Object: e.Data.Object.ID, Created: time.Unix(e.Created, 0), Payload: body}
}
