package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
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
		if client, err := sentry.NewClient(sentry.ClientOptions{Dsn: conf.sentryDSN, Release: version(),
			Environment: string(conf.mode)}); err == nil {
			h = reporting{h, client}
		}
	}
	return slog.New(h)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// reporting sends error records to Sentry, grouped by message and tags. Of a record's attributes it sends the tags
// alone, which are words of ours and Stripe's codes: the others may name people.
type reporting struct {
	slog.Handler
	client *sentry.Client
}

// tags are the attributes that leave the machine: the code of a failure, and the kind of the operation.
var tags = []string{"code", "kind"}

func (h reporting) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		e := sentry.NewEvent()
		e.Level, e.Message, e.Fingerprint, e.Tags = sentry.LevelError, r.Message, []string{r.Message},
			map[string]string{}
		r.Attrs(func(a slog.Attr) bool {
			if text := a.Value.String(); slices.Contains(tags, a.Key) && isWord(text) {
				e.Tags[a.Key] = text
			}
			return true
		})
		for _, name := range tags {
			e.Fingerprint = append(e.Fingerprint, e.Tags[name])
		}
		h.client.CaptureEvent(e, nil, nil)
	}
	return h.Handler.Handle(ctx, r)
}

// isWord reports a code and no text: it has no blank, no digit and nothing else that a name or an ID would have.
func isWord(text string) bool {
	return text != "" && len(text) <= 64 && !strings.ContainsFunc(text,
		func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' })
}

// flushMost is how long the end of a process waits for Sentry.
const flushMost = 2 * time.Second

// flush waits, but not for longer than so, until the reports to Sentry have gone out.
func flush(log *slog.Logger, most time.Duration) {
	if h, ok := log.Handler().(reporting); ok {
		h.client.Flush(most)
	}
}

func (h reporting) WithAttrs(a []slog.Attr) slog.Handler {
	return reporting{h.Handler.WithAttrs(a), h.client}
}
func (h reporting) WithGroup(g string) slog.Handler {
	return reporting{h.Handler.WithGroup(g), h.client}
}
