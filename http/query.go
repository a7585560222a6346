package http

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/settled/settled/ledger"
)

const (
	limitDefault = 20
	limitMax     = 100
	// cursorVersion begins a cursor, so that its form can change.
	cursorVersion = 1
)

// filterNames are the query parameters of a list, as far as this version has them.
var filterNames = []string{"status", "seller", "destination", "reference", "payment", "created_after", "created_before",
	"error_code", "limit", "cursor", "format"}

// query returns the query's parameters. Each of them must be among the names, and given once.
func query(c *call, names []string) (map[string]string, error) {
	given := make(map[string]string)
	// fasthttp takes half an escape as it stands, and a semicolon as part of a value; a proxy
	// that logs or filters may not.
	if _, err := url.ParseQuery(string(c.ctx.URI().QueryString())); err != nil {
		return nil, faultf(badRequest, "The query is malformed: write %% as %%25 and ; as %%3B in it.")
	}
	var wrong ledger.FieldErrors
	refuse := func(field, format string, args ...any) {
		wrong = append(wrong, ledger.FieldError{Field: clip(field), Detail: fmt.Sprintf(format, args...)})
	}
	known := func(name string) bool {
		for _, n := range names {
			if n == name {
				return true
			}
		}
		return false
	}
	for key, value := range c.ctx.QueryArgs().All() {
		name, text := string(key), string(value)
		_, twice := given[name]
		switch {
		case len(wrong) == errorsMax:
		case !known(name) && len(names) == 0:
			refuse(name, "is no query parameter of this route: remove it")
		case !known(name):
			refuse(name, "is no query parameter of this route: remove it; there are %s", strings.Join(names, ", "))
		case twice:
			refuse(name, "is given more than once: keep one")
		case text == "":
			refuse(name, "is empty: give a value, or leave it out")
		default:
			if err := ledger.CheckText(text, 500); err != nil {
				refuse(name, "%s", err)
			}
			given[name] = text
		}
	}
	if len(wrong) > 0 {
		return nil, wrongFields(wrong)
	}
	return given, nil
}

// parseFilter reads the filter of a list, and reports everything that is wrong with it.
func parseFilter(given map[string]string) (ledger.Filter, error) {
	var wrong ledger.FieldErrors
	refuse := func(field, format string, args ...any) {
		wrong = append(wrong, ledger.FieldError{Field: field, Detail: fmt.Sprintf(format, args...)})
	}
	f := ledger.Filter{
		Seller: given["seller"], Destination: given["destination"], Reference: given["reference"],
		ErrorCode: given["error_code"],
		Limit:     limitDefault,
	}
	var err error
	if s, ok := given["status"]; ok {
		if f.Status, err = ledger.ParseState(s); err != nil {
			refuse("status", "%s", strings.Replace(err.Error(), strconv.Quote(s), quote(s), 1))
		}
	}
	if _, ok := given["payment"]; ok {
		refuse("payment", "payments are not registered by this version: leave it out")
	}
	if _, ok := given["format"]; ok {
		refuse("format", "lists are JSON in this version: leave it out")
	}
	if s, ok := given["created_after"]; ok {
		if f.CreatedAfter, err = parseMoment(s); err != nil {
			refuse("created_after", "%s; a + in a query is written %%2B", err)
		}
	}
	if s, ok := given["created_before"]; ok {
		if f.CreatedBefore, err = parseMoment(s); err != nil {
			refuse("created_before", "%s; a + in a query is written %%2B", err)
		}
	}
	if s, ok := given["limit"]; ok {
		if f.Limit, err = parseLimit(s); err != nil {
			refuse("limit", "%s", err)
		}
	}
	if s, ok := given["cursor"]; ok {
		if f.Before, err = parseCursor(s); err != nil {
			refuse("cursor", "%s", err)
		}
	}
	if len(wrong) > 0 {
		return ledger.Filter{}, wrongFields(wrong)
	}
	return f, nil
}

// cursor names the last transfer of a page. It is opaque, so that it may become something else.
func cursor(last ledger.ID) string {
	return base64.RawURLEncoding.EncodeToString(append([]byte{cursorVersion}, last[:]...))
}

func parseCursor(s string) (ledger.ID, error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil && len(raw) == 1+len(uuid.Nil) {
		// Written again it must be the same: the decoder passes over line feeds and stray bits.
		if id := ledger.ID(raw[1:]); id != uuid.Nil && cursor(id) == s {
			return id, nil
		}
	}
	return uuid.Nil, errNoCursor
}

var errNoCursor = errors.New("is no cursor of ours: pass on the next of the page before, unchanged")

// parseLimit reads how many rows a page may have.
func parseLimit(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > limitMax || s != strconv.Itoa(n) {
		return 0, fmt.Errorf("must be a number from 1 to %d", limitMax)
	}
	return n, nil
}
