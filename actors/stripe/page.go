package stripe

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/stripe/stripe-go/v76/form"

	"github.com/settled/settled/ledger"
)

// PageQuery asks for one page of the transfers, newest first.
type PageQuery struct {
	Since time.Time // only what was created then or later, in whole seconds; zero: no bound
	Until time.Time // only what was created before, in whole seconds; zero: no bound
	After string    // the last transfer of the page before; empty: from the newest

	Destination string // only to this account; empty: to any
	Group       string // only of this transfer_group; empty: of any
	Limit       int    // transfers in the page; 0: as many as Stripe gives
}

// TransferPage is one page of the transfers.
type TransferPage struct {
	Transfers []ledger.StripeTransfer // newest first
	// Partial marks those whose reversals did not all come with the page, for Stripe embeds the
	// newest ten: read such a transfer by itself before anything is concluded from it.
	Partial []bool
	More    bool // there are older ones
}

// Page reads one page of the transfers, by exactly one call.
func (c *Client) Page(ctx context.Context, q PageQuery) (TransferPage, error) {
	what := fmt.Sprintf("list transfers until %s", q.Until.UTC().Format(time.RFC3339))
	filter := &form.Values{}
	limit := pageSize
	if q.Limit > 0 {
		limit = min(q.Limit, pageSize)
	}
	filter.Add("limit", strconv.Itoa(limit))
	if q.Destination != "" {
		filter.Add("destination", q.Destination)
	}
	if q.Group != "" {
		filter.Add("transfer_group", q.Group)
	}
	if !q.Since.IsZero() {
		filter.Add("created[gte]", strconv.FormatInt(q.Since.Unix(), 10))
	}
	if !q.Until.IsZero() {
		filter.Add("created[lt]", strconv.FormatInt(q.Until.Unix(), 10))
	}
	if q.After != "" {
		filter.Add("starting_after", q.After)
	}
	p, err := c.page(ctx, "/v1/transfers", filter, what)
	if err != nil {
		return TransferPage{}, err
	}
	page := TransferPage{More: p.HasMore}
	for _, t := range p.Data {
		if err := c.readable(t, aTransfer, transferPrefix, what); err != nil {
			return TransferPage{}, err
		}
		if t.ID == q.After {
			return TransferPage{}, c.badRead(what, "bad_list", "the list turns in circles")
		}
		// What cannot be read of one transfer says nothing about its neighbours.
		all, whole, err := c.embedded(t, what)
		page.Transfers = append(page.Transfers, t.evidence(all))
		page.Partial = append(page.Partial, !whole || err != nil)
	}
	return page, nil
}

// CallsFor is how many calls a read of a transfer by itself took, by what it found.
func CallsFor(t ledger.StripeTransfer) int {
	const embedded = 10
	n := len(t.Reversals)
	if n <= embedded {
		return 1
	}
	return 1 + (n+pageSize-1)/pageSize
}
