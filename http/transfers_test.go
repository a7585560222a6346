package http

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/ledger"
)

func TestAnOrderBecomesATransfer(t *testing.T) {
	s := open(t)
	body := `{"reference":"inv-1","seller":"s-1","destination":"acct_1Seller","amount":1230,"currency":"EUR","source_transaction":"ch_1",
		"transfer_group":"g","description":"Über \"alles\" \u00e4","not_before":"2026-02-01T01:00:00.1234567+01:00","metadata":{"k":"v","é":"ü"}}`
	a := s.post("/v1/transfers", body)
	if a.status != 201 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	got := a.json(t)
	if want := "/v1/transfers/" + got["id"].(string); a.header.Get("Location") != want {
		t.Errorf("Location %q, want %q", a.header.Get("Location"), want)
	}
	same(t, holdsOf(got), []any{map[string]any{"source": "schedule", "reason": "the order's not_before", "by": "backend",
		"since": "2026-01-31T12:00:00Z", "until": "2026-02-01T00:00:00.123456Z"}})
	delete(got, "id")
	delete(got, "holds")
	want := map[string]any{
		"object": "transfer", "reference": "inv-1", "seller": "s-1", "destination": "acct_1Seller", "amount": 1230.0, "currency": "eur",
		"source_transaction": "ch_1", "transfer_group": "g", "description": `Über "alles" ä`, "not_before": "2026-02-01T00:00:00.123456Z",
		"metadata": map[string]any{"k": "v", "é": "ü"}, "status": "held", "held_by": "schedule", "held_until": "2026-02-01T00:00:00.123456Z",
		"amount_reversed": 0.0, "amount_remaining": 1230.0, "stripe_id": nil, "error_code": nil, "error_message": nil,
		"generation": 0.0, "version": 1.0, "created_at": "2026-01-31T12:00:00Z", "updated_at": "2026-01-31T12:00:00Z", "reversals": []any{},
	}
	same(t, got, want)
	if by := s.history()[0].By; by.Principal != "backend" {
		t.Errorf("by %+v", by)
	}
	a = s.post("/v1/transfers", order("reference", `"inv-2"`, "description", "null", "metadata", "null"))
	got = a.json(t)
	for _, absent := range []string{"source_transaction", "transfer_group", "description", "not_before", "held_by", "held_until"} {
		if v, there := got[absent]; !there || v != nil {
			t.Errorf("%s is %v, want null", absent, v)
		}
	}
	if got["status"] != "pending" {
		t.Errorf("status %v", got["status"])
	}
}

// holdsOf returns the holds of a transfer or a reversal as it was answered, without their IDs.
func holdsOf(got map[string]any) []any {
	holds := got["holds"].([]any)
	for _, h := range holds {
		delete(h.(map[string]any), "id")
	}
	return holds
}

func (w *world) history() []ledger.History {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.transfers[w.order[0]].History
}

func same(t *testing.T, got, want any) {
	t.Helper()
	g, _ := json.MarshalIndent(got, "", " ")
	w, _ := json.MarshalIndent(want, "", " ")
	if string(g) != string(w) {
		t.Errorf("got %s\nwant %s", g, w)
	}
}

func TestTheSameReferenceIsTheSameTransfer(t *testing.T) {
	s := open(t)
	first := s.post("/v1/transfers", order("metadata", `{"a":"1","b":"2"}`))
	again := s.post("/v1/transfers", ` { "currency":"EUR", "metadata":{"b":"2","a":"1"}, "amount":1230,"destination":"acct_1Seller","seller":"s-1","reference":"inv-1"} `)
	if again.status != 200 || string(again.body) != string(first.body) {
		t.Errorf("%d %s, want 200 %s", again.status, again.body, first.body)
	}
	other := s.post("/v1/transfers", order("amount", "1231"))
	other.wants(t, referenceConflict)
	id := first.json(t)["id"].(string)
	if p := other.json(t); p["existing"] != id || !strings.Contains(p["detail"].(string), id) {
		t.Errorf("the conflict does not name %s: %s", id, other.body)
	}
	if len(s.order) != 1 {
		t.Errorf("%d transfers", len(s.order))
	}
}

func TestAWrongOrderIsRefusedFieldByField(t *testing.T) {
	s := open(t)
	long := strings.Repeat("x", 201)
	cases := map[string]struct {
		body   string
		fields []string
		says   string // of the first field
	}{
		"an unknown field":              {order("amont", "1"), []string{"amont"}, "the fields are reference, seller"},
		"an unknown field that is long": {order(strings.Repeat("y", 200), "1"), []string{strings.Repeat("y", 64) + "…"}, "remove it"},
		"a field in another case":       {order("Amount", "1"), []string{"Amount"}, "remove it"},
		"a field twice":                 {`{"seller":"b",` + orderText[1:], []string{"seller"}, "more than once"},
		"a field twice, escaped":        {`{"s\u0065ller":"b",` + orderText[1:], []string{"seller"}, "more than once"},
		"a negative amount":             {order("amount", "-5"), []string{"amount"}, "-5 is below 1"},
		"an amount of zero":             {order("amount", "0"), []string{"amount"}, "0 is below 1"},
		"a fractional amount":           {order("amount", "12.5"), []string{"amount"}, "without fraction"},
		"a fraction of zero":            {order("amount", "12.0"), []string{"amount"}, "without fraction"},
		"an amount with an exponent":    {order("amount", "1e3"), []string{"amount"}, "without fraction or exponent"},
		"an amount in quotes":           {order("amount", `"1230"`), []string{"amount"}, "without quotes"},
		"an amount beyond 64 bits":      {order("amount", "99999999999999999999"), []string{"amount"}, "out of range"},
		"an amount too large":           {order("amount", "1000000000000"), []string{"amount"}, "above 999999999999"},
		"an amount that is true":        {order("amount", "true"), []string{"amount"}, "is a boolean"},
		"no amount":                     {order("amount", ""), []string{"amount"}, "is required"},
		"a null amount":                 {order("amount", "null"), []string{"amount"}, "is required"},
		"an unknown currency":           {order("currency", `"xxx"`), []string{"currency"}, "ISO 4217"},
		"a currency of three decimals":  {order("currency", `"kwd"`), []string{"currency"}, "three decimals"},
		"a currency beyond ASCII":       {order("currency", `"\u212arw"`), []string{"currency"}, "ISO 4217"},
		"a currency that is a number":   {order("currency", "978"), []string{"currency"}, "must be a string"},
		"no currency":                   {order("currency", ""), []string{"currency"}, "ISO 4217"},
		"a currency without cents":      {order("currency", `"isk"`), []string{"amount"}, "divisible by 100"},
		"a reference that is too long":  {order("reference", `"`+long+`"`), []string{"reference"}, "201 characters"},
		"a reference with a NUL":        {order("reference", `"a\u0000"`), []string{"reference"}, "control character"},
		"a reference of half a letter":  {order("reference", `"a\ud800"`), []string{"reference"}, "half a character"},
		"no reference":                  {order("reference", ""), []string{"reference"}, "is required"},
		"a null reference":              {order("reference", "null"), []string{"reference"}, "is required"},
		"no seller":                     {order("seller", ""), []string{"seller"}, "is required"},
		"a seller that is a list":       {order("seller", `["a"]`), []string{"seller"}, "is an array"},
		"a destination of a customer":   {order("destination", `"cus_1"`), []string{"destination"}, "acct_1Abc"},
		"a source that is no charge":    {order("source_transaction", `"pi_1"`), []string{"source_transaction"}, "ch_1Abc"},
		"a time without a zone":         {order("not_before", `"2026-02-01T00:00:00"`), []string{"not_before"}, "RFC 3339"},
		"a time as a number":            {order("not_before", "1769900000"), []string{"not_before"}, "must be a string"},
		"an empty time":                 {order("not_before", `""`), []string{"not_before"}, "is empty"},
		"a time of long ago":            {order("not_before", `"0001-01-01T00:00:00Z"`), []string{"not_before"}, "between the years"},
		"metadata that is a list":       {order("metadata", "[]"), []string{"metadata"}, "object of strings"},
		"metadata with a number":        {order("metadata", `{"a":1}`), []string{"metadata.a"}, "must be a string"},
		"metadata given twice":          {order("metadata", `{"a":"1","a":"2"}`), []string{"metadata.a"}, "more than once"},
		"metadata of ours":              {order("metadata", `{"settled_epoch":"1"}`), []string{"metadata.settled_epoch"}, "reserved"},
		"nothing at all":                {`{}`, []string{"amount", "currency", "destination", "reference", "seller"}, "is required"},
		"everything at once":            {order("amount", "1.5", "currency", `"zz"`, "x", "1", "reference", `7`), []string{"amount", "currency", "reference", "x"}, "without fraction"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := s.post("/v1/transfers", c.body)
			a.wants(t, invalidRequest, c.fields...)
			if says := a.detail(t, c.fields[0]); !strings.Contains(says, c.says) {
				t.Errorf("%s: %q does not say %q", c.fields[0], says, c.says)
			}
		})
	}
	if s.commits != 0 {
		t.Errorf("%d commits", s.commits)
	}
}

func TestABodyThatIsNoJSONIsRefused(t *testing.T) {
	s := open(t)
	for name, body := range map[string]string{
		"nothing":           "",
		"space":             " \n",
		"half an object":    `{"reference":"a"`,
		"a list":            `[` + orderText + `]`,
		"a string":          `"a"`,
		"null":              `null`,
		"two objects":       orderText + orderText,
		"trailing text":     orderText + ` x`,
		"a comment":         `{/**/}`,
		"a trailing comma":  `{"reference":"a",}`,
		"single quotes":     `{'a':1}`,
		"not a number":      order("amount", "NaN"),
		"a leading zero":    order("amount", "01"),
		"a plus":            order("amount", "+1"),
		"invalid UTF-8":     order("reference", "\"a\xff\""),
		"a raw NUL":         order("reference", "\"a\x00\""),
		"a byte order mark": "\ufeff" + orderText,
		"too deep":          order("metadata", strings.Repeat("[", 100)+strings.Repeat("]", 100)),
	} {
		t.Run(name, func(t *testing.T) {
			s.post("/v1/transfers", body).wants(t, malformedJSON)
		})
	}
}

func TestABatchAnswersForEachInItsPlace(t *testing.T) {
	s := open(t)
	s.created()
	items := []string{
		order("reference", `"new-1"`), order(), order("amount", "7"), order("amount", "-1", "reference", `"new-2"`), "7",
		order("reference", `"new-3"`, "x", "1"), order("reference", `"new-4"`), order("reference", `"new-4"`), order("reference", `"new-4"`, "amount", "9"),
	}
	before := s.commits
	a := s.post("/v1/transfers/batch", `{"transfers":[`+strings.Join(items, " , ")+`]}`)
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	var got struct {
		Data []struct {
			Status   int
			Transfer *struct{ Reference string }
			Error    *problem
		}
	}
	if err := json.Unmarshal(a.body, &got); err != nil {
		t.Fatal(err)
	}
	want := []string{"201 new-1", "200 inv-1", "409 reference-conflict []", "422 invalid-request [amount]", "422 invalid-request [transfers[4]]",
		"422 invalid-request [x]", "201 new-4", "200 new-4", "409 reference-conflict []"}
	var have []string
	for _, d := range got.Data {
		switch {
		case d.Error == nil:
			have = append(have, fmt.Sprint(d.Status, " ", d.Transfer.Reference))
		default:
			fields := []string{}
			for _, e := range d.Error.Errors {
				fields = append(fields, e.Field)
			}
			have = append(have, fmt.Sprint(d.Status, " ", strings.TrimPrefix(d.Error.Type, problemBase), " ", fields))
			if d.Transfer != nil || d.Error.Status != d.Status {
				t.Errorf("item %+v", d)
			}
		}
	}
	if !slices.Equal(have, want) {
		t.Errorf("got  %q\nwant %q", have, want)
	}
	if s.commits != before+1 {
		t.Errorf("%d commits, want one", s.commits-before)
	}
}

func TestABatchHasItsBounds(t *testing.T) {
	s := open(t)
	list := func(n int) string {
		items := make([]string, n)
		for i := range items {
			items[i] = order("reference", fmt.Sprintf(`"r-%d"`, i), "description", `"`+strings.Repeat("d", 400)+`"`)
		}
		return `{"transfers":[` + strings.Join(items, ",") + `]}`
	}
	s.post("/v1/transfers/batch", list(0)).wants(t, invalidRequest, "transfers")
	s.post("/v1/transfers/batch", list(1001)).wants(t, invalidRequest, "transfers")
	s.post("/v1/transfers/batch", `{}`).wants(t, invalidRequest, "transfers")
	s.post("/v1/transfers/batch", `{"transfers":null}`).wants(t, invalidRequest, "transfers")
	s.post("/v1/transfers/batch", `{"transfers":{}}`).wants(t, invalidRequest, "transfers")
	s.post("/v1/transfers/batch", `{"transfers":[],"x":1}`).wants(t, invalidRequest, "transfers", "x")
	s.post("/v1/transfers/batch", `[]`).wants(t, malformedJSON)
	s.post("/v1/transfers/batch", `{"transfers":[`+order()+`,{]}`).wants(t, malformedJSON)
	if s.commits != 0 {
		t.Fatalf("%d commits", s.commits)
	}
	a := s.post("/v1/transfers/batch", `{"transfers":[{},{"amount":"x"}]}`)
	if a.status != 200 || s.commits != 0 {
		t.Errorf("nothing valid: %d %s, %d commits", a.status, a.body, s.commits)
	}
	if a := s.post("/v1/transfers/batch", list(1000)); a.status != 200 || s.commits != 1 || len(s.order) != 1000 {
		t.Errorf("1000: %d, %d commits, %d transfers", a.status, s.commits, len(s.order))
	}
}

func TestAListIsFilteredAndPaged(t *testing.T) {
	s := open(t)
	var ids []string
	for i := range 5 {
		ids = append(ids, s.created("reference", fmt.Sprintf(`"r-%d"`, i), "seller", fmt.Sprintf(`"s&%d"`, i%2)).String())
		s.pass(time.Minute)
	}
	slices.Reverse(ids) // newest first
	s.refused(s.order[4])
	read := func(query string) (found []string, next string) {
		t.Helper()
		a := s.get("/v1/transfers" + query)
		if a.status != 200 {
			t.Fatalf("%s: %d %s", query, a.status, a.body)
		}
		var p struct {
			Data []struct{ ID string }
			Next *string
		}
		if err := json.Unmarshal(a.body, &p); err != nil {
			t.Fatal(err)
		}
		for _, d := range p.Data {
			found = append(found, d.ID)
		}
		if p.Next != nil {
			next = *p.Next
		}
		return found, next
	}
	for query, want := range map[string][]string{
		"":                                    ids,
		"?limit=100":                          ids,
		"?limit=5":                            ids,
		"?status=failed":                      ids[:1],
		"?error_code=balance_insufficient":    ids[:1],
		"?status=completed":                   nil,
		"?seller=s%261":                       {ids[1], ids[3]},
		"?seller=s%261&reference=r-3":         {ids[1]},
		"?destination=acct_1Seller":           ids,
		"?destination=acct_other":             nil,
		"?created_after=2026-01-31T12:02:00Z": ids[:2],
		"?created_before=" + url.QueryEscape("2026-01-31T13:01:00+01:00"): ids[4:],
		"?reference=" + url.QueryEscape(`' OR 1=1 --\?$1;`):               nil,
	} {
		if found, next := read(query); !slices.Equal(found, want) || next != "" {
			t.Errorf("%s: %v (next %q), want %v", query, found, next, want)
		}
	}
	var all []string
	for query, pages := "?limit=2", 0; ; pages++ {
		found, next := read(query)
		all = append(all, found...)
		if next == "" {
			if pages != 2 {
				t.Errorf("%d pages", pages+1)
			}
			break
		}
		query = "?limit=2&cursor=" + next
	}
	if !slices.Equal(all, ids) {
		t.Errorf("paged %v, want %v", all, ids)
	}
	if a := s.get("/v1/transfers?seller=nobody"); string(a.body) != `{"data":[],"next":null}` {
		t.Errorf("an empty list: %s", a.body)
	}
}

func TestAWrongFilterIsRefused(t *testing.T) {
	s := open(t)
	for query, fields := range map[string][]string{
		"?stauts=failed":                     {"stauts"},
		"?status=lost":                       {"status"},
		"?status=":                           {"status"},
		"?status":                            {"status"},
		"?status=failed&status=pending":      {"status"},
		"?limit=0":                           {"limit"},
		"?limit=101":                         {"limit"},
		"?limit=-1":                          {"limit"},
		"?limit=1e1":                         {"limit"},
		"?limit=+5":                          {"limit"},
		"?limit=05":                          {"limit"},
		"?cursor=abc":                        {"cursor"},
		"?cursor=" + strings.Repeat("A", 23): {"cursor"},
		"?created_after=yesterday":           {"created_after"},
		"?created_before=2026-01-31T12:00:00+01:00": {"created_before"},
		"?payment=x":                          {"payment"},
		"?format=csv":                         {"format"},
		"?seller=%00":                         {"seller"},
		"?seller=%ff":                         {"seller"},
		"?seller=" + strings.Repeat("x", 501): {"seller"},
		"?a=1&b=2":                            {"a", "b"},
		"?limit=0&status=x&cursor=x":          {"status", "limit", "cursor"},
	} {
		s.get("/v1/transfers"+query).wants(t, invalidRequest, fields...)
	}
	for _, query := range []string{"?seller=%", "?seller=%zz", "?seller=a;b", "?;"} {
		s.get("/v1/transfers"+query).wants(t, badRequest)
	}
	id := s.created()
	s.get("/v1/transfers/"+id.String()+"?x=1").wants(t, invalidRequest, "x")
	s.post("/v1/transfers?dry_run=true", orderText).wants(t, invalidRequest, "dry_run")
}

func TestATransferIsToldInFull(t *testing.T) {
	s := open(t)
	id := s.created()
	s.refused(id)
	a := s.get("/v1/transfers/" + id.String())
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	got := a.json(t)
	same(t, got["why"], map[string]any{
		"sentence": "The platform's balance at Stripe is too low; it is sent when that changes.", "code": "balance_insufficient",
		"mover": "platform", "next_at": got["why"].(map[string]any)["next_at"],
	})
	if got["why"].(map[string]any)["next_at"] == nil {
		t.Error("no next_at")
	}
	same(t, got["actor"], map[string]any{"alive": true, "doing": "waiting", "until": "2026-01-31T13:00:00Z", "incarnation": 3})
	history := got["history"].([]any)
	if len(history) != 3 {
		t.Fatalf("history %v", history)
	}
	same(t, history[2], map[string]any{
		"version": 3, "at": "2026-01-31T12:00:00Z", "subject": id.String(), "kind": "transfer", "event": "refuse", "from": "sending", "to": "failed",
		"status": "failed", "epoch": 1, "generation": 1, "open_sends": 0, "by": nil, "detail": nil,
		"attempt": map[string]any{"row": "T2", "verdict": "failed", "reaction": "await_funds", "http_status": 400, "code": "balance_insufficient",
			"param": nil, "message": "Insufficient funds.", "stripe_id": nil, "request_id": "req_2", "replayed": true, "alert": false},
	})
	first := history[0].(map[string]any)
	same(t, first["by"], map[string]any{"principal": "backend", "reason": nil, "message": nil})
	if first["attempt"] != nil || first["from"] != nil {
		t.Errorf("first row %v", first)
	}
	postings := got["postings"].([]any)
	same(t, postings[0], map[string]any{"version": 1, "at": "2026-01-31T12:00:00Z", "account": "clearing", "amount": -1230, "currency": "eur"})
	if got["error_code"] != "balance_insufficient" || got["amount_remaining"] != 1230.0 {
		t.Errorf("%s", a.body)
	}

	s.paid(id)
	s.post("/v1/transfers/"+id.String()+"/messages", `{"type":"reverse","amount":230,"reason":"returned","reference":"re_1"}`)
	got = s.get("/v1/transfers/" + id.String()).json(t)
	r := got["reversals"].([]any)[0].(map[string]any)
	delete(r, "id")
	same(t, r, map[string]any{"object": "reversal", "reference": "re_1", "amount": 230, "status": "pending", "cause": "returned", "external": false, "stripe_id": nil,
		"held_by": nil, "held_until": nil, "holds": []any{},
		"error_code": nil, "error_message": nil, "generation": 0, "created_at": "2026-01-31T12:00:00Z", "updated_at": "2026-01-31T12:00:00Z"})
	if got["status"] != "reversal_pending" || got["stripe_id"] != "tr_1" || got["amount_remaining"] != 1000.0 {
		t.Errorf("%v", got)
	}
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	s := open(t)
	id := s.created().String()
	s.get("/v1/transfers/0198a3c0-5b7e-7c21-9d3f-3f1c2a4b5d6e").wants(t, notFound)
	s.get("/v1/transfers/urn:uuid:"+id).wants(t, notFound)
	s.get("/v1/transfers/inv-1").wants(t, notFound)
	s.get("/v1/transfers/batch").wants(t, notFound)
	s.get("/v1/transfers/").wants(t, notFound)
	s.get("/v1/transfers/../transfers/"+id).wants(t, notFound)
	s.get("//v1/transfers").wants(t, notFound)
	s.get("/V1/transfers").wants(t, notFound)
	s.get("/").wants(t, notFound)
	s.post("/v1/transfers/0198a3c0-5b7e-7c21-9d3f-3f1c2a4b5d6e/messages", `{"type":"cancel","reason":"x"}`).wants(t, notFound)
	s.post("/v1/transfers/x/messages", `{"type":"cancel","reason":"x"}`).wants(t, notFound)
	s.send("POST", s.public+"/v1/transfers", orderText, "Authorization", "Bearer "+s.operator, "Content-Type", "application/json").wants(t, notFound)
	s.send("GET", s.public+"/metrics", "").wants(t, notFound)
	s.send("POST", s.admin+"/webhooks/stripe", "").wants(t, notFound)
	s.send("POST", s.admin+"/webhooks/stripe", "{}", "Authorization", "Bearer "+s.operator).wants(t, notFound)
}

func TestOnlyTheMethodsOfARouteAreAllowed(t *testing.T) {
	s := open(t)
	for _, c := range []struct{ method, url, allow string }{
		{"PUT", s.admin + "/v1/transfers", "GET, POST"},
		{"DELETE", s.admin + "/v1/transfers/x", "GET"},
		{"OPTIONS", s.admin + "/v1/transfers", "GET, POST"},
		{"HEAD", s.admin + "/v1/transfers", "GET, POST"},
		{"TRACE", s.admin + "/v1/transfers/x/messages", "POST"},
		{"PATCH", s.admin + "/v1/transfers/batch", "GET, POST"}, // GET: as an ID, which it is not
		{"BREW", s.admin + "/readyz", "GET, HEAD"},
		{"POST", s.admin + "/metrics", "GET"},
		{"GET", s.public + "/webhooks/stripe", "POST"},
	} {
		a := s.send(c.method, c.url, "")
		if a.header.Get("Allow") != c.allow {
			t.Errorf("%s %s: Allow %q, want %q", c.method, c.url, a.header.Get("Allow"), c.allow)
		}
		if c.method == "HEAD" {
			if a.status != 405 {
				t.Errorf("HEAD: %d", a.status)
			}
			continue
		}
		a.wants(t, methodNotAllowed)
	}
}

func TestOnlyPlainJSONIsTaken(t *testing.T) {
	s := open(t)
	for _, media := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=latin1", "application/jsonx", ";"} {
		s.post("/v1/transfers", orderText, "Content-Type", media).wants(t, unsupportedMedia)
	}
	s.post("/v1/transfers", orderText, "Content-Encoding", "gzip").wants(t, unsupportedMedia)
	for _, media := range []string{"application/json", "application/json; charset=utf-8", "Application/JSON;charset=UTF-8"} {
		if a := s.post("/v1/transfers", orderText, "Content-Type", media); a.status > 201 {
			t.Errorf("%s: %d %s", media, a.status, a.body)
		}
	}
}

func TestAnErrorOfTheEngineSaysWhatToDo(t *testing.T) {
	s := open(t)
	id := s.created().String()
	for name, c := range map[string]struct {
		err  error
		kind *kind
	}{
		"not reachable":   {fmt.Errorf("write: %w", ledger.ErrUnavailable), unavailable},
		"too slow":        {fmt.Errorf("write: %w", context.DeadlineExceeded), unavailable},
		"something else":  {errors.New("pq: password of 10.0.0.1 is hunter2"), internalError},
		"not found":       {ledger.ErrNotFound, notFound},
		"an illegal move": {fmt.Errorf("%w: no", ledger.ErrIllegalMove), illegalMove},
		"too early":       {fmt.Errorf("%w: no", ledger.ErrTooEarly), tooEarly},
		"contradiction":   {fmt.Errorf("%w: no", ledger.ErrConflict), conflict},
	} {
		t.Run(name, func(t *testing.T) {
			s.set(func(w *world) { w.broken = c.err })
			for _, a := range []answer{
				s.post("/v1/transfers", orderText), s.post("/v1/transfers/batch", `{"transfers":[`+orderText+`]}`),
				s.post("/v1/transfers/"+id+"/messages", `{"type":"cancel","reason":"x"}`),
				s.get("/v1/transfers"), s.get("/v1/transfers/" + id),
			} {
				a.wants(t, c.kind)
				if strings.Contains(string(a.body), "hunter2") {
					t.Errorf("the inside leaks: %s", a.body)
				}
				if got := a.header.Get("Retry-After"); (got == "5") != (c.kind == unavailable) {
					t.Errorf("Retry-After %q", got)
				}
			}
		})
	}
	s.set(func(w *world) { w.broken = ledger.FieldErrors{{Field: "amount", Detail: "is too much"}} })
	s.post("/v1/transfers/"+id+"/messages", `{"type":"reverse","reference":"re_1","amount":1,"reason":"x"}`).wants(t, invalidRequest, "amount")
}

func TestWhatIsUnresolvedSaysWhenStripeIsReadNext(t *testing.T) {
	s := open(t)
	id := s.created()
	s.set(func(w *world) {
		c, err := w.transfers[id].Transfer.Begin(w.Policy(), w.clock)
		if err != nil {
			t.Fatal(err)
		}
		if c, err = w.commit(c).Transfer.Lost("the process ended"); err != nil {
			t.Fatal(err)
		}
		w.commit(c)
	})
	why := func() map[string]any { return s.get("/v1/transfers/" + id.String()).json(t)["why"].(map[string]any) }
	if w := why(); w["mover"] != "stripe" || w["code"] != "interrupted" || !strings.Contains(w["sentence"].(string), "under the same key") {
		t.Errorf("%v", w)
	}
	s.pass(12 * time.Hour)
	if w := why(); w["next_at"] != "2026-02-01T01:00:00Z" { // the end of the actor's own wait
		t.Errorf("%v", w)
	}
}

func TestRequestsThatShareBuffersDoNotMix(t *testing.T) {
	s := open(t)
	const clients, each = 8, 40
	done := make(chan error, clients)
	for c := range clients {
		go func() {
			for i := range each {
				name := fmt.Sprintf("c%d-%d", c, i)
				a := s.post("/v1/transfers", order("reference", fmt.Sprintf("%q", name), "metadata", fmt.Sprintf(`{"k-%s":"v-%s"}`, name, name)), "Idempotency-Key", name)
				if a.status != 201 || !strings.Contains(string(a.body), `{"k-`+name+`":"v-`+name+`"}`) {
					done <- fmt.Errorf("%s: %d %s", name, a.status, a.body)
					return
				}
			}
			done <- nil
		}()
	}
	for range clients {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	for name, id := range s.reference {
		o := s.transfers[id].Transfer.Order
		if o.Reference != name || o.Metadata["k-"+name] != "v-"+name || o.Seller != "s-1" {
			t.Errorf("%s: stored %+v", name, o)
		}
	}
	if len(s.order) != clients*each {
		t.Errorf("%d transfers", len(s.order))
	}
}

// Some databases print UUIDs in capitals. A key sent with one and then with the other is one key.
func TestAnIDInCapitalsIsTheSame(t *testing.T) {
	s := open(t)
	id := s.created().String()
	if a := s.get("/v1/transfers/" + strings.ToUpper(id)); a.status != 200 || a.json(t)["id"] != id {
		t.Errorf("%d %s", a.status, a.body)
	}
	for i, path := range []string{id, strings.ToUpper(id)} {
		a := s.post("/v1/transfers/"+path+"/messages", `{"type":"restart","reason":"x"}`, "Idempotency-Key", "k")
		if a.status != 202 || (a.header.Get("Idempotent-Replayed") == "true") != (i > 0) {
			t.Errorf("%d %v %s", a.status, a.header, a.body)
		}
	}
	if s.acted != 1 {
		t.Errorf("it acted %d times", s.acted)
	}
}

func TestAnOrderAboveACeilingIsRefusedAndNotForEver(t *testing.T) {
	s := open(t)
	s.set(func(w *world) { w.ceilings.Daily = map[ledger.Currency]int64{"eur": 1000} })
	a := s.post("/v1/transfers", order(), "Idempotency-Key", "k-1")
	a.wants(t, aboveCeiling)
	if says := a.detail(t, ""); !strings.Contains(says, "12.30 EUR is above MAX_DAILY of 10.00 EUR") {
		t.Errorf("it says %q", says)
	}
	batch := s.post("/v1/transfers/batch", `{"transfers":[`+order("reference", `"small"`, "amount", "1000")+`,`+order("reference", `"large"`, "amount", "1001")+`]}`)
	data := batch.json(t)["data"].([]any)
	if small, large := data[0].(map[string]any), data[1].(map[string]any); small["status"] != 201.0 || large["status"] != 422.0 || large["transfer"] != nil ||
		large["error"].(map[string]any)["type"] != problemBase+"above-ceiling" {
		t.Errorf("in a batch: %s", batch.body)
	}
	s.set(func(w *world) { w.ceilings = ledger.Ceilings{} }) // the day is over
	if a := s.post("/v1/transfers", order(), "Idempotency-Key", "k-1"); a.status != 201 {
		t.Errorf("on another day, under the same key: %d %s", a.status, a.body)
	}
}
