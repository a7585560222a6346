package main

import (
	"context"
	"errors"
	nethttp "net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
)

func TestEveryKillOfAFastDemoHappens(t *testing.T) {
	out, err := exec.Command(program, "demo", "--exit", "--transfers", "3", "--faults", "none", "--kills", "4", "--seed", "1").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"the worker was killed 4 times", "\naudit: 0 differences\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the demo does not say %q:\n%s", want, out)
		}
	}
}

// Every process of a machine can read the arguments of the others.
func TestTheDemoTakesNoPasswordAsAnArgument(t *testing.T) {
	for _, address := range []string{"postgres://u:geheim@127.0.0.1:1/x", "postgres://127.0.0.1:1/x?user=u&password=geheim"} {
		code, stdout, stderr := call(t, nil, "demo", "--exit", "--database", address)
		if code != exitUsage || !strings.Contains(stderr, "no password") || strings.Contains(stdout+stderr, "geheim") {
			t.Errorf("%s: exit %d\n%s%s", address, code, stdout, stderr)
		}
	}
	if code, _, stderr := call(t, nil, "demo", "--exit", "--database", "postgres://u@127.0.0.1:1/x"); code == exitUsage || strings.Contains(stderr, "no password") {
		t.Errorf("without a password: exit %d, %s", code, stderr)
	}
}

func TestALineOfProgressNeverWraps(t *testing.T) {
	for _, width := range []int{1, 10, 80, 200} {
		if got := len([]rune(cut(strings.Repeat("█", 120), width))); got >= width && got > 1 {
			t.Errorf("%d columns are written into %d", got, width)
		}
	}
	if got := cut("short", 80); got != "short" {
		t.Errorf("a line that fits became %q", got)
	}
}

func TestTheLastErrorReachesSentryBeforeTheEnd(t *testing.T) {
	arrived := make(chan struct{}, 1)
	sentry := httptest.NewServer(nethttp.HandlerFunc(func(nethttp.ResponseWriter, *nethttp.Request) { arrived <- struct{}{} }))
	defer sentry.Close()
	log := newLogger(config{logLevel: "info", sentryDSN: strings.Replace(sentry.URL, "http://", "http://key@", 1) + "/1"}, t.Output())
	defer log.Handler().(reporting).client.Close()
	log.With("part", "test").ErrorContext(context.Background(), "the last words", "err", errors.New("of a process"))
	flush(log, hang)
	select {
	case <-arrived:
	default:
		t.Error("flush returned before the report had gone out")
	}
}
