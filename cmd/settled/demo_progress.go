package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/settled/settled/ledger"
)

// progress shows how far a demo is: a bar and counts by state on a terminal, a plain line a
// second otherwise.
type progress struct {
	out      io.Writer
	total    int
	terminal bool
	began    time.Time
	printed  time.Time
	last     string
}

func newProgress(out io.Writer, total int) *progress {
	return &progress{out: out, total: total, terminal: isTerminal(out), began: time.Now()}
}

const barWidth = 30

func (p *progress) set(over int, byState map[ledger.State]int, kills int) {
	var counts []string
	for _, s := range ledger.States {
		if n := byState[s]; n > 0 {
			counts = append(counts, fmt.Sprintf("%s %d", s, n))
		}
	}
	line := fmt.Sprintf("%d/%d at their end, killed %d×: %s", over, p.total, kills, strings.Join(counts, ", "))
	switch now := time.Now(); {
	case p.terminal:
		full := barWidth * over / max(p.total, 1)
		bar := fmt.Sprintf("[%s%s] %s", strings.Repeat("█", full), strings.Repeat("·", barWidth-full), line)
		fmt.Fprint(p.out, "\r\x1b[K", cut(bar, columns(p.out)))
	case line != p.last && now.Sub(p.printed) >= time.Second:
		fmt.Fprintf(p.out, "%6.1fs  %s\n", now.Sub(p.began).Seconds(), line)
		p.printed, p.last = now, line
	}
}

// columns is the width of a terminal; 80 when it does not say.
func columns(out io.Writer) int {
	if f, ok := out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}

// cut keeps a line within a terminal's width: one that wraps cannot be overwritten, and every
// step would leave a line behind.
func cut(line string, width int) string {
	if r := []rune(line); len(r) >= width {
		return string(r[:max(width-2, 0)]) + "…"
	}
	return line
}

func (p *progress) end() {
	if p.terminal {
		fmt.Fprintln(p.out)
	}
}
