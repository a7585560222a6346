package stripesim

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// courier delivers events. It has goroutines only while there is something to
// deliver, and never more than couriersMax.
type courier struct {
	client *http.Client
	own    bool // the client is ours to tear down
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	idle   sync.Cond
	queue  []delivery
	busy   int
	closed bool
}

const (
	couriersMax = 8
	// attemptsMax bounds the deliveries of one event; with Stripe's three days and
	// doubling pauses it is about as many.
	attemptsMax = 16
)

// delivery is one attempt to hand over one event.
type delivery struct {
	sim     *Sim
	event   *event
	attempt int           // from 0
	told    chan struct{} // closed after the attempt, when somebody waits for it
}

func newCourier(client *http.Client) *courier {
	p := &courier{client: client}
	p.idle.L = &p.mu
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if client == nil {
		p.own = true
		p.client = &http.Client{
			Transport: &http.Transport{MaxIdleConnsPerHost: couriersMax},
			// A receiver that redirects has not taken the event.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return p
}

// send queues a delivery and sees to it that somebody works.
func (p *courier) send(d delivery) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		d.tell()
		return
	}
	p.queue = append(p.queue, d)
	if p.busy < couriersMax {
		p.busy++
		p.wg.Go(p.work)
	}
}

func (p *courier) work() {
	for {
		p.mu.Lock()
		if len(p.queue) == 0 {
			p.busy--
			if p.busy == 0 {
				p.idle.Broadcast()
			}
			p.mu.Unlock()
			return
		}
		d := p.queue[0]
		p.queue[0] = delivery{}
		p.queue = p.queue[1:]
		p.mu.Unlock()
		d.sim.hand(p, d)
	}
}

func (p *courier) flush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.busy > 0 || len(p.queue) > 0 {
		p.idle.Wait()
	}
}

func (p *courier) close() {
	p.mu.Lock()
	p.closed = true
	for _, d := range p.queue {
		d.tell()
	}
	p.queue = nil
	p.mu.Unlock()
	p.cancel()
	p.wg.Wait()
	if p.own {
		p.client.CloseIdleConnections()
	}
}

func (d delivery) tell() {
	if d.told != nil {
		close(d.told)
	}
}

// hand makes one attempt and plans the next if the receiver did not take the event.
func (s *Sim) hand(p *courier, d delivery) {
	defer d.tell()
	s.mu.Lock()
	body, to := renderEvent(d.event), s.webhook
	s.mu.Unlock()
	if to.url == "" {
		return
	}
	err := p.attempt(to, body, s.cfg.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		d.event.pending, d.event.delivered = 0, true
		s.count("webhook delivered")
		return
	}
	s.count("webhook refused")
	if d.attempt+1 >= attemptsMax {
		s.count("webhook given_up")
		s.log.Warn("gave an event up", "event", d.event.id, "type", d.event.kind, "error", err)
		return
	}
	next := delivery{sim: s, event: d.event, attempt: d.attempt + 1}
	s.clock.after(s.pause(d.attempt), func() { p.send(next) })
}

// pause is the wait after a failed attempt: it doubles, up to EventDelayMax.
func (s *Sim) pause(attempt int) time.Duration {
	most := s.cfg.Times.EventDelayMax
	return min(most, (most/2048)<<min(attempt, 12))
}

// attempt posts a signed event. The signature's time is the base clock's, because
// the receiver's clock is not moved by Advance.
func (p *courier) attempt(to endpointURL, body []byte, at time.Time) error {
	ctx, cancel := context.WithTimeout(p.ctx, webhookTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("deliver to %s: %w", to.url, err)
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set("User-Agent", "Stripe/1.0 (+https://stripe.com/docs/webhooks)")
	req.Header.Set("Stripe-Signature", sign(body, to.secret, at))
	resp, err := p.client.Do(req)
	if err != nil {
		return fmt.Errorf("deliver to %s: %w", to.url, err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return fmt.Errorf("deliver to %s: status %d", to.url, resp.StatusCode)
	}
	return nil
}

// sign makes a Stripe-Signature: HMAC-SHA256 over time, a dot and the body.
func sign(body []byte, secret string, at time.Time) string {
	t := strconv.FormatInt(at.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(t))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(mac.Sum(nil))
}
