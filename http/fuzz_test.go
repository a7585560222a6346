package http

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/stripe/stripe-go/v76/webhook"

	"github.com/settled/settled/ledger"
)

func FuzzSignature(f *testing.F) {
	now := time.Unix(1769860800, 0)
	good := sign(secretOld, eventText, now)
	stamp, v1, _ := strings.Cut(good, ",")
	for _, header := range []string{good, stamp, v1, "", ",", "=", "t=", "t=1,v1=", stamp + ",v0=00," + v1, stamp + ", " + v1, "t=1,t=2," + v1,
		stamp + strings.Repeat(",v1="+strings.Repeat("0", 64), 7) + "," + v1, "t=99999999999999999999," + v1, strings.ToUpper(good), "t=0x1," + v1, stamp + ",==," + v1} {
		f.Add(header)
	}
	v, err := newVerifier([]string{secretOld, secretNew}, func() time.Time { return now })
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, header string) {
		err := v.verify(header, []byte(eventText))
		switch {
		case err == nil:
			// What we take, Stripe's own library takes too.
			if e := webhook.ValidatePayloadIgnoringTolerance([]byte(eventText), header, secretOld); e != nil {
				t.Errorf("%q passes here, and there: %v", header, e)
			}
		case !errors.Is(err, errSignatureForm) && !errors.Is(err, errSignatureWrong) && !errors.Is(err, errSignatureStale):
			t.Errorf("%q: %v", header, err)
		}
	})
}

func FuzzEvent(f *testing.F) {
	for _, body := range []string{eventText, `{}`, `[]`, `{"id":"evt_1","type":"a"}`, `{"id":"evt_1","type":"a","data":{"object":{"id":"x"}}}`,
		`{"id":"evt_1","id":"evt_2","type":"a"}`, `{"\u0069d":"evt_1","type":"a"}`, ` {"type" : "a" , "id" : "evt_1" , "created" : 1e3 } `, `{"id":"evt_1","type":"a","data":{"object":[{"id":1}]}}`} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		e, err := parseEvent(body)
		if !bytes.Equal(body, before) {
			t.Fatal("the body was changed")
		}
		if err != nil {
			var problem *fault
			if !errors.As(err, &problem) {
				t.Fatalf("%q: %v", body, err)
			}
			return
		}
		if !eventIDForm.MatchString(e.ID) || e.Type == "" || !json.Valid(body) || !bytes.Equal(e.Payload, body) {
			t.Fatalf("%q became %+v", body, e)
		}
		for _, text := range []string{e.ID, e.Type, e.Account, e.APIVersion, e.Object} {
			if ledger.CheckText(text, 255) != nil {
				t.Fatalf("%q has the text %q", body, text)
			}
		}
		// The standard library, which takes more, reads the same ID.
		var std map[string]json.RawMessage
		if json.Unmarshal(body, &std) == nil && !bytes.Contains(body, []byte(`\u`)) {
			var id string
			if json.Unmarshal(std["id"], &id) != nil || id != e.ID {
				t.Fatalf("%q: ID %q, the standard library's is %q", body, e.ID, id)
			}
		}
	})
}

func FuzzCreate(f *testing.F) {
	for _, body := range []string{orderText, `{}`, `[]`, `{"amount":1.5}`, `{"amount":"1"}`, `{"metadata":{"a":"b"}}`, `{"metadata":{"a":{"b":[]}}}`, order("x", "1"),
		order("not_before", `"2026-02-01T00:00:00Z"`), order("description", `"\ud83d\ude00 \\ \" \/"`), ` { "amount" : 12 , "amount" : 13 } `, `{"":0}`, "{\"a\xff\":1}"} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		text, err := checkJSON(body, requestDepth)
		if err != nil || text[0] != '{' {
			return
		}
		o, err := parseOrder(text)
		if err != nil {
			problem, known := faultOf(err)
			if !known || problem.kind != invalidRequest || len(problem.fields) == 0 {
				t.Fatalf("%q: %v", body, err)
			}
			if !utf8.Valid(problem.text("", "")) {
				t.Fatalf("%q: the answer is not UTF-8", body)
			}
			return
		}
		if err := o.Check(); err != nil {
			t.Fatalf("%q was taken: %v", body, err)
		}
		// The standard library, which takes more, reads the same order.
		var std struct {
			Reference, Seller, Destination, Description string
			Amount                                      int64
			Metadata                                    map[string]string
		}
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err := json.Unmarshal(body, &std); err != nil {
			t.Fatalf("%q was taken: %v", body, err)
		}
		if std.Reference != o.Reference || std.Seller != o.Seller || std.Destination != o.Destination || std.Description != o.Description ||
			std.Amount != o.Money.Amount || len(std.Metadata) != len(o.Metadata) {
			t.Fatalf("%q became %+v, and %+v in the standard library", body, o, std)
		}
	})
}

func FuzzCursor(f *testing.F) {
	for _, s := range []string{"", "AQ", cursor(uuid.MustParse("0198a3c0-5b7e-7c21-9d3f-3f1c2a4b5d6e")), cursor(uuid.Nil), strings.Repeat("A", 23), strings.Repeat("_", 23), "AQ==", "\n",
		cursor(uuid.Max)[:9] + "\r" + cursor(uuid.Max)[9:]} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := parseCursor(s)
		if err == nil && cursor(id) != s {
			t.Fatalf("%q is %s, which is written %q", s, id, cursor(id))
		}
		if err != nil && id != uuid.Nil {
			t.Fatalf("%q: %s and %v", s, id, err)
		}
	})
}
