package ledger

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// HoldSource says who or what holds an operation back.
type HoldSource string

// The sources of a hold.
const (
	HeldByPayment  HoldSource = "payment"
	HeldBySchedule HoldSource = "schedule"
	HeldByOperator HoldSource = "operator"
	HeldByDispute  HoldSource = "dispute"
	HeldByRefund   HoldSource = "refund"
)

// HoldSources lists every source, the weightiest last: see [Transfer.HeldLongest].
var HoldSources = []HoldSource{HeldBySchedule, HeldByOperator, HeldByPayment, HeldByRefund, HeldByDispute}

// Hold is one reason why an operation is not to be sent. Several stand side by side, of one
// source or of many. Each ends at its own time, or is let go by itself: none shortens another.
type Hold struct {
	ID        ID
	Operation ID // the transfer's ID, or a reversal's
	Source    HoldSource
	Reason    string    // for people
	By        string    // the principal who asked for it; empty: nobody did
	Since     time.Time // the database's clock, set at commit
	Until     time.Time // it ends by itself then; zero: it stands until it is let go
	Begun     int64     // the version of the transfer that set it; 0: it is older than the table of holds
	Ended     int64     // the version that ended it; 0: it stands
	EndedAt   time.Time // the database's clock, set at commit
}

// Over reports a hold whose time has passed.
func (h Hold) Over(now time.Time) bool { return !h.Until.IsZero() && !h.Until.After(now) }

// HoldsMax bounds how many holds stand at one operation: a client that asks in a loop must not
// fill the ledger.
const HoldsMax = 32

// holdNamespace derives the ID of a hold that no message asked for.
var holdNamespace = uuid.MustParse("c0f3a4de-3b0a-5d0f-9a55-5e0f9e1f7a3d")

// HoldsOf returns the holds that stand at an operation, in the order in which they began.
func (t *Transfer) HoldsOf(operation ID) []Hold {
	var list []Hold
	for _, h := range t.Holds {
		if h.Operation == operation {
			list = append(list, h)
		}
	}
	return list
}

// HeldLongest returns the hold that keeps an operation longest: one without an end rather than
// any with one, and of those that end together the one of the weightiest source. It is false
// when none stands.
func (t *Transfer) HeldLongest(operation ID) (longest Hold, held bool) {
	for _, h := range t.HoldsOf(operation) {
		if !held || outlasts(h, longest) {
			longest, held = h, true
		}
	}
	return longest, held
}

func outlasts(a, b Hold) bool {
	switch {
	case a.Until.IsZero() != b.Until.IsZero():
		return a.Until.IsZero()
	case !a.Until.Equal(b.Until):
		return a.Until.After(b.Until)
	}
	return slices.Index(HoldSources, a.Source) > slices.Index(HoldSources, b.Source)
}

// NextHoldEnd returns when the next hold ends by itself, at the transfer or at any of its
// reversals; zero: none does.
func (t *Transfer) NextHoldEnd() time.Time { return nextEnd(t.Holds) }

func nextEnd(holds []Hold) (next time.Time) {
	for _, h := range holds {
		if !h.Until.IsZero() && (next.IsZero() || h.Until.Before(next)) {
			next = h.Until
		}
	}
	return next
}

// Hold keeps a transfer from being sent, until a moment or (zero) until it is let go. It stands
// beside what holds it already. Only a transfer with no open send can be held.
func (t Transfer) Hold(source HoldSource, until time.Time, by By) (Change, error) {
	if t.Operation.StripeID != "" {
		return Change{}, t.nameTheReversal()
	}
	return t.hold(&t.Operation, source, until, by)
}

// HoldReversal is [Transfer.Hold] for one of the reversals. Its siblings go on.
func (t Transfer) HoldReversal(id ID, source HoldSource, until time.Time, by By) (Change, error) {
	r, err := t.Reversal(id)
	if err != nil {
		return Change{}, err
	}
	return t.hold(&r.Operation, source, until, by)
}

func (t Transfer) hold(op *Operation, source HoldSource, until time.Time, by By) (Change, error) {
	if n := len(t.HoldsOf(op.ID)); n >= HoldsMax {
		return Change{}, fmt.Errorf("%w: %d holds stand already: %s", ErrIllegalMove, n, sources(t.HoldsOf(op.ID)))
	}
	id := by.Message
	if id == (ID{}) {
		id = uuid.NewSHA1(holdNamespace, fmt.Appendf(nil, "%s %d", t.ID, t.Version+1))
	}
	t.Holds = append(slices.Clone(t.Holds), Hold{ID: id, Operation: op.ID, Source: source, Reason: by.Reason, By: by.Principal,
		Until: until, Begun: t.Version + 1})
	return t.move(op, EventHold, by, nil)
}

// unheld refuses a step of an operation, if there is one, that a hold keeps back.
func (t *Transfer) unheld(op *Operation) error {
	if op == nil {
		return nil
	}
	if holds := t.HoldsOf(op.ID); len(holds) > 0 {
		return fmt.Errorf("%w: it is held by %s: release it", ErrIllegalMove, sources(holds))
	}
	return nil
}

// Holding reports that an operator's hold of the same words and the same end stands: one more
// would say nothing new, so a repetition without an idempotency key sets none.
func (t *Transfer) Holding(m Message) bool {
	return slices.ContainsFunc(t.HoldsOf(m.Operation()), func(h Hold) bool {
		return h.ID == m.ID || h.Source == HeldByOperator && h.By == m.By.Principal && h.Reason == m.By.Reason &&
			h.Until.Truncate(time.Microsecond).Equal(m.Until.Truncate(time.Microsecond)) // as far as a database keeps it
	})
}

// Release lets go of the holds that operators set at the transfer. Those of other sources
// stand: see [Transfer.LetGo].
func (t Transfer) Release(by By) (Change, error) { return t.LetGo(t.ID, "", by) }

// LetGo ends holds of the transfer or of one of its reversals: those of operators, or, instead,
// those that override names, by their source or by one's ID. The operation is owed again when
// none is left.
func (t Transfer) LetGo(operation ID, override string, by By) (Change, error) {
	op := &t.Operation
	if operation != t.ID {
		r, err := t.Reversal(operation)
		if err != nil {
			return Change{}, err
		}
		op = &r.Operation
	}
	stand := t.HoldsOf(op.ID)
	named, err := ParseID(override)
	if err != nil {
		named = ID{}
	}
	wanted := func(h Hold) bool {
		if override == "" {
			return h.Source == HeldByOperator
		}
		return string(h.Source) == override || h.ID == named
	}
	if slices.ContainsFunc(stand, wanted) {
		return t.end(op, wanted, by)
	}
	switch {
	case len(stand) == 0 && op.ID == t.ID && len(t.Holds) > 0:
		return Change{}, t.nameTheReversal()
	case len(stand) == 0:
		return Change{}, fmt.Errorf("%w: nothing holds it, and it is %s", ErrIllegalMove, op.State)
	case override == "":
		return Change{}, fmt.Errorf("%w: no operator holds it; it is held by %s, which a release ends only when override names it", ErrIllegalMove, sources(stand))
	}
	return Change{}, fmt.Errorf("%w: override names %q, and it is held by %s", ErrIllegalMove, override, sources(stand))
}

// Lapse ends the holds of one operation whose time is over.
func (t Transfer) Lapse(now time.Time) (Change, error) {
	i := slices.IndexFunc(t.Holds, func(h Hold) bool { return h.Over(now) })
	if i < 0 {
		return Change{}, fmt.Errorf("%w: no hold of %s is over", ErrIllegalMove, t.ID)
	}
	return t.end(t.operation(t.Holds[i].Operation), func(h Hold) bool { return h.Over(now) },
		By{Principal: "settled", Reason: "its time is over"})
}

// end ends those holds of an operation that are wanted ended, and no other.
func (t Transfer) end(op *Operation, wanted func(Hold) bool, by By) (Change, error) {
	t.Holds = slices.Clone(t.Holds)
	left := 0
	for i := range t.Holds {
		switch h := &t.Holds[i]; {
		case h.Operation != op.ID:
		case wanted(*h):
			h.Ended = t.Version + 1
		default:
			left++
		}
	}
	if left > 0 {
		return t.move(op, EventLetGo, by, nil)
	}
	return t.move(op, EventRelease, by, nil)
}

// arrange brings the holds in line with the states after a change: what came to its end is held
// by nothing. It writes down which holds the change began and ended.
func (c *Change) arrange() {
	t := &c.After
	var stand []Hold
	for _, h := range t.Holds {
		if h.Ended == 0 && !t.operation(h.Operation).State.Holdable() {
			h.Ended = t.Version
		}
		if h.Begun == t.Version || h.Ended == t.Version {
			c.History.Holds = append(c.History.Holds, h)
		}
		if h.Ended == 0 {
			stand = append(stand, h)
		}
	}
	t.Holds = stand
	longest, _ := t.HeldLongest(t.ID) // none: the zero hold
	t.HeldBy, t.HoldEndsAt = longest.Source, nextEnd(t.HoldsOf(t.ID))
}

// stampHolds fills in when holds began and ended.
func (c *Change) stampHolds(at time.Time) {
	for i := range c.After.Holds {
		if h := &c.After.Holds[i]; h.Begun == c.After.Version {
			h.Since = at
		}
	}
	for i := range c.History.Holds {
		h := &c.History.Holds[i]
		if h.Begun == c.After.Version {
			h.Since = at
		}
		if h.Ended == c.After.Version {
			h.EndedAt = at
		}
	}
}

// nameTheReversal refuses a command to a transfer that Stripe holds, and says which of its
// reversals it may have meant.
func (t *Transfer) nameTheReversal() error {
	var list []string
	for _, r := range t.Reversals {
		if r.State != Completed && r.State != Canceled {
			list = append(list, fmt.Sprintf("%s (%s, %s)", r.ID, Money{r.Amount, t.Money.Currency}, r.State))
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("%w: Stripe holds it already; the way back is a reversal", ErrIllegalMove)
	}
	return fmt.Errorf("%w: Stripe holds it already; the way back is a reversal; name one of its reversals by reversal to mean that: %s",
		ErrIllegalMove, strings.Join(list, ", "))
}

// planHeld plans what only holds keep back.
func planHeld(t *Transfer, holds []Hold, idle Action) Step {
	if len(holds) == 0 { // no change leads here; people must be able to look at such a row all the same
		return Step{Code: "nothing_holds", Mover: MoveOfPlatform, Why: "It is held, but by nothing: the row is not one that the ledger writes. Run the audit."}
	}
	longest := holds[0]
	for _, h := range holds {
		if outlasts(h, longest) {
			longest = h
		}
	}
	step := Step{Action: idle, Code: "held_by_" + string(longest.Source), Mover: MoveOfPlatform}
	if step.At = nextEnd(holds); !step.At.IsZero() {
		step.Action = Release
	}
	if !longest.Until.IsZero() {
		step.Mover = MoveOfSettled
	}
	var why []string
	operators := 0
	for _, h := range holds {
		why = append(why, t.tell(h))
		if h.Source == HeldByOperator {
			operators++
		}
	}
	switch {
	case operators == 1 && len(holds) == 1:
		why = append(why, "`release` lets it go.")
	case operators == len(holds):
		why = append(why, "`release` lets them go.")
	case operators > 0:
		why = append(why, "`release` lets go of what operators hold, and of another only when `override` names it.")
	default:
		why = append(why, "A `release` ends it sooner only when `override` names it.")
	}
	step.Why = strings.Join(why, " ")
	return step
}

// tell says in a sentence who holds what, since when, until when, and why.
func (t *Transfer) tell(h Hold) string {
	var b strings.Builder
	if h.Operation != t.ID {
		if i := t.index(&Operation{ID: h.Operation}); i >= 0 {
			fmt.Fprintf(&b, "The reversal %s of %s is held by ", h.Operation, Money{t.Reversals[i].Amount, t.Money.Currency})
		}
	} else {
		b.WriteString("Held by ")
	}
	switch {
	case h.Source == HeldByOperator && h.By != "":
		b.WriteString(h.By)
	default:
		b.WriteString(string(h.Source))
	}
	fmt.Fprintf(&b, " since %s", h.Since.UTC().Format(time.RFC3339))
	if !h.Until.IsZero() {
		fmt.Fprintf(&b, " until %s", h.Until.UTC().Format(time.RFC3339))
	}
	if h.Reason != "" {
		fmt.Fprintf(&b, ": '%s'", h.Reason)
	}
	b.WriteByte('.')
	return b.String()
}

// sources names holds for people.
func sources(holds []Hold) string {
	list := make([]string, len(holds))
	for i, h := range holds {
		list[i] = fmt.Sprintf("%s (%s)", h.Source, h.ID)
		if !h.Until.IsZero() {
			list[i] += " until " + h.Until.UTC().Format(time.RFC3339)
		}
	}
	return strings.Join(list, ", ")
}
