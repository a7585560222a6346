package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	nethttp "net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/settled/settled/db/dbtest"
)

// The README describes two roles, one that owns the schema and a small one that serves. Its own words are run.
func TestTheDaemonServesWithASmallRole(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "**Two roles in PostgreSQL.**")
	blocks := regexp.MustCompile("(?s)```sql\n(.*?)```").FindAllStringSubmatch(section, 2)
	if len(blocks) != 2 {
		t.Fatalf("the README has %d blocks of SQL about roles", len(blocks))
	}
	server := dbtest.NewServer(t)
	ctx, cancel := context.WithTimeout(t.Context(), hang)
	defer cancel()
	as := func(role, database string) string {
		u, err := url.Parse(server.URL(database))
		if err != nil {
			t.Fatal(err)
		}
		if role != "" {
			u.User = url.User(role)
		}
		return u.String()
	}
	execute := func(address, sql string) (err error) {
		c, err := pgx.Connect(ctx, address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(ctx)
		for statement := range strings.SplitSeq(sql, ";\n") {
			if strings.TrimSpace(statement) != "" && err == nil {
				_, err = c.Exec(ctx, statement)
			}
		}
		return err
	}
	if err := execute(as("", "postgres"), blocks[0][1]); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := call(t, []string{"DATABASE_URL=" + as("settled_migrate", "settled")}, "migrate", "up"); code != exitDone {
		t.Fatalf("migrate up: exit %d, %s", code, stderr)
	}
	if err := execute(as("settled_migrate", "settled"), blocks[1][1]); err != nil {
		t.Fatal(err)
	}

	const token = "2f1c9a7be05d44830a1b"
	said, log := io.Pipe()
	code := make(chan int, 1)
	serving, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		code <- run(serving, []string{"serve", "--sandbox"}, process{io.Discard, log, []string{"DATABASE_URL=" + as("settled_serve", "settled"),
			"ADMIN_TOKEN=" + token, "PUBLIC_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0", "LOG_FORMAT=text"}})
		log.Close()
	}()
	lines := bufio.NewScanner(said)
	admin := ""
	for admin == "" && lines.Scan() {
		if m := regexp.MustCompile(`settled is up.* admin=(\S+)`).FindStringSubmatch(lines.Text()); m != nil {
			admin = m[1]
		} else if strings.Contains(lines.Text(), "permission denied") {
			t.Error(lines.Text())
		}
	}
	if admin == "" {
		t.Fatalf("it does not start: exit %d", <-code)
	}
	denied := make(chan string, 100)
	go func() {
		for lines.Scan() {
			if strings.Contains(lines.Text(), "denied") {
				denied <- lines.Text()
			}
		}
		close(denied)
	}()
	ask := func(method, path, body string) string {
		r, err := nethttp.NewRequestWithContext(ctx, method, "http://"+admin+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Content-Type", "application/json")
		if method == "POST" {
			r.Header.Set("Idempotency-Key", path)
		}
		res, err := nethttp.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		if res.StatusCode >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, text)
		}
		return string(text)
	}
	until := func(path, status string) {
		err := again(ctx, 20*time.Millisecond, func() (bool, error) {
			return strings.Contains(ask("GET", path, ""), `"status":"`+status+`"`), nil
		})
		if err != nil {
			t.Fatalf("%s does not become %s: %v", path, status, err)
		}
	}
	made := ask("POST", "/v1/transfers", `{"reference":"r-1","seller":"s","destination":"acct_small1","amount":1000,"currency":"eur"}`)
	path := "/v1/transfers/" + regexp.MustCompile(`[0-9a-f-]{36}`).FindString(made)
	until(path, "completed")
	ask("POST", path+"/messages", `{"type":"reverse","reason":"x","amount":300}`)
	until(path, "partially_reversed")
	ask("POST", "/v1/actors/reconciler/messages", `{"type":"run","reason":"x"}`)
	stop()
	if c := <-code; c != exitDone {
		t.Errorf("exit %d", c)
	}
	for line := range denied {
		t.Error(line)
	}

	small := as("settled_serve", "settled")
	for _, statement := range []string{"ALTER TABLE history DISABLE TRIGGER ALL", "DROP TABLE history", "TRUNCATE events", "UPDATE history SET detail = ''", "DELETE FROM postings",
		"SET session_replication_role = replica", "CREATE TABLE mine (x int)", "DROP TRIGGER history_keep ON history", "DELETE FROM schema_migrations", "DELETE FROM transfers"} {
		if err := execute(small, statement); err == nil {
			t.Errorf("the small role may: %s", statement)
		}
	}
	var out bytes.Buffer
	if err := execute(as("settled_migrate", "settled"), "DELETE FROM schema_migrations WHERE name >= '0012'"); err != nil {
		t.Fatal(err)
	}
	if c := run(ctx, []string{"serve", "--sandbox"}, process{&out, &out, []string{"DATABASE_URL=" + small, "PUBLIC_ADDR=127.0.0.1:0", "ADMIN_ADDR=127.0.0.1:0"}}); c == exitDone || !strings.Contains(out.String(), "permission denied") {
		t.Errorf("with a pending migration: exit %d\n%s", c, out.String())
	}
}
