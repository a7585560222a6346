package stripe

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	sdk "github.com/stripe/stripe-go/v76"
)

// Client speaks to one Stripe account. It may be used by many goroutines at once.
type Client struct {
	key     secret
	live    bool
	lenient bool
	timeout time.Duration
	log     *slog.Logger
	http    *http.Client
	backend sdk.Backend
}

// clientTimeoutMargin lets the context of a call end it first, so that the error says which
// limit it was; the HTTP client's own limit is the net below it.
const clientTimeoutMargin = time.Second

// New makes a client; nothing is sent by it.
func New(cfg Config) (*Client, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = TimeoutDefault
	}
	if cfg.Connections == 0 {
		cfg.Connections = ConnectionsDefault
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	next := cfg.Transport
	if next == nil {
		next = newTransport(cfg)
	}
	c := &Client{
		key:     newSecret(cfg.Key),
		live:    cfg.live(),
		lenient: cfg.Lenient,
		timeout: cfg.Timeout,
		log:     cfg.Log,
		http: &http.Client{
			Transport: &exchange{next: next},
			Timeout:   cfg.Timeout + clientTimeoutMargin,
			// A redirect is an answer that we do not understand. Followed, a 307 would repeat the
			// POST somewhere else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	var base *string // nil: the SDK's own, which is Stripe
	if cfg.Base != "" {
		base = &cfg.Base
	}
	c.backend = sdk.GetBackendWithConfig(sdk.APIBackend, &sdk.BackendConfig{
		URL:               base,
		HTTPClient:        c.http,
		LeveledLogger:     sdkLog{c.log, c.key},
		MaxNetworkRetries: sdk.Int64(0), // every attempt is journalled before it is made, by the actor
		EnableTelemetry:   sdk.Bool(false),
	})
	// The first request of a process runs uname for a header: now rather than inside a call.
	if b, ok := c.backend.(*sdk.BackendImplementation); ok {
		if _, err := b.NewRequest(http.MethodGet, "/", "", "", nil); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Close closes idle connections. Calls under way end as they would.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// String names the client without its key.
func (c *Client) String() string { return "stripe client " + c.key.String() }

// call gives one attempt its time limit and makes it.
func (c *Client) call(ctx context.Context, a *attempt, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, attemptKey{}, a), c.timeout)
	defer cancel()
	a.cancel = cancel
	return do(ctx)
}
