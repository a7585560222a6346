package ledger_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rowToDomain names the functions that read a stored row into the domain: the only ones that
// may write a state which the table did not give.
var rowToDomain = map[string]bool{
	"db.operationRow.operation": true,
}

// The State of an operation is written where the table was asked, and nowhere else: every
// package that could do it is read, its types are resolved, and each write is traced to a
// call of move(…).
func TestAStateIsWrittenOnlyByTheTable(t *testing.T) {
	src := newSource(moduleRoot(t))
	src.load("ledger")
	state := src.field("Operation", "State")
	read, writes := 0, 0
	for _, dir := range src.packages(t, "ledger", "actors", "db", "http", "cmd") {
		src.load(dir)
		read++
		for _, f := range src.files[dir] {
			w := &writeFinder{src: src, dir: dir, state: state}
			w.find(f)
			writes += w.allowed
			for _, bad := range w.bad {
				t.Error(bad)
			}
		}
	}
	if read == 0 || writes < 2 {
		t.Errorf("read %d packages and saw %d writes: the search looks in the wrong place", read, writes)
	}
}

func TestTheSearchForWritesFindsThem(t *testing.T) {
	const head = "package actors\nimport l \"github.com/settled/settled/ledger\"\nfunc f(t *l.Transfer, r l.Reversal, o *l.Operation, s l.State) {\n"
	for name, tc := range map[string]struct {
		body string
		bad  int
	}{
		"an assignment":                {"o.State = s", 1},
		"through a transfer":           {"t.Operation.State = l.Pending", 1},
		"of a reversal in a list":      {"t.Reversals[0].State = l.Completed", 1},
		"of a copy":                    {"r.State = s", 1},
		"one of several":               {"var n int; n, o.State = 1, s; _ = n", 1},
		"a literal":                    {"_ = l.Operation{State: s}", 1},
		"a literal inside another":     {"_ = l.Transfer{Operation: l.Operation{ID: o.ID, State: s}}", 1},
		"a literal without names":      {"_ = l.Operation{o.ID, s, o.Since, 0, 0, \"\", o.Since, 0, \"\", \"\", \"\"}", 1},
		"its address":                  {"p := &o.State; *p = s", 1},
		"a loop's variable":            {"for _, o.State = range l.States {}", 1},
		"a local move is not the real": {"move := func() (l.State, error) { return s, nil }; o.State, _ = move()", 1},
		"reading is free":              {"if t.Status() == s || r.State == o.State { _ = t.Status() }", 0},
		"another's State is free":      {"var x struct{ State l.State }; x.State = s; _ = x", 0},
		"a row's literal in no row":    {"_ = l.History{From: s, To: s, Status: s}", 0},
	} {
		src := newSource(moduleRoot(t))
		src.load("ledger")
		src.check("actors", "x.go", head+tc.body+"\n}\n")
		w := &writeFinder{src: src, dir: "actors", state: src.field("Operation", "State")}
		for _, f := range src.files["actors"] {
			w.find(f)
		}
		if len(w.bad) != tc.bad {
			t.Errorf("%s: found %q, want %d", name, w.bad, tc.bad)
		}
	}
}

// source type-checks the module's own packages from their files. What they import from
// elsewhere is left empty: whatever has to do with the ledger's types resolves without it.
type source struct {
	root   string
	module string
	fset   *token.FileSet
	info   *types.Info
	pkgs   map[string]*types.Package
	files  map[string][]*ast.File
}

func newSource(root string) *source {
	return &source{root: root, module: "github.com/settled/settled", fset: token.NewFileSet(),
		info: &types.Info{Selections: map[*ast.SelectorExpr]*types.Selection{}, Uses: map[*ast.Ident]types.Object{},
			Defs: map[*ast.Ident]types.Object{}, Types: map[ast.Expr]types.TypeAndValue{}},
		pkgs: map[string]*types.Package{}, files: map[string][]*ast.File{}}
}

// Import implements types.Importer.
func (s *source) Import(name string) (*types.Package, error) {
	if dir, ours := strings.CutPrefix(name, s.module+"/"); ours {
		if p := s.load(dir); p != nil {
			return p, nil
		}
	}
	empty := types.NewPackage(name, path.Base(name))
	empty.MarkComplete()
	return empty, nil
}

func (s *source) load(dir string) *types.Package {
	if p, done := s.pkgs[dir]; done {
		return p
	}
	s.pkgs[dir] = nil // an import cycle would not build anyway
	entries, _ := os.ReadDir(filepath.Join(s.root, filepath.FromSlash(dir)))
	for _, e := range entries {
		name := e.Name()
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		// A file that does not parse whole is read as far as it goes; the build complains of it.
		if f, _ := parser.ParseFile(s.fset, filepath.Join(s.root, filepath.FromSlash(dir), name), nil, parser.SkipObjectResolution); f != nil {
			s.files[dir] = append(s.files[dir], f)
		}
	}
	s.pkgs[dir] = s.resolve(dir)
	return s.pkgs[dir]
}

func (s *source) check(dir, name, text string) {
	f, err := parser.ParseFile(s.fset, name, text, parser.SkipObjectResolution)
	if err != nil {
		panic(err)
	}
	s.files[dir] = []*ast.File{f}
	s.pkgs[dir] = s.resolve(dir)
}

func (s *source) resolve(dir string) *types.Package {
	conf := types.Config{Importer: s, Error: func(error) {}, FakeImportC: true}
	p, _ := conf.Check(s.module+"/"+dir, s.fset, s.files[dir], s.info)
	return p
}

func (s *source) field(typ, name string) types.Object {
	st := s.pkgs["ledger"].Scope().Lookup(typ).Type().Underlying().(*types.Struct)
	for f := range st.Fields() {
		if f.Name() == name {
			return f
		}
	}
	panic("no such field")
}

func (s *source) packages(t *testing.T, tops ...string) (dirs []string) {
	for _, top := range tops {
		err := filepath.WalkDir(filepath.Join(s.root, top), func(p string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() {
				return nil // a package that is not there yet writes nothing
			}
			if e.Name() == "testdata" {
				return filepath.SkipDir
			}
			rel, err := filepath.Rel(s.root, p)
			if found, _ := filepath.Glob(filepath.Join(p, "*.go")); len(found) > 0 {
				dirs = append(dirs, filepath.ToSlash(rel))
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return dirs
}

// writeFinder collects the writes of one field.
type writeFinder struct {
	src     *source
	dir     string
	state   types.Object
	in      string // the function, as rowToDomain spells it
	moved   map[types.Object]bool
	allowed int
	bad     []string
}

func (w *writeFinder) find(f *ast.File) {
	for _, d := range f.Decls {
		w.in, w.moved = path.Base(w.dir), map[types.Object]bool{}
		if fn, ok := d.(*ast.FuncDecl); ok {
			if fn.Recv != nil {
				w.in += "." + strings.TrimPrefix(types.ExprString(fn.Recv.List[0].Type), "*")
			}
			w.in += "." + fn.Name.Name
			w.traceMoves(fn)
		}
		ast.Inspect(d, w.visit)
	}
}

// traceMoves notes the variables that hold nothing but what the table gave.
func (w *writeFinder) traceMoves(fn *ast.FuncDecl) {
	spoiled := map[types.Object]bool{}
	ast.Inspect(fn, func(n ast.Node) bool {
		a, ok := n.(*ast.AssignStmt)
		if !ok {
			return true
		}
		for i, lhs := range a.Lhs {
			v, ok := lhs.(*ast.Ident)
			if !ok {
				continue
			}
			obj := w.object(v)
			if obj == nil {
				continue
			}
			if i == 0 && len(a.Rhs) == 1 && w.isMove(a.Rhs[0]) {
				w.moved[obj] = true
			} else {
				spoiled[obj] = true
			}
		}
		return true
	})
	for obj := range spoiled {
		delete(w.moved, obj)
	}
}

func (w *writeFinder) object(v *ast.Ident) types.Object {
	if o := w.src.info.Defs[v]; o != nil {
		return o
	}
	return w.src.info.Uses[v]
}

// isMove reports a look-up in the table: a call of the ledger's function of that name.
func (w *writeFinder) isMove(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	name, ok := call.Fun.(*ast.Ident)
	return ok && w.src.info.Uses[name] == w.src.pkgs["ledger"].Scope().Lookup("move") && name.Name == "move"
}

func (w *writeFinder) isState(e ast.Expr) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	s := w.src.info.Selections[sel]
	return s != nil && s.Obj() == w.state
}

func (w *writeFinder) fromTable(e ast.Expr) bool {
	if v, ok := e.(*ast.Ident); ok {
		return w.moved[w.object(v)]
	}
	return w.isMove(e)
}

func (w *writeFinder) judge(at ast.Node, ok bool) {
	if ok || rowToDomain[w.in] {
		w.allowed++
		return
	}
	p := w.src.fset.Position(at.Pos())
	w.bad = append(w.bad, fmt.Sprintf("%s/%s:%d: %s writes a State that the table did not give", w.dir, filepath.Base(p.Filename), p.Line, w.in))
}

func (w *writeFinder) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.AssignStmt:
		for i, lhs := range n.Lhs {
			if !w.isState(lhs) {
				continue
			}
			rhs := n.Rhs[0]
			if len(n.Rhs) == len(n.Lhs) {
				rhs = n.Rhs[i]
			}
			w.judge(lhs, w.fromTable(rhs) && (i == 0 || len(n.Rhs) == len(n.Lhs)))
		}
	case *ast.RangeStmt:
		for _, v := range []ast.Expr{n.Key, n.Value} {
			if v != nil && w.isState(v) {
				w.judge(v, false)
			}
		}
	case *ast.UnaryExpr:
		if n.Op == token.AND && w.isState(n.X) {
			w.judge(n, false)
		}
	case *ast.CompositeLit:
		st, ok := typeOf(w.src.info, n).(*types.Struct)
		if !ok {
			return true
		}
		at := slices.IndexFunc(slices.Collect(st.Fields()), func(f *types.Var) bool { return f == w.state })
		for i, e := range n.Elts {
			if kv, keyed := e.(*ast.KeyValueExpr); keyed {
				if k, ok := kv.Key.(*ast.Ident); ok && w.src.info.Uses[k] == w.state {
					w.judge(kv, w.fromTable(kv.Value))
				}
			} else if i == at {
				w.judge(e, w.fromTable(e))
			}
		}
	}
	return true
}

func typeOf(info *types.Info, e ast.Expr) types.Type {
	t := info.Types[e].Type
	if t == nil {
		return nil
	}
	if p, ok := t.Underlying().(*types.Pointer); ok {
		t = p.Elem()
	}
	return t.Underlying()
}
