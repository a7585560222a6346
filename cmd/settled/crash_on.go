//go:build crashpoints

package main

import (
	"context"
	"time"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/db/crash"
	"github.com/settled/settled/http"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// The seams of the daemon with a crash point before and after each call.

func crashStore(s actors.Store) actors.Store    { return crashingStore{s} }
func crashStripe(s actors.Stripe) actors.Stripe { return crashingStripe{s} }
func crashEngine(e http.Engine) http.Engine     { return crashingEngine{e} }
func crashKeys(k http.Keys) http.Keys           { return crashingKeys{k} }

// around passes the point before a call, and returns a function that passes the one after it.
func around(name string) (after func()) {
	crash.Point(name + ".before")
	return func() { crash.Point(name + ".after") }
}

type crashingStore struct{ actors.Store }

func (s crashingStore) Commit(ctx context.Context, changes []ledger.Change) (time.Time, []bool, error) {
	defer around("store.commit")()
	return s.Store.Commit(ctx, changes)
}

func (s crashingStore) Load(ctx context.Context, ids []ledger.ID) ([]ledger.Record, error) {
	defer around("store.load")()
	return s.Store.Load(ctx, ids)
}

func (s crashingStore) ByReference(ctx context.Context, references []string) ([]ledger.Record, error) {
	defer around("store.by_reference")()
	return s.Store.ByReference(ctx, references)
}

func (s crashingStore) Unfinished(ctx context.Context, after ledger.ID, limit int) ([]ledger.Record, error) {
	defer around("store.unfinished")()
	return s.Store.Unfinished(ctx, after, limit)
}

func (s crashingStore) UnfinishedIDs(ctx context.Context, after ledger.ID, limit int) ([]ledger.ID, error) {
	defer around("store.unfinished_ids")()
	return s.Store.UnfinishedIDs(ctx, after, limit)
}

func (s crashingStore) StoreEvents(ctx context.Context, events []ledger.StripeEvent) ([]bool, error) {
	defer around("store.store_events")()
	return s.Store.StoreEvents(ctx, events)
}

func (s crashingStore) UnhandledEvents(ctx context.Context, after string, limit int) ([]ledger.StripeEvent, error) {
	defer around("store.unhandled_events")()
	return s.Store.UnhandledEvents(ctx, after, limit)
}

func (s crashingStore) HandleEvents(ctx context.Context, ids []string) error {
	defer around("store.handle_events")()
	return s.Store.HandleEvents(ctx, ids)
}

func (s crashingStore) StoreMessage(ctx context.Context, m ledger.Message, before ledger.State) (bool, error) {
	defer around("store.store_message")()
	return s.Store.StoreMessage(ctx, m, before)
}

func (s crashingStore) StoreReceipt(ctx context.Context, r ledger.Receipt) error {
	defer around("store.store_receipt")()
	return s.Store.StoreReceipt(ctx, r)
}

func (s crashingStore) Receipt(ctx context.Context, message ledger.ID) (ledger.Receipt, bool, error) {
	defer around("store.receipt")()
	return s.Store.Receipt(ctx, message)
}

func (s crashingStore) OpenWalk(ctx context.Context, owner ledger.ID, every, stale,
	ahead time.Duration) (audit.Walk, bool, error) {
	defer around("store.open_walk")()
	return s.Store.OpenWalk(ctx, owner, every, stale, ahead)
}

func (s crashingStore) SaveWalk(ctx context.Context, w audit.Walk) (audit.Walk, bool, error) {
	defer around("store.save_walk")()
	return s.Store.SaveWalk(ctx, w)
}

func (s crashingStore) StoreFindings(ctx context.Context, objects []string, walk int64,
	found []audit.Finding) ([]audit.Finding, []bool, error) {
	defer around("store.store_findings")()
	return s.Store.StoreFindings(ctx, objects, walk, found)
}

type crashingStripe struct{ actors.Stripe }

func (s crashingStripe) Send(ctx context.Context, r ledger.Request, fresh func() error) ledger.Answer {
	defer around("stripe.send")()
	return s.Stripe.Send(ctx, r, fresh)
}

func (s crashingStripe) Transfer(ctx context.Context, id string) (ledger.StripeTransfer, error) {
	defer around("stripe.transfer")()
	return s.Stripe.Transfer(ctx, id)
}

func (s crashingStripe) Page(ctx context.Context, q stripe.PageQuery) (stripe.TransferPage, error) {
	defer around("stripe.page")()
	return s.Stripe.Page(ctx, q)
}

type crashingEngine struct{ http.Engine }

func (e crashingEngine) Create(ctx context.Context, orders []ledger.Order, by ledger.By) ([]ledger.Acceptance, error) {
	defer around("engine.create")()
	return e.Engine.Create(ctx, orders, by)
}

func (e crashingEngine) Inject(ctx context.Context, m ledger.Message) (ledger.Record, error) {
	defer around("engine.inject")()
	return e.Engine.Inject(ctx, m)
}

func (e crashingEngine) Receive(ctx context.Context, events []ledger.StripeEvent) error {
	defer around("engine.receive")()
	return e.Engine.Receive(ctx, events)
}

type crashingKeys struct{ http.Keys }

func (k crashingKeys) ClaimKey(ctx context.Context, key, fingerprint string,
	staleAfter time.Duration) (http.Claim, error) {
	defer around("keys.claim")()
	return k.Keys.ClaimKey(ctx, key, fingerprint, staleAfter)
}

func (k crashingKeys) FinishKey(ctx context.Context, key string, status int, body []byte) error {
	defer around("keys.finish")()
	return k.Keys.FinishKey(ctx, key, status, body)
}
