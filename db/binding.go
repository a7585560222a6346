package db

import (
	"context"
	"fmt"

	"github.com/uptrace/bun"

	"github.com/settled/settled/ledger"
)

// misbound is an [ErrMisbound] with its two sides.
type misbound struct{ text string }

func (e misbound) Error() string        { return e.text }
func (e misbound) Is(target error) bool { return target == ErrMisbound }

// Binding tells the Stripe account and mode that the ledger belongs to, as far as it is bound.
func (d *DB) Binding(ctx context.Context) (ledger.Binding, error) {
	b, err := readBinding(ctx, d.read)
	if err != nil {
		return b, fmt.Errorf("read whose ledger it is: %w", err)
	}
	return b, nil
}

// BindMode makes the ledger belong to a mode, for ever, before anything is known of the account: the orders that a new
// ledger takes now are of this mode. It is [ErrMisbound] when the ledger is of another mode, and when it has orders, or
// an account, of a mode that nobody wrote down (see [DB.DeclareMode]).
func (d *DB) BindMode(ctx context.Context, mode ledger.Mode) (bound ledger.Binding, err error) {
	err = d.changing(ctx, "meta", func(tx bun.Tx) error {
		if bound, err = readBinding(ctx, tx); err != nil {
			return err
		}
		if bound.Mode == "" {
			used := bound.Account != ""
			if !used {
				if used, err = tx.NewSelect().Model((*transferRow)(nil)).Exists(ctx); err != nil {
					return err
				}
			}
			switch {
			case used && mode == ledger.SandboxMode:
				return misbound{"this ledger has orders of another Stripe, or its account: a sandbox takes an empty ledger or its own, and would drive real orders against a simulator"}
			case used:
				return misbound{fmt.Sprintf("this ledger belongs to %s, and the key is of %s mode: say which mode its orders are of with `settled migrate mode live` or `settled migrate mode test`", bound, mode)}
			}
			if err := settle(ctx, tx, metaMode, string(mode)); err != nil {
				return err
			}
			if bound, err = readBinding(ctx, tx); err != nil { // another process may have been first
				return err
			}
		}
		return fits(bound, ledger.Binding{Mode: mode})
	})
	if err != nil {
		return bound, fmt.Errorf("bind the ledger to %s mode: %w", mode, err)
	}
	return bound, nil
}

// Bind makes the ledger belong to a Stripe account in a mode, for ever; it is [ErrMisbound] when it belongs to another.
// The two are bound by one statement: an account without its mode would say that a test key may pay what a live key owes.
func (d *DB) Bind(ctx context.Context, b ledger.Binding) error {
	if err := checkTexts("account", b.Account, "mode", string(b.Mode)); err != nil {
		return err
	}
	if b.Account == "" || b.Mode == "" {
		return fmt.Errorf("bind the ledger to %s: both the account and the mode must be known", b)
	}
	err := d.changing(ctx, "meta", func(tx bun.Tx) error {
		before, err := readBinding(ctx, tx)
		if err != nil {
			return err
		}
		if before.Account != "" && before.Mode == "" {
			return misbound{fmt.Sprintf("this ledger belongs to %s, and the key is of %s", before, b)}
		}
		rows := []metaRow{{Key: metaAccount, Value: b.Account}, {Key: metaMode, Value: string(b.Mode)}}
		if before.Mode != "" && before.Mode != b.Mode {
			return fits(before, b) // its account is not known, and must not become this one
		}
		if _, err := tx.NewInsert().Model(&rows).On("CONFLICT (key) DO NOTHING").Exec(ctx); err != nil {
			return err
		}
		after, err := readBinding(ctx, tx)
		if err != nil {
			return err
		}
		return fits(after, b)
	})
	if err != nil {
		return fmt.Errorf("bind the ledger to %s: %w", b, err)
	}
	return nil
}

// DeclareMode takes a person's word for the mode of a ledger that has orders and was bound before modes were written
// down. What is bound stays so.
func (d *DB) DeclareMode(ctx context.Context, mode ledger.Mode) error {
	err := d.changing(ctx, "meta", func(tx bun.Tx) error {
		if err := settle(ctx, tx, metaMode, string(mode)); err != nil {
			return err
		}
		bound, err := readBinding(ctx, tx)
		if err != nil {
			return err
		}
		return fits(bound, ledger.Binding{Account: bound.Account, Mode: mode})
	})
	if err != nil {
		return fmt.Errorf("declare the ledger's mode: %w", err)
	}
	return nil
}

// fits compares the ledger's binding with a key's, as far as the key's is known.
func fits(bound, key ledger.Binding) error {
	if bound.Mode == key.Mode && (key.Account == "" || bound.Account == key.Account) {
		return nil
	}
	return misbound{fmt.Sprintf("this ledger belongs to %s, and the key is of %s", bound, key)}
}

func readBinding(ctx context.Context, q bun.IDB) (b ledger.Binding, err error) {
	var rows []metaRow
	if err := q.NewSelect().Model(&rows).Where("key IN (?)", bun.List([]string{metaAccount, metaMode})).Scan(ctx); err != nil {
		return b, err
	}
	for _, r := range rows {
		if r.Key == metaAccount {
			b.Account = r.Value
		} else {
			b.Mode = ledger.Mode(r.Value)
		}
	}
	return b, nil
}
