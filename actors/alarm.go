package actors

import "github.com/settled/settled/ledger"

// alarmKinds are all kinds of alarms. Each is there from the start, at 0: the first alarm is an increase, and an alert
// on a kind that never came is no alert on nothing.
var alarmKinds = []string{
	"altered", "answer", "bug", "clocks", "conflict", "drift", "gave_up", "lost_commits", "lost_reversals", "mismatch", "not_rebuilt", "parked",
	"platform", "platform_funds", "reversed_outside", "ruled_out", "stripped", "unknown_operation", "waits_for_platform",
}

// alarm reports a finding that somebody should look at. Of its arguments code and kind are words of ours, which may
// leave the machine.
func (s *System) alarm(kind string, args ...any) {
	s.metrics.alarms.WithLabelValues(kind).Inc()
	s.log.Error("alarm: "+kind, args...)
}

// needsPerson raises the alarm when a change has left an operation to people: nothing else ever will, for the machine
// makes no move any more.
func (s *System) needsPerson(change *ledger.Change) {
	h := &change.History
	var kind string
	switch {
	case h.To == h.From:
		return
	case h.To == ledger.PermanentlyFailed:
		kind = "gave_up"
	case h.To == ledger.Parked:
		kind = "parked"
	default:
		return
	}
	op := change.Subject()
	s.alarm(kind, "transfer", change.After.ID, "operation", op.ID, "kind", h.Kind.String(), "code", op.ErrorCode, "why", change.After.LeftToPeople(op))
}
