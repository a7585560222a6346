package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/settled/settled/ledger"
)

// progress shows how far a demo is: a bar on a terminal, and counts by state.
type progress struct {
	line  *progressLine
	total int
}

func newProgress(out io.Writer, total int) *progress {
	return &progress{newProgressLine(out, time.Second), total}
}

const barWidth = 30

func (p *progress) set(over int, byState map[ledger.State]int, kills int) {
	var counts []string
	for _, s := range ledger.States {
		if n := byState[s]; n > 0 {
			counts = append(counts, fmt.Sprintf("%s %d", s, n))
		}
	}
	full := barWidth * over / max(p.total, 1)
	p.line.show(fmt.Sprintf("[%s%s] ", strings.Repeat("█", full), strings.Repeat("·", barWidth-full)),
		fmt.Sprintf("%d/%d at their end, killed %d×: %s", over, p.total, kills, strings.Join(counts, ", ")))
}

func (p *progress) end() { p.line.end() }
