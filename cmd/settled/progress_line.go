package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

// progressLine shows how far something is: one line that changes on a terminal, and a plain line
// now and then otherwise.
type progressLine struct {
	out      io.Writer
	terminal bool
	every    time.Duration // between plain lines
	began    time.Time
	printed  time.Time
	last     string
}

func newProgressLine(out io.Writer, every time.Duration) *progressLine {
	return &progressLine{out: out, terminal: isTerminal(out), every: every, began: time.Now()}
}

// show shows a line; on a terminal with the bar before it.
func (l *progressLine) show(bar, line string) {
	switch now := time.Now(); {
	case l.terminal:
		fmt.Fprint(l.out, "\r\x1b[K", cut(bar+line, columns(l.out)))
	case line != l.last && now.Sub(l.printed) >= l.every:
		fmt.Fprintf(l.out, "%6.1fs  %s\n", now.Sub(l.began).Seconds(), line)
		l.printed, l.last = now, line
	}
}

// clear makes room for other lines.
func (l *progressLine) clear() {
	if l.terminal {
		fmt.Fprint(l.out, "\r\x1b[K")
	}
}

func (l *progressLine) end() {
	if l.terminal {
		fmt.Fprintln(l.out)
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
