package stripe

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"
)

func TestAPageIsOneCall(t *testing.T) {
	var all []jsonMap
	for i := 250; i > 0; i-- {
		all = append(all, transferWith(i%13).with("id", fmt.Sprintf("tr_%d", i)))
	}
	s := &shelf{lists: map[string][]jsonMap{"/v1/transfers": all}}
	c := client(t, serve(t, s))
	var got []string
	for q := (PageQuery{Until: time.Unix(1767225600, 5)}); ; {
		p, err := c.Page(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range p.Transfers {
			got = append(got, x.ID)
			if n := len(x.Reversals); p.Partial[i] != (x.AmountReversed > 100) || !p.Partial[i] && int64(10*n) != x.AmountReversed {
				t.Errorf("%s with %d reversals of 10, of %d, partial %v", x.ID, n, x.AmountReversed, p.Partial[i])
			}
		}
		if !p.More {
			break
		}
		q.After = got[len(got)-1]
	}
	if len(got) != len(all) || got[0] != "tr_250" || got[249] != "tr_1" {
		t.Errorf("%d transfers: %v", len(got), got)
	}
	want := []string{"/v1/transfers?limit=100&created[lt]=1767225600", "/v1/transfers?limit=100&created[lt]=1767225600&starting_after=tr_151",
		"/v1/transfers?limit=100&created[lt]=1767225600&starting_after=tr_51"}
	if !slices.Equal(s.asked, want) {
		t.Errorf("asked %q", s.asked)
	}
}

func TestAPageThatIsNoneIsAnError(t *testing.T) {
	for name, body := range map[string]jsonMap{
		"no list":                 transferWith(0),
		"an empty page with more": {"object": "list", "has_more": true, "data": []jsonMap{}},
		"something else":          list([]jsonMap{reversalN(1)}, 10),
		"a circle":                list([]jsonMap{transferWith(0).with("id", "tr_after")}, 10),
	} {
		c := client(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { reply{status: 200, body: body.String()}.ServeHTTP(w, r) })))
		var failed *ReadError
		if _, err := c.Page(t.Context(), PageQuery{After: "tr_after"}); !errors.As(err, &failed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A reversal of a status that nobody knows spoils its own transfer, and no other.
	odd := transferWith(1).with("id", "tr_odd").with("reversals", list([]jsonMap{reversalN(1).with("status", "queued")}, 10))
	c := client(t, serve(t, &shelf{lists: map[string][]jsonMap{"/v1/transfers": {odd, transferWith(1)}}}))
	p, err := c.Page(t.Context(), PageQuery{})
	if err != nil || len(p.Transfers) != 2 || !p.Partial[0] || p.Partial[1] {
		t.Errorf("%+v, %v", p, err)
	}
}
