//go:build crashpoints

package crash

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Points are all points, by the kind of what passes them.
var Points = map[string][]string{
	// the first start, on an empty database
	"first": {"migrate.begun", "migrate.applied", "migrate.noted", "token.printed", "token.stored"},
	// every start, once
	"start": {"start.listening", "start.opened", "start.migrated", "start.epoch", "start.spawned", "start.serving", "account.read", "account.bound"},
	// work, again and again
	"work": {
		"tx.commit.before", "tx.commit.after",
		"store.commit.before", "store.commit.after",
		"store.load.before", "store.load.after",
		"store.by_reference.before", "store.by_reference.after",
		"store.unfinished.before", "store.unfinished.after",
		"store.unfinished_ids.before", "store.unfinished_ids.after",
		"store.store_events.before", "store.store_events.after",
		"store.unhandled_events.before", "store.unhandled_events.after",
		"store.handle_events.before", "store.handle_events.after",
		"store.store_message.before", "store.store_message.after",
		"store.store_receipt.before", "store.store_receipt.after",
		// the reconciler, which begins a walk at each start
		"store.open_walk.before", "store.open_walk.after",
		"stripe.page.before", "stripe.page.after",
		"store.save_walk.before", "store.save_walk.after",
		"store.store_findings.before", "store.store_findings.after",
		"stripe.send.before", "stripe.send.after",
		"stripe.transfer.before", "stripe.transfer.after",
		"engine.create.before", "engine.create.after",
		"engine.inject.before", "engine.inject.after",
		"engine.receive.before", "engine.receive.after",
		"keys.claim.before", "keys.claim.after",
		// In this order: the latter leaves a key claimed by a message that has acted, which the
		// next needs.
		"keys.finish.after", "keys.finish.before",
		// a message that comes again
		"store.receipt.before", "store.receipt.after",
	},
	// the stop, once
	"stop": {"stop.told", "stop.drained", "stop.stopped", "stop.closed"},
	// settled migrate restored, once
	"restored": {"epoch.raised", "epoch.committed"},
}

// chosen is where to die: at the pass that counts left down to 0.
var (
	chosen string
	left   atomic.Int64
)

func init() {
	given := os.Getenv("SETTLED_CRASHPOINT")
	switch {
	case given == "":
		return
	case given == "list":
		for kind, names := range Points {
			for _, name := range names {
				fmt.Println(kind, name)
			}
		}
		os.Exit(0)
	}
	name, count, _ := strings.Cut(given, ":")
	n, err := strconv.Atoi(count)
	if !known(name) || err != nil || n < 1 {
		fmt.Fprintf(os.Stderr, "SETTLED_CRASHPOINT=%s: write name:n, with a name that SETTLED_CRASHPOINT=list prints\n", given)
		os.Exit(2)
	}
	chosen = name
	left.Store(int64(n))
}

func known(name string) bool {
	for _, names := range Points {
		if slices.Contains(names, name) {
			return true
		}
	}
	return false
}

// Point is a place at which a test may have the process die.
func Point(name string) {
	if !known(name) {
		panic("crash: the point " + name + " is not listed")
	}
	if name != chosen || left.Add(-1) != 0 {
		return
	}
	fmt.Fprintln(os.Stderr, "crash point", name)
	syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // nothing more happens here, while the signal is on its way
}
