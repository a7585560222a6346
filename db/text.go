package db

import (
	"strings"
	"unicode/utf8"

	"github.com/settled/settled/ledger"
)

// checkText refuses what a statement cannot carry faithfully.
func checkText(field, s string) error {
	switch {
	case strings.IndexByte(s, 0) >= 0:
		return ledger.FieldError{Field: field, Detail: "has a NUL byte"}
	case !utf8.ValidString(s):
		return ledger.FieldError{Field: field, Detail: "is not valid UTF-8"}
	}
	return nil
}

// checkTexts checks pairs of a field's name and its value.
func checkTexts(pairs ...string) error {
	for i := 0; i < len(pairs); i += 2 {
		if err := checkText(pairs[i], pairs[i+1]); err != nil {
			return err
		}
	}
	return nil
}
