package stripesim

import (
	"log/slog"
	"net/http"
	"time"
)

// APIVersion is the version whose shapes the simulator speaks.
const APIVersion = "2023-10-16"

// Times is every duration the simulated world obeys. All of them pass on the
// simulator's clock, so [Sim.Advance] shortens any of them.
type Times struct {
	// KeyLife is how long an idempotency key is remembered, from its first arrival.
	KeyLife time.Duration
	// LateMax bounds how long after a 500 its effect can still come.
	LateMax time.Duration
	// WireMax bounds how long a request hangs before it executes.
	WireMax time.Duration
	// ListLag bounds how far a list can lag behind the truth.
	ListLag time.Duration
	// EventDelayMax bounds the delay of a webhook's first delivery, the pause between
	// two attempts, and how long a seller's outage made by a fault lasts.
	EventDelayMax time.Duration
	// SlowMax bounds how long a slow execution holds its key and its answer.
	SlowMax time.Duration
}

// DefaultTimes are Stripe's own: keys live 24 h (documented); the other bounds are
// the assumptions settled's protocol is built on (DESIGN.md §3).
func DefaultTimes() Times {
	return Times{
		KeyLife:       24 * time.Hour,
		LateMax:       2 * time.Hour,
		WireMax:       2 * time.Hour,
		ListLag:       15 * time.Minute,
		EventDelayMax: time.Hour,
		SlowMax:       time.Minute,
	}
}

// Config is how a simulator is made. The zero value is a faultless Stripe with
// Stripe's own times.
type Config struct {
	// Seed decides every fault, delay and id.
	Seed uint64
	// Faults is the level of the plan at the start.
	Faults Faults
	// Strict refuses destinations that were not created first. Otherwise every
	// well-formed acct_… exists, with the transfers capability active.
	Strict bool
	// Times are the durations of the world; a zero field takes DefaultTimes's value.
	Times Times
	// AccountID is the platform's account; "" derives one from the seed.
	AccountID string
	// Country is the platform's country, ISO 3166 alpha-2; "" is DE.
	Country string
	// Livemode is what every object says of itself.
	Livemode bool
	// WebhookURL receives every event, platform's and sellers' alike; "" records
	// events without delivering them.
	WebhookURL string
	// WebhookSecret signs the deliveries.
	WebhookSecret string
	// AccountsV2 has sellers be accounts of the v2 API: their changes are told by thin events alone.
	AccountsV2 bool
	// Secrets are the accepted API keys; empty accepts any sk_… and rk_….
	Secrets []string
	// Withheld are keys that may not read their account, as a restricted key may be.
	Withheld []string
	// PlatformBalance is the platform's available balance in minor units by
	// currency; nil is practically unlimited.
	PlatformBalance map[string]int64
	// NegativeSellers lets a reversal drive a seller's balance below zero instead of
	// failing (Stripe's pages disagree; R4).
	NegativeSellers bool
	// KeepReversals is Stripe's private preview: a reversal that the seller's balance does not cover
	// is kept pending instead of refused. See KindKept.
	KeepReversals bool
	// SettleCurrency is the currency every charge settles in; "" is the charge's own.
	// Another one provokes T8.
	SettleCurrency string
	// RateLimit is how many calls a second are let through in all; 0 is no limit.
	RateLimit int
	// EndpointRateLimit is the same for each endpoint by itself; 0 is no limit.
	EndpointRateLimit int
	// PageMax is the most that a page of a list holds, whatever limit was asked for, so that few
	// objects make many pages; 0 is Stripe's 100.
	PageMax int
	// Now is the base clock; nil is time.Now. Timers always run on the runtime's.
	Now func() time.Time
	// Log receives what the simulator does; nil discards it.
	Log *slog.Logger
	// HTTPClient delivers webhooks; nil makes one that Close tears down.
	HTTPClient *http.Client
	// Made, if set, hears of every transfer and reversal at the moment Stripe has it,
	// whoever made it. It is called with the simulator's lock held and must not call it.
	Made func(Made)
	// Arrived, if set, hears of every request with an idempotency key as Stripe looks the key
	// up, under the same condition.
	Arrived func(key string)
}

// Made is a transfer or a reversal that has come into being.
type Made struct {
	ID       string
	Key      string // the idempotency key; a foreign one has none
	Metadata map[string]string
	Reversal bool
}

// made tells of one.
func (s *Sim) made(m Made) {
	if s.cfg.Made != nil {
		s.cfg.Made(m)
	}
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	def := DefaultTimes()
	for _, t := range []struct{ have, want *time.Duration }{
		{&c.Times.KeyLife, &def.KeyLife},
		{&c.Times.LateMax, &def.LateMax},
		{&c.Times.WireMax, &def.WireMax},
		{&c.Times.ListLag, &def.ListLag},
		{&c.Times.EventDelayMax, &def.EventDelayMax},
		{&c.Times.SlowMax, &def.SlowMax},
	} {
		if *t.have <= 0 {
			*t.have = *t.want
		}
	}
	if c.AccountID == "" {
		c.AccountID = "acct_1" + base62(mix(c.Seed, "platform"))
	}
	if c.Country == "" {
		c.Country = "DE"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}
