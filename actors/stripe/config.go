package stripe

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/loopback"
)

// Defaults of a [Config].
const (
	TimeoutDefault     = 20 * time.Second
	ConnectionsDefault = 32
)

// Config is what a [Client] is made from. It never prints its key.
type Config struct {
	// Key is the platform's secret key: sk_… or rk_….
	Key string `json:"-"`
	// Base is empty for Stripe itself; else http(s)://host[:port] of a simulator or proxy.
	Base string
	// Timeout is the hard limit of one call; 0 means TimeoutDefault.
	Timeout time.Duration
	// Connections is how many calls run at once, and so how many idle connections are kept;
	// 0 means ConnectionsDefault.
	Connections int
	// Log hears what the SDK has to say, at debug; nil means slog.Default.
	Log *slog.Logger `json:"-"`
	// Transport replaces the connection pool; nil means our own. One that fails without
	// having read the request's body thereby says that nothing was sent: one that may have
	// delivered the request must read the body first.
	Transport http.RoundTripper `json:"-"`
	// Lenient believes a 2xx whose currency, transfer or metadata are not those of the request,
	// and reads of another object than asked for, or whose reversals do not add up. Only the
	// test against stripe-mock, which has no memory, sets it.
	Lenient bool
}

// Format prints the config without its key, whatever the verb.
func (c Config) Format(f fmt.State, verb rune) {
	type bare Config // without this method
	c.Key = redacted
	fmt.Fprintf(f, fmt.FormatString(f, verb), bare(c))
}

// LogValue is the config without its key.
func (c Config) LogValue() slog.Value {
	return slog.GroupValue(slog.String("base", c.Base), slog.Duration("timeout", c.Timeout), slog.Int("connections", c.Connections))
}

// check reports everything that is wrong with the config, and never shows the key.
func (c Config) check() error {
	var all []error
	bad := func(format string, args ...any) { all = append(all, fmt.Errorf(format, args...)) }

	if err := CheckKey(c.Key, c.Base != ""); err != nil {
		bad("%w", err)
	}
	if c.Base != "" {
		u, err := url.Parse(c.Base)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			bad("the base must be http(s)://host[:port]")
		case u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
			bad("the base must be http(s)://host[:port] and nothing more")
		case u.Scheme == "http" && c.live() && !loopback.Is(u.Hostname()):
			bad("a live key is not sent in the clear: use https for %s", u.Host)
		}
	}
	if c.Timeout < 0 {
		bad("the time-out of a call is negative")
	}
	if c.Connections < 0 {
		bad("the number of connections is negative")
	}
	if err := errors.Join(all...); err != nil {
		return fmt.Errorf("stripe: %w", err)
	}
	return nil
}

// live tells a live key by its prefix.
func (c Config) live() bool {
	mode, _ := ModeOf(c.Key)
	return mode == ledger.LiveMode
}
