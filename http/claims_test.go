package http

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// What SECURITY.md and README.md say of bounds is what they are; that each is kept is for the tests of abuse, floods and storage.
func TestTheBoundsAreAsTheyAreSaidToBe(t *testing.T) {
	l := DefaultLimits()
	s := func(d time.Duration) int { return int(d.Seconds()) }
	if l.Read != l.Write {
		t.Errorf("%s and %s are two times, of which one is told", l.Read, l.Write)
	}
	if adminBytes != webhookBytes {
		t.Errorf("%d and %d are two sizes", adminBytes, webhookBytes)
	}
	if storedTime != 24*time.Hour {
		t.Errorf("a principal has %s, and the README says a day", storedTime)
	}
	for file, sentences := range map[string][]string{
		"SECURITY.md": {
			fmt.Sprintf("%d s to send a request or to take its answer, %d s idle, %d KiB of headers", s(l.Read), s(l.Idle), headerBytes>>10),
			fmt.Sprintf("bodies of %d MiB for webhooks (%d above %d KiB in %d s), %d KiB for messages, %d MiB for an order and %d MiB for a batch",
				webhookBytes>>20, largeMost, webhookUsual>>10, s(l.Read), messageBytes>>10, adminBytes>>20, batchBytes>>20),
			fmt.Sprintf("%d and %d connections of which a request has shown a signature or a token (%d and %d of one address)",
				l.PublicConns, l.AdminConns, l.PublicConnsPerIP, l.AdminConnsPerIP),
			fmt.Sprintf("%d,%03d requests a connection", requestsPerConn/1000, requestsPerConn%1000),
			fmt.Sprintf("of whom %d may be there beside them (%d of one address)", strangersMost, strangersMostPerIP),
			fmt.Sprintf("within %s minutes", map[time.Duration]string{5 * time.Minute: "five"}[signatureTolerance]),
		},
		"README.md": {
			fmt.Sprintf("up to %d,%03d in one commit", batchMax/1000, batchMax%1000),
			fmt.Sprintf("the %d latest entries come with the transfer", historyLatest),
			fmt.Sprintf("not after %d MiB of answers a day for one principal, and for a refusal of more than %d KiB only that it was refused", storedMost>>20, refusalKept>>10),
		},
	} {
		text, err := os.ReadFile("../" + file)
		if err != nil {
			t.Fatal(err)
		}
		said := strings.Join(strings.Fields(string(text)), " ")
		for _, sentence := range sentences {
			if !strings.Contains(said, sentence) {
				t.Errorf("%s does not say %q", file, sentence)
			}
		}
	}
}
