package db

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// operationRow are the columns of an operation: a transfer's own, or a reversal.
type operationRow struct {
	ID           ledger.ID    `bun:"id,pk"`
	State        ledger.State `bun:"state"`
	EnteredAt    instant      `bun:"entered_at"`
	Epoch        int64        `bun:"epoch"`
	Generation   int64        `bun:"generation"`
	RequestHash  string       `bun:"request_hash"`
	FirstSentAt  instant      `bun:"first_sent_at"`
	OpenSends    int64        `bun:"open_sends"`
	StripeID     string       `bun:"stripe_id,nullzero"`
	ErrorCode    string       `bun:"error_code"`
	ErrorMessage string       `bun:"error_message"`
	Name         ledger.ID    `bun:"name,nullzero"` // once set it stays
	Seen         int64        `bun:"seen_epoch"`
}

// operationChanges lists the columns of an operation that a change may write.
var operationChanges = []string{"state", "entered_at", "epoch", "generation", "request_hash", "first_sent_at", "open_sends",
	"stripe_id", "error_code", "error_message", "name", "seen_epoch"}

func toOperationRow(o *ledger.Operation) operationRow {
	return operationRow{
		ID: o.ID, State: o.State, EnteredAt: toInstant(o.Since), Epoch: int64(o.Epoch), Generation: int64(o.Generation),
		RequestHash: o.RequestHash, FirstSentAt: toInstant(o.FirstSentAt), OpenSends: int64(o.OpenSends), StripeID: o.StripeID,
		ErrorCode: o.ErrorCode, ErrorMessage: o.ErrorMessage, Name: o.Name, Seen: int64(o.Seen),
	}
}

func (r *operationRow) operation() ledger.Operation {
	return ledger.Operation{
		ID: r.ID, State: r.State, Since: r.EnteredAt.time(), Epoch: int(r.Epoch), Generation: int(r.Generation),
		RequestHash: r.RequestHash, FirstSentAt: r.FirstSentAt.time(), OpenSends: int(r.OpenSends), StripeID: r.StripeID,
		ErrorCode: r.ErrorCode, ErrorMessage: r.ErrorMessage, Name: r.Name, Seen: int(r.Seen),
	}
}

// transferRow is a transfer. Its order's columns come last and never change.
type transferRow struct {
	bun.BaseModel `bun:"table:transfers,alias:t"`
	operationRow

	Version        int64             `bun:"version"`
	Status         ledger.State      `bun:"status"` // derived; by it rows are listed, counted and found unfinished, and the audit compares
	Since          instant           `bun:"since"`  // of the status
	HeldBy         ledger.HoldSource `bun:"held_by"`
	HoldEndsAt     instant           `bun:"hold_ends_at"`
	AmountReversed int64             `bun:"amount_reversed"`
	Chain          string            `bun:"chain,nullzero"`

	Reference         string          `bun:"reference"`
	OrderHash         string          `bun:"order_hash"`
	Seller            string          `bun:"seller"`
	Destination       string          `bun:"destination"`
	Amount            int64           `bun:"amount"`
	Currency          ledger.Currency `bun:"currency"`
	SourceTransaction string          `bun:"source_transaction"`
	TransferGroup     string          `bun:"transfer_group"`
	Description       string          `bun:"description"`
	NotBefore         instant         `bun:"not_before"`
	Metadata          string          `bun:"metadata"` // JSON; empty: none was given
	CreatedAt         instant         `bun:"created_at"`
}

// transferChanges lists the columns of a transfer that a change may write; its guard is the
// version.
var transferChanges = append([]string{"id", "version", "status", "since", "held_by", "hold_ends_at", "amount_reversed", "chain"}, operationChanges...)

// changedTransfer fills the columns that a change may write.
func changedTransfer(t *ledger.Transfer) transferRow {
	return transferRow{
		operationRow: toOperationRow(&t.Operation),
		Version:      t.Version, Status: t.Status(), Since: toInstant(t.Since),
		HeldBy: t.HeldBy, HoldEndsAt: toInstant(t.HoldEndsAt), AmountReversed: t.AmountReversed, Chain: t.Chain,
	}
}

// newTransfer fills all columns.
func newTransfer(t *ledger.Transfer) transferRow {
	r := changedTransfer(t)
	r.Reference, r.OrderHash = t.Reference, t.OrderHash
	r.Seller, r.Destination = t.Seller, t.Destination
	r.Amount, r.Currency = t.Money.Amount, t.Money.Currency
	r.SourceTransaction, r.TransferGroup, r.Description = t.SourceTransaction, t.TransferGroup, t.Description
	r.NotBefore, r.CreatedAt = toInstant(t.NotBefore), toInstant(t.CreatedAt)
	if t.Metadata != nil {
		text, err := json.Marshal(t.Metadata)
		if err != nil {
			panic(fmt.Sprintf("db: metadata cannot be written as JSON: %v", err)) // strings always can
		}
		r.Metadata = string(text)
	}
	return r
}

func (r *transferRow) transfer() (ledger.Transfer, error) {
	t := ledger.Transfer{
		ID:        r.ID,
		Operation: r.operation(),
		OrderHash: r.OrderHash,
		Order: ledger.Order{
			Reference: r.Reference, Seller: r.Seller, Destination: r.Destination,
			Money:             ledger.Money{Amount: r.Amount, Currency: r.Currency},
			SourceTransaction: r.SourceTransaction, TransferGroup: r.TransferGroup, Description: r.Description,
			NotBefore: r.NotBefore.time(),
		},
		Version: r.Version, Since: r.Since.time(), HeldBy: r.HeldBy, HoldEndsAt: r.HoldEndsAt.time(),
		AmountReversed: r.AmountReversed, Chain: r.Chain, CreatedAt: r.CreatedAt.time(),
	}
	if r.Metadata != "" {
		if err := json.Unmarshal([]byte(r.Metadata), &t.Metadata); err != nil {
			return t, fmt.Errorf("read the metadata of transfer %s: %w", r.ID, err)
		}
	}
	return t, nil
}

// reversalRow is a reversal.
type reversalRow struct {
	bun.BaseModel `bun:"table:reversals,alias:r"`
	operationRow

	TransferID ledger.ID `bun:"transfer_id"`
	No         int64     `bun:"no"`
	External   bool      `bun:"external"`
	Amount     int64     `bun:"amount"`
	Cause      string    `bun:"cause"`
	CreatedAt  instant   `bun:"created_at"`
	Reference  string    `bun:"reference,nullzero"` // NULL: others made it
	OrderHash  string    `bun:"order_hash"`
}

// reversalChanges lists the columns of a reversal that a change may write.
var reversalChanges = append([]string{"external"}, operationChanges...)

func toReversalRow(transfer ledger.ID, no int, r *ledger.Reversal) reversalRow {
	return reversalRow{
		operationRow: toOperationRow(&r.Operation), TransferID: transfer, No: int64(no),
		External: r.External, Amount: r.Amount, Cause: r.Cause, CreatedAt: toInstant(r.CreatedAt),
		Reference: r.Reference, OrderHash: r.OrderHash,
	}
}

func (r *reversalRow) reversal() ledger.Reversal {
	return ledger.Reversal{
		Operation: r.operation(), Reference: r.Reference, OrderHash: r.OrderHash,
		Amount: r.Amount, Cause: r.Cause, External: r.External, CreatedAt: r.CreatedAt.time(),
	}
}

// answerRow is the answer in a history row; all NULL when the step follows none.
type answerRow struct {
	Row        string `bun:"row,nullzero"`
	Verdict    string `bun:"verdict,nullzero"`
	Reaction   string `bun:"reaction,nullzero"`
	Scope      int64  `bun:"scope,nullzero"`
	StripeID   string `bun:"stripe_id,nullzero"`
	HTTPStatus int64  `bun:"http_status,nullzero"`
	Code       string `bun:"code,nullzero"`
	Param      string `bun:"param,nullzero"`
	Message    string `bun:"message,nullzero"`
	RequestID  string `bun:"request_id,nullzero"`
	Replayed   bool   `bun:"replayed,nullzero"`
	Alert      bool   `bun:"alert,nullzero"`
	RetryAfter int64  `bun:"retry_after,nullzero"`
}

// historyRow is one step.
type historyRow struct {
	bun.BaseModel `bun:"table:history,alias:h"`

	TransferID ledger.ID    `bun:"transfer_id,pk"`
	Version    int64        `bun:"version,pk"`
	Subject    ledger.ID    `bun:"subject"`
	Kind       string       `bun:"kind"`
	At         instant      `bun:"at"`
	Event      ledger.Event `bun:"event"`
	FromState  ledger.State `bun:"from_state"`
	ToState    ledger.State `bun:"to_state"`
	Status     ledger.State `bun:"status"`
	Epoch      int64        `bun:"epoch"`
	Generation int64        `bun:"generation"`
	OpenSends  int64        `bun:"open_sends"`
	Answer     answerRow    `bun:"embed:answer_"`
	MessageID  ledger.ID    `bun:"message_id,nullzero"`
	Principal  string       `bun:"principal,nullzero"`
	Reason     string       `bun:"reason,nullzero"`
	Detail     string       `bun:"detail,nullzero"`
	Chain      string       `bun:"chain,nullzero"`
	Content    []byte       `bun:"content"`
}

func toHistoryRow(h *ledger.History) historyRow {
	r := historyRow{
		TransferID: h.Transfer, Version: h.Version, Subject: h.Subject, Kind: h.Kind.String(), At: toInstant(h.At),
		Event: h.Event, FromState: h.From, ToState: h.To, Status: h.Status,
		Epoch: int64(h.Epoch), Generation: int64(h.Generation), OpenSends: int64(h.OpenSends),
		MessageID: h.By.Message, Principal: h.By.Principal, Reason: h.By.Reason, Detail: h.Detail, Chain: h.Chain,
		Content: h.Content,
	}
	if a := h.Answer; a != (ledger.Answer{}) {
		r.Answer = answerRow{
			Row: a.Row, Verdict: a.Verdict.String(), Reaction: a.Reaction.String(), Scope: int64(a.Scope),
			StripeID: a.StripeID, HTTPStatus: int64(a.HTTPStatus), Code: a.Code, Param: a.Param,
			Message: a.Message, RequestID: a.RequestID, Replayed: a.Replayed, Alert: a.Alert,
			RetryAfter: int64(a.RetryAfter),
		}
	}
	return r
}

func (r *historyRow) history() (ledger.History, error) {
	h := ledger.History{
		Transfer: r.TransferID, Version: r.Version, Subject: r.Subject, At: r.At.time(),
		Event: r.Event, From: r.FromState, To: r.ToState, Status: r.Status,
		Epoch: int(r.Epoch), Generation: int(r.Generation), OpenSends: int(r.OpenSends),
		By:     ledger.By{Message: r.MessageID, Principal: r.Principal, Reason: r.Reason},
		Detail: r.Detail, Chain: r.Chain, Content: r.Content,
	}
	switch r.Kind {
	case ledger.CreateTransfer.String():
	case ledger.MakeReversal.String():
		h.Kind = ledger.MakeReversal
	default:
		return h, fmt.Errorf("read version %d of transfer %s: its kind is %q; expected %s or %s", r.Version, r.TransferID, r.Kind, ledger.CreateTransfer, ledger.MakeReversal)
	}
	if r.Answer == (answerRow{}) {
		return h, nil
	}
	a := r.Answer
	verdict, err := ledger.ParseVerdict(a.Verdict)
	if err != nil {
		return h, fmt.Errorf("read version %d of transfer %s: %w", r.Version, r.TransferID, err)
	}
	reaction, err := ledger.ParseReaction(a.Reaction)
	if err != nil {
		return h, fmt.Errorf("read version %d of transfer %s: %w", r.Version, r.TransferID, err)
	}
	h.Answer = ledger.Answer{
		Row: a.Row, Verdict: verdict, Reaction: reaction, Scope: ledger.Scope(a.Scope),
		StripeID: a.StripeID, HTTPStatus: int(a.HTTPStatus), Code: a.Code, Param: a.Param,
		Message: a.Message, RequestID: a.RequestID, Replayed: a.Replayed, Alert: a.Alert,
		RetryAfter: time.Duration(a.RetryAfter),
	}
	return h, nil
}

// postingRow is one side of an entry; the entry is the history row of the same version.
type postingRow struct {
	bun.BaseModel `bun:"table:postings,alias:p"`

	TransferID ledger.ID       `bun:"transfer_id,pk"`
	Version    int64           `bun:"version,pk"`
	No         int64           `bun:"no,pk"`
	At         instant         `bun:"at"`
	Account    ledger.Account  `bun:"account"`
	Amount     int64           `bun:"amount"`
	Currency   ledger.Currency `bun:"currency"`
}

func (r *postingRow) posting() ledger.DatedPosting {
	return ledger.DatedPosting{Version: r.Version, At: r.At.time(),
		Posting: ledger.Posting{Account: r.Account, Amount: r.Amount, Currency: r.Currency}}
}
