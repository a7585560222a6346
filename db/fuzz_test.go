package db

import (
	"context"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/ledger"
)

// FuzzURL writes a password that was not escaped, between anything, into a URL. It is refused,
// or read by both readers alike; and nothing that is printed of it has the password.
func FuzzURL(f *testing.F) {
	for _, s := range [][2]string{{"", ""}, {"12/", ""}, {"12?", ""}, {"a@", ""}, {"#", ""}, {"", "@other/db"}, {"%zz", "%"}, {"", ":x"}, {"", "?sslmode=no&x="}, {"p@h:port/db?password=", "&sslmode="},
		{"1,h2:", ""}, {"", " "}, {"\\", "'"}, {"[::1]/", ""}, {"é", "ü"}, {"+", "%40"}, {"", "@h/db?pass%77ord="}} {
		f.Add(s[0], s[1], "h:5432/db?sslmode=disable")
		f.Add(s[0], s[1], "/db?host=/tmp&sslmode=verify-full")
	}
	for _, name := range []string{"PGHOST", "PGPASSWORD", "PGSERVICE", "PGSSLROOTCERT", "PGPASSFILE", "PGSERVICEFILE"} {
		os.Unsetenv(name)
	}
	f.Setenv("HOME", f.TempDir())
	const canary = "c4n4ry"
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	f.Fuzz(func(t *testing.T, before, after, rest string) {
		for _, file := range []string{"cert", "key", "file", "service", "%"} { // what it names would be read
			if strings.Contains(strings.ToLower(rest+after), file) && strings.Contains(rest+after, "=") {
				t.Skip()
			}
		}
		for _, address := range []string{
			"postgres://u:" + before + canary + after + "@" + rest,
			"postgres://u:" + url.QueryEscape(before+canary+after) + "@" + rest,
			"postgresql://h/db?sslmode=disable&password=" + url.QueryEscape(before+canary+after) + "&" + rest,
			"postgres:" + before + " password=" + canary + after,
			before + canary + after + rest,
		} {
			err := CheckURL(address)
			if err != nil && strings.Contains(err.Error(), canary) && !strings.HasPrefix(address, "sqlite:") {
				t.Fatalf("%q: the error shows the password: %v", address, err)
			}
			if shown := ShowURL(address); strings.Contains(shown, canary) && strings.Contains(address, "u:") {
				t.Fatalf("%q is shown as %q", address, shown)
			}
			if err != nil || !strings.HasPrefix(address, "postgres://u:") {
				continue
			}
			config, err := parsePostgres(address)
			if err != nil {
				t.Fatal(err)
			}
			u, err := url.Parse(address)
			if err != nil {
				t.Fatalf("%q was taken: %v", address, err)
			}
			if p, _ := u.User.Password(); config.Password != p && !u.Query().Has("password") || !strings.Contains(p, canary) {
				t.Fatalf("%q: pgx reads the password %q, net/url %q", address, config.Password, p)
			}
			d, err := Open(ended, address, Options{})
			if err == nil {
				d.Close()
				t.Fatalf("%q was opened", address)
			}
			if strings.Contains(err.Error(), canary) {
				t.Fatalf("%q: the error shows the password: %v", address, err)
			}
		}
	})
}

// FuzzSQLitePath opens a file of any name: exactly that one is made, and nothing else.
func FuzzSQLitePath(f *testing.F) {
	for _, s := range []string{"a.db", "a b.db", "100%25.db", "mode=memory", "a&b", "é", "\x01", "..x", ":memory:x", "a;b", "'--", "file:x", "%2e%2e", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" || name == "." || name == ".." || len(name) > 100 || strings.ContainsAny(name, "/\x00") {
			t.Skip()
		}
		dir, err := os.MkdirTemp("", "path") // a test's own has a # in its name
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		d, err := Open(t.Context(), "sqlite:"+filepath.Join(dir, "in", name), Options{})
		if err == nil {
			d.Close()
			t.Fatal("it was made in a directory that is not there")
		}
		d, err = Open(t.Context(), "sqlite:"+filepath.Join(dir, name), Options{})
		if err == nil {
			err = exec(t.Context(), d, "CREATE TABLE x (y)")
			if e := d.Close(); err == nil {
				err = e
			}
			if err != nil {
				t.Fatalf("%q: %v", name, err)
			}
		} else if !strings.ContainsAny(name, "?#") {
			t.Fatalf("%q: %v", name, err)
		}
		entries, e := os.ReadDir(dir)
		if e != nil {
			t.Fatal(e)
		}
		if want := 1; err != nil && len(entries) != 0 || err == nil && (len(entries) != want || entries[0].Name() != name) {
			t.Fatalf("%q made %v", name, entries)
		}
	})
}

// FuzzStored reads rows as somebody may have left them: any text in the columns that are
// parsed. What is read says the same when it is stored and read again.
func FuzzStored(f *testing.F) {
	for _, s := range [][4]string{{`{"a":"b"}`, "2026-01-31T12:00:00.123456Z", "failed", "await_funds"}, {"", "", "", ""}, {"null", "2026-01-31", "done", "x"}, {"[]", "0000-00-00T00:00:00.000000Z", "unknown", "go_on"},
		{`{"a":1}`, "2026-01-31T12:00:00.123456+01:00", "\xff", ""}, {`{"a":"\ud800"}`, "9999-12-31T23:59:59.999999Z", "not_executed", ""}, {`{"a":"b"}{`, "x", "", ""}} {
		f.Add(s[0], s[1], s[2], s[3])
	}
	f.Fuzz(func(t *testing.T, metadata, at, verdict, reaction string) {
		var i instant
		if err := i.Scan(at); err == nil && i.fits() {
			v, err := i.Value()
			if err != nil {
				t.Fatal(err)
			}
			var again instant
			if err := again.Scan(v); err != nil || !again.time().Equal(i.time()) {
				t.Fatalf("%q is stored as %v and read as %v (%v)", at, v, again.time(), err)
			}
		}
		row := transferRow{operationRow: operationRow{ID: newID()}, Metadata: metadata, Since: i}
		x, err := row.transfer()
		if err == nil {
			again, err := func() (ledger.Transfer, error) { r := newTransfer(&x); return r.transfer() }()
			if err != nil || !reflect.DeepEqual(again.Metadata, x.Metadata) {
				t.Fatalf("%q is read as %v, and then as %v (%v)", metadata, x.Metadata, again.Metadata, err)
			}
		}
		h := historyRow{TransferID: row.ID, Kind: metadata, At: i, Answer: answerRow{Row: "x", Verdict: verdict, Reaction: reaction}}
		step, err := h.history()
		if err != nil {
			return
		}
		written := toHistoryRow(&step)
		if again, err := written.history(); err != nil || !reflect.DeepEqual(again, step) {
			t.Fatalf("%q %q is read as %+v, and then as %+v (%v)", verdict, reaction, step, again, err)
		}
	})
}

// FuzzText stores any text in every field that takes one. It is refused by the field's name,
// with nothing stored, or comes back as it was and is found by it, and by nothing like it.
func FuzzText(f *testing.F) {
	for _, s := range texts {
		f.Add(s)
	}
	d, err := Open(f.Context(), "sqlite::memory:", Options{Now: func() time.Time { return time.Unix(1769860800, 0) }})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { d.Close() })
	if _, err := d.Migrate(f.Context()); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o := anOrder()
		o.Seller, o.Reference, o.Description, o.TransferGroup, o.Metadata = s, s+newID().String(), s, s, map[string]string{"k": s}
		before := rows(t, d, "transfers")
		changes := []ledger.Change{accept(o)}
		if _, _, err := d.Commit(t.Context(), changes); err != nil {
			if wrong := (ledger.FieldError{}); !errors.As(err, &wrong) && o.Check() == nil || rows(t, d, "transfers") != before {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		got := load(t, d, changes[0].After.ID).Transfer.Order
		if o.Check() == nil && !reflect.DeepEqual(got, changes[0].After.Order) {
			t.Fatalf("%q was stored as %+v", s, got)
		}
		if o.Check() != nil {
			return // no caller stores it
		}
		found, err := d.List(t.Context(), ledger.Filter{Reference: o.Reference, Seller: s, Limit: 10})
		if err != nil || len(found) != 1 {
			t.Fatalf("%q finds %d: %v", o.Reference, len(found), err)
		}
		if found, err := d.List(t.Context(), ledger.Filter{Reference: o.Reference + "%", Limit: 10}); err != nil || len(found) != 0 {
			t.Fatalf("%q finds %d: %v", o.Reference+"%", len(found), err)
		}
	})
}
