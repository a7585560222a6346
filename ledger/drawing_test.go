package ledger

import (
	"fmt"
	"slices"
	"strings"
)

// Follows returns the states that may follow s, sorted, without s.
func Follows(s State) []State {
	var to []State
	for _, t := range moves[s] {
		if t != s && !slices.Contains(to, t) {
			to = append(to, t)
		}
	}
	slices.Sort(to)
	return to
}

// Mermaid draws the table of moves as a Mermaid state diagram. The drawing in the README is this text; a test holds it
// to the table.
func Mermaid() string {
	var b strings.Builder
	b.WriteString("stateDiagram-v2\n")
	for _, from := range append([]State{""}, States...) {
		var lines []string
		for e, to := range moves[from] {
			name := string(from)
			if from == "" {
				name = "[*]"
			}
			lines = append(lines, fmt.Sprintf("    %s --> %s: %s\n", name, to, e))
		}
		if next, known := moves[from]; known && len(next) == 0 {
			lines = append(lines, fmt.Sprintf("    %s --> [*]\n", from))
		}
		slices.Sort(lines)
		b.WriteString(strings.Join(lines, ""))
	}
	return b.String()
}
