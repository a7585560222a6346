package http

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/stripe/stripe-go/v76/webhook"

	"github.com/settled/settled/ledger"
)

// eventText is an event as Stripe writes it, shortened.
const eventText = `{
  "id": "evt_1Paid", "object": "event", "api_version": "2023-10-16", "created": 1769860800, "livemode": false, "pending_webhooks": 1,
  "request": {"id": null, "idempotency_key": null}, "type": "transfer.created",
  "data": {"object": {"id": "tr_1", "object": "transfer", "amount": 6000, "currency": "eur", "livemode": false, "metadata": {"a": "}\"{"}, "reversals": {"data": []}}}
}`

// sign signs a body as documented, at a time.
func sign(secret, body string, at time.Time) string {
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%d.%s", at.Unix(), body)
	return fmt.Sprintf("t=%d,v1=%s", at.Unix(), hex.EncodeToString(mac.Sum(nil)))
}

// deliver posts an event with a signature header.
func (s *site) deliver(body, signature string, headers ...string) answer {
	s.t.Helper()
	return s.send("POST", s.public+"/webhooks/stripe", body,
		append([]string{"Stripe-Signature", signature, "Content-Type", "application/json; charset=utf-8"}, headers...)...)
}

func (s *site) counted(eventType, result string) float64 {
	var m dto.Metric
	if err := s.server.metrics.webhooks.WithLabelValues(eventType, result).Write(&m); err != nil {
		s.t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

func TestAVerifiedEventIsStoredAndAcknowledged(t *testing.T) {
	s := open(t)
	for i, secret := range []string{secretOld, secretNew} {
		body := strings.Replace(eventText, "evt_1Paid", fmt.Sprintf("evt_%d", i), 1)
		if a := s.deliver(body, sign(secret, body, s.now())); a.status != 200 || string(a.body) != `{"received":true}` {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	e := s.events["evt_0"]
	want := ledger.StripeEvent{ID: "evt_0", Type: "transfer.created", APIVersion: "2023-10-16", Object: "tr_1", Created: time.Unix(1769860800, 0).UTC()}
	payload := string(e.Payload)
	e.Payload = nil
	if fmt.Sprint(e) != fmt.Sprint(want) || payload != strings.Replace(eventText, "evt_1Paid", "evt_0", 1) {
		t.Errorf("stored %+v %s", e, payload)
	}
	// A duplicate is acknowledged like the first.
	body := string(s.events["evt_1"].Payload)
	if a := s.deliver(body, sign(secretOld, body, s.now())); a.status != 200 || len(s.events) != 2 {
		t.Errorf("%d, %d events", a.status, len(s.events))
	}
	if n := s.counted("transfer.created", webhookReceived); n != 3 {
		t.Errorf("counted %v", n)
	}
}

func TestTheSignatureIsWhatStripesOwnLibraryMakes(t *testing.T) {
	s := open(t)
	signed := webhook.GenerateTestSignedPayload(&webhook.UnsignedPayload{Payload: []byte(eventText), Secret: secretNew, Timestamp: s.now()})
	if a := s.deliver(eventText, signed.Header); a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if err := webhook.ValidatePayloadIgnoringTolerance([]byte(eventText), sign(secretOld, eventText, s.now()), secretOld); err != nil {
		t.Errorf("Stripe's library: %v", err)
	}
}

func TestASignatureIsTakenOrRefused(t *testing.T) {
	s := open(t)
	now := s.now()
	good := sign(secretOld, eventText, now)
	_, v1, _ := strings.Cut(good, ",")
	stamp, _, _ := strings.Cut(good, ",")
	junk := ",v1=" + strings.Repeat("0", 64)
	ok := map[string]string{
		"as it is":                 good,
		"with an old scheme too":   good + ",v0=" + strings.Repeat("0", 64),
		"behind a wrong one":       stamp + junk + "," + v1,
		"before a wrong one":       good + junk,
		"the last of eight":        stamp + strings.Repeat(junk, 7) + "," + v1,
		"the time last":            v1 + "," + stamp,
		"in capitals":              stamp + ",v1=" + strings.ToUpper(v1[3:]),
		"beside half a one":        stamp + ",v1=ab," + v1,
		"beside one that is none":  stamp + ",v1=" + strings.Repeat("z", 64) + "," + v1 + ",v1=",
		"just young enough":        sign(secretOld, eventText, now.Add(-signatureTolerance)),
		"just not too far to come": sign(secretOld, eventText, now.Add(signatureTolerance)),
	}
	for name, header := range ok {
		if a := s.deliver(eventText, header); a.status != 200 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	s.set(func(w *world) { clear(w.events) })
	refused := map[string]struct{ header, body string }{
		"no header":                   {"", eventText},
		"nothing in it":               {" ", eventText},
		"another secret":              {sign("whsec_of_somebody_else", eventText, now), eventText},
		"an empty secret":             {sign("", eventText, now), eventText},
		"another body":                {good, strings.Replace(eventText, "6000", "6001", 1)},
		"the same JSON, written anew": {good, strings.Replace(eventText, "\n", "", 1)},
		"another time":                {fmt.Sprintf("t=%d,%s", now.Unix()-1, v1), eventText},
		"no time":                     {v1, eventText},
		"two times":                   {stamp + "," + stamp + "," + v1, eventText},
		"a time that is none":         {"t=now," + v1, eventText},
		"a negative time":             {"t=-1," + v1, eventText},
		"a time beyond all times":     {"t=999999999999999999999," + v1, eventText},
		"an empty time":               {"t=," + v1, eventText},
		"the old scheme alone":        {stamp + ",v0=" + v1[3:], eventText},
		"no signature":                {stamp, eventText},
		"an empty signature":          {stamp + ",v1=", eventText},
		"half a signature":            {stamp + ",v1=" + v1[3:35], eventText},
		"a signature that is not hex": {stamp + ",v1=" + strings.Repeat("x", 64), eventText},
		"nine signatures":             {stamp + strings.Repeat(junk, 8) + "," + v1, eventText},
		"text":                        {"hello", eventText},
		"a space":                     {stamp + ", " + v1, eventText},
		"an entry of no name":         {stamp + ",==," + v1, eventText},
		"an entry without a value":    {good + ",v1", eventText},
	}
	for name, c := range refused {
		a := s.deliver(c.body, c.header)
		a.wants(t, invalidSignature)
		if says := a.detail(t, ""); strings.Contains(says, "secret") || says != "The Stripe-Signature header does not prove that Stripe sent this." {
			t.Errorf("%s: the answer tells too much: %s", name, says)
		}
	}
	for _, off := range []time.Duration{-signatureTolerance - time.Second, signatureTolerance + time.Second, -24 * time.Hour, 24 * time.Hour} {
		a := s.deliver(eventText, sign(secretOld, eventText, now.Add(off)))
		a.wants(t, invalidSignature)
	}
	if len(s.events) != 0 {
		t.Errorf("%d events were stored", len(s.events))
	}
	if bad, stale := s.counted("other", webhookBadSignature), s.counted("other", webhookStale); bad != float64(len(refused)) || stale != 4 {
		t.Errorf("counted %v bad, %v stale", bad, stale)
	}
}

func TestAReplayedWebhookIsRefusedWhenItIsOld(t *testing.T) {
	s := open(t)
	header := sign(secretOld, eventText, s.now())
	if a := s.deliver(eventText, header); a.status != 200 {
		t.Fatal(a.status)
	}
	s.pass(signatureTolerance + time.Second)
	s.deliver(eventText, header).wants(t, invalidSignature)
}

func TestASignedBodyThatIsNoEventIsRefused(t *testing.T) {
	s := open(t)
	for _, body := range []string{
		``, `null`, `[]`, `"evt_1"`, `{`, `{}`, `{"id":"evt_1"}`, `{"type":"a"}`, `{"id":"ch_1","type":"a"}`, `{"id":7,"type":"a"}`,
		`{"id":"evt_1","type":""}`, `{"id":"evt_1","type":"a\u0001b"}`, `{"id":"evt_1","type":"a","livemode":"yes"}`, `{"id":"evt_1","type":["a"]}`,
		`{"id":"evt_` + strings.Repeat("1", 300) + `","type":"a"}`, "{\"id\":\"evt_1\",\"type\":\"a\xff\"}", eventText + "x", `{"id":"evt_\u0000","type":"a"}`,
		strings.Repeat("[", 200) + strings.Repeat("]", 200), `{"id":"evt_1","type":"` + strings.Repeat("a", 300) + `"}`,
	} {
		s.deliver(body, sign(secretOld, body, s.now())).wants(t, malformedJSON)
	}
	if len(s.events) != 0 || s.counted("other", webhookBadEvent) != 20 {
		t.Errorf("%d events, %v counted", len(s.events), s.counted("other", webhookBadEvent))
	}
}

func TestAnEventOfAnyShapeThatIsOneIsStored(t *testing.T) {
	s := open(t)
	for body, object := range map[string]string{
		`{"id":"evt_1","type":"balance.available","data":{"object":{"object":"balance"}}}`:                                    "",
		`{"id":"evt_2","type":"a.thing.of.2031","data":{"object":{"id":"x_1"}},"new":[{"deep":[{}]}]}`:                        "x_1",
		`{"id":"evt_3","type":"a","data":null,"account":null,"api_version":null}`:                                             "",
		`{"id":"evt_4","type":"v2.core.thing","created":"2026-01-01T00:00:00.000Z","related_object":{}}`:                      "",
		`{"data":{"previous_attributes":{"id":"no"},"object":{"a":{"id":"no"},"id":"\u0079es"}},"type":"a","id":"evt_5"}`:     "yes",
		`{"id":"evt_6","type":"a","data":{"object":"x"}}`:                                                                     "",
		`{"id":"evt_7","type":"capability.updated","account":"acct_1","livemode":false,"data":{"object":{"id":"transfers"}}}`: "transfers",
		`{"id":"evt_8","type":"a","data":{"object":{"id":"a\u0000b"}}}`:                                                       "",
		`{"id":"evt_9","type":"a b[c.d]/é","account":{"id":"acct_1"},"api_version":"\n"}`:                                     "",
	} {
		if a := s.deliver(body, sign(secretNew, body, s.now())); a.status != 200 {
			t.Errorf("%s: %d %s", body, a.status, a.body)
			continue
		}
		id := body[strings.Index(body, "evt_"):][:5]
		if e, ok := s.events[id]; !ok || e.Object != object || string(e.Payload) != body {
			t.Errorf("%s: stored %+v", body, e)
		}
	}
	if s.events["evt_7"].Account != "acct_1" || s.events["evt_4"].Created != (time.Time{}) {
		t.Errorf("%+v", s.events)
	}
	if s.counted("other", webhookReceived) != 7 || s.counted("balance.available", webhookReceived) != 1 {
		t.Error("an unknown type is counted as other")
	}
}

// Accounts v2 speak in thin events, whose types have brackets and which have no data.
func TestAThinEventSaysWhomItConcerns(t *testing.T) {
	s := open(t)
	const thin = `{"id":"%s","object":"v2.core.event","type":"%s","livemode":false,"created":"2026-11-24T10:15:30.000Z","context":%s,"related_object":%s}`
	about := func(id, kind string) string {
		return fmt.Sprintf(`{"id":"%s","type":"%s","url":"/v2/x/%s"}`, id, kind, id)
	}
	const status = "v2.core.account[configuration.recipient].capability_status_updated"
	for id, c := range map[string]struct{ body, account, object string }{
		"evt_1": {fmt.Sprintf(thin, "evt_1", status, `null`, about("acct_9", "v2.core.account")), "acct_9", "acct_9"},
		"evt_2": {fmt.Sprintf(thin, "evt_2", status, `"acct_platform"`, about("acct_9", "v2.core.account")), "acct_9", "acct_9"},
		"evt_3": {fmt.Sprintf(thin, "evt_3", "v2.core.account_person.created", `"acct_9"`, about("person_1", "v2.core.account_person")), "", "person_1"},
		"evt_4": {fmt.Sprintf(thin, "evt_4", "v2.core.account[requirements].updated", `null`, `null`), "", ""},
		"evt_5": {`{"id":"evt_5","type":"account.updated","livemode":false,"data":{"object":{"id":"acct_9"}}}`, "acct_9", "acct_9"},
		"evt_6": {`{"id":"evt_6","type":"capability.updated","livemode":false,"data":{"object":{"id":"transfers","account":"acct_9"}}}`, "acct_9", "transfers"},
		"evt_7": {`{"id":"evt_7","type":"account.updated","account":"acct_9","context":"acct_1/acct_9","livemode":false,"data":{"object":{"id":"acct_9"}}}`, "acct_9", "acct_9"},
	} {
		if a := s.deliver(c.body, sign(secretNew, c.body, s.now())); a.status != 200 {
			t.Errorf("%s: %d %s", c.body, a.status, a.body)
		}
		if e := s.events[id]; e.Account != c.account || e.Object != c.object {
			t.Errorf("%s: is of account %q and about %q", c.body, e.Account, e.Object)
		}
	}
	if s.counted("v2.core.account", webhookReceived) != 3 {
		t.Error("events of Accounts v2 are not counted as such")
	}
}

func TestAnEventOfTheOtherModeIsAcknowledgedAndIgnored(t *testing.T) {
	live := true
	s := open(t, func(c *Config) { c.Livemode = &live })
	if a := s.deliver(eventText, sign(secretOld, eventText, s.now())); a.status != 200 || len(s.events) != 0 {
		t.Errorf("%d, %d events", a.status, len(s.events))
	}
	if s.counted("transfer.created", webhookIgnored) != 1 {
		t.Error("not counted")
	}
	body := strings.Replace(eventText, `"livemode": false, "pending`, `"livemode": true, "pending`, 1)
	if a := s.deliver(body, sign(secretOld, body, s.now())); a.status != 200 || len(s.events) != 1 {
		t.Errorf("%d, %d events", a.status, len(s.events))
	}
}

func TestAWebhookThatCannotBeStoredIsAskedForAgain(t *testing.T) {
	s := open(t)
	s.set(func(w *world) { w.broken = fmt.Errorf("insert: %w", ledger.ErrUnavailable) })
	a := s.deliver(eventText, sign(secretOld, eventText, s.now()))
	a.wants(t, unavailable)
	if a.header.Get("Retry-After") != "5" {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
	s.set(func(w *world) { w.broken = errors.New("a bug") })
	s.deliver(eventText, sign(secretOld, eventText, s.now())).wants(t, internalError)
	if s.counted("transfer.created", webhookUnavailable) != 1 || s.counted("transfer.created", webhookFailed) != 1 {
		t.Error("not counted")
	}
}

func TestAWebhookThatIsTooLargeIsRefusedBeforeItIsRead(t *testing.T) {
	s := open(t)
	fits := strings.Replace(eventText, `"a": "`, `"a": "`+strings.Repeat("x", webhookBytes-len(eventText)), 1)
	if a := s.deliver(fits, sign(secretOld, fits, s.now())); len(fits) != webhookBytes || a.status != 200 {
		t.Errorf("%d bytes: %d", len(fits), a.status)
	}
	for _, size := range []int{webhookBytes + 1, 2 << 20} {
		body := strings.Repeat(" ", size-len(eventText)) + eventText
		s.deliver(body, sign(secretOld, body, s.now())).wants(t, bodyTooLarge)
	}
	if n := s.counted("other", webhookTooLarge); n != 2 {
		t.Errorf("counted %v", n)
	}
}

// Whoever signs nothing can send bodies all the same: only few large ones are read, and all usual ones.
func TestOnlyFewWebhooksMayBeLargeAtATime(t *testing.T) {
	s := open(t)
	large := strings.Replace(eventText, `"a": "`, `"a": "`+strings.Repeat("x", webhookUsual), 1)
	for range largeMost {
		s.deliver(large, "t=1,v1=00").wants(t, invalidSignature)
	}
	s.deliver(large, sign(secretOld, large, s.now())).wants(t, bodyTooLarge)
	usual := strings.Replace(eventText, `"a": "`, `"a": "`+strings.Repeat("x", webhookUsual-len(eventText)), 1)
	if a := s.deliver(usual, sign(secretOld, usual, s.now())); a.status != 200 {
		t.Errorf("a usual one: %d %s", a.status, a.body)
	}
	s.pass(s.server.limits.Read)
	if a := s.deliver(large, sign(secretOld, large, s.now())); a.status != 200 {
		t.Errorf("a moment later: %d %s", a.status, a.body)
	}
}

func TestAWebhookInDisguiseIsRefused(t *testing.T) {
	s := open(t)
	s.deliver(eventText, sign(secretOld, eventText, s.now()), "Content-Encoding", "gzip").wants(t, unsupportedMedia)
}

func TestAMistakenSecretIsRefusedByName(t *testing.T) {
	const good = "whsec_0123456789abcdef"
	for says, secrets := range map[string][]string{
		"no webhook secret":   {},
		"0 characters":        {""},
		"5 characters":        {"short"},
		"secret 2 has 0":      {good, "   "},
		"quotes":              {`"` + good + `"`},
		"secret 2 has quotes": {good, "'" + good + "'"},
		"byte order mark":     {"\ufeff" + good},
		"no UTF-8":            {"\xff\xfe" + good},
		"zero-width":          {good + "\u200b"},
		"line break":          {good + "\n" + good},
		"a semicolon":         {good + ";" + good},
		"semicolon":           {good + "; " + good},
		"a blank":             {good + " " + good},
		"beyond ASCII":        {good + "é"},
		"is an API key":       {"sk_test_0123456789abcdef"},
		"the signing secret":  {"rk_live_0123456789abcdef"},
		"webhook endpoint at": {"pk_test_0123456789abcdef"},
		"ID of the webhook":   {"we_1PabcDEFghiJKL"},
	} {
		_, err := newVerifier(secrets, time.Now)
		switch {
		case err == nil:
			t.Errorf("%q was taken", secrets)
		case !strings.Contains(err.Error(), says):
			t.Errorf("%q: %q does not say %q", secrets, err, says)
		case strings.Contains(err.Error(), "0123456789") || strings.Contains(err.Error(), "short"):
			t.Errorf("the error tells the secret: %v", err)
		}
	}
	for _, s := range []string{good, "\t " + good + "\r\n", good + "\u00a0", "plain-text-secret"} {
		if _, err := newVerifier([]string{s}, time.Now); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// BenchmarkRefusal shows that the moment of a refusal tells nothing: both take the same time.
func BenchmarkRefusal(b *testing.B) {
	now := time.Unix(1769860800, 0)
	v, err := newVerifier([]string{secretOld}, func() time.Time { return now })
	if err != nil {
		b.Fatal(err)
	}
	good := sign(secretOld, eventText, now)
	first := len(good) - 64
	for name, header := range map[string]string{
		"first byte wrong": good[:first] + flipHex(good[first]) + good[first+1:],
		"last byte wrong":  good[:len(good)-1] + flipHex(good[len(good)-1]),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := v.verify(header, []byte(eventText)); !errors.Is(err, errSignatureWrong) {
					b.Fatal(err)
				}
			}
		})
	}
}

func flipHex(c byte) string {
	if c == '0' {
		return "1"
	}
	return "0"
}

func TestASignatureHeaderHasABound(t *testing.T) {
	if _, _, _, err := parseSignature(strings.Repeat("a=b,", signatureLongest/4) + "t=1"); !errors.Is(err, errSignatureForm) {
		t.Errorf("%v", err)
	}
}
