package db_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/settled/settled/db"
	"github.com/settled/settled/ledger"
)

// The first statements of a process are prepared on SQLite's only writing connection. Nobody
// may wait for that connection with something in hand that its holder needs: the daemon hung
// so, killed and started again under load.
func TestTheFirstStatementsOfManyCallersDoNotWaitForEachOther(t *testing.T) {
	for round := range 20 {
		url := "sqlite:" + t.TempDir() + fmt.Sprintf("/first-%d.db", round)
		d, err := db.Open(t.Context(), url, db.Options{LockWait: 5 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // ends a hang; nothing is measured
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				if _, err := d.StoreEvents(ctx, []ledger.StripeEvent{{ID: fmt.Sprintf("evt_%d", i), Type: "x", Payload: []byte("{}")}}); err != nil {
					t.Errorf("store an event: %v", err)
				}
			})
			wg.Go(func() {
				if _, _, err := d.Commit(ctx, nil); err != nil {
					t.Errorf("commit: %v", err)
				}
			})
		}
		wg.Wait()
		cancel()
		d.Close()
		if t.Failed() {
			return
		}
	}
}
