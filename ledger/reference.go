package ledger

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// CheckReference reports why a name that the platform gives (a reference, a seller, a principal) is refused. Two names
// that people see as one must not be two: beside the limits of [CheckText] it has no blank at its ends, no character
// that cannot be seen, and it is in the one form (NFC) in which equal texts are equal bytes.
func CheckReference(s string, longest int) error {
	if s == "" {
		return fmt.Errorf("is required")
	}
	if err := CheckText(s, longest); err != nil {
		return err
	}
	if r, at, found := unseen(s); found {
		return fmt.Errorf("has U+%04X, which cannot be seen, as its character %d: remove it", r, at)
	}
	switch first, last := ends(s); {
	case unicode.IsSpace(first):
		return fmt.Errorf("begins with a blank: remove it")
	case unicode.IsSpace(last):
		return fmt.Errorf("ends with a blank: remove it")
	}
	if !norm.NFC.IsNormalString(s) {
		return fmt.Errorf("is not in Unicode's form NFC: compose its accents before it is sent")
	}
	return nil
}

func ends(s string) (first, last rune) {
	first, _ = utf8.DecodeRuneInString(s)
	last, _ = utf8.DecodeLastRuneInString(s)
	return first, last
}

// invisible are the characters that no reader sees: controls and formats (Cc, Cf), line and paragraph separators, and
// those of other categories that Unicode has every program draw as nothing (fillers, variation selectors).
var invisible = []*unicode.RangeTable{unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Variation_Selector}

// unseen finds the first character that cannot be seen, and its place, from 1.
func unseen(s string) (r rune, at int, found bool) {
	for _, r := range s {
		if at++; r >= 0x7f && unicode.IsOneOf(invisible, r) || r < ' ' {
			return r, at, true
		}
	}
	return 0, 0, false
}

// Skeleton is what a person sees of a name at a glance: names of one skeleton are easily taken for each other. It is the
// skeleton of Unicode's UTS #39, after the compatibility form (NFKC) and folding of case, with a table of our own of
// the confusable letters of the scripts that stand beside Latin on keyboards (Cyrillic, Greek, Armenian), of digits, and
// of dashes, quotes and blanks. It only ever leads to a warning, so it may take more for alike than it should.
func Skeleton(s string) string {
	folded := norm.NFKC.String(strings.ToLower(strings.ToUpper(norm.NFKC.String(s))))
	var b strings.Builder
	b.Grow(len(folded))
	for _, r := range folded {
		switch {
		case unicode.IsOneOf(invisible, r):
		case unicode.IsSpace(r):
			b.WriteByte(' ')
		case unicode.Is(unicode.Pd, r) || r == '−':
			b.WriteByte('-')
		default:
			if like, ok := lookAlikes[r]; ok {
				b.WriteString(like)
			} else {
				b.WriteRune(r)
			}
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// lookAlikes are letters, in lower case, that they or their capitals are taken for: from UTS #39's confusables.txt.
var lookAlikes = func() map[rune]string {
	m := map[rune]string{'m': "rn"}
	for like, letters := range map[string]string{
		"a": "аαɑ", "b": "вβьƅ", "c": "сϲ", "d": "ԁ", "e": "еεҽ", "f": "ẝ", "g": "ɡց", "h": "нһηհ", "j": "јϳ", "k": "кκ",
		"l": "1iӏіι|ıℓǀ׀", "n": "пո", "o": "0оοօσ", "p": "рρ", "q": "ԛգզ", "r": "г", "rn": "мμ", "s": "ѕꜱ", "t": "тτ",
		"u": "սʋ", "v": "νѵ", "w": "ԝա", "x": "хχ", "y": "уүυγყ", "z": "ζ", "3": "зʒӡ", "6": "б", "'": "’‘ʼ`′", "\"": "“”″",
	} {
		for _, r := range letters {
			m[r] = like
		}
	}
	return m
}()
