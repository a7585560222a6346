package stripe

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdk "github.com/stripe/stripe-go/v76"

	"github.com/settled/settled/ledger"
)

// mockBinary finds stripe-mock: STRIPE_MOCK, PATH, or where go install puts it.
func mockBinary(t *testing.T) string {
	if path := os.Getenv("STRIPE_MOCK"); path != "" {
		return path
	}
	if path, err := exec.LookPath("stripe-mock"); err == nil {
		return path
	}
	if out, err := exec.Command("go", "env", "GOPATH").Output(); err == nil {
		path := filepath.Join(strings.TrimSpace(string(out)), "bin", "stripe-mock")
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	const missing = "NOT TESTED: that Stripe's newest specification accepts our requests; go install github.com/stripe/stripe-mock@v0.203.0, or set STRIPE_MOCK"
	if os.Getenv("CI") != "" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// startMock runs stripe-mock on free ports of loopback until the test ends. Without an HTTPS
// address of its own it would open one on all interfaces.
func startMock(t *testing.T) (base string) {
	cmd := exec.Command(mockBinary(t), "-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// A mock that says nothing is ended too, which ends the reading below.
	deadline := time.AfterFunc(5*time.Minute, func() { _ = cmd.Process.Kill() })
	drained := make(chan struct{})
	t.Cleanup(func() {
		deadline.Stop()
		_ = cmd.Process.Kill()
		<-drained
		_ = cmd.Wait()
	})
	lines := bufio.NewScanner(out)
	for base == "" && lines.Scan() {
		if _, address, ok := strings.Cut(lines.Text(), "Listening for HTTP at address: "); ok {
			base = "http://" + strings.TrimSpace(address)
		}
	}
	go func() { // a full pipe would stop it
		defer close(drained)
		_, _ = io.Copy(io.Discard, out)
	}()
	if base == "" {
		t.Fatal("stripe-mock did not start")
	}
	return base
}

// TestStripesSpecificationAcceptsOurRequests checks the shape of requests against somebody
// else's reading of Stripe's OpenAPI: names, types, what is required. It proves nothing about
// behaviour: the mock has no memory, hence Lenient.
func TestStripesSpecificationAcceptsOurRequests(t *testing.T) {
	base := startMock(t)
	c := client(t, base, func(c *Config) { c.Lenient = true })

	bare := transferRequest()
	bare.SourceTransaction, bare.TransferGroup, bare.Description = "", "", ""
	for name, r := range map[string]ledger.Request{"transfer": transferRequest(), "bare transfer": bare, "reversal": reversalRequest()} {
		if a := c.Send(t.Context(), r, always); a.Verdict != ledger.Done || a.StripeID == "" {
			t.Errorf("%s: %+v", name, a)
		}
	}

	if got, err := c.Transfer(t.Context(), "tr_9Demo01"); err != nil || got.ID == "" {
		t.Errorf("read: %+v, %v", got, err)
	}
	if got, err := search(t.Context(), c, operation, PageQuery{Destination: "acct_9Seller1", Group: "order_77", Since: time.Now()}); err != nil || len(got) != 0 {
		t.Errorf("find: %+v, %v", got, err)
	}
	n := 0
	err := c.List(t.Context(), time.Now().Add(-time.Hour), time.Now(), func(ledger.StripeTransfer) error { n++; return nil })
	if err != nil || n == 0 {
		t.Errorf("list: %d, %v", n, err)
	}
	if id, _, err := c.Account(t.Context()); err != nil || id == "" {
		t.Errorf("account: %q, %v", id, err)
	}
	reversals, err := c.reversals(t.Context(), "tr_9Demo01")
	if err != nil || len(reversals) == 0 {
		t.Errorf("reversals: %d, %v", len(reversals), err)
	}
}

// TestStripesSpecificationCanRefuse shows that the test above can fail: a transfer without a
// destination, past our own check.
func TestStripesSpecificationCanRefuse(t *testing.T) {
	c := client(t, startMock(t), func(c *Config) { c.Lenient = true })
	a := &attempt{fresh: always, max: answerMax}
	var got object
	err := c.call(t.Context(), a, func(ctx context.Context) error {
		path, params := wire(ctx, transferRequest())
		params.(*sdk.TransferParams).Destination = nil
		return c.backend.Call(http.MethodPost, path, canary, params, &got)
	})
	if o := c.observe(t.Context(), a, transfer, err); o.shape != refused || o.status != 400 {
		t.Errorf("it comes to %d %q", o.status, o.message)
	}
}
