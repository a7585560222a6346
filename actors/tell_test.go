package actors

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// The simulation decides the order of what comes from outside of the actors: goroutines, timers. A
// send that it does not hear of comes when Go's scheduler likes, and a seed's run is two runs.
func TestWhatComesFromOutsideOfTheActorsTakesItsTurn(t *testing.T) {
	// A supervisor's strategy runs where the actor runs that failed.
	allowed := map[string]bool{"tell": true, "HandleFailure": true}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		files := token.NewFileSet()
		f, err := parser.ParseFile(files, e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok || s.Sel.Name != "Send" && s.Sel.Name != "Request" && s.Sel.Name != "RequestFuture" {
					return true
				}
				if on, ok := s.X.(*ast.SelectorExpr); ok && on.Sel.Name == "Root" {
					if found++; !allowed[fn.Name.Name] {
						t.Errorf("%s: %s sends by the root: use tell", files.Position(n.Pos()), fn.Name.Name)
					}
				}
				return true
			})
			// The root must not be taken along either.
			ast.Inspect(fn, func(n ast.Node) bool {
				if a, ok := n.(*ast.AssignStmt); ok {
					for _, x := range a.Rhs {
						if s, ok := x.(*ast.SelectorExpr); ok && s.Sel.Name == "Root" {
							t.Errorf("%s: %s keeps the root: use tell", files.Position(n.Pos()), fn.Name.Name)
						}
					}
				}
				return true
			})
		}
	}
	if found == 0 {
		t.Error("no send was found: the search looks in the wrong place")
	}
}
