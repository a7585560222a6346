package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/settled/settled/db"
	"github.com/settled/settled/db/crash"
	"github.com/settled/settled/http"
	"github.com/settled/settled/ledger"
)

const (
	awaitFirst = 50 * time.Millisecond // doubled after each attempt
	awaitMost  = 2 * time.Second
)

// awaitLedger opens the ledger. A database that is away (down, starting, cut off, full, locked,
// a standby) is waited for: a daemon that ended instead would be given up by its supervisor
// after a few tries, and then need a person although the database is long back. Meanwhile
// the listeners answer 503, and /readyz and the log say why. A fault that waiting does not mend
// (a wrong password, a database that does not exist, one that would lose commits, a file that is
// damaged, a schema that is newer than this program) ends it at once.
func awaitLedger(ctx context.Context, conf config, log *slog.Logger, public, admin net.Listener,
	stdout io.Writer) (beginning, error) {
	var waiting *http.Waiting
	var said string
	defer func() {
		if waiting != nil {
			waiting.End()
		}
	}()
	for wait := awaitFirst; ; wait = min(2*wait, awaitMost) {
		b, err := beginLedger(ctx, conf, log, stdout)
		if err == nil || !db.Transient(err) || errors.Is(err, db.ErrUnfit) {
			return b, err
		}
		if waiting == nil {
			var wrong error // err says why the database is away, and is told below
			waiting, wrong = http.Wait(public.(*net.TCPListener), admin.(*net.TCPListener), conf.adminHosts)
			if wrong != nil {
				return beginning{}, wrong
			}
		}
		if text := err.Error(); text != said { // the answers do not say why: anybody may ask
			log.Error("the database is away; waiting for it", "err", err)
			said = text
		}
		pause := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			pause.Stop()
			return beginning{}, ctx.Err()
		case <-pause.C:
		}
	}
}

// beginning is the part of its ledger that the daemon reads before it acts.
type beginning struct {
	store     *db.DB
	bound     ledger.Binding // whose ledger it is
	epoch     int
	since     time.Time         // of the epoch
	bootstrap map[string]string // the configured admin token
}

func beginLedger(ctx context.Context, conf config, log *slog.Logger, stdout io.Writer) (b beginning, err error) {
	if b.store, err = openLedger(ctx, conf, log); err != nil {
		return b, err
	}
	// The key's mode is known before any call, so nothing is answered over a ledger of the other.
	b.bound, err = b.store.BindMode(ctx, conf.mode)
	var raised bool
	if err == nil {
		b.epoch, b.since, raised, err = b.store.Epoch(ctx)
	}
	if err == nil {
		if raised {
			log.Error("the database may have lost commits: what is open rests, is looked up at Stripe, and goes on under new keys", "epoch", b.epoch, "since", b.since)
		}
		crash.Point("start.epoch")
		b.bootstrap, err = bootstrapToken(ctx, conf, b.store, stdout)
	}
	if err != nil {
		b.store.Close()
	}
	return b, err
}

// openLedger opens the database and brings its schema up to date.
func openLedger(ctx context.Context, conf config, log *slog.Logger) (*db.DB, error) {
	d, err := db.Open(ctx, conf.databaseURL, db.Options{Log: log})
	if err != nil {
		return nil, err
	}
	crash.Point("start.opened")
	applied, err := d.Migrate(ctx)
	if err != nil {
		d.Close()
		return nil, err
	}
	crash.Point("start.migrated")
	if len(applied) > 0 {
		log.Info("migrated the database", "applied", applied)
	}
	return d, nil
}

// bootstrapToken returns the configured admin token. When there is none, and none is stored,
// it makes one, prints it once, and stores its hash.
func bootstrapToken(ctx context.Context, conf config, d *db.DB, stdout io.Writer) (map[string]string, error) {
	if conf.adminToken != "" {
		return map[string]string{bootstrapPrincipal: conf.adminToken}, nil
	}
	stored, err := d.Tokens(ctx)
	if err != nil || len(stored) > 0 {
		return nil, err
	}
	// Printed before it is stored: after a crash in between the next start prints another,
	// while a token that was stored and never shown would lock everybody out.
	token, prefix, hash := http.NewToken(rand.Reader)
	fmt.Fprintf(stdout, "Admin token (shown once): %s\n", token)
	crash.Point("token.printed")
	err = d.AddFirstToken(ctx, db.Token{Name: firstPrincipal, Prefix: prefix, Hash: hash, Role: string(http.RoleAdmin)})
	crash.Point("token.stored")
	if errors.Is(err, db.ErrTaken) {
		fmt.Fprintln(stdout, "Another process was first: the token that it printed counts, and this one does not.")
		return nil, nil
	}
	return nil, err
}
