package ledger

import "fmt"

// Account is a side of a posting; the package comment says what each holds.
type Account string

// The accounts.
const (
	Clearing  Account = "clearing"
	Owed      Account = "owed"
	InFlight  Account = "in_flight"
	Paid      Account = "paid"
	Returning Account = "returning"
)

// Accounts lists every account.
var Accounts = []Account{Clearing, Owed, InFlight, Paid, Returning}

// Posting is one side of an entry. The entry is the history row that it is stored with.
type Posting struct {
	Account  Account
	Amount   int64 // minor units; what leaves an account is negative
	Currency Currency
}

// entry moves an amount between two accounts. An unbalanced entry cannot be made.
func entry(from, to Account, m Money) []Posting {
	if m.Amount <= 0 || from == to {
		panic(fmt.Sprintf("ledger: an entry of %s from %s to %s", m, from, to))
	}
	return []Posting{{from, -m.Amount, m.Currency}, {to, m.Amount, m.Currency}}
}

// account returns where an operation's amount lies in a state, by its kind.
func account(k Kind, s State) Account {
	switch {
	case k == MakeReversal && s.Open():
		return Returning
	case k == MakeReversal && s == Completed:
		return Clearing
	case k == MakeReversal:
		return Paid
	case s.Open():
		return InFlight
	case s == Canceled:
		return Clearing
	case s == Completed:
		return Paid
	default:
		return Owed
	}
}

// postingsFor books an operation's step from one state to another; from nothing, it enters
// the books.
func postingsFor(k Kind, from, to State, m Money) []Posting {
	a, b := account(k, from), account(k, to)
	if from == "" && k == CreateTransfer {
		a = Clearing
	}
	if a == b {
		return nil
	}
	return entry(a, b, m)
}

// Books is what each account of one currency holds for one transfer.
type Books map[Account]int64

// Books recomputes, from the states alone, what the postings of t must add up to.
func (t Transfer) Books() Books {
	b := Books{Clearing: -t.Money.Amount} // accept
	b[account(CreateTransfer, t.Operation.State)] += t.Money.Amount
	for _, r := range t.Reversals {
		b[Paid] -= r.Amount
		b[account(MakeReversal, r.State)] += r.Amount
	}
	return b
}
