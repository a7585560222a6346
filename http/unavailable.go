package http

import (
	"context"
	"io"
	"log"
	"net"
	nethttp "net/http"
	"strconv"
	"sync"
	"time"
)

// Waiting answers on both listeners while the daemon waits for its database to begin: it is
// alive, it says that it is not ready, and turns down all else with 503, so that Stripe sends
// its events again.
type Waiting struct {
	lent    []lent
	servers []*nethttp.Server
	ended   sync.WaitGroup
	hosts   hosts
}

// endTime is how long an answer under way has to end, once the daemon itself is there to answer.
const endTime = 100 * time.Millisecond

// Wait begins to answer on listeners that [Waiting.End] gives back. Names are those that the admin listener
// answers to beside loopback's.
func Wait(public, admin *net.TCPListener, names []string) (*Waiting, error) {
	own, err := newHosts(names)
	if err != nil {
		return nil, err
	}
	w := &Waiting{hosts: own}
	probes := nethttp.NewServeMux()
	probes.HandleFunc("/", w.refuse)
	probes.HandleFunc("GET /livez", func(to nethttp.ResponseWriter, _ *nethttp.Request) {
		to.Header().Set("Content-Type", "application/json")
		to.Write([]byte(`{"status":"live"}`))
	})
	probes.HandleFunc("GET /readyz", w.readyz)
	limits := DefaultLimits()
	for l, handler := range map[*net.TCPListener]nethttp.Handler{public: nethttp.HandlerFunc(w.refuse),
		admin: w.forUs(probes)} {
		own := lent{l}
		server := &nethttp.Server{Handler: handler, ReadTimeout: limits.Read, WriteTimeout: limits.Write,
			IdleTimeout:    limits.Idle,
			MaxHeaderBytes: headerBytes, ErrorLog: log.New(io.Discard, "", 0)}
		server.SetKeepAlivesEnabled(false) // whoever asks again is to reach the daemon itself
		w.lent, w.servers = append(w.lent, own), append(w.servers, server)
		// Nobody shows a token here, so whoever comes is let in, and the idlest goes for it.
		inside := newListener(own, limits.AdminConns, limits.AdminConnsPerIP, func(int) {})
		w.ended.Go(func() { server.Serve(inside) })
	}
	return w, nil
}

// forUs refuses a request that was meant for another host, as [hosts.ours] does; the library has refused two of them.
// It hides the header behind an absolute URI, which nobody who is not a proxy sends: that is not ours either.
func (w *Waiting) forUs(next nethttp.Handler) nethttp.Handler {
	return nethttp.HandlerFunc(func(to nethttp.ResponseWriter, r *nethttp.Request) {
		local, _ := r.Context().Value(nethttp.LocalAddrContextKey).(net.Addr)
		if name, ok := hostname(r.Host); !ok || r.URL.IsAbs() || !w.hosts.answers(name, local) {
			answerProblem(to, r, misdirectedTo(r.Host))
			return
		}
		next.ServeHTTP(to, r)
	})
}

// End stops answering, and leaves the listeners open.
func (w *Waiting) End() {
	budget, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	for _, s := range w.servers {
		if s.Shutdown(budget) != nil {
			s.Close()
		}
	}
	w.ended.Wait()
	for _, l := range w.lent {
		l.SetDeadline(time.Time{})
	}
}

func (w *Waiting) readyz(to nethttp.ResponseWriter, _ *nethttp.Request) {
	// The error names hosts, users and databases, and nobody can be asked for a token.
	reason := "the ledger's database cannot be reached; the log says why"
	h := health{Status: "unready", Checks: []check{{Name: "serving", OK: true}, {Name: "engine", Reason: &reason}}}
	to.Header().Set("Content-Type", "application/json")
	to.WriteHeader(nethttp.StatusServiceUnavailable)
	to.Write(mustJSON(h))
}

func (w *Waiting) refuse(to nethttp.ResponseWriter, r *nethttp.Request) {
	to.Header().Set("Retry-After", strconv.Itoa(int(retryAfterAMoment.Seconds())))
	answerProblem(to, r, faultf(unavailable,
		"The daemon has started and waits for its database. Ask again: with the same reference or Idempotency-Key nothing happens twice."))
}

func answerProblem(to nethttp.ResponseWriter, r *nethttp.Request, f *fault) {
	to.Header().Set("Content-Type", problemType)
	to.WriteHeader(f.kind.status)
	to.Write(f.text(r.URL.Path, ""))
}

// lent is a listener that is given back rather than closed: a deadline that has passed ends
// the calls that wait in Accept.
type lent struct{ *net.TCPListener }

func (l lent) Close() error { return l.SetDeadline(time.Unix(1, 0)) }
