package http

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestNoSecretPrints(t *testing.T) {
	w := newWorld()
	c := valid(w)
	c.WebhookSecrets, c.Bootstrap, c.Logger = []string{secretOld}, map[string]string{"root": adminToken}, nil
	c.Engine, c.Store, c.Tokens, c.Keys, c.Now = nil, nil, nil, nil, nil
	s, err := New(valid(w))
	if err != nil {
		t.Fatal(err)
	}
	v, err := newVerifier([]string{secretOld}, w.now)
	if err != nil {
		t.Fatal(err)
	}
	k, err := newKeyring(w, map[string]string{"root": adminToken}, w.now)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&text, verb+verb+verb+verb+verb+verb+"\n", c, &c, struct{ C Config }{c}, s, v, k)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&text, nil), slog.NewJSONHandler(&text, nil)} {
		slog.New(h).Info("x", "config", c, "server", s, "verifier", v, "keyring", k)
	}
	for _, name := range []string{"WebhookSecrets", "Bootstrap"} {
		if f, _ := reflect.TypeFor[Config]().FieldByName(name); f.Tag.Get("json") != "-" {
			t.Errorf("%s is written as JSON", name)
		}
	}
	for _, secret := range []string{secretOld, adminToken} {
		for _, form := range []string{secret, fmt.Sprintf("%x", secret), strings.Trim(fmt.Sprint([]byte(secret)), "[]")} {
			if strings.Contains(text.String(), form) {
				t.Errorf("%s is printed as %s:\n%s", secret, form, text.String())
			}
		}
	}
}

// comparers are the functions that decide whether somebody knows a secret, with the one
// comparison that each may make of what is derived from it.
var comparers = map[string]string{"verify": "hmac.Equal", "find": "subtle.ConstantTimeCompare"}

// How long a comparison takes must tell nothing, and no clock can test that without failing
// now and then. What can be told from the source is that there is no other comparison, and
// that what is compared are hashes: a guess of which the first bytes are right is not nearer
// than any other. BenchmarkRefusal and BenchmarkWrongToken show the times.
func TestSecretsAreComparedInConstantTimeAndAsHashes(t *testing.T) {
	found := map[string]bool{}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, e.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CallExpr:
					name := called(n)
					switch name {
					case "hmac.Equal", "subtle.ConstantTimeCompare":
						if comparers[fn.Name.Name] != name {
							t.Errorf("%s: %s is used in %s: add it to the test", fset.Position(n.Pos()), name, fn.Name.Name)
						}
						found[fn.Name.Name] = true
					case "bytes.Equal", "bytes.Compare", "slices.Equal", "reflect.DeepEqual", "strings.Compare", "strings.EqualFold", "bytes.EqualFold", "bytes.HasPrefix", "strings.HasPrefix":
						for _, a := range n.Args {
							if secretive(a) {
								t.Errorf("%s: %s compares a secret", fset.Position(n.Pos()), name)
							}
						}
					}
				case *ast.BinaryExpr:
					empty := func(e ast.Expr) bool { // that there is one, or how long it is, is no secret
						switch e := e.(type) {
						case *ast.BasicLit:
							return e.Value == `""` || e.Value == "0"
						case *ast.CallExpr:
							x, ok := e.Fun.(*ast.Ident)
							return ok && x.Name == "len"
						}
						return false
					}
					if (n.Op == token.EQL || n.Op == token.NEQ) && (secretive(n.X) || secretive(n.Y)) && !empty(n.X) && !empty(n.Y) {
						t.Errorf("%s: a secret is compared with %s", fset.Position(n.Pos()), n.Op)
					}
				}
				return true
			})
		}
	}
	for fn := range comparers {
		if !found[fn] {
			t.Errorf("%s compares nothing: the search looks in the wrong place", fn)
		}
	}
	if n := len(HashToken("x")); n != 32 {
		t.Errorf("a token's hash has %d bytes", n)
	}
}

func called(c *ast.CallExpr) string {
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	x, ok := s.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return x.Name + "." + s.Sel.Name
}

// secretive goes by the name, as a reader would.
func secretive(e ast.Expr) bool {
	name := ""
	switch e := e.(type) {
	case *ast.Ident:
		name = e.Name
	case *ast.SelectorExpr:
		name = e.Sel.Name
	case *ast.IndexExpr:
		return secretive(e.X)
	case *ast.SliceExpr:
		return secretive(e.X)
	}
	for _, word := range []string{"hash", "mac", "secret", "signature", "token", "sum", "want"} {
		if strings.Contains(strings.ToLower(name), word) && name != "Tokens" {
			return true
		}
	}
	return false
}

// BenchmarkWrongToken shows that the moment of a refusal tells nothing: nearly right and
// entirely wrong take the same time.
func BenchmarkWrongToken(b *testing.B) {
	w := newWorld()
	right := w.token("backend", RoleOperator, nil)
	k, err := newKeyring(w, map[string]string{"root": adminToken}, w.now)
	if err != nil {
		b.Fatal(err)
	}
	first := len(right) - 43
	for name, guess := range map[string]string{
		"first character wrong": right[:first] + flip(right[first]) + right[first+1:],
		"last character wrong":  right[:len(right)-1] + flip(right[len(right)-1]),
		"right":                 right,
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				who, _, err := k.find(b.Context(), guess)
				if err != nil || (who != Principal{}) != (guess == right) {
					b.Fatal(who, err)
				}
			}
		})
	}
}
