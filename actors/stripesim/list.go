package stripesim

import (
	"encoding/json"
	"net/http"
	"slices"
	"sort"
	"strings"
	"time"
)

const (
	pageDefault = 10
	pageMax     = 100
)

// query is what a list call asks for, whatever the type.
type query struct {
	limit         int
	after, before string
	created       span
	hide          time.Time // with a lag, what is younger does not show; zero: nothing
}

// wireList is a page.
type wireList struct {
	Object  string            `json:"object"`
	Data    []json.RawMessage `json:"data"`
	HasMore bool              `json:"has_more"`
	URL     string            `json:"url"`
}

// query reads the parameters that every list shares.
func (c *call) query() (query, *failure) {
	q := query{limit: pageDefault, after: c.form.Get("starting_after"), before: c.form.Get("ending_before"),
		created: spanOf(c.form, "created"), hide: c.hide}
	if c.form.Has("limit") {
		n := num(c.form, "limit")
		if n > pageMax {
			return q, invalid("parameter_invalid_integer", "limit", "This value must be less than or equal to 100.")
		}
		q.limit = int(n)
	}
	if c.pageMax > 0 {
		q.limit = min(q.limit, c.pageMax)
	}
	if q.after != "" && q.before != "" {
		return q, invalid("", "", "You cannot parameterize with both ending_before and starting_after.")
	}
	return q, nil
}

// page lists newest first. All is in the order of creation and may be any index that
// holds a superset of what keep accepts; what names the type in errors.
func page[T row](c *call, all []T, known func(id string) (T, bool), what string, keep func(T) bool,
	render func(T) json.RawMessage) (json.RawMessage, *failure) {
	q, f := c.query()
	if f != nil {
		return nil, f
	}
	lo := sort.Search(len(all), func(i int) bool { return unix(all[i].self().at) >= q.created.from })
	hi := sort.Search(len(all), func(i int) bool { return unix(all[i].self().at) >= q.created.to })
	if !q.hide.IsZero() {
		hi = min(hi, sort.Search(len(all), func(i int) bool { return all[i].self().at.After(q.hide) }))
	}
	place := func(id, param string) (int, *failure) {
		obj, ok := known(id)
		if !ok {
			return 0, noSuch(http.StatusBadRequest, what, id, param)
		}
		return sort.Search(len(all), func(i int) bool { return all[i].self().seq >= obj.self().seq }), nil
	}
	var data []T
	if q.before != "" {
		i, f := place(q.before, "ending_before")
		if f != nil {
			return nil, f
		}
		if i < len(all) && all[i].self().id == q.before {
			i++
		}
		for i = max(i, lo); i < hi && len(data) <= q.limit; i++ {
			if keep(all[i]) {
				data = append(data, all[i])
			}
		}
	} else {
		if q.after != "" {
			i, f := place(q.after, "starting_after")
			if f != nil {
				return nil, f
			}
			hi = min(hi, i)
		}
		for i := hi - 1; i >= lo && len(data) <= q.limit; i-- {
			if keep(all[i]) {
				data = append(data, all[i])
			}
		}
	}
	more := len(data) > q.limit
	data = data[:min(len(data), q.limit)]
	if q.before != "" {
		slices.Reverse(data) // collected oldest first, next to the cursor
	}
	list := wireList{Object: "list", Data: make([]json.RawMessage, len(data)), HasMore: more, URL: c.info.Path}
	for i, obj := range data {
		list.Data[i] = render(obj)
	}
	return encode(list), nil
}

// every keeps all rows.
func every[T row](T) bool { return true }

// equals makes a filter of a text parameter; an absent one accepts all.
func (c *call) equals(name string) func(have string) bool {
	if !c.form.Has(name) {
		return func(string) bool { return true }
	}
	want := c.form.Get(name)
	return func(have string) bool { return have == want }
}

// values collects name, name[] and name[0], name[1], ….
func (c *call) values(name string) []string {
	var all []string
	for _, key := range sortedKeys(c.form) {
		if key == name || strings.HasPrefix(key, name+"[") {
			all = append(all, c.form[key]...)
		}
	}
	return all
}
