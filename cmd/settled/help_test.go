package main

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestACommandsHelpShowsItsOwnFlagsOnly(t *testing.T) {
	flagged := regexp.MustCompile(`(?m)^ +(?:-h, )?--([a-z-]+)`)
	for command, own := range map[string][]string{
		"health": {"admin-addr"}, "config": {"sandbox"}, "audit": {"database-url", "stripe-api-base"}, "token list": {"database-url"}, "migrate up": {"database-url"},
		"prove": {"seeds", "seed", "transfers", "trace"},
	} {
		code, stdout, stderr := call(t, nil, append(strings.Fields(command), "--help")...)
		if code != exitDone {
			t.Fatalf("%s: exit %d %s", command, code, stderr)
		}
		var shown []string
		for _, m := range flagged.FindAllStringSubmatch(stdout, -1) {
			shown = append(shown, m[1])
		}
		for _, name := range own {
			if !slices.Contains(shown, name) {
				t.Errorf("%s does not show --%s: %v", command, name, shown)
			}
		}
		for _, s := range settings {
			name := strings.ReplaceAll(strings.ToLower(s.name), "_", "-")
			if slices.Contains(shown, name) && !slices.Contains(own, name) {
				t.Errorf("%s shows --%s, which is not its own", command, name)
			}
		}
	}
	if _, stdout, _ := call(t, nil, "serve", "--help"); !strings.Contains(stdout, "--stripe-rate-limit") || !strings.Contains(stdout, "--admin-hosts") {
		t.Errorf("serve shows not all: %s", stdout)
	}
	// A flag that is not shown is taken all the same: one line of flags does for every command.
	if code, _, stderr := call(t, nil, "config", "--sandbox", "--log-level", "debug"); code != exitDone {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestTheVersionIsAFlagToo(t *testing.T) {
	_, want, _ := call(t, nil, "version")
	if code, stdout, _ := call(t, nil, "--version"); code != exitDone || stdout != want {
		t.Errorf("exit %d: %q, want %q", code, stdout, want)
	}
}

func TestASandboxSaysHowToBegin(t *testing.T) {
	var text bytes.Buffer
	conf := config{stripeBase: "http://127.0.0.1:9", webhookSecrets: []string{"whsec_sandbox"}}
	(&sandbox{}).introduce(&text, conf, "[::]:8081")
	for _, want := range []string{"whsec_sandbox", "http://127.0.0.1:9/_sim/", "curl -H \"Authorization: Bearer $TOKEN\"", "http://localhost:8081/v1/transfers"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is missing: %s", want, text.String())
		}
	}
}

func TestOneIsNotCountedAsMany(t *testing.T) {
	for n, want := range []string{"0 differences", "1 difference", "2 differences"} {
		if got := counted(n, "difference"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
