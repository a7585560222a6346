package ledger_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Clocks and chance of one's own: what is given them from outside can be tested, and hours pass
// in no time.
var (
	clocks = []string{"time.Now", "time.Since", "time.Until", "time.After", "time.AfterFunc", "time.Tick", "time.NewTimer", "time.NewTicker"}
	draws  = []string{"uuid.New", "uuid.NewString", "uuid.NewV7", "uuid.NewRandom", "uuid.NewV6", "uuid.NewUUID"}
	guess  = []string{"math/rand", "math/rand/v2"}
)

// forbidden is what may not be written in the files of some directories, but for the places
// named, each with its reason.
type forbidden struct {
	dirs    []string // none: everywhere
	names   []string // package.Name
	imports []string
	but     map[string]string // file, or directory: why
}

var rules = map[string]forbidden{
	"the ledger is pure": {dirs: []string{"ledger", "ledger/audit"}, names: append(slices.Clone(clocks), draws...),
		imports: append([]string{"crypto/rand", "os", "net", "net/http", "net/url", "database/sql", "io/fs", "log", "log/slog", "sync", "sync/atomic", "unsafe", "context", "runtime", "syscall"}, guess...),
		but:     map[string]string{"ledger/audit/watch.go": "net/url reads forms as they went over the wire"}},
	"nobody sleeps": {names: []string{"time.Sleep"}, but: map[string]string{
		"cmd/settled/prove": "in a bubble of testing/synctest, where time is virtual",
	}},
	"the clock of http is given": {dirs: []string{"http"}, names: clocks, but: map[string]string{
		"http/server.go": "the default of Config.Now",
		"http/conn.go":   "a socket's deadline is the machine's time, whatever a test says",
	}},
	"the clock of db is the database's": {dirs: []string{"db"}, names: clocks, but: map[string]string{
		"db/open.go":   "the default of Options.Now",
		"db/sqlite.go": "waiting for a file's lock",
	}},
	"chance that can be guessed is for simulations": {imports: guess, but: map[string]string{
		"cmd/settled/simulator.go":   "draws a seed, which is printed",
		"cmd/settled/demo_plan.go":   "seeded, so that the same traffic comes again",
		"cmd/settled/demo_parts.go":  "seeded, so that the same kills come again",
		"cmd/settled/demo_worker.go": "a port that others are not likely to try",
		"cmd/settled/prove":          "seeded, so that the same world comes again",
		"db/dbtest":                  "a port that others are not likely to try",
	}},
	"nothing is run as a program": {imports: []string{"os/exec", "plugin", "unsafe", "net/rpc", "encoding/gob", "text/template", "html/template"}, but: map[string]string{
		"cmd/settled/demo_worker.go":  "the demo runs itself as a daemon, to kill it",
		"cmd/settled/prove_worker.go": "a simulation runs in processes of its own",
		"db/dbtest":                   "the throw-away server of tests",
	}},
}

func TestNothingForbiddenIsWritten(t *testing.T) {
	used := map[string]bool{} // exceptions
	files := 0
	eachSource(t, func(name string, text []byte) {
		files++
		for _, bad := range judge(t, name, string(text), used) {
			t.Error(bad)
		}
	})
	if files < 50 {
		t.Errorf("%d files were read: the search looks in the wrong place", files)
	}
	for rule, r := range rules {
		for place := range r.but {
			if !used[rule+place] {
				t.Errorf("%s: %s is excepted, and does not need to be", rule, place)
			}
		}
	}
}

func TestTheSearchForTheForbiddenFindsIt(t *testing.T) {
	for text, bad := range map[string]int{
		"import \"time\"\nvar _ = time.Now()":                                         1,
		"import clock \"time\"\nvar now = clock.Now":                                  1,
		"import . \"time\"\nvar _ = Now()":                                            1,
		"import \"time\"\nvar _ = time.Unix(1, 0).Sub(time.Time{}) > time.Second":     0,
		"import \"math/rand/v2\"\nvar _ = rand.IntN(1)":                               2,
		"import \"github.com/google/uuid\"\nvar _ = uuid.Must(uuid.NewV7())":          1,
		"import \"github.com/google/uuid\"\nvar _ = uuid.NewSHA1(uuid.Nil, nil)":      0,
		"import \"time\"\nfunc f() { time.Sleep(1) }":                                 1,
		"import \"os\"\nvar _ = os.Args":                                              1,
		"type time struct{ Now int }\nvar t time\nvar _ = t.Now":                      0,
		"import \"time\"\nfunc f(time struct{ Now int }) int { return time.Now }":     1, // better one too many
		"import \"strings\"\nvar _ = strings.NewReader(\"time.Now()\") // time.Now()": 0,
	} {
		if got := judge(t, "ledger/x.go", "package ledger\n"+text+"\n", map[string]bool{}); len(got) != bad {
			t.Errorf("%s: found %q, want %d", text, got, bad)
		}
	}
}

// judge returns what is forbidden in a file, and notes the exceptions that it used.
func judge(t *testing.T, name, text string, used map[string]bool) (bad []string) {
	t.Helper()
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, name, text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	imported := map[string]string{} // by the name in this file
	dotted := map[string]bool{}
	var paths []string
	for _, i := range f.Imports {
		whole, _ := strconv.Unquote(i.Path.Value)
		paths = append(paths, whole)
		short := path.Base(whole)
		switch {
		case i.Name == nil:
			imported[short] = short
		case i.Name.Name == ".":
			dotted[short] = true
		default:
			imported[i.Name.Name] = short
		}
	}
	var names []string
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			if x, ok := n.X.(*ast.Ident); ok && imported[x.Name] != "" {
				names = append(names, imported[x.Name]+"."+n.Sel.Name)
			}
		case *ast.Ident:
			for p := range dotted {
				names = append(names, p+"."+n.Name)
			}
		}
		return true
	})
	for rule, r := range rules {
		if len(r.dirs) > 0 && !slices.Contains(r.dirs, path.Dir(name)) {
			continue
		}
		excepted := ""
		for _, place := range []string{name, path.Dir(name)} {
			if _, is := r.but[place]; is {
				excepted = place
			}
		}
		found := func(what string) {
			if excepted != "" {
				used[rule+excepted] = true
				return
			}
			bad = append(bad, fmt.Sprintf("%s: %s, and here is %s", name, rule, what))
		}
		for _, n := range names {
			if slices.Contains(r.names, n) {
				found(n)
			}
		}
		for _, p := range paths {
			if slices.Contains(r.imports, p) {
				found("the import of " + p)
			}
		}
	}
	return bad
}

// takeSQL are the methods and functions of bun and database/sql whose first text is SQL.
var takeSQL = []string{"OrderExpr", "GroupExpr", "ColumnExpr", "TableExpr", "ModelTableExpr", "NewRaw", "SafeQuery", "Safe", "Where", "WhereOr", "Having", "Set", "SetColumn",
	"Value", "On", "Returning", "DistinctOn", "For", "Join", "JoinOn", "With", "Exec", "Query", "QueryRow", "Prepare", "Column", "Order", "Group", "Table",
	"ExecContext", "QueryContext", "QueryRowContext", "PrepareContext"}

// SQL is written here, and never put together of what somebody sent: every text that goes to
// the database as SQL is a constant, but for those that are made of constants elsewhere.
func TestSQLIsWrittenHere(t *testing.T) {
	made := map[string]string{
		"g.sql":                     "bulk.go makes it of the names of columns",
		"s.order":                   "selection.go lists them",
		"text":                      "selection.go makes it of the names of columns",
		"s.sql":                     "a migration of ours",
		"receiptColumns":            "names of columns, written there",
		"decisionColumns":           "the same",
		"put":                       "a trigger as it was, or the name of a table of ours",
		`"CREATE DATABASE "+quoted`: "a name of ours, quoted",
		`"DROP DATABASE IF EXISTS "+quoted+" WITH (FORCE)"`:                                 "the same",
		`"now() - interval '" + strconv.FormatInt(d.Microseconds(), 10) + " microseconds'"`: "a number",
		"k":    "a parameter of a URL that is shown, and no SQL",
		"args": "a statement that was prepared",
	}
	dir := filepath.Join(moduleRoot(t), "db")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	texts, used := 0, map[string]bool{}
	fset, sources, files := token.NewFileSet(), map[string][]byte{}, []*ast.File{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		f, err := parser.ParseFile(fset, e.Name(), text, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		sources[e.Name()], files = text, append(files, f)
	}
	constants := constantsOf(files)
	for _, f := range files {
		text := sources[fset.Position(f.Pos()).Filename]
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			fn, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || !slices.Contains(takeSQL, fn.Sel.Name) {
				return true
			}
			if x, ok := fn.X.(*ast.Ident); ok && (x.Name == "strings" || x.Name == "errors") {
				return true
			}
			args := call.Args
			if len(args) > 0 && isContext(args[0]) {
				args = args[1:]
			}
			switch {
			case len(args) == 0: // bun makes the statement
			case literal(args[0], constants):
				texts++
			default:
				given := string(text[fset.Position(args[0].Pos()).Offset:fset.Position(args[0].End()).Offset])
				if made[given] == "" {
					t.Errorf("db/%s: %s takes SQL, and gets %s", fset.Position(n.Pos()), fn.Sel.Name, given)
				}
				used[given] = true
			}
			return true
		})
	}
	if texts < 40 {
		t.Errorf("%d texts were seen: the search looks in the wrong place", texts)
	}
	for given := range made {
		if !used[given] {
			t.Errorf("%s is excepted, and is not there", given)
		}
	}
}

func isContext(e ast.Expr) bool {
	x, ok := e.(*ast.Ident)
	return ok && (x.Name == "ctx" || x.Name == "within")
}

// constantsOf returns the names of the texts that a package declares as constants.
func constantsOf(files []*ast.File) map[string]bool {
	names := map[string]bool{}
	for _, f := range files {
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, spec := range g.Specs {
				if v := spec.(*ast.ValueSpec); len(v.Names) == 1 && len(v.Values) == 1 && literal(v.Values[0], names) {
					names[v.Names[0].Name] = true
				}
			}
		}
	}
	return names
}

// literal reports a text that is written out, or made of such.
func literal(e ast.Expr, constants map[string]bool) bool {
	switch e := e.(type) {
	case *ast.BasicLit:
		return e.Kind == token.STRING
	case *ast.Ident:
		return constants[e.Name]
	case *ast.BinaryExpr:
		return e.Op == token.ADD && literal(e.X, constants) && literal(e.Y, constants)
	}
	return false
}
