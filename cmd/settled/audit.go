package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/db"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

type auditCommand struct {
	Strict bool   `help:"Count what people have accepted as well: exit 1 on it."`
	Anchor string `help:"A file that keeps the ends of the chains of seals: each one in it must be in the ledger, and the newest are added." placeholder:"FILE"`
	flags
}

// Run recomputes the books and compares them with Stripe's lists.
func (c auditCommand) Run(ctx context.Context, proc process) error {
	v, problems := gather(c.flags, proc.environ, ".env")
	if v.value["STRIPE_WEBHOOK_SECRET"] == "" {
		v.value["STRIPE_WEBHOOK_SECRET"] = "whsec_not_needed_to_read"
	}
	conf, more := v.parse(false)
	if problems = append(problems, more...); len(problems) > 0 {
		return usageError{errors.Join(problems...)}
	}
	log := newLogger(conf, proc.stderr)
	defer flush(log, flushMost)
	d, err := db.Open(ctx, conf.databaseURL, db.Options{Existing: true, Log: log})
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Check(ctx); err != nil {
		return err
	}
	client, err := stripe.New(stripe.Config{Key: conf.stripeKey, Base: conf.stripeBase,
		Timeout: max(conf.callTimeout(), 10*time.Second), Log: log})
	if err != nil {
		return usageError{err}
	}
	defer client.Close()
	id, _, err := client.Account(ctx)
	if err != nil {
		return fmt.Errorf("read the Stripe account: %w", err)
	}
	bound, err := d.Binding(ctx)
	if err != nil {
		return err
	}
	if key := (ledger.Binding{Account: id, Mode: conf.mode}); bound.Account != "" && bound.Account != id ||
		bound.Mode != "" && bound.Mode != conf.mode {
		return usageError{fmt.Errorf("the ledger belongs to %s, and the key to %s", bound, key)}
	}
	// A transfer that moves between the two readings looks like a difference. A real one is
	// there again in a second audit.
	report, accepted, err := c.once(ctx, d, client, conf)
	if err == nil && len(report.Differences) > 0 {
		var again audit.Report
		if again, accepted, err = c.once(ctx, d, client, conf); err == nil {
			again.Differences = slices.DeleteFunc(again.Differences,
				func(x audit.Difference) bool { return !slices.Contains(report.Differences, x) })
			report = again
		}
	}
	if err != nil {
		return err
	}
	chained := !slices.ContainsFunc(report.Differences, func(x audit.Difference) bool { return x.Class == audit.Chain })
	if c.Anchor != "" && chained { // the ends of a broken chain are worth nothing
		if err := keepHeads(ctx, d, c.Anchor, time.Now()); err != nil {
			return fmt.Errorf("keep the ends of the seals: %w", err)
		}
	}
	return printReport(proc.stdout, report, accepted)
}

// once reads Stripe, then the ledger, and compares. Findings that people have accepted are told apart, and
// left out unless the audit is strict.
func (c auditCommand) once(ctx context.Context, d *db.DB, client *stripe.Client,
	conf config) (report audit.Report, accepted []audit.Finding, err error) {
	a := audit.New()
	if !conf.reconcile.IgnoreForeign {
		a.Strict()
	}
	err = client.List(ctx, time.Time{}, time.Time{}, func(t ledger.StripeTransfer) error {
		a.Stripe(t)
		return nil
	})
	if err != nil {
		return report, nil, fmt.Errorf("list Stripe's transfers: %w", err)
	}
	if c.Anchor != "" {
		kept, err := auditKept(ctx, d, c.Anchor)
		if err != nil {
			return report, nil, err
		}
		a.Add(kept)
	}
	if report, err = auditLedger(ctx, d, a); err != nil {
		return report, nil, err
	}
	if accepted, err = d.Findings(ctx, audit.Filter{Accepted: true}); err != nil || c.Strict {
		return report, accepted, err
	}
	as := make(map[string]string, len(accepted)) // the sentence of each, as it was accepted
	for _, f := range accepted {
		as[f.Key()] = f.Detail
	}
	report.Differences = slices.DeleteFunc(report.Differences, func(x audit.Difference) bool {
		said, known := as[x.Key()]
		return known && said == x.Detail
	})
	return report, accepted, nil
}

// auditLedger feeds every row of the ledger to an auditor that knows Stripe's side.
func auditLedger(ctx context.Context, d *db.DB, a *audit.Auditor) (audit.Report, error) {
	const page = 1000
	for after := (ledger.ID{}); ; {
		rows, err := d.AuditPage(ctx, after, page)
		if err != nil {
			return audit.Report{}, err
		}
		for _, r := range rows {
			a.Ledger(r)
		}
		if len(rows) < page {
			break
		}
		after = rows[len(rows)-1].Transfer.ID
	}
	sums, err := d.Unbalanced(ctx)
	if err != nil {
		return audit.Report{}, err
	}
	a.Unbalanced(sums)
	seals, err := d.AuditSeals(ctx)
	if err != nil {
		return audit.Report{}, err
	}
	a.Add(seals)
	records, err := d.AuditRecords(ctx)
	if err != nil {
		return audit.Report{}, err
	}
	a.Add(records)
	return a.Report(), nil
}

// printReport shows the sums and the accepted findings; its last line counts the differences.
func printReport(w io.Writer, r audit.Report, accepted []audit.Finding) error {
	fmt.Fprintf(w, "ledger:  %d transfers, %d reversals, %d of open outcome\n", r.Transfers, r.Reversals, r.Open)
	fmt.Fprintf(w, "Stripe:  %d transfers, %d reversals, %d of them not ours\n", r.StripeTransfers, r.StripeReversals,
		r.Foreign)
	for _, c := range slices.Sorted(maps.Keys(r.Paid)) {
		fmt.Fprintf(w, "paid %s, of which %s came back\n", ledger.Money{Amount: r.Paid[c], Currency: c},
			ledger.Money{Amount: r.Returned[c], Currency: c})
	}
	for _, x := range r.Differences {
		fmt.Fprintln(w, x)
	}
	sums := map[ledger.Currency]int64{}
	for _, f := range accepted {
		sums[f.Currency] += f.Amount
		by, why := f.AcceptedBy.Principal, fmt.Sprintf("%q", f.AcceptedBy.Reason)
		if !f.SecondedAt.IsZero() {
			by, why = by+" and "+f.SecondedBy.Principal, fmt.Sprintf("%s, %q", why, f.SecondedBy.Reason)
		}
		fmt.Fprintf(w, "accepted: %s; %s; by %s until %s: %s\n", f.Difference,
			ledger.Money{Amount: f.Amount, Currency: f.Currency}, by,
			f.AcceptedUntil.UTC().Format(time.DateOnly), why)
	}
	for _, c := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(w, "accepted in all: %s\n", ledger.Money{Amount: sums[c], Currency: c})
	}
	fmt.Fprintf(w, "audit: %s\n", counted(len(r.Differences), "difference"))
	if len(r.Differences) > 0 {
		return errDifferences
	}
	return nil
}
