package stripe

import (
	"context"
	"fmt"
	"log/slog"
)

// trace is below what an operator sees at LOG_LEVEL=debug: the SDK's chatter of every call,
// whole bodies of successful answers included.
const trace = slog.LevelDebug - 4

// sdkLog hands what the SDK logs to slog. Its errors are no errors of ours: every one of them
// comes back as an answer, and is reported by whoever receives that.
type sdkLog struct {
	log *slog.Logger
	key secret
}

func (l sdkLog) Debugf(format string, args ...any) { l.say(trace, format, args) }
func (l sdkLog) Infof(format string, args ...any)  { l.say(trace, format, args) }
func (l sdkLog) Warnf(format string, args ...any)  { l.say(slog.LevelDebug, format, args) }
func (l sdkLog) Errorf(format string, args ...any) { l.say(slog.LevelDebug, format, args) }

// logMax bounds one line: error bodies are short, and a page of transfers is not for a log.
const logMax = 2000 // runes

func (l sdkLog) say(level slog.Level, format string, args []any) {
	ctx := context.Background()
	if !l.log.Enabled(ctx, level) { // before formatting: three lines a call
		return
	}
	l.log.Log(ctx, level, "stripe sdk", "says", l.key.clean(fmt.Sprintf(format, args...), logMax))
}
