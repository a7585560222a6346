package ledger

import "maps"

// Table returns a copy of the table of moves, for tests that hold it to something else.
func Table() map[State]map[Event]State {
	all := make(map[State]map[Event]State, len(moves))
	for from, by := range moves {
		all[from] = maps.Clone(by)
	}
	return all
}
