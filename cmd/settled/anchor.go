package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/settled/settled/db"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// Whoever can write to the database can also forge the hashes in it. So the ends of the chains of seals
// leave it every hour, by the log and the metrics, and to a file on request: history before a kept end
// can be changed no more without the audit telling of it.

const (
	anchorEvery = time.Hour
	// censusRest is how old a row is before a census counts it: a transaction that would still commit an
	// older one is long cut off.
	censusRest = 10 * time.Minute
)

type anchor struct {
	db    *db.DB
	log   *slog.Logger
	seals prometheus.Gauge
	head  prometheus.Gauge
}

// anchorHourly tells where the chains of seals end, now and every hour.
func anchorHourly(ctx context.Context, r prometheus.Registerer, d *db.DB, log *slog.Logger) {
	a := anchor{db: d, log: log,
		seals: prometheus.NewGauge(prometheus.GaugeOpts{Name: "settled_seals",
			Help: "Seals in the chains across all of the history, when they were told last."}),
		head: prometheus.NewGauge(prometheus.GaugeOpts{Name: "settled_seals_head",
			Help: "The first 52 bits of the hash of the ends of the chains, when they were told last: the log has all of it."})}
	r.MustRegister(a.seals, a.head)
	go func() {
		tick := time.NewTicker(anchorEvery)
		defer tick.Stop()
		for {
			a.tell(ctx)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
}

func (a *anchor) tell(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := a.db.Census(ctx, censusRest)
	var heads []ledger.Seal
	var number int64
	if err == nil {
		heads, number, err = a.db.Heads(ctx)
	}
	if err != nil {
		if ctx.Err() == nil {
			a.log.Warn("the ends of the seals could not be told", "err", err)
		}
		return
	}
	text := lines(heads)
	sum := sha256.Sum256([]byte(strings.Join(text, "\n")))
	a.seals.Set(float64(number))
	a.head.Set(float64(binary.BigEndian.Uint64(sum[:8]) >> 12)) // a float64 holds 52 bits exactly
	a.log.Info("the history is sealed up to here", "seals", number, "head", fmt.Sprintf("%x", sum), "ends", text)
}

func lines(heads []ledger.Seal) []string {
	text := make([]string, len(heads))
	for i, h := range heads {
		text[i] = h.String()
	}
	return text
}

// auditKept looks for each end that a file keeps.
func auditKept(ctx context.Context, d *db.DB, path string) (found []audit.Difference, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // it is made by this audit
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		when, text, _ := strings.Cut(s.Text(), " ")
		seal, err := ledger.ParseSeal(text)
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		err = d.HasSeal(ctx, seal)
		if errors.Is(err, db.ErrSealGone) {
			found = append(found, audit.Difference{Class: audit.Chain,
				Detail: fmt.Sprintf("seal %d of chain %d, which was kept at %s, is missing; expected the hash %.16s",
					seal.No, seal.Chain, when, seal.Hash)})
		} else if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// keepHeads adds the ends of the chains to a file, but for those that are in it.
func keepHeads(ctx context.Context, d *db.DB, path string, now time.Time) error {
	heads, _, err := d.Heads(ctx)
	if err != nil {
		return err
	}
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	text := slices.DeleteFunc(lines(heads), func(s string) bool { return strings.Contains(string(before), " "+s+"\n") })
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	for _, s := range text {
		if _, err := fmt.Fprintf(f, "%s %s\n", now.UTC().Format(time.RFC3339), s); err != nil {
			f.Close()
			return err
		}
	}
	return errors.Join(f.Sync(), f.Close())
}
