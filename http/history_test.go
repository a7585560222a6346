package http

import (
	"fmt"
	"testing"
)

// told is the versions of the entries in an answer, and the cursor that follows them.
func told(t *testing.T, a answer, list, cursor string) (versions []int, next string) {
	t.Helper()
	if a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	got := a.json(t)
	for _, h := range got[list].([]any) {
		versions = append(versions, int(h.(map[string]any)["version"].(float64)))
	}
	next, _ = got[cursor].(string)
	return versions, next
}

func TestALongHistoryComesInPages(t *testing.T) {
	s := open(t)
	id := s.post("/v1/transfers", order()).json(t)["id"].(string)
	path := "/v1/transfers/" + id
	if versions, next := told(t, s.get(path), "history", "history_next"); len(versions) != 1 || next != "" {
		t.Errorf("a short history: %v, then %q", versions, next)
	}
	for i := range historyLatest { // a hold and its release are two entries
		for _, kind := range []string{"hold", "release"} {
			a := s.post(path+"/messages", fmt.Sprintf(`{"type":"%s","reason":"x"}`, kind), "Idempotency-Key", fmt.Sprintf("%s-%d", kind, i))
			if a.status != 202 {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
	}
	const all = 2*historyLatest + 1
	latest, next := told(t, s.get(path), "history", "history_next")
	if len(latest) != historyLatest || latest[0] != all-historyLatest+1 || latest[historyLatest-1] != all {
		t.Fatalf("%d entries come with the transfer: %v", len(latest), latest)
	}
	expect := latest[0] - 1
	for pages := 0; next != ""; pages++ {
		var versions []int
		versions, next = told(t, s.get(path+"/history?limit=30&cursor="+next), "data", "next")
		for _, v := range versions {
			if v != expect {
				t.Fatalf("page %d: version %d where %d should be", pages, v, expect)
			}
			expect--
		}
	}
	if expect != 0 {
		t.Errorf("the pages end before version %d", expect)
	}
	if versions, _ := told(t, s.get(path+"/history"), "data", "next"); len(versions) != limitDefault || versions[0] != all {
		t.Errorf("the first page is %v", versions)
	}
	for query, field := range map[string]string{"?limit=101": "limit", "?limit=0": "limit", "?cursor=AQ": "cursor",
		"?cursor=" + versionCursor(1): "cursor", "?after=1": "after"} {
		s.get(path+"/history"+query).wants(t, invalidRequest, field)
	}
	s.get("/v1/transfers/0198a3c0-5b7e-7c21-9d3f-3f1c2a4b5d6e/history").wants(t, notFound)
}
