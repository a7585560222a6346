package ledger

import (
	"fmt"
	"time"
)

// Digest is what an operation's history says about waiting: there is no retry counter and no
// next-retry column, so it is folded from the rows each time an actor starts.
type Digest struct {
	Refusals    int       // answers that moved no money, since the last word of a person; those that wait for a condition do not count
	Setbacks    int       // ends of attempts that were not a success, of any verdict, in a row
	First       time.Time // of those setbacks that waited for no condition
	Last        time.Time // of those setbacks
	LastAnswer  Answer    // the last setback's answer
	Awaits      Reaction  // the condition that the last such refusal waits for; BackOff: there was none
	AwaitsSince time.Time // the first refusal of that condition
	Told        time.Time // when a person was told that it is the platform's to mend; zero: not yet
	Doubtful    bool      // the generation saw a 5xx, or its key was used by another request: absence proves nothing
	Spent       bool      // resending the key is of no use: it replays a 5xx, or refuses our bytes
	Puzzle      int       // the generation whose refusal nobody understood; 0: none
	Asked       bool      // a person wants that generation tried again
	Read        time.Time // when Stripe was last read whole, and held nothing; not folded from rows
	Untimed     bool      // the generation was first sent while the clocks disagreed: its FirstSentAt proves nothing
}

// Add folds one more row of the operation's history, in order.
func (d Digest) Add(h History) Digest {
	a := h.Answer
	switch h.Event {
	case EventSend:
		if h.OpenSends == 1 { // the first send of a generation, or of one that was not executed
			d.Doubtful, d.Spent, d.Untimed = false, false, false
		}
		if h.Answer.Code == CodeClocks {
			d.Doubtful, d.Spent, d.Untimed = true, true, true
		}
		if h.Generation != d.Puzzle {
			d.Puzzle, d.Asked = 0, false
		}
		return d
	case EventRetry, EventRelease, EventGiveUp:
		// What was given up goes on by a person's word alone. That word's row may be another
		// operation's: one retry takes up all reversals that were given up.
		return Digest{Puzzle: d.Puzzle, Asked: d.Puzzle != 0}
	case EventAccept, EventReverse, EventRenewEpoch:
		return Digest{}
	case EventTell:
		d.Told = h.At
		return d
	case EventRefuse, EventProveAbsent:
		if d.Asked && h.Event == EventRefuse && a.Replayed {
			return Digest{} // the puzzle is solved: it was Stripe's refusal, and the person's word stands
		}
		d.Doubtful, d.Spent, d.Untimed = false, false, false
		d.Puzzle, d.Asked = 0, false
		if a.Puzzling() {
			d.Puzzle = h.Generation
		}
		if a.Reaction.Waits() {
			return d.waits(h)
		}
		if a.Verdict != NotExecuted { // the last send that was open never reached Stripe: nobody refused
			d.Refusals++
		}
	case EventKeep:
		return Digest{} // whatever came before, Stripe has it
	case EventNotExecuted:
		if a.Puzzling() {
			d.Puzzle, d.Asked = h.Generation, false
		}
		if a.Reaction.Waits() {
			return d.waits(h)
		}
	case EventLose:
		d.Doubtful = d.Doubtful || a.ServerError() || mismatch(a)
		d.Spent = d.Spent || a.ServerError() && a.Replayed || mismatch(a)
	default:
		return d
	}
	d.Setbacks++
	d.Last, d.LastAnswer = h.At, a
	if d.First.IsZero() {
		d.First = h.At
	}
	return d
}

// mismatch reports Stripe's word that the key was used with other parameters (row T10):
// unknown, and never to be sent again with these.
func mismatch(a Answer) bool { return a.Verdict == Unknown && a.Reaction == LookFirst }

// Action is what an actor does next.
type Action uint8

// The actions.
const (
	Rest     Action = iota // nothing, until somebody asks: the actor may stop
	Idle                   // nothing by itself, but the work is unfinished: the actor stays
	Send                   // ask for a permit, commit to a send, call Stripe
	Look                   // read Stripe for evidence
	NoteLost               // record that an interrupted send's outcome is unknown
	Release                // the hold's time is over
	GiveUp                 // record that the machine stops trying
	Tell                   // tell a person that it waits for the platform, and record that
)

// Mover says whose move it is.
type Mover string

// The movers.
const (
	MoveOfSeller   Mover = "seller"
	MoveOfPlatform Mover = "platform"
	MoveOfStripe   Mover = "stripe"
	MoveOfSettled  Mover = "settled"
	MoveOfNobody   Mover = ""
)

// Step is what comes next for a transfer, when, and why.
type Step struct {
	Action  Action
	At      time.Time // by the database's clock; not after now means at once
	Code    string    // a word for the reason
	Why     string    // one sentence for people
	Mover   Mover
	Awaits  Reaction  // the condition that a Send waits for: it is made only by who is told to probe
	Ends    time.Time // when such a wait ends by itself, to be told or given up; zero: never
	Decides bool      // a Look that, finding nothing, is proof of absence
	Reads   bool      // a Send that waits for a condition: in its turn Stripe is read first, see [Operation.Retraces]
}

// Plan decides what comes next. It is the whole schedule: pure, and derived from nothing but
// the ledger. looked is when the caller last read Stripe for this operation in vain (zero:
// never); it is not durable, because a read too many costs nothing but a read.
func Plan(t *Transfer, d Digest, p Policy, now, looked time.Time) Step {
	op, kind := t.Current()
	switch t.Status() {
	case Held:
		return planHeld(t, t.HoldsOf(t.ID), Rest)
	case Canceled:
		return Step{Code: "canceled", Why: "Canceled before any money moved."}
	case Completed:
		return Step{Code: "completed", Why: "Stripe holds the transfer."}
	case PartiallyReversed:
		return Step{Code: "partially_reversed", Why: fmt.Sprintf("%s of it came back.", Money{t.AmountReversed, t.Money.Currency})}
	case Reversed:
		return Step{Code: "reversed", Why: "All of it came back."}
	case PermanentlyFailed:
		op := t.givenUp()
		return Step{Code: orElse(op.ErrorCode, "permanently_failed"), Mover: MoveOfPlatform, Why: t.LeftToPeople(op)}
	}
	if end := t.NextHoldEnd(); !end.IsZero() && !end.After(p.earliest(now)) {
		return Step{Action: Release, At: end, Code: "hold_over", Mover: MoveOfSettled, Why: "The time of a hold is over."}
	}
	if op == nil { // every reversal that is not at its end is held
		return planHeld(t, t.Holds, Idle)
	}
	r := p.retry(kind)
	altered := t.Altered(op)
	switch op.State {
	case Pending, FailedState:
		if altered && op.Seen >= p.Epoch {
			return Step{Action: GiveUp, At: now, Code: CodeAltered, Why: setApart(kind), Mover: MoveOfPlatform}
		}
		step := planSend(op, kind, d, p, r, now, looked)
		switch unread := op.Retraces() && !p.young(op, p.latest(now)) && !p.clear(op, now); {
		case step.Action != Send || !unread:
		case step.Awaits != BackOff: // its time is its turn, which the plan does not know
			step.Reads = true
		case !step.At.After(now):
			step.Action, step.At, step.Code = Look, later(looked, r.Backoff, op.ID), "look_first"
			step.Why = "The database lost commits before it was accepted: Stripe is read before each send, because it may be the repetition of an order that was lost."
		}
		return p.Clocks.explain(step)
	case Sending:
		return Step{Action: NoteLost, Code: "sending", Why: "A call to Stripe is under way.", Mover: MoveOfStripe}
	case Unresolved:
		d.Spent = d.Spent || altered // what is not as it was ordered is only looked for
		return p.Clocks.explain(planUnresolved(op, d, p, r, now, looked))
	case PendingAtStripe:
		return planKept(op, r, now, looked)
	case Parked:
		step := Step{Code: orElse(op.ErrorCode, "parked"), Mover: MoveOfPlatform, Why: t.LeftToPeople(op)}
		if kind == MakeReversal {
			step.Action = Idle // its siblings wait behind it
		}
		return step
	}
	panic(fmt.Sprintf("ledger: operation %s is %q", op.ID, op.State))
}

// planSend plans an operation of which no send is open: try, wait, or give up.
func planSend(op *Operation, kind Kind, d Digest, p Policy, r Retry, now, looked time.Time) Step {
	if op.Seen < p.Epoch {
		return Step{Action: Look, At: latest(p.quietAt(op).Add(1), later(looked, r.Backoff, op.ID)), Code: "new_epoch", Mover: MoveOfSettled, Decides: true,
			Why: "The database lost commits: it is looked up at Stripe before it goes on."}
	}
	if kind == MakeReversal && !r.Enabled {
		return Step{Action: Idle, Code: "reversals_disabled", Mover: MoveOfPlatform,
			Why: "Reversals are recorded and wait: REVERSAL_WORKER_ENABLED is false."}
	}
	if step, first := planPuzzle(op, d, p, r, now, looked); first {
		return step
	}
	if d.Setbacks == 0 {
		return Step{Action: Send, At: now, Code: "due", Why: "It is about to be sent.", Mover: MoveOfSettled}
	}
	code, last := orElse(op.ErrorCode, "failed"), orElse(op.ErrorMessage, "no reason was given.")
	switch {
	case d.LastAnswer.Reaction == AskOperator, d.LastAnswer.Reaction == LookFirst:
		return Step{Action: GiveUp, At: now, Code: code, Why: last, Mover: MoveOfPlatform}
	case !r.Enabled:
		return Step{Action: Idle, Code: code, Mover: MoveOfPlatform,
			Why: "Refused (" + last + "), and retries are off: somebody must retry or cancel it."}
	case d.LastAnswer.Reaction.Waits():
		return planWait(op, d, p, r, p.earliest(now))
	case d.Refusals >= r.MaxAttempts:
		return Step{Action: GiveUp, At: now, Code: code, Mover: MoveOfPlatform,
			Why: fmt.Sprintf("Refused %d times, the last time: %s", d.Refusals, last)}
	case p.earliest(now).Sub(d.First) > r.MaxAge:
		return Step{Action: GiveUp, At: now, Code: code, Mover: MoveOfPlatform,
			Why: fmt.Sprintf("Tried since %s, the last time: %s", d.First.UTC().Format(time.RFC3339), last)}
	}
	wait := r.Backoff.Wait(d.Setbacks, Jitter(op.ID, d.Setbacks))
	return Step{Action: Send, At: d.Last.Add(max(wait, d.LastAnswer.RetryAfter)), Code: code, Mover: MoveOfSettled,
		Why: "Stripe turned it down (" + last + "); it is tried again."}
}

// planPuzzle plans what comes before an operation is tried again after a refusal that nobody
// understood. Such a refusal may be a lie: something between Stripe and us may have spoken in
// Stripe's form, and the money may have moved, or may yet. So Stripe is read first, at once; what
// it holds settles the operation. What a read does not find proves nothing before QUIET, because
// the request may still be under way. Yet nobody has to wait: until SAFE the same key is sent
// again, which cannot pay twice, and whose stored answer, replayed, is the proof that was
// missing. Between SAFE and QUIET nothing is safe but to read; after QUIET a read that finds
// nothing closes the generation.
func planPuzzle(op *Operation, d Digest, p Policy, r Retry, now, looked time.Time) (step Step, first bool) {
	if d.Puzzle == 0 || d.Puzzle != op.Generation || d.LastAnswer.Reaction == AskOperator || d.LastAnswer.Reaction == LookFirst {
		return Step{}, false
	}
	step = Step{Action: Look, At: later(looked, r.Backoff, op.ID), Code: "refusal_not_understood", Mover: MoveOfSettled,
		Why: "Stripe's last refusal was not understood: Stripe is read before it is tried again."}
	quiet := p.quietAt(op)
	switch {
	case now.After(quiet):
		step.Decides = true
		return step, true
	case d.Read.IsZero():
		return step, true
	case p.young(op, p.latest(now)): // as [Transfer.Begin] measures it: an old key would be followed by a new one
		return Step{}, false
	}
	step.At, step.Decides = latest(step.At, quiet.Add(1)), true
	step.Why = fmt.Sprintf("Stripe's last refusal was not understood, and its key is too old to be sent again: Stripe is read at %s, when absence becomes proof.",
		quiet.UTC().Format(time.RFC3339))
	return step, true
}

// planUnresolved plans an operation whose outcome is unknown: the same key while it is young
// and of use, reading Stripe when not, and the proof of absence after QUIET.
func planUnresolved(op *Operation, d Digest, p Policy, r Retry, now, looked time.Time) Step {
	step := Step{Code: orElse(op.ErrorCode, "unresolved"), Mover: MoveOfStripe}
	quiet := p.quietAt(op)
	if p.earliest(now).After(quiet) {
		step.Action, step.At, step.Decides = Look, later(looked, r.Backoff, op.ID), true
		step.Why = "Whether Stripe moved the money is not known; nothing can be under way any more, so Stripe is read for the answer."
		return step
	}
	n := max(d.Setbacks, 1)
	again := d.Last.Add(max(r.Backoff.Wait(n, Jitter(op.ID, n)), d.LastAnswer.RetryAfter))
	if !d.Spent && p.young(op, latest(p.latest(now), again)) {
		step.Action, step.At = Send, again
		step.Why = "Whether Stripe moved the money is not known; the same request is sent again under the same key, which cannot pay twice."
		return step
	}
	step.Action = Look
	step.At = later(looked, r.Backoff, op.ID)
	if step.At.After(quiet) {
		step.At, step.Decides = quiet.Add(1), true
	}
	step.Why = fmt.Sprintf("Whether Stripe moved the money is not known; Stripe is read until %s, when absence becomes proof.", quiet.UTC().Format(time.RFC3339))
	return step
}

// later spaces reads that found nothing.
func later(looked time.Time, b Backoff, id ID) time.Time {
	if looked.IsZero() {
		return looked
	}
	return looked.Add(b.Wait(64, Jitter(id, 64)))
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func orElse(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
