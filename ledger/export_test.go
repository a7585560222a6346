package ledger

import "maps"

// Table returns a copy of a kind's table of moves, for tests that hold it to something else.
func Table(k Kind) map[State]map[Event]State {
	table := moves
	if k == MakeReversal {
		table = reversalMoves
	}
	all := make(map[State]map[Event]State, len(table))
	for from, by := range table {
		all[from] = maps.Clone(by)
	}
	return all
}
