package stripesim

import "encoding/json"

// thinTypes are the types by which Accounts v2 tell of what the older events on the left told. Their brackets name the
// part of the account that changed.
var thinTypes = map[string]string{
	"account.updated":    "v2.core.account[requirements].updated",
	"capability.updated": "v2.core.account[configuration.recipient].capability_status_updated",
}

// wireThinEvent is an event of the v2 API: it carries no object, only where to read it.
type wireThinEvent struct {
	ID            string      `json:"id"`
	Object        string      `json:"object"`
	Type          string      `json:"type"`
	Livemode      bool        `json:"livemode"`
	Created       string      `json:"created"` // text, with milliseconds
	Context       *string     `json:"context"`
	Reason        *string     `json:"reason"`
	RelatedObject wireRelated `json:"related_object"`
}

type wireRelated struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	URL  string `json:"url"`
}

// thin makes an event about an account of the v2 API one of that API.
func (s *Sim) thin(e *event) {
	if kind := thinTypes[e.kind]; kind != "" && s.cfg.AccountsV2 {
		e.kind, e.thin = kind, true
	}
}

func renderThinEvent(e *event) json.RawMessage {
	return encode(wireThinEvent{
		ID: e.id, Object: "v2.core.event", Type: e.kind, Livemode: e.livemode, Created: e.at.UTC().Format("2006-01-02T15:04:05.000Z07:00"),
		RelatedObject: wireRelated{ID: e.account, Type: "v2.core.account", URL: "/v2/core/accounts/" + e.account},
	})
}
