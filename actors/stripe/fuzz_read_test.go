package stripe

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/settled/settled/ledger"
)

// FuzzRead hands any answer to a read. Nothing panics, no key comes back, and in particular
// nothing but a whole list of Stripe's is taken as proof that a transfer is not there.
func FuzzRead(f *testing.F) {
	ours := transferObject().String()
	for _, body := range []string{`{"object":"list","url":"/v1/transfers","has_more":false,"data":[]}`, `{"object":"list","has_more":false,"data":[` + ours + `]}`, `{"object":"list","has_more":true,"data":[` + ours + `]}`,
		`{"object":"list","has_more":true,"data":[]}`, `{"object":"list","has_more":false}`, `{"object":"list","data":null}`, `{"data":[]}`, `[]`, `{}`, ``, `null`, ours, `{"object":"list","has_more":false,"data":[null,1,{}]}`, `{"object":"list","has_more":"false","data":[]}`,
		`{"object":"list","has_more":false,"data":[]`, `{"object":"account","id":"acct_1"}`, `{"error":{"type":"invalid_request_error","code":"resource_missing"}}`, `{"deleted":true,"id":"tr_9Demo01","object":"transfer"}`, "\xff"} {
		f.Add(200, body)
		f.Add(404, body)
		f.Add(500, body)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 100 || status > 999 || len(body) > 1<<16 {
			t.Skip()
		}
		pages := 0
		answer := answering(status, nil, body)
		c, err := New(Config{Key: canary, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			if pages++; pages > 10 { // a list that never ends is ended by its caller's context
				return nil, io.ErrUnexpectedEOF
			}
			return answer(r)
		})})
		if err != nil {
			t.Fatal(err)
		}
		var raw struct {
			Object  string            `json:"object"`
			HasMore *bool             `json:"has_more"`
			Data    []json.RawMessage `json:"data"`
		}
		whole := json.Unmarshal([]byte(body), &raw) == nil && raw.Object == "list" && raw.Data != nil

		found, err := search(t.Context(), c, operation, PageQuery{})
		var read *ReadError
		switch {
		case err != nil && !errors.As(err, &read):
			t.Fatalf("%d %q: %v", status, body, err)
		case err == nil && (status < 200 || status > 299 || !whole || raw.HasMore != nil && *raw.HasMore):
			t.Fatalf("%d %q is read as a list of %d", status, body, len(found))
		case err == nil && len(found) == 0 && strings.Contains(body, operation.String()) && strings.Contains(body, `"`+ledger.MetaOperation+`":"`+operation.String()+`"`) && strings.Contains(body, ours):
			t.Fatalf("%q is read as empty", body)
		}
		for _, x := range found {
			if !ledger.Names(x.Metadata, operation) || !strings.HasPrefix(x.ID, "tr_") {
				t.Fatalf("%q: found %+v", body, x)
			}
		}
		pages = 0
		x, err := c.Transfer(t.Context(), "tr_9Demo01")
		switch {
		case err == nil && (status < 200 || status > 299 || x.ID != "tr_9Demo01"):
			t.Fatalf("%d %q is read as %+v", status, body, x)
		case errors.Is(err, ErrNotThere) && status != 404:
			t.Fatalf("%d %q says that it is not there", status, body)
		}
		pages = 0
		id, _, err := c.Account(t.Context())
		if err == nil && (!strings.HasPrefix(id, "acct_") || status < 200 || status > 299) {
			t.Fatalf("%d %q is the account %q", status, body, id)
		}
	})
}
