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
// # Hashes
//
// Whatever is stored is covered by a hash that the audit recomputes, so that what somebody changes past
// the triggers is noticed, and named:
//
//	transfers, reversals, holds   in history.content, as the newest step left them (ledger/content.go)
//	history, postings             in history.chain, from row to row of a transfer (ledger/chain.go)
//	all of the history            in seals, from commit to commit (ledger/seal.go, seals.go)
//	messages, events, drift       a hash in each row, and censuses of which rows there are (census.go)
//	meta, tokens, migrations      a hash over the table (sums.go)
//
// A chain of seals belongs to one process. One chain for all daemons over a PostgreSQL would have each
// group commit hold a lock until it is on the disk, and so two daemons commit no faster than one, and
// both wait while either of them stands still. Nothing would be gained by that: a chain begins with the
// ends of all others that no chain names yet, so that all of them hang together, and only the newest
// ends can be cut off unseen. Those leave the database: see cmd/settled/anchor.go.
//
// It costs: BenchmarkCommit, with the content and the seal and without, medians of three interleaved runs on
// two cores, changes a second: PostgreSQL 700 of 880 in commits of one change, 9,200 of 10,900 in those of
// 32, 13,700 of 17,900 in those of 250; SQLite 5,100 of 7,200, 15,800 of 19,400, 18,900 of 22,200. In small
// commits that is one more statement, and on PostgreSQL its round trip.
//
// coverage_test.go changes every column of every table, and takes out every row.
//
// # Text
//
// bun writes values into the text of its statements, where a NUL byte or a byte that is not
// UTF-8 would be stored as something else. Both are refused here with the field's name.
package db
