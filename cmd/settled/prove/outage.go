package prove

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	nethttp "net/http"
	"strings"
	"time"

	"github.com/settled/settled/actors/stripesim"
)

// trouble is what befalls the calls that move money during an outage. Reads work all the while, so
// that an outage longer than SAFE leaves it to them to decide.
type trouble string

const (
	unheard   trouble = "unheard" // Stripe executes the call, and its answer is lost
	lost      trouble = "lost"    // the call is sent, and never comes to Stripe
	either    trouble = "either"  // the one or the other
	gateway   trouble = "gateway" // something in front of Stripe answers 502; Stripe executed the call, or not
	errors500 trouble = "500"     // Stripe stores a 500; the effect is there, comes later, or never
	closed    trouble = "no_dial" // no connection is made: nothing is sent
	mixture   trouble = "mixture" // of all these but the 500s, each call another
	patient   trouble = "in_vain" // a while without an answer, then the connection breaks; Stripe executed it
)

// outage is a span of trouble.
type outage struct {
	From, For time.Duration // since the world began
	Kind      trouble
	Share     float64 // of the calls
}

func (o outage) String() string {
	return fmt.Sprintf("%.0f %% of the calls %s for %s from %s on", 100*o.Share, o.Kind, o.For.Round(time.Minute), o.From.Round(time.Minute))
}

// drawOutages draws outages, in two worlds of five. A third of these are blind: whatever moves money is
// executed, and for longer than SAFE neither an answer nor an event tells. There reading decides, and
// lists are long in pages and narrow in nothing.
func (p *plan) drawOutages(rng *rand.Rand, safe time.Duration) {
	if rng.IntN(5) < 3 {
		return
	}
	if p.blind = rng.IntN(3) == 0; p.blind {
		o := outage{Kind: []trouble{unheard, unheard, patient}[rng.IntN(3)], Share: 1}
		o.For = time.Duration((1.5 + rng.Float64()) * float64(safe))
		p.Outages, p.LoseEvent, p.PageMax = []outage{o}, 1, 1+rng.IntN(2)
		p.Troubled = max(p.Troubled, (o.For + safe/2).Round(time.Hour))
		return
	}
	kinds := []trouble{unheard, unheard, unheard, lost, lost, either, either, gateway, errors500, closed, mixture, patient}
	for range 1 + rng.IntN(2) {
		o := outage{Kind: kinds[rng.IntN(len(kinds))], From: time.Duration(rng.Float64() * float64(4*time.Hour)), Share: 1}
		o.For = time.Duration((0.3 + 2.5*rng.Float64()) * float64(safe))
		if rng.IntN(2) == 0 {
			o.Share = 0.5 + rng.Float64()/2
		}
		p.Outages = append(p.Outages, o)
		p.Troubled = max(p.Troubled, (o.From + o.For + safe).Round(time.Hour))
	}
	if rng.IntN(2) == 0 {
		p.LoseEvent = 1
	}
}

// befalls draws the trouble that a call meets; none is "".
func (w *world) befalls(method, name string) trouble {
	if method != nethttp.MethodPost || !w.troubled() {
		return ""
	}
	for i, o := range w.plan.Outages {
		at := time.Since(w.began)
		if o.Kind == errors500 || at < o.From || at >= o.From+o.For {
			continue // 500s are Stripe's own
		}
		kind := o.Kind
		if kind == mixture {
			kind = []trouble{unheard, lost, gateway, closed, patient}[w.chance.below(5, fmt.Sprintf("trouble %d %s", i, name))]
		}
		if kind == either {
			kind = []trouble{unheard, lost}[w.chance.below(2, fmt.Sprintf("trouble %d %s", i, name))]
		}
		if w.strikes("post "+string(kind), o.Share, name) {
			return kind
		}
	}
	return ""
}

// errNoDial is a connection that is not made.
var errNoDial = &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}

// endure is a call's way during an outage: the answer is lost, or is not Stripe's.
func (x wire) endure(r *nethttp.Request, body []byte, kind trouble, name string) (*nethttp.Response, error) {
	w := x.n.w
	executes := kind != lost
	if kind == gateway {
		executes = w.chance.below(2, "behind the gateway "+name) == 0
	}
	if executes {
		done := w.sim.Carry(r, body)
		if kind != patient {
			select {
			case <-done:
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		}
	}
	if kind == patient || kind == lost && w.chance.below(2, "silence "+name) == 0 {
		<-r.Context().Done() // nobody says anything
		return nil, r.Context().Err()
	}
	if err := w.driver.park(r.Context(), name+" "+string(kind)); err != nil {
		return nil, err
	}
	if kind == gateway && !x.n.dead.Load() {
		page := "<html><head><title>502 Bad Gateway</title></head></html>"
		return &nethttp.Response{StatusCode: nethttp.StatusBadGateway, Header: nethttp.Header{"Content-Type": {"text/html"}},
			Body: io.NopCloser(strings.NewReader(page)), ContentLength: int64(len(page)), Request: r}, nil
	}
	return nil, errBroken
}

// late reports a plan in which the effect of a 500 may come long after QUIET. Then every generation
// must hear of its 500, so it is the only outage; and nobody says without knowledge what became of it.
func (p *plan) late() bool { return len(p.Outages) == 1 && p.Outages[0].Kind == errors500 }

// breakStripe has the simulator store 500s while an outage of that kind lasts. Some of them are
// rolled forward when every window has passed: Stripe says that it may, and gives no limit.
func (w *world) breakStripe() {
	for i, o := range w.plan.Outages {
		if o.Kind != errors500 {
			continue
		}
		kinds := []stripesim.Rule{{Kind: stripesim.KindStored500}, {Kind: stripesim.KindLate500}, {Kind: stripesim.KindRolledBack500}}
		if w.plan.late() {
			late := w.conf.Policy.Windows.Quiet * 3 / 2
			kinds = append([]stripesim.Rule{{Kind: stripesim.KindLate500, Delay: late}, {Kind: stripesim.KindLate500, Delay: 2 * late}}, kinds...)
		}
		for no, rule := range kinds {
			rule.Path, rule.Times, rule.Match = "POST /v1/transfers", -1, func(c stripesim.RequestInfo) bool {
				at := time.Since(w.began)
				return w.troubled() && at >= o.From && at < o.From+o.For && w.chance.hits(o.Share/2, fmt.Sprintf("500 %d %d %s", no, i, c.Key))
			}
			w.sim.Inject(rule)
		}
	}
}
