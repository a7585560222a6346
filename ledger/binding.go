package ledger

// Mode is a kind of money at Stripe. One account has the same ID in each, and an order of one must never be paid in another.
type Mode string

// The modes.
const (
	LiveMode    Mode = "live"    // real money
	TestMode    Mode = "test"    // Stripe's own sandboxes
	SandboxMode Mode = "sandbox" // our simulator, within the daemon
)

// Binding says whose ledger it is, or of whom a key is. What is not known is empty.
type Binding struct {
	Account string // acct_…
	Mode    Mode
}

func (b Binding) String() string {
	switch {
	case b.Account == "" && b.Mode == "":
		return "nobody"
	case b.Mode == "":
		return b.Account + " in a mode that is not known"
	case b.Account == "":
		return "an account in " + string(b.Mode) + " mode"
	}
	return b.Account + " in " + string(b.Mode) + " mode"
}
