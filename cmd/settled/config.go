package main

import (
	"cmp"
	"errors"
	"fmt"
	"text/tabwriter"
)

type configCommand struct {
	Sandbox bool `help:"Check as serve --sandbox would."`
	flags
}

// Run prints every setting in force, where it came from, and every problem at once.
func (c configCommand) Run(proc process) error {
	v, problems := gather(c.flags, proc.environ, ".env")
	conf, more := v.parse(c.Sandbox)
	problems = append(problems, more...)
	t := tabwriter.NewWriter(proc.stdout, 0, 0, 2, ' ', 0)
	for _, s := range settings {
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.name, v.redacted(s), v.source[s.name])
	}
	fmt.Fprintf(t, "(mode)\t%s\t%s\n", cmp.Or(string(conf.mode), "none"), "key")
	if err := t.Flush(); err != nil {
		return err
	}
	if len(problems) > 0 {
		return usageError{fmt.Errorf("%s:\n%w", counted(len(problems), "problem"), errors.Join(problems...))}
	}
	return nil
}

// counted is a number with its noun.
func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
