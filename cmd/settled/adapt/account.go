package adapt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/db"
	"github.com/settled/settled/db/crash"
	"github.com/settled/settled/ledger"
)

// VerifyAccount proves that the key is the ledger's account's, and tells it: keys derived for one account mean nothing
// at another, so the same transfers would be paid again there.
//
// A restricted key may not be allowed to read its account. Stripe's own refusal names the account, which is as good.
// One that does not may pass, but only over a ledger that was never bound: nothing was paid by it that could be paid
// again. The 403 of a firewall says nothing of the key at all.
func VerifyAccount(d *db.DB, client *stripe.Client, mode ledger.Mode, log *slog.Logger) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		id, _, err := client.Account(ctx)
		var failed *stripe.ReadError
		if errors.As(err, &failed) {
			if named, withheld := failed.Withheld(); withheld && named != "" {
				id, err = named, nil
			} else if withheld {
				bound, read := d.Binding(ctx)
				if read != nil {
					return "", read
				}
				if bound.Account != "" {
					return "", fmt.Errorf("the ledger belongs to %s, and Stripe does not say whose this key is: give it read access to accounts: %w", bound, err)
				}
				log.Warn("the restricted key may not read its account, so a key of another account would not be noticed: grant it read access to accounts", "err", err)
				return "", nil
			}
		}
		if err != nil {
			return "", err
		}
		crash.Point("account.read")
		if err := d.Bind(ctx, ledger.Binding{Account: id, Mode: mode}); err != nil {
			return "", err
		}
		crash.Point("account.bound")
		log.Info("Stripe says whose the key is", "account", id, "mode", string(mode))
		return id, nil
	}
}
