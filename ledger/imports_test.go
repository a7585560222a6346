package ledger_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// module is the path that our packages begin with.
const module = "github.com/settled/settled/"

// mayImport says which of our packages each one imports outside of its tests, and for which reason. An import that is not
// here is refused, and so is an entry that nothing needs any more.
var mayImport = map[string]map[string]string{
	"ledger":          {},
	"ledger/loopback": {}, // below ledger, because all that need it may import that
	"ledger/audit":    {"ledger": "the rows and states that it checks"},
	"db": {
		"ledger":          "the values that it keeps",
		"ledger/audit":    "findings are kept too, and the audit reads rows",
		"db/crash":        "deaths between two statements",
		"ledger/loopback": "a certificate is not asked for on this machine",
	},
	"db/crash":  {},
	"db/faulty": {},
	"db/dbtest": {},
	"actors/stripe": {
		"ledger":          "requests come in, verdicts go out",
		"ledger/loopback": "a live key goes in the clear on this machine alone",
	},
	"actors/stripesim": {}, // shares no code with the client: a mistake in one cannot hide in the other
	"actors/gate": {
		"ledger":        "scopes and conditions, as answers name them",
		"actors/stripe": "the lesson of a read that failed",
	}, // and not actors: its Config hands it the few functions that it uses
	"actors/reconcile": {
		"actors/gate":   "permits to read Stripe",
		"actors/stripe": "lists and objects, as Stripe shows them",
		"ledger":        "rows",
		"ledger/audit":  "the comparison, and findings",
	}, // and not actors, likewise
	"actors": {
		"actors/gate":      "permits, and turns",
		"actors/reconcile": "walks, and rechecks",
		"ledger":           "what to do next, and what follows",
		"ledger/audit":     "the reconciler's comparison",
		"actors/stripe":    "its answers and errors; what sends is an interface of actors",
	},
	"http": {
		"ledger":       "orders, messages, transfers",
		"ledger/audit": "findings",
	},
	"cmd/settled/adapt": {
		"db":               "one side of what it fits together",
		"http":             "the other side",
		"ledger":           "values that pass through",
		"ledger/audit":     "values that pass through",
		"actors/stripe":    "what an account is, as Stripe tells it",
		"actors/stripesim": "what an account is, as the sandbox tells it",
		"db/crash":         "deaths between the database and its caller",
	},
	"cmd/settled/prove": {
		"actors":            "a simulated daemon is the daemon",
		"actors/stripe":     "the same",
		"actors/stripesim":  "what it sends to",
		"http":              "the same",
		"db":                "the same",
		"db/faulty":         "a database that fails and dies by seed",
		"ledger":            "the same",
		"ledger/audit":      "the invariants",
		"cmd/settled/adapt": "wired as serve.go wires it",
	},
	"cmd/settled": {
		"ledger/loopback":   "the admin API and a faster clock are for this machine",
		"actors":            "only this package wires",
		"actors/stripe":     "only this package wires",
		"actors/stripesim":  "sandbox and demo",
		"http":              "only this package wires",
		"db":                "only this package wires",
		"db/crash":          "deaths at the seams",
		"ledger":            "policy and limits are read from the configuration",
		"ledger/audit":      "settled audit",
		"cmd/settled/adapt": "the seams",
		"cmd/settled/prove": "settled prove",
	},
}

// mayUse says which of our packages may import some packages of others, outside of tests.
var mayUse = map[string]map[string]string{
	"github.com/stripe/stripe-go":         {"actors/stripe": "the one place that sees Stripe"},
	"github.com/uptrace/bun":              {"db": "rows stay in db"},
	"modernc.org/sqlite":                  {"db": "rows stay in db"},
	"database/sql":                        {"db": "rows stay in db", "db/faulty": "it stands below database/sql", "cmd/settled/prove": "db/faulty below a node"},
	"github.com/jackc/pgx":                {"db": "rows stay in db", "db/dbtest": "databases for tests"},
	"github.com/asynkron/protoactor-go":   {"actors": "who acts", "actors/gate": "two who act", "actors/reconcile": "another", "cmd/settled/prove": "it schedules the mailboxes"},
	"github.com/valyala/fasthttp":         {"http": "the listeners", "cmd/settled/prove": "calls handlers without a socket"},
	"github.com/fasthttp/router":          {"http": "the listeners"},
	"github.com/prometheus/client_golang": {"actors": "its metrics", "actors/gate": "its metrics", "actors/reconcile": "its metrics", "http": "its metrics", "cmd/settled": "one registry for all", "cmd/settled/prove": "one registry for each node"},
	"github.com/getsentry/sentry-go":      {"cmd/settled": "only what starts the daemon knows whom to tell"},
	"github.com/alecthomas/kong":          {"cmd/settled": "the command line"},
	"testing":                             {"db/dbtest": "it is imported by tests alone", "cmd/settled/prove": "testing/synctest gives bubbles to tests alone: answer.go"},
	"go.uber.org/goleak":                  {"db/dbtest": "it is imported by tests alone"},
}

// forTests are packages of ours that only tests may import.
var forTests = []string{"db/dbtest"}

func TestAPackageImportsOnlyWhatItMay(t *testing.T) {
	found := map[string]bool{} // "importer imported", of ours and of others
	packages := importsOf(t)
	for dir, imports := range packages {
		if mayImport[dir] == nil {
			t.Errorf("%s has no line in the table: say what it may import, and why", dir)
		}
		for imported, file := range imports {
			for _, bad := range mayNot(dir, imported, found) {
				t.Errorf("%s: %s", file, bad)
			}
		}
	}
	for dir, may := range mayImport {
		if packages[dir] == nil {
			t.Errorf("%s is in the table, and is no package", dir)
		}
		for imported := range may {
			if !found[dir+" "+imported] {
				t.Errorf("%s may import %s, and does not: take the line out", dir, imported)
			}
		}
	}
	for prefix, by := range mayUse {
		for dir := range by {
			if !found[dir+" "+prefix] {
				t.Errorf("%s may import %s, and does not: take the line out", dir, prefix)
			}
		}
	}
}

func TestTheTableOfImportsRefusesWhatItShould(t *testing.T) {
	for line, bad := range map[string]int{
		"ledger " + module + "db":                         1,
		"ledger/audit " + module + "ledger":               0,
		"db " + module + "actors":                         1,
		"http " + module + "actors":                       1,
		"http " + module + "db":                           1,
		"actors " + module + "db":                         1,
		"actors/stripesim " + module + "actors/stripe":    1,
		"actors github.com/stripe/stripe-go/v76":          1,
		"actors/stripe github.com/stripe/stripe-go/v76":   0,
		"actors/stripe github.com/stripe/stripe-gopher/x": 0,
		"http database/sql":                               1,
		"http database/sql/driver":                        1,
		"cmd/settled " + module + "db/dbtest":             1,
		"cmd/settled testing":                             1,
		"cmd/settled testing/synctest":                    1,
	} {
		dir, imported, _ := strings.Cut(line, " ")
		if got := mayNot(dir, imported, map[string]bool{}); len(got) != bad {
			t.Errorf("%s: %q, want %d", line, got, bad)
		}
	}
	if cycle := above("ledger", "ledger", map[string]bool{}); cycle {
		t.Error("the ledger imports itself")
	}
	for _, pair := range [][2]string{{"ledger", "db"}, {"ledger", "actors"}, {"db", "actors"}, {"db", "http"}, {"actors", "db"}, {"actors", "http"}, {"http", "actors"}, {"http", "db"}} {
		if above(pair[0], pair[1], map[string]bool{}) {
			t.Errorf("the table lets %s reach %s", pair[0], pair[1])
		}
	}
}

// above reports whether the table lets one package reach another, directly or through others.
func above(dir, other string, seen map[string]bool) bool {
	for imported := range mayImport[dir] {
		if !seen[imported] {
			seen[imported] = true
			if imported == other || above(imported, other, seen) {
				return true
			}
		}
	}
	return false
}

// mayNot returns why an import may not be, and notes the lines of the tables that allow it.
func mayNot(dir, imported string, found map[string]bool) (bad []string) {
	if other, is := strings.CutPrefix(imported, module); is {
		found[dir+" "+other] = true
		switch {
		case slices.Contains(forTests, other):
			bad = append(bad, fmt.Sprintf("%s is for tests alone", other))
		case mayImport[dir][other] == "":
			bad = append(bad, fmt.Sprintf("%s may import %s, and not %s", dir, strings.Join(slices.Sorted(maps.Keys(mayImport[dir])), ", "), other))
		}
		return bad
	}
	for prefix, by := range mayUse {
		if imported != prefix && !strings.HasPrefix(imported, prefix+"/") {
			continue
		}
		found[dir+" "+prefix] = true
		if by[dir] == "" {
			bad = append(bad, fmt.Sprintf("%s is for %s", imported, strings.Join(slices.Sorted(maps.Keys(by)), ", ")))
		}
	}
	return bad
}

// importsOf returns what the packages of the module import outside of their tests, with a file that does.
func importsOf(t *testing.T) map[string]map[string]string {
	t.Helper()
	packages := map[string]map[string]string{}
	eachSource(t, func(name string, text []byte) {
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		dir := path.Dir(name)
		if packages[dir] == nil {
			packages[dir] = map[string]string{}
		}
		for _, i := range f.Imports {
			imported, _ := strconv.Unquote(i.Path.Value)
			packages[dir][imported] = name
		}
	})
	if len(packages) < 10 {
		t.Fatalf("%d packages were read: the search looks in the wrong place", len(packages))
	}
	return packages
}

// eachSource calls for each Go file of the module that is no test, with its path below the module.
func eachSource(t *testing.T, each func(name string, text []byte)) {
	t.Helper()
	root := moduleRoot(t)
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) && name != root {
			if err == nil {
				err = fs.SkipDir
			}
			return err
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, name)
		each(filepath.ToSlash(relative), text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// What a package is for is said in its own comment, and in the map of the README.
func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	comments := map[string]string{}
	eachSource(t, func(name string, text []byte) {
		f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		dir := path.Dir(name)
		if doc := f.Doc.Text(); doc != "" && comments[dir] != "" {
			t.Errorf("%s has its comment twice", dir)
		} else {
			comments[dir] += doc
		}
		want := "Package " + f.Name.Name + " "
		if f.Name.Name == "main" {
			want = "Command " + path.Base(dir) + " "
		}
		if doc := f.Doc.Text(); doc != "" && !strings.HasPrefix(doc, want) {
			t.Errorf("%s: its comment does not begin with %q", name, want)
		}
	})
	rows := readmeMap(t)
	var order []string
	for _, row := range rows {
		order = append(order, row[0])
		if comments[row[0]] == "" {
			t.Errorf("the README's map has %s, which is no package", row[0])
		}
	}
	for dir, comment := range comments {
		if comment == "" {
			t.Errorf("%s says nowhere what it is for: write \"// Package …\" in its doc.go", dir)
		}
		if !slices.Contains(order, dir) {
			t.Errorf("the README's map has no %s", dir)
		}
	}
	for i, row := range rows {
		may := slices.Sorted(maps.Keys(mayImport[row[0]]))
		told := strings.Split(row[2], ", ")
		slices.Sort(told)
		switch {
		case row[2] == "nothing" && len(may) == 0:
		case row[2] == "all below" && !slices.ContainsFunc(may, func(dir string) bool { return slices.Contains(order[:i+1], dir) }):
		case !slices.Equal(may, told):
			t.Errorf("the README's map lets %s import %s; the table says %s", row[0], row[2], strings.Join(may, ", "))
		}
	}
}

// The README tells a stranger which files to read.
func TestTheFilesThatTheReadmeNamesAreThere(t *testing.T) {
	root := moduleRoot(t)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:actors|cmd|db|http|ledger)/[a-z_/]+\\.(?:go|pml))`").FindAllStringSubmatch(string(readme), -1)
	for _, m := range named {
		if _, err := os.Stat(filepath.Join(root, m[1])); err != nil {
			t.Errorf("the README names %s: %v", m[1], err)
		}
	}
	if len(named) < 7 {
		t.Errorf("the README names %d files: the search looks for the wrong form", len(named))
	}
}

// readmeMap returns the rows of the README's map: place, purpose, imports.
func readmeMap(t *testing.T) (rows [][]string) {
	t.Helper()
	readme, err := os.ReadFile(filepath.Join(moduleRoot(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(readme), "\n| place | what | imports |\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for _, line := range strings.Split(table, "\n") {
		row := strings.Split(strings.ReplaceAll(strings.Trim(line, "| "), "`", ""), " | ")
		if len(row) != 3 {
			t.Fatalf("the README's map has the row %q", line)
		}
		rows = append(rows, row)
	}
	return rows
}
