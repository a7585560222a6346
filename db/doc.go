// Package db keeps the ledger in a database: PostgreSQL in production, SQLite embedded. One
// code path serves both, and one suite of tests runs against both.
//
//	Commit ───▶ writer ──┐                     ┌─ transfers, reversals   what is (guarded by version)
//	            (1 conn  ├─ *sql.DB ── tables ─┼─ history, postings      what happened (append-only)
//	             SQLite) │                     ├─ events, messages       what came in (append-only)
//	Load, … ──▶ reader ──┘                     └─ idempotency_keys, tokens, meta
//
// Ledger values go in and come out; the rows that bun reads and writes stay here. The rows are
// also the only list of columns: the statements of the hot path, which store many rows at a
// time, are made from them (bulk.go).
//
// Where the two databases differ is written in postgres.go and sqlite.go, behind [engine], and
// in the migrations, which have the same names in both.
//
// # Time
//
// Every time stored is the database's clock (PostgreSQL's now(); for SQLite, which has no
// server, [Options.Now]) or a caller's, in UTC and in whole microseconds: finer parts of a
// caller's time are cut off.
//
// # Text
//
// bun writes values into the text of its statements, where a NUL byte or a byte that is not
// UTF-8 would be stored as something else. Both are refused here with the field's name.
package db
