package stripe

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const redacted = "[redacted]"

// secret holds the key behind a pointer, since fmt calls no methods of unexported fields: what
// prints a struct that has one prints an address.
type secret struct{ value *string }

func newSecret(key string) secret { return secret{&key} }

func (s secret) reveal() string { return *s.value }

// String keeps the key out of anything that is printed.
func (secret) String() string { return redacted }

// keyShape finds the keys of others.
var keyShape = regexp.MustCompile(`[sr]k_(?:live|test|org)_[A-Za-z0-9_*]*`)

// keyStart is how many characters of the key give a cut one away: the SDK cuts bodies at 500
// bytes. They are its prefix, sk_live_, and no secret yet.
const keyStart = 8

// redact takes the key, whole or cut, and what looks like one, out of a text.
func (s secret) redact(text string) string {
	if !strings.Contains(text, "k_") { // nearly always
		return text
	}
	key := s.reveal()
	start := key[:min(keyStart, len(key))]
	for {
		i := strings.Index(text, start)
		if i < 0 {
			break
		}
		n := len(start)
		for n < len(key) && i+n < len(text) && text[i+n] == key[n] {
			n++
		}
		text = text[:i] + redacted + text[i+n:]
	}
	return keyShape.ReplaceAllString(text, redacted)
}

// Bounds of what an answer carries on.
const (
	messageMax = 500 // runes
	wordMax    = 255 // runes: codes, parameters, ids
)

// clean makes a text from outside safe to keep: without keys, without control characters
// (PostgreSQL stores no NUL), valid UTF-8, and bounded.
func (s secret) clean(text string, runesMax int) string {
	// Cut a lot of it early, so that a hostile megabyte costs little; a key across that cut
	// is still found by its shape.
	if cut := 8 * runesMax; len(text) > cut {
		text = text[:cut]
	}
	text = s.redact(text)
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "�"))
	if utf8.RuneCountInString(text) <= runesMax {
		return text
	}
	return string([]rune(text)[:runesMax-1]) + "…"
}
