package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	nethttp "net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/settled/settled/db/dbtest"
)

// nasty are texts that mean something to one or another part of a database, and are only texts.
var nasty = []string{`'`, `''`, `"`, `\`, `\'`, `?`, `??`, `?0`, `$1`, `$$`, `$a$`, `--`, `/*`, `;`, `%`, `_`, `a%`, `' OR '1'='1`, `'; DROP TABLE transfers; --`, `\'; DELETE FROM history; --`,
	`") OR 1=1 --`, `E'\x27'`, `{}`, `NULL`, `null`, `é`, `İ`, `ﬀ`, `😀`, "\ufffd", `{{.}}`, `${X}`, `%s%n`, `=1+1`, `<script>`}

// unlike are texts that nobody can tell from another: as a name they are refused.
var unlike = []string{` x`, `x `, "e\u0301", "\u202e", "\ufeff"}

// Whatever is in a field or in a filter is a text: it is stored as it is and found by it alone,
// and nothing else is changed, on either database. What the databases could not keep as it is
// is refused at the edge, with the field's name.
func TestWhatIsSentIsNeverSQL(t *testing.T) {
	dbtest.Each(t, func(t *testing.T, address string) {
		ctx, cancel := context.WithTimeout(t.Context(), hang)
		defer cancel()
		s := newStand(t, ctx, address, "none", 7)
		ask := func(method, path string, body any, headers ...string) (int, map[string]any) {
			t.Helper()
			text, ok := body.(string)
			if body != nil && !ok {
				j, err := json.Marshal(body)
				if err != nil {
					t.Fatal(err)
				}
				text = string(j)
			}
			r, err := nethttp.NewRequestWithContext(ctx, method, s.api.base+path, strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("Authorization", "Bearer "+s.api.token)
			r.Header.Set("Content-Type", "application/json")
			for i := 0; i < len(headers); i += 2 {
				r.Header.Set(headers[i], headers[i+1])
			}
			res, err := nethttp.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			got, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			var v map[string]any
			if err := json.Unmarshal(got, &v); err != nil || res.StatusCode >= 500 {
				t.Fatalf("%s %s %s: %d %s", method, path, text, res.StatusCode, got)
			}
			return res.StatusCode, v
		}
		type order = map[string]any
		orderOf := func(text string) order {
			return order{"reference": text, "seller": text, "destination": "acct_1", "amount": 100, "currency": "eur", "transfer_group": text, "description": text,
				"not_before": "2190-01-01T00:00:00Z", "metadata": map[string]string{"k": text}}
		}
		ids := map[string]string{}
		for _, text := range nasty {
			status, got := ask("POST", "/v1/transfers", orderOf(text), "Idempotency-Key", fmt.Sprintf("%x", text))
			if status != 201 {
				t.Fatalf("%q: %d %v", text, status, got)
			}
			ids[text] = got["id"].(string)
		}
		for _, text := range unlike {
			status, got := ask("POST", "/v1/transfers", orderOf(text), "Idempotency-Key", fmt.Sprintf("%x", text))
			if why, _ := json.Marshal(got["errors"]); status != 422 || !strings.Contains(string(why), `"field":"reference"`) || !strings.Contains(string(why), `"field":"seller"`) {
				t.Errorf("%q as a name: %d %s", text, status, why)
			}
		}
		all := func() string {
			_, got := ask("GET", "/v1/transfers?limit=100", nil)
			text, _ := json.Marshal(got)
			return string(text)
		}
		before := all()
		for i, text := range nasty {
			_, got := ask("GET", "/v1/transfers/"+ids[text], nil)
			for _, field := range []string{"reference", "seller", "transfer_group", "description"} {
				if got[field] != text {
					t.Errorf("%s: %q is stored as %q", field, text, got[field])
				}
			}
			if m := got["metadata"].(map[string]any); m["k"] != text {
				t.Errorf("metadata: %q is stored as %q", text, m["k"])
			}
			for _, filter := range []string{"reference", "seller"} {
				_, got := ask("GET", "/v1/transfers?"+url.Values{filter: {text}}.Encode(), nil)
				data := got["data"].([]any)
				if len(data) != 1 || data[0].(map[string]any)["id"] != ids[text] {
					t.Errorf("%s=%q finds %d", filter, text, len(data))
				}
			}
			for _, filter := range []string{"destination", "error_code"} {
				if _, got := ask("GET", "/v1/transfers?"+url.Values{filter: {text}}.Encode(), nil); len(got["data"].([]any)) != 0 {
					t.Errorf("%s=%q finds something", filter, text)
				}
			}
			for _, filter := range []string{"status", "cursor", "created_after", "created_before", "limit", "payment", text} {
				if status, got := ask("GET", "/v1/transfers?"+url.Values{filter: {text}}.Encode(), nil); status != 422 {
					t.Errorf("%s=%q: %d %v", filter, text, status, got)
				}
			}
			if status, _ := ask("GET", "/v1/transfers/"+url.PathEscape(text), nil); status != 404 {
				t.Errorf("the ID %q: %d", text, status)
			}
			// The same reference with the same content is the same; the key's text is no SQL either.
			if status, got := ask("POST", "/v1/transfers", orderOf(text)); status != 200 || got["id"] != ids[text] {
				t.Errorf("%q again: %d", text, status)
			}
			key := strings.Map(func(r rune) rune {
				if r < ' ' || r > '~' {
					return 'x'
				}
				return r
			}, text+"k"+fmt.Sprint(i))
			if status, _ := ask("POST", "/v1/transfers", orderOf(text), "Idempotency-Key", key); status != 200 {
				t.Errorf("the key %q: %d", key, status)
			}
		}
		// An event's own texts reach the database too.
		for i, text := range nasty {
			event, err := json.Marshal(map[string]any{"id": fmt.Sprintf("evt_%d", i), "type": "a.b", "object": "event", "livemode": false, "api_version": text, "created": 1, "data": map[string]any{"object": map[string]string{"id": text}}})
			if err != nil {
				t.Fatal(err)
			}
			if status, body := s.webhook(ctx, string(event)); status != 200 {
				t.Errorf("an event of %q: %d %s", text, status, body)
			}
		}
		if after := all(); after != before {
			t.Errorf("rows changed:\n%s\n%s", before, after)
		}
		// A message's reason is told back as it is.
		for _, text := range nasty {
			if status, got := ask("POST", "/v1/transfers/"+ids[text]+"/messages", order{"type": "hold", "reason": text}); status != 202 {
				t.Fatalf("a reason of %q: %d %v", text, status, got)
			}
			_, got := ask("GET", "/v1/transfers/"+ids[text], nil)
			rows := got["history"].([]any)
			if by := rows[len(rows)-1].(map[string]any)["by"].(map[string]any); by["reason"] != text {
				t.Errorf("the reason %q is stored as %q", text, by["reason"])
			}
		}
		// A text that neither database keeps is refused where it comes in, by name.
		named := func(got map[string]any, field string) bool {
			list, _ := got["errors"].([]any)
			for _, e := range list {
				if e.(map[string]any)["field"] == field {
					return true
				}
			}
			return false
		}
		for _, field := range []string{"reference", "seller", "destination", "currency", "source_transaction", "transfer_group", "description", "not_before"} {
			o := orderOf("new")
			o[field] = "a\x00b"
			if status, got := ask("POST", "/v1/transfers", o); status != 422 || !named(got, field) {
				t.Errorf("a NUL in %s: %d %v", field, status, got)
			}
		}
		for field, m := range map[string]map[string]string{"metadata.k": {"k": "a\x00"}, "metadata.a\x00": {"a\x00": "x"}} {
			o := orderOf("new")
			o["metadata"] = m
			if status, got := ask("POST", "/v1/transfers", o); status != 422 || !named(got, field) {
				t.Errorf("a NUL in %q: %d %v", field, status, got)
			}
		}
		for _, field := range []string{"reason", "stripe_id", "outcome", "type"} {
			m := order{"type": "resolve", "outcome": "completed", "stripe_id": "tr_1", "reason": "x"}
			m[field] = "a\x00b"
			if status, got := ask("POST", "/v1/transfers/"+ids[`'`]+"/messages", m); status != 422 || !named(got, field) {
				t.Errorf("a NUL in %s: %d %v", field, status, got)
			}
		}
		for _, filter := range []string{"seller", "destination", "reference", "error_code", "status", "cursor"} {
			for _, text := range []string{"%00", "a%00b", "%ff", "%c0%80", "%ed%a0%80"} {
				if status, got := ask("GET", "/v1/transfers?"+filter+"="+text, nil); status != 422 || !named(got, filter) {
					t.Errorf("%s=%s: %d %v", filter, text, status, got)
				}
			}
		}
		if status, _ := ask("POST", "/v1/transfers", "{\"reference\":\"a\xff\"}"); status != 400 {
			t.Errorf("a byte that is not UTF-8: %d", status)
		}
		if _, total, _ := s.states(ctx); total != len(nasty) {
			t.Errorf("%d transfers, not %d", total, len(nasty))
		}
	})
}
