package http

import (
	"fmt"
	"time"

	"github.com/settled/settled/ledger"
)

// How the ledger's values look from outside. Absent values are null, times are UTC, and
// amounts are integers in minor units.

type transferView struct {
	ID                ledger.ID          `json:"id"`
	Object            string             `json:"object"`
	Reference         string             `json:"reference"`
	Seller            string             `json:"seller"`
	Destination       string             `json:"destination"`
	Amount            int64              `json:"amount"`
	Currency          ledger.Currency    `json:"currency"`
	SourceTransaction *string            `json:"source_transaction"`
	TransferGroup     *string            `json:"transfer_group"`
	Description       *string            `json:"description"`
	NotBefore         *time.Time         `json:"not_before"`
	Metadata          map[string]string  `json:"metadata"`
	Status            ledger.State       `json:"status"`
	HeldBy            *ledger.HoldSource `json:"held_by"`
	HeldUntil         *time.Time         `json:"held_until"` // the end of the last hold; null: never, or none stands
	Holds             []holdView         `json:"holds"`
	AmountReversed    int64              `json:"amount_reversed"`
	AmountRemaining   int64              `json:"amount_remaining"` // may still be reversed
	StripeID          *string            `json:"stripe_id"`
	ErrorCode         *string            `json:"error_code"`
	ErrorMessage      *string            `json:"error_message"`
	Generation        int                `json:"generation"`
	Version           int64              `json:"version"`
	CreatedAt         *time.Time         `json:"created_at"`
	UpdatedAt         *time.Time         `json:"updated_at"`
	Reversals         []reversalView     `json:"reversals"`
}

type reversalView struct {
	ID           ledger.ID    `json:"id"`
	Object       string       `json:"object"`
	Reference    *string      `json:"reference"` // null: others made it
	Amount       int64        `json:"amount"`
	Status       ledger.State `json:"status"`
	Cause        *string      `json:"cause"`
	External     bool         `json:"external"`
	StripeID     *string      `json:"stripe_id"`
	ErrorCode    *string      `json:"error_code"`
	ErrorMessage *string      `json:"error_message"`
	Generation   int          `json:"generation"`
	CreatedAt    *time.Time   `json:"created_at"`
	UpdatedAt    *time.Time   `json:"updated_at"`

	HeldBy    *ledger.HoldSource `json:"held_by"`
	HeldUntil *time.Time         `json:"held_until"`
	Holds     []holdView         `json:"holds"`
}

// holdView is a hold that stands.
type holdView struct {
	ID     ledger.ID         `json:"id"`
	Source ledger.HoldSource `json:"source"`
	Reason *string           `json:"reason"`
	By     *string           `json:"by"`
	Since  *time.Time        `json:"since"`
	Until  *time.Time        `json:"until"`
}

// viewHolds shows the holds of an operation: by which it is held longest, until when, and all.
func viewHolds(t *ledger.Transfer, operation ledger.ID) (by *ledger.HoldSource, until *time.Time, all []holdView) {
	all = []holdView{}
	for _, h := range t.HoldsOf(operation) {
		all = append(all, holdView{h.ID, h.Source, orNull(h.Reason), orNull(h.By), momentOrNull(h.Since),
			momentOrNull(h.Until)})
	}
	longest, _ := t.HeldLongest(operation)
	return orNull(longest.Source), momentOrNull(longest.Until), all
}

// orNull returns nil for a value that says nothing.
func orNull[T comparable](v T) *T {
	var none T
	if v == none {
		return nil
	}
	return &v
}

func momentOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func viewTransfer(t *ledger.Transfer) transferView {
	v := transferView{
		ID: t.ID, Object: "transfer", Reference: t.Reference, Seller: t.Seller, Destination: t.Destination,
		Amount: t.Money.Amount, Currency: t.Money.Currency,
		SourceTransaction: orNull(t.SourceTransaction), TransferGroup: orNull(t.TransferGroup),
		Description: orNull(t.Description),
		NotBefore:   momentOrNull(t.NotBefore), Metadata: t.Metadata,
		Status:         t.Status(),
		AmountReversed: t.AmountReversed, AmountRemaining: t.Remaining(), StripeID: orNull(t.Operation.StripeID),
		ErrorCode: orNull(t.Operation.ErrorCode), ErrorMessage: orNull(t.Operation.ErrorMessage),
		Generation: t.Operation.Generation, Version: t.Version,
		CreatedAt: momentOrNull(t.CreatedAt), UpdatedAt: momentOrNull(t.Since),
		Reversals: make([]reversalView, len(t.Reversals)),
	}
	v.HeldBy, v.HeldUntil, v.Holds = viewHolds(t, t.ID)
	if v.Metadata == nil {
		v.Metadata = map[string]string{}
	}
	for i, r := range t.Reversals {
		v.Reversals[i] = reversalView{
			ID: r.ID, Object: "reversal", Reference: orNull(r.Reference), Amount: r.Amount, Status: r.State,
			Cause: orNull(r.Cause), External: r.External,
			StripeID: orNull(r.StripeID), ErrorCode: orNull(r.ErrorCode), ErrorMessage: orNull(r.ErrorMessage),
			Generation: r.Generation, CreatedAt: momentOrNull(r.CreatedAt), UpdatedAt: momentOrNull(r.Since),
		}
		v.Reversals[i].HeldBy, v.Reversals[i].HeldUntil, v.Reversals[i].Holds = viewHolds(t, r.ID)
	}
	return v
}

// whyView says why a transfer stands where it stands.
type whyView struct {
	Sentence string        `json:"sentence"`
	Code     string        `json:"code"`
	Mover    *ledger.Mover `json:"mover"`   // whose move it is; null when there is none to make
	NextAt   *time.Time    `json:"next_at"` // the next automatic moment
}

func (s *Server) why(r *ledger.Record, live ledger.Live) whyView {
	// When the actor last looked in vain only the actor knows, so a plan to look says "at
	// once"; the end of the actor's own wait is the better answer.
	step := ledger.Plan(&r.Transfer, r.Digest, s.engine.Policy(), r.ReadAt, time.Time{})
	next := step.At
	if step.Action == ledger.Look && next.IsZero() {
		if next = live.Until; next.IsZero() {
			next = r.ReadAt
		}
	}
	w := whyView{Sentence: step.Why, Code: step.Code, Mover: orNull(step.Mover), NextAt: momentOrNull(next)}
	if step.Action != ledger.Send && step.Action != ledger.Look {
		return w
	}
	due := !next.After(r.ReadAt)
	// The plan is made from the ledger alone. Only the tree knows why no call is made at all.
	_, kind := r.Transfer.Current()
	for _, n := range s.engine.Notices() {
		if !due && n.Mover == ledger.MoveOfStripe {
			continue // it passes by itself, and most likely before that
		}
		if step.Action == ledger.Send && n.Hinders(kind) || step.Action == ledger.Look && n.HindersRead(kind) {
			return whyNotice(n)
		}
	}
	if live.Asleep > 1 && step.Awaits != ledger.BackOff {
		// Of all that wait for the same one asks, and its answer is theirs.
		w.Sentence += fmt.Sprintf(" %d wait for the same; one of them asks Stripe", live.Asleep)
		w.NextAt = momentOrNull(live.ProbeAt)
		if live.ProbeAt.IsZero() {
			w.Sentence += " now"
		}
		w.Sentence += "."
	}
	if live.Queued && live.Before > 0 {
		w.Sentence += fmt.Sprintf(" %d before it", live.Before)
		if live.Rate > 0 {
			w.Sentence += fmt.Sprintf(" at %d a second", live.Rate)
			w.NextAt = momentOrNull(r.ReadAt.Add(time.Duration(live.Before) * time.Second / time.Duration(live.Rate)))
		}
		w.Sentence += "."
	}
	return w
}

// whyNotice is the reason of all that wait until a notice is over.
func whyNotice(n ledger.Notice) whyView {
	w := whyView{Sentence: n.Text, Code: n.Code, Mover: orNull(n.Mover), NextAt: momentOrNull(n.Until)}
	if n.Detail != "" {
		w.Sentence += " " + n.Detail
	}
	return w
}

// recordView is a transfer with the reason why it stands where it stands.
type recordView struct {
	transferView
	Why whyView `json:"why"`
}

func (s *Server) viewRecord(r *ledger.Record, live ledger.Live) recordView {
	return recordView{viewTransfer(&r.Transfer), s.why(r, live)}
}

// dossierView is all that is known of a transfer.
type dossierView struct {
	recordView
	Actor    actorView     `json:"actor"`
	History  []historyView `json:"history"`      // the latest entries, by version
	Earlier  *string       `json:"history_next"` // the cursor of those before them
	Postings []postingView `json:"postings"`
}

type actorView struct {
	Alive       bool       `json:"alive"`
	Doing       *string    `json:"doing"`
	Until       *time.Time `json:"until"`
	Incarnation uint64     `json:"incarnation"`
}

type historyView struct {
	Version    int64         `json:"version"`
	At         *time.Time    `json:"at"`
	Subject    ledger.ID     `json:"subject"`
	Kind       string        `json:"kind"`
	Event      ledger.Event  `json:"event"`
	From       *ledger.State `json:"from"`
	To         ledger.State  `json:"to"`
	Status     ledger.State  `json:"status"`
	Epoch      int           `json:"epoch"`
	Generation int           `json:"generation"`
	OpenSends  int           `json:"open_sends"`
	Attempt    *attemptView  `json:"attempt"`
	By         *byView       `json:"by"`
	Detail     *string       `json:"detail"`
}

type attemptView struct {
	Row        string  `json:"row"`
	Verdict    string  `json:"verdict"`
	Reaction   string  `json:"reaction"`
	HTTPStatus *int    `json:"http_status"`
	Code       *string `json:"code"`
	Param      *string `json:"param"`
	Message    *string `json:"message"`
	StripeID   *string `json:"stripe_id"`
	RequestID  *string `json:"request_id"`
	Replayed   bool    `json:"replayed"`
	Alert      bool    `json:"alert"`
}

type byView struct {
	Principal string     `json:"principal"`
	Reason    *string    `json:"reason"`
	Message   *ledger.ID `json:"message"`
}

type postingView struct {
	Version  int64           `json:"version"`
	At       *time.Time      `json:"at"`
	Account  ledger.Account  `json:"account"`
	Amount   int64           `json:"amount"`
	Currency ledger.Currency `json:"currency"`
}

func (s *Server) viewDossier(d *ledger.Dossier, live ledger.Live) dossierView {
	v := dossierView{
		recordView: s.viewRecord(&d.Record, live),
		Actor:      actorView{live.Alive, orNull(live.Doing), momentOrNull(live.Until), live.Incarnation},
		History:    make([]historyView, len(d.History)),
		Earlier:    earlier(d.Chapter),
		Postings:   make([]postingView, len(d.Postings)),
	}
	for i := range d.History {
		v.History[i] = viewHistory(&d.History[i])
	}
	for i, p := range d.Postings {
		v.Postings[i] = postingView{p.Version, momentOrNull(p.At), p.Account, p.Amount, p.Currency}
	}
	return v
}

func viewHistory(h *ledger.History) historyView {
	v := historyView{
		Version: h.Version, At: momentOrNull(h.At), Subject: h.Subject, Kind: h.Kind.String(), Event: h.Event,
		From: orNull(h.From), To: h.To, Status: h.Status,
		Epoch: h.Epoch, Generation: h.Generation, OpenSends: h.OpenSends, Detail: orNull(h.Detail),
	}
	if a := h.Answer; a.Row != "" {
		v.Attempt = &attemptView{
			Row: a.Row, Verdict: a.Verdict.String(), Reaction: a.Reaction.String(), HTTPStatus: orNull(a.HTTPStatus),
			Code: orNull(a.Code), Param: orNull(a.Param), Message: orNull(a.Message), StripeID: orNull(a.StripeID),
			RequestID: orNull(a.RequestID), Replayed: a.Replayed, Alert: a.Alert,
		}
	}
	if h.By.Principal != "" {
		v.By = &byView{h.By.Principal, orNull(h.By.Reason), orNull(h.By.Message)}
	}
	return v
}
