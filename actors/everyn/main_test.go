// Package everyn_test takes one transfer through its whole life, and fails the n-th thing that
// it does, for every n: each call to the database, each row that it fetches, each call to
// Stripe, in each way in which such a thing can fail, the process's death before and after it
// included. Then the life goes on: a daemon that died is started again, a client that heard of
// an error asks again, a person resolves what was parked. Whatever failed, the life must come
// to the same end, and the books are audited.
//
// The method is SQLite's (sqlite.org/testing.html): a loop that counts up until a life has
// fewer points than that. Nobody lists the points, so none can be left out.
//
//	go test ./actors/everyn                every tenth point, on PostgreSQL every twentieth
//	go test ./actors/everyn -every 1 -v    every point, as the nightly run does; numbers end each test
//	go test ./actors/everyn -run TestEveryPoint/postgres -v -tell -kind 'a statement is lost' -point 17
//
// On SQLite a life is in a bubble of testing/synctest, with the real windows: hours pass at
// once. PostgreSQL's sockets are outside of any bubble, so there a life is in real time, with
// short windows.
package everyn_test

import (
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"testing"

	"go.uber.org/goleak"
)

var (
	every     = flag.Int("every", 0, "try every so-manieth point; 0: every tenth, or fewer with -short or the race detector")
	lives     = flag.Int("lives", 8, "how many lives are lived at once")
	onlyKind  = flag.String("kind", "", "try this kind alone")
	onlyPoint = flag.String("point", "", "try this point alone; of a pair, both: 3,7")
	tell      = flag.Bool("tell", false, "with -v: print what the daemons log")
)

// stride is the distance between two points that are tried, where a life costs so many times
// what one on SQLite does.
func stride(dear int) int {
	switch {
	case *every > 0:
		return *every
	case racing: // then SQLite is the dear one
		return 100 / dear
	case testing.Short():
		return 50
	}
	return 10 * dear
}

func TestMain(m *testing.M) {
	flag.Parse()
	// A life is short, and most of what it makes is of its start: a quarter of the time would go
	// into collecting it.
	debug.SetGCPercent(400)
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}
