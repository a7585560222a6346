package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/getsentry/sentry-go"
	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// newLogger logs text to a terminal and JSON to anything else, unless told. With a SENTRY_DSN,
// errors go there too.
func newLogger(conf config, w io.Writer) *slog.Logger {
	var level slog.Level
	level.UnmarshalText([]byte(conf.logLevel)) // checked by parse
	var h slog.Handler
	switch {
	case conf.logFormat == "json", conf.logFormat == "" && !isTerminal(w):
		h = slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level})
	default:
		h = tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !isTerminal(w)})
	}
	if conf.sentryDSN != "" {
		if client, err := sentry.NewClient(sentry.ClientOptions{Dsn: conf.sentryDSN, Release: version()}); err == nil {
			h = reporting{h, client}
		}
	}
	return slog.New(h)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// reporting sends error records to Sentry, grouped by message, without their attributes,
// which may name people.
type reporting struct {
	slog.Handler
	client *sentry.Client
}

func (h reporting) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		e := sentry.NewEvent()
		e.Level, e.Message, e.Fingerprint = sentry.LevelError, r.Message, []string{r.Message}
		h.client.CaptureEvent(e, nil, nil)
	}
	return h.Handler.Handle(ctx, r)
}

// flush waits, but not for long, until what was reported to Sentry has gone out.
func flush(log *slog.Logger) {
	if h, ok := log.Handler().(reporting); ok {
		h.client.Flush(2 * time.Second)
	}
}

func (h reporting) WithAttrs(a []slog.Attr) slog.Handler {
	return reporting{h.Handler.WithAttrs(a), h.client}
}
func (h reporting) WithGroup(g string) slog.Handler {
	return reporting{h.Handler.WithGroup(g), h.client}
}
