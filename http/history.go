package http

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"github.com/settled/settled/ledger"
)

// historyLatest is how many entries of its history come with a transfer. One that waited for a month, or that somebody
// restarts in a loop, has thousands; the rest is read by pages.
const historyLatest = 100

// entryView is a history row with its postings.
type entryView struct {
	historyView
	Postings []postingView `json:"postings"`
}

// getHistory lists the history of a transfer, newest first.
func (s *Server) getHistory(c *call) (reply, error) {
	id, err := pathID(c, "transfer")
	if err != nil {
		return reply{}, err
	}
	given, err := query(c, []string{"limit", "cursor"})
	if err != nil {
		return reply{}, err
	}
	var before int64
	size := limitDefault
	if s, ok := given["limit"]; ok {
		if size, err = parseLimit(s); err != nil {
			return reply{}, wrongField("limit", "%s", err)
		}
	}
	if s, ok := given["cursor"]; ok {
		if before, err = parseVersionCursor(s); err != nil {
			return reply{}, wrongField("cursor", "%s", err)
		}
	}
	chapter, err := s.store.Chapter(c.within, id, before, size)
	if err != nil {
		return reply{}, fmt.Errorf("read the history of transfer %s: %w", id, err)
	}
	p := page{Data: make([]json.RawMessage, 0, size), Next: earlier(chapter)}
	of := make(map[int64][]postingView)
	for _, x := range chapter.Postings {
		of[x.Version] = append(of[x.Version],
			postingView{x.Version, momentOrNull(x.At), x.Account, x.Amount, x.Currency})
	}
	for i := len(chapter.History) - 1; i >= 0; i-- {
		h := &chapter.History[i]
		e := entryView{viewHistory(h), of[h.Version]}
		if e.Postings == nil {
			e.Postings = []postingView{}
		}
		p.Data = append(p.Data, mustJSON(e))
	}
	return reply{status: 200, body: mustJSON(p), rows: len(p.Data)}, nil
}

// earlier is the cursor of the entries before a chapter. Versions begin at 1 and have no gap.
func earlier(c ledger.Chapter) *string {
	if len(c.History) == 0 || c.History[0].Version <= 1 {
		return nil
	}
	next := versionCursor(c.History[0].Version)
	return &next
}

// versionCursor names the last entry of a page of a history.
func versionCursor(last int64) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64([]byte{cursorVersion}, uint64(last)))
}

func parseVersionCursor(s string) (int64, error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil && len(raw) == 1+8 {
		if v := int64(binary.BigEndian.Uint64(raw[1:])); v > 1 && versionCursor(v) == s {
			return v, nil
		}
	}
	return 0, errNoCursor
}
