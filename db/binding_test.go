package db

import (
	"errors"
	"strings"
	"testing"

	"github.com/settled/settled/db/dbtest"
	"github.com/settled/settled/ledger"
)

// refused checks that a ledger is not taken, and that the refusal names both sides.
func refused(t *testing.T, err error, says ...string) {
	t.Helper()
	if !errors.Is(err, ErrMisbound) || Transient(err) {
		t.Errorf("it is taken, or waited for: %v", err)
		return
	}
	for _, text := range says {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q is not said: %v", text, err)
		}
	}
}

func TestALedgerBelongsToOneAccountInOneMode(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		ctx := t.Context()
		if b, err := d.BindMode(ctx, ledger.TestMode); err != nil || b != (ledger.Binding{Mode: ledger.TestMode}) {
			t.Fatal(b, err)
		}
		_, err := d.BindMode(ctx, ledger.LiveMode)
		refused(t, err, "an account in test mode", "live mode")
		err = d.Bind(ctx, ledger.Binding{Account: "acct_1", Mode: ledger.LiveMode})
		refused(t, err, "an account in test mode", "acct_1 in live mode")
		if b, err := d.Binding(ctx); err != nil || b.Account != "" {
			t.Fatalf("it belongs to the account of a key that was refused: %s %v", b, err)
		}
		for range 2 {
			if err := d.Bind(ctx, ledger.Binding{Account: "acct_1", Mode: ledger.TestMode}); err != nil {
				t.Fatal(err)
			}
			if b, err := d.BindMode(ctx, ledger.TestMode); err != nil || b.Account != "acct_1" {
				t.Fatal(b, err)
			}
		}
		for _, mode := range []ledger.Mode{ledger.LiveMode, ledger.SandboxMode} {
			_, err := d.BindMode(ctx, mode)
			refused(t, err, "acct_1 in test mode", string(mode)+" mode")
			refused(t, d.Bind(ctx, ledger.Binding{Account: "acct_1", Mode: mode}), "acct_1 in test mode", "acct_1 in "+string(mode)+" mode")
		}
		refused(t, d.Bind(ctx, ledger.Binding{Account: "acct_2", Mode: ledger.TestMode}), "acct_1 in test mode", "acct_2 in test mode")
		refused(t, d.DeclareMode(ctx, ledger.LiveMode))
		for _, half := range []ledger.Binding{{}, {Account: "acct_1"}, {Mode: ledger.TestMode}} {
			if err := d.Bind(ctx, half); err == nil {
				t.Errorf("it was bound to %+v", half)
			}
		}
		if b, err := d.Binding(ctx); err != nil || b != (ledger.Binding{Account: "acct_1", Mode: ledger.TestMode}) {
			t.Fatal(b, err)
		}
	})
}

func TestOfTwoThatBindALedgerAtOnceOneWinsBothHalves(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, url string) {
		open(t, url)
		bindings := []ledger.Binding{{Account: "acct_1", Mode: ledger.TestMode}, {Account: "acct_2", Mode: ledger.LiveMode}}
		won := make(chan int, len(bindings))
		for i, b := range bindings {
			d := open(t, patient(url))
			go func() {
				if err := d.Bind(t.Context(), b); err != nil {
					refused(t, err)
					i = -1
				}
				won <- i
			}()
		}
		first, second := <-won, <-won
		if first >= 0 == (second >= 0) {
			t.Fatalf("%d and %d won", first, second)
		}
		if b, err := open(t, url).Binding(t.Context()); err != nil || b != bindings[max(first, second)] {
			t.Errorf("it belongs to %s, %v", b, err)
		}
	})
}

func TestTheModeOfAnOldLedgerIsToldByItsEventsOrByAPerson(t *testing.T) {
	for name, tc := range map[string]struct {
		events  []bool // of which mode
		account string
		mode    ledger.Mode // what the migration found
	}{
		"nothing is in it":             {nil, "", ""},
		"it is bound":                  {nil, "acct_1", ""},
		"it has live events":           {[]bool{true, true}, "acct_1", ledger.LiveMode},
		"it has test events":           {[]bool{false}, "acct_1", ledger.TestMode},
		"it has both":                  {[]bool{true, false}, "acct_1", ""},
		"it has events and no account": {[]bool{true}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, func(t *testing.T, d *DB) {
				ctx := t.Context()
				var events []ledger.StripeEvent
				for i, live := range tc.events {
					events = append(events, ledger.StripeEvent{ID: "evt_" + string(rune('a'+i)), Type: "transfer.created", Livemode: live, Payload: []byte("{}")})
				}
				if _, err := d.StoreEvents(ctx, events); err != nil {
					t.Fatal(err)
				}
				if tc.account != "" {
					if err := exec(ctx, d, "INSERT INTO meta (key, value) VALUES ('account', ?)", tc.account); err != nil {
						t.Fatal(err)
					}
				}
				list, err := scripts(d.Dialect())
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range list {
					if s.name != "0009_door" {
						continue
					}
					text := s.sql[strings.Index(s.sql, "INSERT INTO meta"):]
					if err := exec(ctx, d, text[:strings.Index(text, ";")]); err != nil {
						t.Fatal(err)
					}
				}
				if b, err := d.Binding(ctx); err != nil || b.Mode != tc.mode {
					t.Fatalf("%+v, %v", b, err)
				}
				for _, mode := range []ledger.Mode{ledger.SandboxMode, ledger.LiveMode} {
					_, err = d.BindMode(ctx, mode)
					switch {
					case tc.account == "" && err == nil:
						return // a new ledger: the first mode is its own
					case tc.mode == mode && err == nil:
					case tc.mode == "":
						refused(t, err)
					default:
						refused(t, err, "acct_1 in "+string(tc.mode)+" mode")
					}
				}
				if tc.mode != "" {
					return
				}
				refused(t, d.Bind(ctx, ledger.Binding{Account: "acct_1", Mode: ledger.LiveMode}), "a mode that is not known")
				if err := d.DeclareMode(ctx, ledger.LiveMode); err != nil {
					t.Fatal(err)
				}
				if b, err := d.BindMode(ctx, ledger.LiveMode); err != nil || b.Account != tc.account {
					t.Errorf("%+v, %v", b, err)
				}
			})
		})
	}
}

func TestASandboxDoesNotTakeALedgerWithOrders(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		commit(t, d, accept(anOrder()), nil)
		_, err := d.BindMode(t.Context(), ledger.SandboxMode)
		refused(t, err, "a sandbox takes an empty ledger or its own")
	})
}

func TestASandboxsLedgerIsNobodyElses(t *testing.T) {
	both(t, func(t *testing.T, d *DB) {
		for range 2 {
			if _, err := d.BindMode(t.Context(), ledger.SandboxMode); err != nil {
				t.Fatal(err)
			}
			if err := d.Bind(t.Context(), ledger.Binding{Account: "acct_sim1", Mode: ledger.SandboxMode}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := d.BindMode(t.Context(), ledger.TestMode)
		refused(t, err, "acct_sim1 in sandbox mode", "test mode")
	})
}
