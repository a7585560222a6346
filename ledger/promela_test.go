package ledger_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The moves of the protocol's model are read from its text. Each assignment to the row's state
// carries them in a comment, and the comment is held to the guard that the assignment stands
// behind and to what it assigns: so a model that changes and a comment that does not, fail.

// promela is what model/transfer.pml says of the row {st, gen}.
type promela struct {
	moves map[string]bool // "SENDING->SENDING+1": +1 when a generation begins
	wrong []string        // what its text does not keep to
}

var (
	pmlState      = regexp.MustCompile(`\bst = `)
	pmlGeneration = regexp.MustCompile(`\bgen(?: = |\+\+|--)`)
	pmlWrite      = regexp.MustCompile(`\bst = (\w+)(; gen = [^;]+)?;? /\* (outside|move [^*]+) \*/`)
	pmlComment    = regexp.MustCompile(`(?s)/\*.*?\*/`)
	pmlBirth      = "mtype st = NEW;  byte gen = 0;"
)

// pmlGuards are the conditions that the model's writes stand behind, and the states they let
// pass; and what the two that are macros must expand to for that to be so.
var pmlGuards = []struct {
	text *regexp.Regexp
	from []string
}{
	{regexp.MustCompile(`GUARD\((?:x|wg\[w\])\)`), []string{"SENDING"}},
	{regexp.MustCompile(`st == NEW && NOQ`), []string{"NEW"}},
	{regexp.MustCompile(`st != PAID && st != FAILED ->`), []string{"NEW", "SENDING", "PARKED"}},
	{regexp.MustCompile(`pc == READ && OPEN && q `), []string{"NEW", "SENDING"}},
	{regexp.MustCompile(`st == SENDING ->|rbk && fresh ->`), nil}, // of what is outside
}

var pmlMacros = []string{
	"#define GUARD(x) (st == SENDING && gen == (x))\n",
	"#define GUARD(x) (st == SENDING && gen == (x) && !q)\n",
	"#define OPEN  (st != PAID && st != FAILED && st != PARKED)\n",
}

func readPromela(text string) promela {
	p := promela{moves: map[string]bool{}}
	wrong := func(format string, args ...any) { p.wrong = append(p.wrong, fmt.Sprintf(format, args...)) }
	for _, macro := range append(pmlMacros, pmlBirth) {
		if !strings.Contains(text, macro) {
			wrong("the model has no %q", macro)
		}
	}
	text = strings.Replace(text, pmlBirth, "", 1)
	text = pmlComment.ReplaceAllStringFunc(text, func(c string) string {
		if strings.HasPrefix(c, "/* move ") || c == "/* outside */" {
			return c
		}
		return ""
	})
	writes := pmlWrite.FindAllStringSubmatchIndex(text, -1)
	if n := len(pmlState.FindAllString(text, -1)); n != len(writes) {
		wrong("st is assigned %d times, and %d of these say which moves that is", n, len(writes))
	}
	withGeneration := 0
	for _, at := range writes {
		to, note := text[at[2]:at[3]], text[at[6]:at[7]]
		begins := ""
		if at[4] >= 0 {
			withGeneration++
			begins = "+1"
		}
		guard, from := -1, []string(nil)
		for _, g := range pmlGuards {
			if found := g.text.FindAllStringIndex(text[:at[0]], -1); len(found) > 0 && found[len(found)-1][0] > guard {
				guard, from = found[len(found)-1][0], g.from
			}
		}
		if note == "outside" {
			if from != nil {
				wrong("the write of %s is called outside, and stands behind a guard of the protocol", to)
			}
			continue
		}
		var want []string
		for _, f := range from {
			want = append(want, f+"->"+to+begins)
		}
		got := strings.Fields(strings.TrimPrefix(note, "move "))
		if !slices.Equal(got, want) {
			wrong("a write of %s says it is %v, and its guard says %v", to, got, want)
		}
		for _, m := range got {
			p.moves[m] = true
		}
	}
	if n := len(pmlGeneration.FindAllString(text, -1)); n != withGeneration {
		wrong("gen is assigned %d times, and %d of these go with a state", n, withGeneration)
	}
	return p
}

func pmlText(t testing.TB) string {
	text, err := os.ReadFile(filepath.Join("model", "transfer.pml"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), "\r\n", "\n")
}

// model reads the model's moves.
func model(t testing.TB) map[string]bool {
	t.Helper()
	p := readPromela(pmlText(t))
	for _, w := range p.wrong {
		t.Error(w)
	}
	return p.moves
}

func TestTheModelSaysWhichMovesItMakes(t *testing.T) {
	got := model(t)
	for _, m := range []string{"NEW->SENDING+1", "SENDING->SENDING+1", "SENDING->FAILED", "SENDING->PARKED",
		"NEW->PAID", "SENDING->PAID", "PARKED->PAID", "NEW->PARKED"} {
		if !got[m] {
			t.Errorf("the model does not have %s", m)
		}
		delete(got, m)
	}
	for m := range got {
		t.Errorf("the model has %s, and nobody knows why", m)
	}
}

func TestAModelThatChangesIsNoticed(t *testing.T) {
	text := pmlText(t)
	for name, edit := range map[string][2]string{
		"a write without a word":      {"st = FAILED; /* move SENDING->FAILED */", "st = FAILED;"},
		"another state is written":    {"st = FAILED; /* move", "st = PAID; /* move"},
		"another guard":               {"st != PAID && st != FAILED -> REMEMBER", "st != PAID -> REMEMBER"},
		"a guard that means another":  {"#define GUARD(x) (st == SENDING && gen == (x))", "#define GUARD(x) (st != PAID && gen == (x))"},
		"a new write":                 {"crashes--; printf", "crashes--; st = NEW; printf"},
		"a generation that goes back": {"RESETCOUNT; printf", "RESETCOUNT; gen--; printf"},
		"a generation that stays":     {"st = SENDING; gen = (x)+1; /* move SENDING->SENDING+1 */", "st = SENDING; /* move SENDING->SENDING+1 */"},
		"a move called outside":       {"/* move SENDING->PARKED */", "/* outside */"},
		"another beginning":           {"mtype st = NEW;", "mtype st = SENDING;"},
	} {
		if !strings.Contains(text, edit[0]) {
			t.Fatalf("%s: the model has no %q", name, edit[0])
		}
		if p := readPromela(strings.Replace(text, edit[0], edit[1], 1)); len(p.wrong) == 0 {
			t.Errorf("%s: not noticed", name)
		}
	}
}
