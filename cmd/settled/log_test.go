package main

import (
	"encoding/json"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/settled/settled/ledger"
)

func TestSentryHearsTheCodeTheKindAndTheEnvironmentAndNoNames(t *testing.T) {
	reports := make(chan string, 8)
	server := httptest.NewServer(nethttp.HandlerFunc(func(_ nethttp.ResponseWriter, r *nethttp.Request) {
		body, _ := io.ReadAll(r.Body)
		reports <- string(body)
	}))
	defer server.Close()
	log := newLogger(config{logLevel: "info", mode: ledger.LiveMode, sentryDSN: strings.Replace(server.URL, "http://", "http://key@", 1) + "/1"}, io.Discard)
	defer log.Handler().(reporting).client.Close()
	log.Error("alarm: gave_up", "transfer", "0198a3c0", "kind", "reversal", "code", "balance_insufficient", "why", "No such destination: acct_ann")
	log.Error("alarm: gave_up", "kind", "transfer", "code", "Ann Smith 7")
	flush(log, hang)
	texts := <-reports
	texts += <-reports
	var event struct {
		Message     string            `json:"message"`
		Environment string            `json:"environment"`
		Tags        map[string]string `json:"tags"`
		Fingerprint []string          `json:"fingerprint"`
	}
	for line := range strings.SplitSeq(texts, "\n") {
		if json.Unmarshal([]byte(line), &event) == nil && event.Tags["kind"] == "reversal" {
			break
		}
	}
	if event.Message != "alarm: gave_up" || event.Environment != "live" || event.Tags["code"] != "balance_insufficient" || event.Tags["kind"] != "reversal" ||
		strings.Join(event.Fingerprint, " ") != "alarm: gave_up balance_insufficient reversal" {
		t.Errorf("%+v in %s", event, texts)
	}
	for _, name := range []string{"acct_ann", "0198a3c0", "Ann"} {
		if strings.Contains(texts, name) {
			t.Errorf("it hears of %s: %s", name, texts)
		}
	}
}
