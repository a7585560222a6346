package stripe

import (
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/settled/settled/ledger"
)

// FuzzAnswer hands the client any status, headers and body. Nothing panics, and what is
// concluded never exceeds what a reading of the raw answer, made here independently, allows.
func FuzzAnswer(f *testing.F) {
	for _, s := range situations() {
		if r, ok := s.answer.(reply); ok && len(r.body) < 10_000 {
			f.Add(r.status, r.body, r.header["Idempotent-Replayed"], r.header["Stripe-Rate-Limited-Reason"], s.kind == reversal)
		}
	}
	for _, body := range []string{``, `[]`, `[[`, `{"error":null}`, `{"error":[]}`, `{"error":{"type":1}}`, `{"metadata":[]}`, `{"reversals":{}}`,
		`{"id":null,"object":"transfer"}`, "\xff", `{"error":{"type":"invalid_request_error","payment_intent":{"client_secret":"x"}}}`,
		`{"error":{"type":"card_error","source":{"object":"bank_account"}}}`} {
		f.Add(200, body, "", "", false)
		f.Add(400, body, "true", "", true)
		f.Add(500, body, "", "", false)
	}
	f.Fuzz(func(t *testing.T, status int, body, again, limit string, isReversal bool) {
		if status < 100 || status > 999 || len(body) > 1<<16 {
			t.Skip()
		}
		h := http.Header{}
		h.Set("Idempotent-Replayed", again)
		h.Set("Stripe-Rate-Limited-Reason", limit)
		h.Set("Request-Id", limit)
		c, err := New(Config{Key: canary, Transport: answering(status, h, body), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		r := transferRequest()
		if isReversal {
			r = reversalRequest()
		}
		a := c.Send(t.Context(), r, always)

		var raw struct {
			ID, Object, Currency, Destination, Transfer string
			Amount                                      int64
			Metadata                                    map[string]string
			Status                                      any
			Error                                       *struct{ Type, Code string }
		}
		readable := json.Unmarshal([]byte(body), &raw) == nil
		ours := readable && raw.Amount == r.Amount && raw.Currency == string(r.Currency) &&
			raw.Metadata[ledger.MetaOperation] == operation.String() && raw.Metadata[ledger.MetaGeneration] == "1"
		if isReversal {
			ours = ours && raw.Object == "transfer_reversal" && strings.HasPrefix(raw.ID, "trr_") && raw.Transfer == r.Transfer &&
				(raw.Status == nil || raw.Status == "" || raw.Status == "succeeded")
		} else {
			ours = ours && raw.Object == "transfer" && strings.HasPrefix(raw.ID, "tr_") && raw.Destination == r.Destination
		}
		is2xx, is4xx := status >= 200 && status < 300, status >= 400 && status < 500
		said := readable && raw.Error != nil && raw.Error.Type != ""
		replay := strings.EqualFold(strings.TrimSpace(again), "true")

		switch {
		case a.Verdict == ledger.Done && (!is2xx || !ours || a.StripeID != raw.ID):
			t.Errorf("done, after %d %q", status, body)
		case a.Verdict == ledger.Failed && (!is4xx || !said):
			t.Errorf("failed, after %d %q", status, body)
		case a.Verdict == ledger.NotExecuted && (!is4xx || !said || replay):
			t.Errorf("not executed, after %d %q", status, body)
		case a.Verdict != ledger.Unknown && (status == 409 || raw.Error != nil && raw.Error.Type == "idempotency_error" && !is2xx):
			t.Errorf("%s, while another request holds the key: %d %q", a.Verdict, status, body)
		case a.Row == "" || a.HTTPStatus != status || a.Replayed != replay:
			t.Errorf("%+v", a)
		}
		for _, text := range []string{a.Code, a.Param, a.Message, a.RequestID, a.StripeID} {
			if !utf8.ValidString(text) || strings.ContainsRune(text, 0) || utf8.RuneCountInString(text) > messageMax {
				t.Errorf("not fit to keep: %q", text)
			}
		}
	})
}
