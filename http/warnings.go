package http

import (
	"fmt"

	"github.com/settled/settled/ledger"
)

// acceptedView is a transfer as it was taken, with warnings to the client.
type acceptedView struct {
	transferView
	Warnings []fieldWarning `json:"warnings,omitempty"`
}

// fieldWarning is about a field of a request that was carried out.
type fieldWarning struct {
	Field  string `json:"field"`
	Code   string `json:"code"`
	Detail string `json:"detail"`
}

// warnings tells which of the orders, by reference, have one that looks like another's of the last day: to the machine
// they are two payments, and a person who typed one of them may have meant the other. The orders are taken already, so
// a ledger that does not answer costs the warning alone.
func (s *Server) warnings(c *call, orders []ledger.Order) map[string][]fieldWarning {
	references := make([]string, len(orders))
	for i := range orders {
		references[i] = orders[i].Reference
	}
	alike, err := s.store.Alike(c.within, references)
	if err != nil {
		s.log.Warn("references were not compared with those that look like them", "request_id", c.id, "error", err)
		return nil
	}
	list := make(map[string][]fieldWarning, len(alike))
	for reference, other := range alike {
		list[reference] = []fieldWarning{{Field: "reference", Code: "looks_alike",
			Detail: fmt.Sprintf("%s is easily taken for %s, which was ordered within the last day (%+q and %+q): make sure that both are owed.",
				quote(reference), quote(other), clip(reference), clip(other))}}
	}
	return list
}
