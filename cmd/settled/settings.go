package main

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/db"
	"github.com/settled/settled/http"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/loopback"
)

// flags is the configuration: each field is one setting, with the environment variable that
// sets it, its default and its help. Secrets are no flags, for arguments are visible to every
// process of a machine; they may come from a file named by NAME_FILE.
type flags struct {
	DatabaseURL              *string `var:"DATABASE_URL" def:"sqlite:settled.db" file:"yes" help:"sqlite:path or postgres://…; a flag may not hold a password" placeholder:"X"`
	DatabaseURLAllow         *string `var:"DATABASE_URL_ALLOW" help:"hosts of PostgreSQL, comma-separated, whose certificate need not be verified (sslmode=verify-full)" placeholder:"X"`
	StripeSecretKey          *string `kong:"-" var:"STRIPE_SECRET_KEY" alias:"STRIPE_CONNECT_SECRET_KEY" help:"the platform's secret key, sk_… or rk_…"`
	StripeAPIBase            *string `var:"STRIPE_API_BASE" help:"another base URL for the API: a simulator or proxy" placeholder:"X"`
	StripeAPIBaseAllow       *string `var:"STRIPE_API_BASE_ALLOW" help:"a host that a live key may be sent to beside Stripe's" placeholder:"X"`
	StripeWebhookSecret      *string `kong:"-" var:"STRIPE_WEBHOOK_SECRET" help:"signing secrets of the webhook endpoints, comma-separated"`
	StripeRateLimit          *string `var:"STRIPE_RATE_LIMIT" def:"80" help:"calls a second in all; 0: no limit" placeholder:"X"`
	StripeEndpointRateLimit  *string `var:"STRIPE_ENDPOINT_RATE_LIMIT" def:"20" help:"calls a second to one endpoint; 0: no limit" placeholder:"X"`
	StripeConcurrency        *string `var:"STRIPE_CONCURRENCY" def:"32" help:"calls under way at once" placeholder:"X"`
	PublicAddr               *string `var:"PUBLIC_ADDR" def:"127.0.0.1:8080" help:"where Stripe posts its events" placeholder:"X"`
	AdminAddr                *string `var:"ADMIN_ADDR" def:"127.0.0.1:8081" help:"where everything else is served" placeholder:"X"`
	AdminAddrAllow           *string `var:"ADMIN_ADDR_ALLOW" help:"the host of ADMIN_ADDR, when it is off loopback and a live key is used: it speaks in the clear" placeholder:"X"`
	AdminHosts               *string `var:"ADMIN_HOSTS" help:"names that ADMIN_ADDR answers to beside loopback's, comma-separated" placeholder:"X"`
	AdminToken               *string `kong:"-" var:"ADMIN_TOKEN" help:"a bootstrap admin token, 16 characters or more"`
	TransferRetryEnabled     *string `var:"TRANSFER_RETRY_ENABLED" def:"true" help:"false: a refused transfer waits for a person" placeholder:"X"`
	TransferRetryMaxAttempts *string `var:"TRANSFER_RETRY_MAX_ATTEMPTS" def:"5" help:"refusals before a transfer is given up" placeholder:"X"`
	TransferRetryInterval    *string `var:"TRANSFER_RETRY_INTERVAL" def:"1m" help:"interval of the sweep for transfers without an actor" placeholder:"X"`
	TransferBackoffBase      *string `var:"TRANSFER_BACKOFF_BASE" def:"1m" help:"the first wait after a refusal" placeholder:"X"`
	TransferBackoffMax       *string `var:"TRANSFER_BACKOFF_MAX" def:"1h" help:"the longest wait after a refusal" placeholder:"X"`
	ReversalWorkerEnabled    *string `var:"REVERSAL_WORKER_ENABLED" def:"true" help:"false: reversals are recorded and wait" placeholder:"X"`
	ReversalMaxRetries       *string `var:"REVERSAL_MAX_RETRIES" def:"5" help:"refusals before a reversal is given up" placeholder:"X"`
	ReversalCheckInterval    *string `var:"REVERSAL_CHECK_INTERVAL" def:"1m" help:"interval of the sweep for reversals without an actor" placeholder:"X"`
	ReversalBackoffBase      *string `var:"REVERSAL_BACKOFF_BASE" def:"1m" help:"the first wait after a reversal's refusal" placeholder:"X"`
	ReversalBackoffMax       *string `var:"REVERSAL_BACKOFF_MAX" def:"1h" help:"the longest wait after a reversal's refusal" placeholder:"X"`
	TransferConditionMaxAge  *string `var:"TRANSFER_CONDITION_MAX_AGE" def:"720h" help:"how long a transfer waits for funds or the seller's account" placeholder:"X"`
	ReversalConditionMaxAge  *string `var:"REVERSAL_CONDITION_MAX_AGE" def:"1080h" help:"how long a reversal waits for the seller's funds" placeholder:"X"`
	UnresolvedPolicy         *string `var:"UNRESOLVED_POLICY" def:"park" help:"what is parked when Stripe shows nothing after QUIET_WINDOW: park (what saw a 5xx), always" placeholder:"X"`
	SafeWindow               *string `var:"SAFE_WINDOW" def:"6h" help:"how long a key may be sent after its first send" placeholder:"X"`
	QuietWindow              *string `var:"QUIET_WINDOW" def:"10h30m" help:"after how long nothing of a send can be under way any more" placeholder:"X"`
	ReconcileInterval        *string `var:"RECONCILE_INTERVAL" def:"1h" help:"between the beginnings of two walks over Stripe and the ledger" placeholder:"X"`
	ReconcileRate            *string `var:"RECONCILE_RATE" def:"2" help:"reads of Stripe a second that a walk may make; each is of up to 100 transfers" placeholder:"X"`
	ReconcilePolicy          *string `var:"RECONCILE_POLICY" def:"adopt" help:"what a walk applies by itself: adopt (what Stripe is read to hold), report (nothing)" placeholder:"X"`
	ReconcileForeign         *string `var:"RECONCILE_FOREIGN" def:"report" help:"transfers that others make in the same account: report, ignore" placeholder:"X"`
	MaxTransfer              *string `var:"MAX_TRANSFER" help:"the most of one transfer by currency, in minor units: eur:100000,usd:…; other currencies are refused" placeholder:"X"`
	MaxDaily                 *string `var:"MAX_DAILY" help:"the most that one principal may order in a day of UTC, likewise" placeholder:"X"`
	HoldNewDestination       *string `var:"HOLD_NEW_DESTINATION" def:"false" help:"true: a transfer to a destination that is new for its seller is held until it is released" placeholder:"X"`
	EventRetention           *string `var:"EVENT_RETENTION" def:"90d" help:"how long the payload of a handled event is kept; its row stays" placeholder:"X"`
	LogLevel                 *string `var:"LOG_LEVEL" def:"info" help:"debug, info, warn, error" placeholder:"X"`
	LogFormat                *string `var:"LOG_FORMAT" help:"text or json; text on a terminal, else json" placeholder:"X"`
	ShutdownTimeout          *string `var:"SHUTDOWN_TIMEOUT" def:"30s" help:"how long calls under way may take to end" placeholder:"X"`
	SentryDSN                *string `kong:"-" var:"SENTRY_DSN" help:"where panics and alarms are reported; none: nowhere"`
	SimulatedSpeed           *string `var:"SIMULATED_SPEED" def:"1" help:"how many times faster time passes at a simulator on this machine (settled simulator --speed)" placeholder:"X"`
}

// setting is one field of [flags].
type setting struct {
	name   string // the environment variable
	alias  string // an older name for it
	def    string
	secret bool // never printed, and never a flag
	file   bool // it may come from a file that NAME_FILE names
	given  func(flags) *string
}

// settings lists the fields of [flags].
var settings = func() []setting {
	var all []setting
	for f := range reflect.TypeFor[flags]().Fields() {
		all = append(all, setting{
			name: f.Tag.Get("var"), alias: f.Tag.Get("alias"), def: f.Tag.Get("def"), secret: f.Tag.Get("kong") == "-",
			file:  f.Tag.Get("kong") == "-" || f.Tag.Get("file") != "",
			given: func(v flags) *string { return reflect.ValueOf(v).FieldByIndex(f.Index).Interface().(*string) },
		})
	}
	return all
}()

// config is the configuration, parsed.
type config struct {
	databaseURL    string
	stripeKey      string
	mode           ledger.Mode // of the key
	stripeBase     string
	webhookSecrets []string
	limits         actors.Limits
	publicAddr     string
	adminAddr      string
	adminHosts     []string
	adminToken     string
	policy         ledger.Policy
	transferSweep  time.Duration
	reversalSweep  time.Duration
	reconcile      actors.Reconcile
	ceilings       ledger.Ceilings
	holdNew        bool // destinations of a seller
	eventRetention time.Duration
	logLevel       string
	logFormat      string
	shutdown       time.Duration
	sentryDSN      string
	speed          int // of the simulated Stripe's time; 1: real
	notices        []ledger.Notice
}

// Format keeps the secrets out when a config is printed, by every verb.
func (c config) Format(f fmt.State, _ rune) { io.WriteString(f, "config[redacted]") }

// LogValue keeps them out of the log.
func (config) LogValue() slog.Value { return slog.StringValue("config[redacted]") }

// Format is as config's.
func (v values) Format(f fmt.State, _ rune) { io.WriteString(f, "values[redacted]") }

// LogValue is as config's.
func (values) LogValue() slog.Value { return slog.StringValue("values[redacted]") }

// retryAge bounds for how long an operation that moves no money is tried.
const retryAge = 7 * 24 * time.Hour

// parse checks every setting and returns every problem. A sandbox brings its own Stripe.
func (v values) parse(sandbox bool) (config, []error) {
	var c config
	var problems []error
	bad := func(name, format string, args ...any) {
		problems = append(problems, fmt.Errorf(name+": "+format, args...))
	}
	text := func(name string) string { return strings.TrimSpace(v.value[name]) }
	number := func(name string, least, most int) int {
		n, err := strconv.Atoi(text(name))
		if err != nil || n < least || n > most {
			bad(name, "%q is not a whole number from %d to %d", text(name), least, most)
		}
		return n
	}
	duration := func(name string, in span) time.Duration {
		d, err := parseSpan(text(name), in)
		if err != nil {
			bad(name, "%w", err)
		}
		return d
	}
	boolean := func(name string) bool {
		b, err := strconv.ParseBool(text(name))
		if err != nil {
			bad(name, "%q is neither true nor false", text(name))
		}
		return b
	}
	oneOf := func(name string, words ...string) string {
		if !slices.Contains(words, text(name)) {
			bad(name, "%q must be one of %s", text(name), strings.Join(words, ", "))
		}
		return text(name)
	}
	addr := func(name string) string {
		if _, port, err := net.SplitHostPort(text(name)); err != nil {
			bad(name, "%q is not host:port, such as 127.0.0.1:8080", text(name))
		} else if n, err := strconv.ParseUint(port, 10, 16); err != nil {
			bad(name, "%q has no port between 0 and 65535 (%d)", text(name), n)
		}
		return text(name)
	}

	c.databaseURL = text("DATABASE_URL")
	if err := v.checkDatabase(); err != nil {
		bad("DATABASE_URL", "%w", err)
	}
	c.stripeKey = text("STRIPE_SECRET_KEY")
	c.stripeBase = text("STRIPE_API_BASE")
	// The client knows best which bases it takes.
	stripeTakes := func(name, key, base string) bool {
		client, err := stripe.New(stripe.Config{Key: key, Base: base})
		if err != nil {
			bad(name, "%w", err)
			return false
		}
		client.Close()
		return true
	}
	key := "sk_test_none" // the base is looked at even when the key is wrong
	if !sandbox && (strings.HasPrefix(c.stripeKey, "sk_") || strings.HasPrefix(c.stripeKey, "rk_")) {
		if err := stripe.CheckKey(c.stripeKey, c.stripeBase != ""); err != nil {
			bad("STRIPE_SECRET_KEY", "%w", err)
		} else {
			key = c.stripeKey
		}
	}
	c.mode, _ = stripe.ModeOf(c.stripeKey)
	if sandbox {
		if c.mode == ledger.LiveMode {
			bad("STRIPE_SECRET_KEY",
				"is a live key, and a sandbox is a toy: unset it, so that the two cannot be taken for each other")
		}
		c.mode = ledger.SandboxMode
	}
	if c.stripeBase != "" {
		stripeTakes("STRIPE_API_BASE", key, c.stripeBase)
	}
	for s := range strings.SplitSeq(text("STRIPE_WEBHOOK_SECRET"), ",") {
		if s = strings.TrimSpace(s); s != "" {
			c.webhookSecrets = append(c.webhookSecrets, s)
		} else if v.value["STRIPE_WEBHOOK_SECRET"] != "" {
			bad("STRIPE_WEBHOOK_SECRET", "has an empty secret in its list: an empty secret would let anybody sign")
		}
	}
	if !sandbox {
		if !strings.HasPrefix(c.stripeKey, "sk_") && !strings.HasPrefix(c.stripeKey, "rk_") {
			what := "is not set"
			if c.stripeKey != "" {
				what = "is no secret key"
			}
			bad("STRIPE_SECRET_KEY", "%s: set it to the platform's key, sk_… or rk_…, or try `settled serve --sandbox`", what)
		}
		if len(c.webhookSecrets) == 0 {
			bad("STRIPE_WEBHOOK_SECRET",
				"is not set: copy the signing secret whsec_… of the webhook endpoint at Stripe")
		} else if err := http.CheckWebhookSecrets(c.webhookSecrets); err != nil {
			bad("STRIPE_WEBHOOK_SECRET", "%w", err)
		}
	}
	c.limits = actors.Limits{
		Rate:         number("STRIPE_RATE_LIMIT", 0, 10_000),
		EndpointRate: number("STRIPE_ENDPOINT_RATE_LIMIT", 0, 10_000),
		Concurrency:  number("STRIPE_CONCURRENCY", 1, 1000),
	}
	c.publicAddr, c.adminAddr = addr("PUBLIC_ADDR"), addr("ADMIN_ADDR")
	if c.publicAddr == c.adminAddr && !strings.HasSuffix(c.publicAddr, ":0") {
		bad("ADMIN_ADDR", "is the same as PUBLIC_ADDR: what admins may do must not be reachable where Stripe posts")
	}
	if host, _, err := net.SplitHostPort(c.adminAddr); err == nil && http.CheckHost(host) == nil {
		c.adminHosts = append(c.adminHosts, host) // it was called so
	}
	for _, name := range v.list("ADMIN_HOSTS") {
		if err := http.CheckHost(name); err != nil {
			bad("ADMIN_HOSTS", "%w", err)
		}
		c.adminHosts = append(c.adminHosts, name)
	}
	c.adminToken = text("ADMIN_TOKEN")
	if c.adminToken != "" {
		if err := http.CheckBootstrapToken(c.adminToken); err != nil {
			bad("ADMIN_TOKEN", "%w", err)
		}
	}
	c.policy.Transfers = ledger.Retry{
		Enabled: boolean("TRANSFER_RETRY_ENABLED"), MaxAttempts: number("TRANSFER_RETRY_MAX_ATTEMPTS", 1, 1000),
		MaxAge:          retryAge,
		ConditionMaxAge: duration("TRANSFER_CONDITION_MAX_AGE", ages),
		Backoff: ledger.Backoff{Base: duration("TRANSFER_BACKOFF_BASE", pauses),
			Max: duration("TRANSFER_BACKOFF_MAX", pauses)},
	}
	c.policy.Reversals = ledger.Retry{
		Enabled: boolean("REVERSAL_WORKER_ENABLED"), MaxAttempts: number("REVERSAL_MAX_RETRIES", 1, 1000),
		MaxAge:          retryAge,
		ConditionMaxAge: duration("REVERSAL_CONDITION_MAX_AGE", ages),
		Backoff: ledger.Backoff{Base: duration("REVERSAL_BACKOFF_BASE", pauses),
			Max: duration("REVERSAL_BACKOFF_MAX", pauses)},
	}
	for name, b := range map[string]ledger.Backoff{"TRANSFER": c.policy.Transfers.Backoff,
		"REVERSAL": c.policy.Reversals.Backoff} {
		if b.Max < b.Base {
			bad(name+"_BACKOFF_MAX", "%s is shorter than %s_BACKOFF_BASE, %s", b.Max, name, b.Base)
		}
	}
	c.transferSweep, c.reversalSweep = duration("TRANSFER_RETRY_INTERVAL", pauses),
		duration("REVERSAL_CHECK_INTERVAL", pauses)
	c.policy.Unresolved = ledger.UnresolvedPolicy(oneOf("UNRESOLVED_POLICY", string(ledger.ParkDoubtful),
		string(ledger.ParkAlways)))
	c.policy.Windows = ledger.DefaultWindows()
	c.policy.Windows.Safe, c.policy.Windows.Quiet = duration("SAFE_WINDOW", windows), duration("QUIET_WINDOW", windows)
	if c.policy.Windows.Safe > 0 && c.policy.Windows.Quiet > 0 {
		if err := c.policy.Windows.Check(); err != nil {
			problems = append(problems, err)
		}
	}
	c.reconcile = actors.Reconcile{
		Interval: duration("RECONCILE_INTERVAL", pauses), Rate: number("RECONCILE_RATE", 1, 1000),
		ReportOnly:    oneOf("RECONCILE_POLICY", "adopt", "report") == "report",
		IgnoreForeign: oneOf("RECONCILE_FOREIGN", "report", "ignore") == "ignore",
	}
	if c.speed = number("SIMULATED_SPEED", 1, speedMost); c.speed > 1 {
		if u, err := url.Parse(c.stripeBase); !sandbox && (err != nil || !loopback.Is(u.Hostname())) {
			bad("SIMULATED_SPEED",
				"is for a simulator on this machine: set STRIPE_API_BASE to its loopback address, or leave the speed at 1")
		}
		if c.mode == ledger.LiveMode {
			bad("SIMULATED_SPEED",
				"is for a simulator, and the key is a live one: real money would be sent by clocks that run %d times too fast; leave the speed at 1", c.speed)
		}
		c.notices = append(c.notices, ledger.Notice{Code: "simulated_time", Mover: ledger.MoveOfPlatform,
			Text: fmt.Sprintf("Time is simulated: SIMULATED_SPEED is %d, so what takes Stripe hours is taken to be over in seconds. This is for a simulator alone.", c.speed)})
		c.policy = faster(c.policy, c.speed)
		c.reconcile.Interval, c.reconcile.Rate = max(c.reconcile.Interval/time.Duration(c.speed), time.Second),
			c.reconcile.Rate*c.speed
		c.limits.Cooldown = max(500*time.Millisecond/time.Duration(c.speed), time.Millisecond)
	}
	ceilings := func(name string) map[ledger.Currency]int64 {
		most, err := ledger.ParseCeilings(text(name))
		if err != nil {
			bad(name, "%w", err)
		}
		return most
	}
	c.ceilings = ledger.Ceilings{Transfer: ceilings("MAX_TRANSFER"), Daily: ceilings("MAX_DAILY")}
	c.holdNew = boolean("HOLD_NEW_DESTINATION")
	c.eventRetention = duration("EVENT_RETENTION", ages)
	if c.mode == ledger.LiveMode {
		problems = append(problems, v.weak(c)...)
	}
	c.logLevel = oneOf("LOG_LEVEL", "debug", "info", "warn", "error")
	c.logFormat = oneOf("LOG_FORMAT", "", "text", "json")
	c.shutdown = duration("SHUTDOWN_TIMEOUT", budgets)
	c.sentryDSN = text("SENTRY_DSN")
	if u, err := url.Parse(c.sentryDSN); c.sentryDSN != "" && (err != nil || u.User == nil || u.Host == "") {
		bad("SENTRY_DSN", "is no DSN (it is not shown): write https://key@host/project, or leave it out")
	}
	return c, problems
}

const speedMost = 1_000_000 // 24 h in 86 ms

// faster shrinks every span of a policy for a Stripe whose time passes faster. The
// inequalities between the windows stay as they are.
func faster(p ledger.Policy, speed int) ledger.Policy {
	n := time.Duration(speed)
	for _, d := range []*time.Duration{&p.Windows.Safe, &p.Windows.Quiet, &p.Windows.Skew, &p.Windows.Wire,
		&p.Windows.Late, &p.Windows.Lag, &p.Windows.KeyLife,
		&p.Transfers.Backoff.Base, &p.Transfers.Backoff.Max, &p.Reversals.Backoff.Base, &p.Reversals.Backoff.Max} {
		*d = max(*d/n, 1)
	}
	return p
}

// callTimeout is the hard limit of one call. It must end well before a request's time on the
// wire could.
func (c config) callTimeout() time.Duration {
	const limit = 20 * time.Second
	if c.speed == 1 {
		return limit
	}
	return min(limit, c.policy.Windows.Wire/2)
}

// redacted shows a setting's value, or only whether a secret has one. A database's URL is
// shown without its password.
func (v values) redacted(s setting) string {
	x := v.value[s.name]
	switch {
	case x == "":
		return ""
	case s.secret:
		return "[redacted]"
	case s.name == "DATABASE_URL":
		return db.ShowURL(x)
	case s.name == "STRIPE_API_BASE" && strings.Contains(x, "@"): // it has no place for a password, and somebody tried
		return "[unreadable]"
	}
	return x
}
