package http

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// Drift: the findings of the reconciler, and the commands of people about them.

// findingView is a finding from outside.
type findingView struct {
	ID         ledger.ID        `json:"id"`
	Object     string           `json:"object"`
	Class      audit.Class      `json:"class"`
	Status     string           `json:"status"` // open, accepted, cleared
	Transfer   *ledger.ID       `json:"transfer"`
	StripeID   *string          `json:"stripe_id"` // the object that differs: tr_… or trr_…
	StripeFor  string           `json:"stripe_transfer"`
	Amount     int64            `json:"amount"` // in question
	Currency   *ledger.Currency `json:"currency"`
	Detail     string           `json:"detail"`
	Advice     string           `json:"advice"`
	Proposal   *proposalView    `json:"proposal"` // the message that would mend it; null: no message can
	FirstSeen  *time.Time       `json:"first_seen"`
	LastSeen   *time.Time       `json:"last_seen"`
	OpenedAt   *time.Time       `json:"opened_at"`
	ClearedAt  *time.Time       `json:"cleared_at"`
	AppliedAt  *time.Time       `json:"applied_at"`
	AppliedBy  *byView          `json:"applied_by"`
	AcceptedAt *time.Time       `json:"accepted_at"`
	AcceptedBy *byView          `json:"accepted_by"`
	Until      *time.Time       `json:"accepted_until"` // it is open again then
	SecondedAt *time.Time       `json:"seconded_at"`
	SecondedBy *byView          `json:"seconded_by"`
	Seconded   bool             `json:"needs_second"` // a second person must accept it too
}

// proposalView is a message to POST /v1/transfers/{id}/messages, but for its reason.
type proposalView struct {
	Transfer ledger.ID          `json:"transfer"`
	Type     ledger.MessageType `json:"type"`
	Outcome  *ledger.Outcome    `json:"outcome"`
	StripeID *string            `json:"stripe_id"`
}

func viewFinding(f *audit.Finding, now time.Time) findingView {
	v := findingView{
		ID: f.ID, Object: "finding", Class: f.Class, Status: "open", Transfer: orNull(f.Transfer),
		StripeID: orNull(f.StripeID), StripeFor: f.Object,
		Amount: f.Amount, Currency: orNull(f.Currency), Detail: f.Detail, Advice: f.Class.Advice(),
		FirstSeen: momentOrNull(f.FirstSeen), LastSeen: momentOrNull(f.LastSeen), OpenedAt: momentOrNull(f.OpenedAt),
		ClearedAt: momentOrNull(f.ClearedAt),
		AppliedAt: momentOrNull(f.AppliedAt), AcceptedAt: momentOrNull(f.AcceptedAt),
		Until: momentOrNull(f.AcceptedUntil), SecondedAt: momentOrNull(f.SecondedAt), Seconded: f.AboutMoney(),
	}
	switch {
	case !f.ClearedAt.IsZero():
		v.Status = "cleared"
	case f.Accepted(now):
		v.Status = "accepted"
	}
	if m, proposed := f.Message(); proposed {
		v.Proposal = &proposalView{m.Transfer, m.Type, orNull(m.Outcome), orNull(m.StripeID)}
	}
	if !f.AppliedAt.IsZero() {
		v.AppliedBy = &byView{f.AppliedBy.Principal, orNull(f.AppliedBy.Reason), orNull(f.AppliedBy.Message)}
	}
	if !f.AcceptedAt.IsZero() {
		v.AcceptedBy = &byView{f.AcceptedBy.Principal, orNull(f.AcceptedBy.Reason), orNull(f.AcceptedBy.Message)}
	}
	if !f.SecondedAt.IsZero() {
		v.SecondedBy = &byView{f.SecondedBy.Principal, orNull(f.SecondedBy.Reason), orNull(f.SecondedBy.Message)}
	}
	return v
}

// walkView is a walk from outside.
type walkView struct {
	No          int64      `json:"no"`
	BeganAt     *time.Time `json:"began_at"`
	EndedAt     *time.Time `json:"ended_at"` // null: it goes on
	Until       *time.Time `json:"until"`    // objects created at Stripe before are still to be compared; null: all are
	Reads       int64      `json:"reads"`
	AtStripe    int64      `json:"compared_at_stripe"`
	InLedger    int64      `json:"compared_in_ledger"`
	Differences int64      `json:"differences"`
}

func viewWalk(w *audit.Walk) *walkView {
	if w.No == 0 {
		return nil
	}
	return &walkView{w.No, momentOrNull(w.BeganAt), momentOrNull(w.EndedAt), momentOrNull(w.Until), w.Reads, w.AtStripe,
		w.InLedger, w.Different}
}

// statusView is the reconciler from outside.
type statusView struct {
	Path   string     `json:"path"`
	State  string     `json:"state"` // waiting, walking, looking, off
	NextAt *time.Time `json:"next_at"`
	Walk   *walkView  `json:"walk"`       // the newest; it may go on
	Ended  *walkView  `json:"last_ended"` // the newest that came to its end
}

func viewStatus(s *audit.Status) statusView {
	return statusView{"reconciler", s.Doing, momentOrNull(s.NextAt), viewWalk(&s.Newest), viewWalk(&s.Ended)}
}

// driftPage is a page of findings, with the whole in numbers.
type driftPage struct {
	Data    []findingView `json:"data"`
	Next    *string       `json:"next"`
	Summary driftSummary  `json:"summary"`
}

type driftSummary struct {
	Open       []countView `json:"open"`
	Reconciler statusView  `json:"reconciler"`
}

type countView struct {
	Class    audit.Class      `json:"class"`
	Currency *ledger.Currency `json:"currency"`
	Number   int64            `json:"number"`
	Amount   int64            `json:"amount"`
}

var driftNames = []string{"class", "status", "limit", "cursor"}

// listDrift answers a page of findings, newest first.
func (s *Server) listDrift(c *call) (reply, error) {
	given, err := query(c, driftNames)
	if err != nil {
		return reply{}, err
	}
	filter, err := parseDriftFilter(given)
	if err != nil {
		return reply{}, err
	}
	size := filter.Limit
	filter.Limit++ // one more tells whether there is a next page
	list, err := s.store.Findings(c.within, filter)
	if err != nil {
		return reply{}, fmt.Errorf("list findings: %w", err)
	}
	counts, err := s.store.DriftCounts(c.within)
	if err != nil {
		return reply{}, fmt.Errorf("count findings: %w", err)
	}
	status, err := s.engine.Reconciler(c.within)
	if err != nil {
		return reply{}, fmt.Errorf("ask the reconciler: %w", err)
	}
	p := driftPage{Data: make([]findingView, 0, size),
		Summary: driftSummary{make([]countView, len(counts)), viewStatus(&status)}}
	if len(list) > size {
		list = list[:size]
		next := cursor(list[size-1].ID)
		p.Next = &next
	}
	for i := range list {
		p.Data = append(p.Data, viewFinding(&list[i], s.now()))
	}
	for i, n := range counts {
		p.Summary.Open[i] = countView{n.Class, orNull(n.Currency), n.Number, n.Amount}
	}
	return reply{status: 200, body: mustJSON(p), rows: len(p.Data)}, nil
}

// parseDriftFilter reads the filter of the list, and reports everything that is wrong with it.
func parseDriftFilter(given map[string]string) (audit.Filter, error) {
	var wrong ledger.FieldErrors
	refuse := func(field, format string, args ...any) {
		wrong = append(wrong, ledger.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
	}
	f := audit.Filter{Class: audit.Class(given["class"]), Limit: limitDefault}
	if f.Class != "" && !slices.Contains(audit.Drifts, f.Class) {
		refuse("class", "%s is no class of drift: use one of %s", quote(string(f.Class)), words(audit.Drifts))
	}
	switch given["status"] {
	case "":
	case "open":
		f.Open = true
	case "accepted":
		f.Accepted = true
	case "cleared":
		f.Cleared = true
	default:
		refuse("status", "must be one of open, accepted, cleared")
	}
	if text, ok := given["limit"]; ok {
		var err error
		if f.Limit, err = parseLimit(text); err != nil {
			refuse("limit", "%s", err)
		}
	}
	if text, ok := given["cursor"]; ok {
		var err error
		if f.Before, err = parseCursor(text); err != nil {
			refuse("cursor", "%s", err)
		}
	}
	if len(wrong) > 0 {
		return audit.Filter{}, wrongFields(wrong)
	}
	return f, nil
}

func words[S ~string](list []S) string {
	texts := make([]string, len(list))
	for i, s := range list {
		texts[i] = string(s)
	}
	return strings.Join(texts, ", ")
}

// getDrift answers one finding.
func (s *Server) getDrift(c *call) (reply, error) {
	id, err := pathID(c, "finding")
	if err != nil {
		return reply{}, err
	}
	if _, err := query(c, nil); err != nil {
		return reply{}, err
	}
	f, err := s.store.Finding(c.within, id)
	if err != nil {
		return reply{}, fmt.Errorf("read finding %s: %w", id, err)
	}
	return reply{status: 200, body: mustJSON(viewFinding(&f, s.now())), rows: 1}, nil
}

// mendDrift carries out a person's decision about a finding: {"type": "apply"|"accept"|"reopen", "reason": …}, and
// "until" with accept.
func (s *Server) mendDrift(c *call) (reply, error) {
	id, err := pathID(c, "finding")
	if err != nil {
		return reply{}, err
	}
	how, until, by, err := s.readCommand(c, words(audit.Mendings), string(audit.Accept))
	if err != nil {
		return reply{}, err
	}
	f, err := s.engine.Mend(c.within, id, audit.Mending(how), until, by)
	if err != nil {
		return reply{}, fmt.Errorf("%s finding %s: %w", how, id, err)
	}
	return reply{status: 202, body: mustJSON(viewFinding(&f, s.now())), rows: 1}, nil
}

// getReconciler tells of the reconciler's work.
func (s *Server) getReconciler(c *call) (reply, error) {
	if _, err := query(c, nil); err != nil {
		return reply{}, err
	}
	status, err := s.engine.Reconciler(c.within)
	if err != nil {
		return reply{}, fmt.Errorf("ask the reconciler: %w", err)
	}
	return reply{status: 200, body: mustJSON(viewStatus(&status))}, nil
}

// tellReconciler has a walk begun: {"type": "run", "reason": …}.
func (s *Server) tellReconciler(c *call) (reply, error) {
	_, _, by, err := s.readCommand(c, "run", "")
	if err != nil {
		return reply{}, err
	}
	status, err := s.engine.Reconcile(c.within, by)
	if err != nil {
		return reply{}, fmt.Errorf("run the reconciler: %w", err)
	}
	return reply{status: 202, body: mustJSON(viewStatus(&status))}, nil
}

// readCommand reads a message that has a type, one of those listed, and a reason; and an end, if it is of the type
// that ends.
func (s *Server) readCommand(c *call, types, ends string) (name string, until time.Time, by ledger.By, err error) {
	text, err := checkJSON(c.ctx.PostBody(), requestDepth)
	if err != nil {
		return "", until, by, err
	}
	names := []string{"type", "reason"}
	if ends != "" {
		names = append(names, "until")
	}
	f, err := readForm(text, names)
	if err != nil {
		return "", until, by, err
	}
	if ends != "" {
		until = f.moment("until")
	}
	name, by = f.text("type"), ledger.By{Principal: c.principal.Name, Reason: f.text("reason")}
	wrong := ledger.FieldErrors{}
	if !slices.Contains(strings.Split(types, ", "), name) {
		wrong = append(wrong, ledger.FieldError{Field: "type", Detail: "must be one of " + types})
	}
	if !until.IsZero() && name != ends {
		wrong = append(wrong, ledger.FieldError{Field: "until", Detail: "goes with " + ends + " only"})
	}
	if err := ledger.CheckReason(by.Reason); err != nil {
		wrong = append(wrong, ledger.FieldError{Field: "reason", Detail: err.Error()})
	}
	if err := f.check(wrong); err != nil {
		return "", until, by, err
	}
	by.Message, err = c.messageID()
	return name, until, by, err
}
