package http

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

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
			// Stripe's own library takes every signature that we take.
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

// A webhook changes something only when it is rightly signed, of now, and an event; then it
// is stored byte for byte.
func FuzzWebhook(f *testing.F) {
	for _, body := range []string{eventText, `{}`, `{"id":"evt_1","type":"a","livemode":true}`, `{"id":"evt_1","type":"a","data":{"object":{"id":"\u0000"}}}`, "\xff", `{"id":"evt_1","type":"a","account":"acct_1"} `} {
		f.Add([]byte(body), int64(0), "", false)
		f.Add([]byte(body), int64(301), ",v0=00", false)
		f.Add([]byte(body), int64(-300), ",v1="+strings.Repeat("0", 64), true)
	}
	b := newBench(f)
	f.Fuzz(func(t *testing.T, body []byte, skew int64, junk string, stranger bool) {
		if skew < -1<<30 || skew > 1<<30 {
			t.Skip()
		}
		b.reset()
		secret := secretNew
		if stranger {
			secret = "whsec_of_somebody_else"
		}
		header := sign(secret, string(body), b.now().Add(time.Duration(skew)*time.Second)) + asHeader(junk)
		a := b.call(t, "POST", "/webhooks/stripe", string(body), "Stripe-Signature", header)
		if a.status != 200 {
			if len(b.events) != 0 || a.status != 400 && a.status != 413 {
				t.Fatalf("%q: %d, and %d events", body, a.status, len(b.events))
			}
			return
		}
		if stranger && !strings.Contains(junk, "v1=") || skew < -300 || skew > 300 || string(a.body) != string(received) || len(b.events) != 1 {
			t.Fatalf("%q, %d s off, signed by a stranger: %v, was taken: %s, %d events", body, skew, stranger, a.body, len(b.events))
		}
		for id, e := range b.events {
			if e.ID != id || !bytes.Equal(e.Payload, body) {
				t.Fatalf("%q was stored as %+v", body, e)
			}
		}
	})
}
