package db

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the "pgx" driver
)

// CreateDatabase makes an empty database in the PostgreSQL server of a URL, for something that
// is thrown away, and returns how to drop it again. The URL's role must be allowed to.
func CreateDatabase(ctx context.Context, url, name string) (drop func(), err error) {
	if _, err := parsePostgres(url); err != nil {
		return nil, err // here, because the driver would show more of it
	}
	server, err := sql.Open("pgx", url)
	if err != nil {
		return nil, fmt.Errorf("open the server: %w", err)
	}
	quoted := pgx.Identifier{name}.Sanitize()
	if _, err := server.ExecContext(ctx, "CREATE DATABASE "+quoted); err != nil {
		server.Close()
		return nil, fmt.Errorf("create database %s: %w", name, err)
	}
	return func() {
		defer server.Close()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		server.ExecContext(ctx, "DROP DATABASE IF EXISTS "+quoted+" WITH (FORCE)")
	}, nil
}
