package stripe

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/settled/settled/ledger"
)

// CheckKey reports why a key cannot be used, and never shows it. through is a base that is not Stripe's own: what stands
// there may add what the key lacks.
func CheckKey(key string, through bool) error {
	_, err := ModeOf(key)
	switch {
	case key == "":
		return fmt.Errorf("the secret key is empty")
	case !strings.HasPrefix(key, "sk_") && !strings.HasPrefix(key, "rk_"):
		return fmt.Errorf("the secret key must begin with sk_ or rk_ (a publishable key, pk_, cannot move money)")
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return fmt.Errorf("the secret key has a blank or a character outside ASCII in it")
	case err != nil:
		return err
	case strings.HasPrefix(key, "sk_org_") && !through:
		return fmt.Errorf("an organisation's key (sk_org_…) names no single account: Stripe takes it with a Stripe-Context header alone, which is never sent here, " +
			"and the ledger could not be bound; use a key of the platform's own account")
	}
	return nil
}

// modes are the prefixes of keys (docs.stripe.com/keys). Accounts do not say whether they are live; the key does.
var modes = map[string]ledger.Mode{
	"sk_live_": ledger.LiveMode, "rk_live_": ledger.LiveMode, "sk_org_live_": ledger.LiveMode,
	"sk_test_": ledger.TestMode, "rk_test_": ledger.TestMode, "sk_org_test_": ledger.TestMode,
}

// ModeOf tells a key's mode by its prefix, before any call.
func ModeOf(key string) (ledger.Mode, error) {
	for prefix, mode := range modes {
		if strings.HasPrefix(key, prefix) {
			return mode, nil
		}
	}
	return "", fmt.Errorf("the secret key says neither live nor test: it begins with sk_live_, sk_test_, rk_live_ or rk_test_")
}

// accountForm finds accounts in a text of Stripe's.
var accountForm = regexp.MustCompile(`\bacct_[A-Za-z0-9_]+`)

// Withheld reports that Stripe itself says that the key may not read this, and which account it names as the key's:
// "… does not have the required permissions for this endpoint on account 'acct_…'". It is false for the 403 of a
// firewall; the account is empty where the text names none, or several.
func (e *ReadError) Withheld() (account string, stripe bool) {
	if e.HTTPStatus != http.StatusForbidden || e.Said == "" {
		return "", false
	}
	for _, named := range accountForm.FindAllString(e.Said, -1) {
		if account != "" && named != account {
			return "", true
		}
		account = named
	}
	return account, true
}
