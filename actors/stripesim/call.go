package stripesim

import (
	"crypto/sha256"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// RequestInfo is what a [Rule]'s Match sees of a call.
type RequestInfo struct {
	Method string
	Path   string
	// Key is the Idempotency-Key, "" without one.
	Key string
	// Account is the Stripe-Account header, "" for the platform.
	Account string
	// Form is the decoded parameters, of the query or of the body.
	Form url.Values
	// Arrival counts how often this key (or, for a read, this URL) has come, from 1.
	Arrival int
}

// call is one request on its way through the pipeline.
type call struct {
	info    RequestInfo
	ep      *endpoint
	ids     [2]string // ids in the path
	form    url.Values
	id      string // Request-Id
	auth    string
	version string
	print   [sha256.Size]byte // identifies path and parameters of a call with a key
	fault   fault
	hide    time.Time // list lag
	pageMax int
	reply   chan outcome

	// Found by the endpoint's check, before the key is claimed.
	transfer *transfer
	reversal *reversal
	charge   *charge
	intent   *intent
	account  *account

	record  *keyRecord
	locked  string
	waiting bool // on the agenda
	early   []<-chan struct{}
	drawn   uint64 // ids drawn from the key so far
	salt    uint64
}

// bodyMax is more than any call of this API needs, in bytes.
const bodyMax = 1 << 20

// read takes a request apart. What cannot be read at all is answered by nobody's
// pipeline: the caller sees a plain 400.
func read(r *http.Request) (*call, error) {
	raw := r.URL.RawQuery
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(io.LimitReader(r.Body, bodyMax))
		if err != nil {
			return nil, err
		}
		if len(body) > 0 {
			raw = string(body)
		}
	}
	form, err := url.ParseQuery(raw)
	if err != nil {
		return nil, err
	}
	c := &call{
		info: RequestInfo{
			Method: r.Method, Path: strings.TrimSuffix(r.URL.Path, "/"), Account: r.Header.Get("Stripe-Account"), Form: form,
		},
		form:    form,
		auth:    bearer(r),
		version: r.Header.Get("Stripe-Version"),
		reply:   make(chan outcome, 1),
	}
	if r.Method == http.MethodPost {
		c.info.Key = strings.TrimSpace(r.Header.Get("Idempotency-Key"))
	}
	if c.info.Key != "" {
		c.print = sha256.Sum256([]byte(c.content(nil)))
	}
	if c.version == "" {
		c.version = APIVersion
	}
	c.ep, c.ids = route(c.info.Method, c.info.Path)
	return c, nil
}

// bearer finds the API key; Stripe takes it as a bearer token or as a user name.
func bearer(r *http.Request) string {
	if user, _, ok := r.BasicAuth(); ok {
		return user
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return ""
	}
	return strings.TrimSpace(token)
}

// scope is the name a key has in the table: keys are per account, not per endpoint.
func (c *call) scope() string { return c.info.Account + "\x00" + c.info.Key }

// content is the canonical form of path and parameters.
func (c *call) content(skip func(name string) bool) string {
	var b strings.Builder
	b.WriteString(c.info.Path)
	for _, name := range sortedKeys(c.form) {
		if skip != nil && skip(name) {
			continue
		}
		for _, v := range c.form[name] {
			b.WriteByte(0)
			b.WriteString(name)
			b.WriteByte(1)
			b.WriteString(v)
		}
	}
	return b.String()
}

// identity is what the plan counts arrivals of: the key, or the URL of a read.
func (c *call) identity() string {
	if c.info.Key != "" {
		return "key\x00" + c.scope()
	}
	return c.info.Method + "\x00" + c.content(nil)
}

// operation is the content without what names a generation: all generations of an
// operation share it, and so share the bound on refusals drawn for it.
func (c *call) operation() string {
	return c.content(func(name string) bool {
		key, ok := metadataKey(name)
		return ok && slices.ContainsFunc([]string{"gen", "epoch", "attempt", "key"}, func(part string) bool {
			return strings.Contains(key, part)
		})
	})
}

// serveAPI runs one call and answers it. The pipeline may go on when the client is
// gone; the reply then goes nowhere.
func (s *Sim) serveAPI(w http.ResponseWriter, r *http.Request) {
	c, err := read(r)
	if err != nil {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	s.admit(c)
	if c.fault.kind == KindHang {
		s.clock.after(c.fault.delay, func() { s.process(c) })
	} else {
		s.process(c)
	}
	select {
	case out := <-c.reply:
		s.write(w, r, c, out)
	case <-r.Context().Done():
		panic(http.ErrAbortHandler)
	case <-s.done:
		panic(http.ErrAbortHandler)
	}
}

// write sends an outcome. No lock is held.
func (s *Sim) write(w http.ResponseWriter, r *http.Request, c *call, out outcome) {
	for _, delivered := range out.early {
		select {
		case <-delivered:
		case <-r.Context().Done():
		case <-s.done:
		}
	}
	if out.manner == dropped {
		panic(http.ErrAbortHandler)
	}
	a := out.answer
	h := w.Header()
	if a.html {
		h.Set("Content-Type", "text/html")
	} else if h.Set("Content-Type", "application/json"); !a.unnamed {
		h.Set("Request-Id", c.id)
		h.Set("Date", s.clock.now().UTC().Format(http.TimeFormat))
		h.Set("Stripe-Version", c.version)
		if c.info.Method == http.MethodPost {
			if a.origin == "" {
				a.origin = c.id
			}
			h.Set("Original-Request", a.origin)
			if c.info.Key != "" {
				h.Set("Idempotency-Key", c.info.Key)
			}
			if a.replayed {
				h.Set("Idempotent-Replayed", "true")
			}
		}
		if c.info.Account != "" {
			h.Set("Stripe-Account", c.info.Account)
		}
		if a.retry != "" {
			h.Set("Stripe-Should-Retry", a.retry)
		}
	}
	for name, value := range a.header {
		h.Set(name, value)
	}
	switch out.manner {
	case emptied:
		h.Set("Content-Length", "0")
		w.WriteHeader(a.status)
		return
	case cut:
		h.Set("Content-Length", strconv.Itoa(len(a.body)))
		w.WriteHeader(a.status)
		_, _ = w.Write(a.body[:len(a.body)/2])
		// Only what was flushed gets out before the connection breaks.
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	h.Set("Content-Length", strconv.Itoa(len(a.body)))
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body)
}

// redact is how Stripe repeats a key it refuses.
func redact(key string) string {
	if len(key) <= 12 {
		return strings.Repeat("*", len(key))
	}
	return key[:8] + strings.Repeat("*", len(key)-12) + key[len(key)-4:]
}
