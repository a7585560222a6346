// Command settled drives transfers to sellers and their reversals on Stripe Connect to a final
// state, exactly once. serve.go wires the daemon; the other files are a subcommand each.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"
)

// The exit codes.
const (
	exitDone   = 0
	exitFailed = 1 // found a difference, or failed
	exitUsage  = 2 // wrong usage or configuration
)

// usageError is a mistake of whoever called, with all that is wrong.
type usageError struct{ error }

// differences is an audit's finding.
var errDifferences = errors.New("the audit found differences")

// commands is the command line.
type commands struct {
	Show kong.VersionFlag `name:"version" help:"Print the version."`

	Serve     serveCommand     `cmd:"" default:"withargs" help:"The daemon (also with no subcommand)."`
	Demo      demoCommand      `cmd:"" help:"A daemon that is killed again and again, against a built-in Stripe with faults; ends with an audit."`
	Simulator simulatorCommand `cmd:"" help:"The Stripe simulator alone."`
	Migrate   migrateCommand   `cmd:"" help:"The database's schema."`
	Token     tokenCommand     `cmd:"" help:"Tokens of the admin API."`
	Audit     auditCommand     `cmd:"" help:"Recompute the books from nothing and compare them with Stripe; exit 1 on a difference."`
	Prove     proveCommand     `cmd:"" help:"Try to break the promise: whole daemons in virtual time, with faults that a seed decides, on your configuration."`
	Backup    backupCommand    `cmd:"" help:"Copy an SQLite ledger to a new file, while the daemon runs; the copy is of one moment."`
	Config    configCommand    `cmd:"" help:"Print the configuration in force, and everything that is wrong with it."`
	Health    healthCommand    `cmd:"" help:"Ask the daemon whether it is ready; for container health checks."`
	Version   versionCommand   `cmd:"" help:"Print the version."`
}

// process is the part of the process that a command sees.
type process struct {
	stdout, stderr io.Writer
	environ        []string
}

func main() {
	noCore()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], process{os.Stdout, os.Stderr, os.Environ()}))
}

// run parses the command line, runs the command and returns the exit code.
func run(ctx context.Context, args []string, proc process) (code int) {
	type exited struct{ code int }
	defer func() { // kong exits after printing help
		switch e := recover().(type) {
		case nil:
		case exited:
			code = e.code
		default:
			panic(e)
		}
	}()
	var c commands
	parser := kong.Must(&c,
		kong.Name("settled"),
		kong.Description("Transfers to sellers and their reversals on Stripe Connect, driven to a final state exactly once, whatever crashes."),
		kong.Writers(proc.stdout, proc.stderr),
		kong.Vars{"version": "settled " + version()},
		kong.Exit(func(code int) { panic(exited{code}) }),
		kong.ValueFormatter(helpOf),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}),
	)
	for _, node := range parser.Model.Children {
		showOwn(node, ownSettings[node.Name])
	}
	chosen, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(proc.stderr, "settled: %v; see settled --help\n", err)
		return exitUsage
	}
	chosen.BindTo(ctx, (*context.Context)(nil))
	err = chosen.Run(proc)
	var usage usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		fmt.Fprintf(proc.stderr, "settled: %v\n", err)
		return exitUsage
	case errors.Is(err, errDifferences):
		return exitFailed // the report says it all
	}
	fmt.Fprintf(proc.stderr, "settled: %v\n", err)
	return exitFailed
}

// ownSettings lists the settings that a command's help shows as flags; serve's shows all. The others are
// taken as well, so that one line of flags does for every command, but would bury the command's own.
var ownSettings = map[string][]string{
	"health": {"ADMIN_ADDR"}, "audit": {"DATABASE_URL", "STRIPE_API_BASE"}, "migrate": {"DATABASE_URL"},
	"token":  {"DATABASE_URL"},
	"backup": {"DATABASE_URL"}, "prove": {}, "config": {},
}

// showOwn hides the settings that are not among a command's own.
func showOwn(node *kong.Node, own []string) {
	if own == nil {
		return
	}
	for _, f := range node.Flags {
		if name := f.Tag.Get("var"); name != "" && !slices.Contains(own, name) {
			f.Hidden = true
		}
	}
	for _, child := range node.Children {
		showOwn(child, own)
	}
}

// helpOf shows a setting's environment variable and default beside its help.
func helpOf(v *kong.Value) string {
	help := kong.DefaultHelpValueFormatter(v)
	if v.Tag == nil {
		return help
	}
	if name := v.Tag.Get("var"); name != "" {
		help += " ($" + name
		if def := v.Tag.Get("def"); def != "" {
			help += ", default " + def
		}
		help += ")"
	}
	return help
}
