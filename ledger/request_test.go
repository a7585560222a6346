package ledger_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	. "github.com/settled/settled/ledger"
	"pgregory.net/rapid"
)

func TestTheKeyIsAPureFunctionOfWhatIsDurable(t *testing.T) {
	if got, want := Key(id(7), 2, 3), "settled:00000000-0000-0000-0000-000000000007:2:3"; got != want {
		t.Errorf("the key is %q, want %q: another form would send what is open under another key", got, want)
	}
	type named struct {
		op         ID
		epoch, gen int
	}
	draw := func(t *rapid.T, label string) named {
		var op ID
		// Few different bytes, so that near misses are common.
		copy(op[:], rapid.SliceOfN(rapid.ByteRange(0, 2), 16, 16).Draw(t, label))
		n := rapid.OneOf(rapid.IntRange(0, 20), rapid.IntRange(0, 1<<62))
		return named{op, n.Draw(t, label+" epoch"), n.Draw(t, label+" generation")}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t, "a"), draw(t, "b")
		ka, kb := Key(a.op, a.epoch, a.gen), Key(b.op, b.epoch, b.gen)
		if ka != Key(a.op, a.epoch, a.gen) {
			t.Fatalf("the same state has two keys")
		}
		if (a == b) != (ka == kb) {
			t.Fatalf("%v and %v have the keys %q and %q", a, b, ka, kb)
		}
		if len(ka) > 90 {
			t.Fatalf("%q has %d characters; Stripe takes 255 and the comment promises 90", ka, len(ka))
		}
	})
}

func request() Request {
	return Request{Kind: MakeReversal, Operation: id(1), Key: "k", Amount: 5, Currency: "eur", Destination: "acct_1",
		SourceTransaction: "ch_1", TransferGroup: "g", Description: "d", Transfer: "tr_1", Metadata: map[string]string{"a": "1", "b": "2"}}
}

func TestTheHashOfARequestIsStable(t *testing.T) {
	const golden = "a58a1fa25cc76a51ff42894b1be76672865db215c9992f24e45f71b0264cf9b3"
	for range 20 { // maps are walked in another order each time
		if got := request().Hash(); got != golden {
			t.Fatalf("the hash is %s, want %s: what is open could not be sent again", got, golden)
		}
	}
}

func TestTheHashDiffersWhenAnyFieldDiffers(t *testing.T) {
	base := request().Hash()
	seen := map[string]string{base: "the request itself"}
	for name, change := range map[string]func(*Request){
		"kind":               func(r *Request) { r.Kind = CreateTransfer },
		"operation":          func(r *Request) { r.Operation = id(2) },
		"key":                func(r *Request) { r.Key = "l" },
		"amount":             func(r *Request) { r.Amount = 6 },
		"currency":           func(r *Request) { r.Currency = "usd" },
		"destination":        func(r *Request) { r.Destination = "acct_2" },
		"source transaction": func(r *Request) { r.SourceTransaction = "" },
		"group":              func(r *Request) { r.TransferGroup = "" },
		"description":        func(r *Request) { r.Description = "d " },
		"transfer":           func(r *Request) { r.Transfer = "tr_2" },
		"a metadata value":   func(r *Request) { r.Metadata["a"] = "2" },
		"a metadata key":     func(r *Request) { delete(r.Metadata, "a"); r.Metadata["A"] = "1" },
		"one key more":       func(r *Request) { r.Metadata["c"] = "" },
		"one key fewer":      func(r *Request) { delete(r.Metadata, "b") },
		"fields swapped":     func(r *Request) { r.TransferGroup, r.Description = r.Description, r.TransferGroup },
		"two keys in one":    func(r *Request) { r.Metadata = map[string]string{"a=1:1\nmetadata.b": "2"} },
	} {
		r := request()
		change(&r)
		h := r.Hash()
		if other, clash := seen[h]; clash {
			t.Errorf("%s: hashes like %s", name, other)
		}
		seen[h] = name
	}
}

func TestNoTwoMetadataHashAlike(t *testing.T) {
	text := rapid.StringOfN(rapid.RuneFrom([]rune("ab=:1\n.")), 0, 12, -1)
	pairs := rapid.MapOfN(text, text, 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		a, b := request(), request()
		a.Metadata, b.Metadata = pairs.Draw(t, "a"), pairs.Draw(t, "b")
		if maps.Equal(a.Metadata, b.Metadata) != (a.Hash() == b.Hash()) {
			t.Fatalf("%q and %q: equal hashes: %t", a.Metadata, b.Metadata, a.Hash() == b.Hash())
		}
	})
}

func TestARequestSaysWhatTheOrderSaid(t *testing.T) {
	s := begin(t).sends()
	op, _ := s.x.Current()
	r := s.x.Request(op)
	if r.Kind != CreateTransfer || r.Amount != 1000 || r.Currency != "eur" || r.Destination != "acct_1" || r.Key != Key(TransferName("", "inv-1"), 0, 1) {
		t.Errorf("%+v", r)
	}
	want := map[string]string{"invoice": "7", MetaOperation: TransferName("", "inv-1").String(), MetaGeneration: "1", MetaEpoch: "0",
		MetaReference: "inv-1", MetaSeller: "s-1", MetaOrder: order().Hash()}
	if !maps.Equal(r.Metadata, want) {
		t.Errorf("metadata %v, want %v", r.Metadata, want)
	}
	if r.Hash() != op.RequestHash {
		t.Error("the stored hash is not the request's")
	}
	s.answers(paid).reverses(2, 300).sends()
	op, _ = s.x.Current()
	r = s.x.Request(op)
	if r.Kind != MakeReversal || r.Amount != 300 || r.Transfer != "tr_1" || r.Destination != "" || r.TransferGroup != "" || r.Operation != ReversalName(TransferName("", "inv-1"), id(2).String()) {
		t.Errorf("%+v", r)
	}
	if _, copied := r.Metadata["invoice"]; copied {
		t.Error("a reversal carries the transfer's metadata")
	}
}

func TestMetadataCannotTakeThePlaceOfOurs(t *testing.T) {
	o := order()
	o.Metadata = map[string]string{MetaOperation: id(99).String(), MetaGeneration: "99", "invoice": "7"}
	if o.Check() == nil {
		t.Error("reserved keys are accepted")
	}
	x := Accept(o, id(1), 0, dawn, By{}).After.Named("")
	if r := x.Request(&x.Operation); r.Metadata[MetaOperation] != TransferName("", "inv-1").String() || r.Metadata[MetaGeneration] != "0" {
		t.Errorf("the request names %v", r.Metadata)
	}
}

func TestTheGroupIsThePlatformsElseOursElseTheCharges(t *testing.T) {
	for name, tc := range map[string]struct {
		group, source, want string
	}{
		"the platform's own is sent":                 {"order-7", "", "order-7"},
		"even with a charge":                         {"order-7", "ch_1", "order-7"},
		"ours is made up when there is none":         {"", "", "settled:" + id(1).String()},
		"a charge's group is inherited, so no other": {"", "ch_1", ""},
	} {
		x := Transfer{Operation: Operation{Name: id(1)}, Order: Order{TransferGroup: tc.group, SourceTransaction: tc.source}}
		if got := x.Group(); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestAnOrdersHashNamesItsContent(t *testing.T) {
	base := order().Hash()
	for name, change := range map[string]func(*Order){
		"reference":   func(o *Order) { o.Reference += "x" },
		"seller":      func(o *Order) { o.Seller += "x" },
		"destination": func(o *Order) { o.Destination += "x" },
		"amount":      func(o *Order) { o.Money.Amount++ },
		"currency":    func(o *Order) { o.Money.Currency = "usd" },
		"source":      func(o *Order) { o.SourceTransaction = "ch_1" },
		"group":       func(o *Order) { o.TransferGroup = "g" },
		"description": func(o *Order) { o.Description = "d" },
		"date":        func(o *Order) { o.NotBefore = dawn },
		"metadata":    func(o *Order) { o.Metadata["invoice"] = "8" },
	} {
		o := order()
		change(&o)
		if o.Hash() == base {
			t.Errorf("%s: another content has the same hash", name)
		}
	}
	none, empty := order(), order()
	none.Metadata, empty.Metadata = nil, map[string]string{}
	if none.Hash() != empty.Hash() {
		t.Error("no metadata and empty metadata are the same order, and hash differently")
	}
	here, there := order(), order()
	here.NotBefore, there.NotBefore = dawn, dawn.In(fixedZone)
	if here.Hash() != there.Hash() {
		t.Error("one moment in two zones is one order, and hashes differently")
	}
	there.NotBefore = dawn.Add(999) // nanoseconds, which no database keeps
	if here.Hash() != there.Hash() {
		t.Error("what a database cuts off a moment makes another order")
	}
	late := order()
	late.NotBefore = time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC) // no such year in JSON: Hash panics
	if err := late.Check(); err == nil || !strings.Contains(err.Error(), "not_before") {
		t.Errorf("the year 12000: %v", err)
	}
}

func TestAnOrderIsCheckedWholeAndInTheSameWords(t *testing.T) {
	if err := order().Check(); err != nil {
		t.Fatalf("a good order: %v", err)
	}
	for name, tc := range map[string]struct {
		change func(*Order)
		field  string
	}{
		"without a reference":        {func(o *Order) { o.Reference = "" }, "reference"},
		"too long a reference":       {func(o *Order) { o.Reference = strings.Repeat("é", ReferenceMax+1) }, "reference"},
		"a seller with a newline":    {func(o *Order) { o.Seller = "a\nb" }, "seller"},
		"a seller that is no UTF-8":  {func(o *Order) { o.Seller = "\xff" }, "seller"},
		"no account":                 {func(o *Order) { o.Destination = "ba_1" }, "destination"},
		"nothing to pay":             {func(o *Order) { o.Money.Amount = 0 }, "amount"},
		"an unknown currency":        {func(o *Order) { o.Money.Currency = "xxx" }, "currency"},
		"a source that is no charge": {func(o *Order) { o.SourceTransaction = "pi_1" }, "source_transaction"},
		"a group with a NUL":         {func(o *Order) { o.TransferGroup = "\x00" }, "transfer_group"},
		"too long a description":     {func(o *Order) { o.Description = strings.Repeat("x", DescriptionMax+1) }, "description"},
		"an empty metadata key":      {func(o *Order) { o.Metadata[""] = "x" }, "metadata"},
		"an empty metadata value":    {func(o *Order) { o.Metadata["a"] = "" }, "metadata.a"},
		"a reserved key":             {func(o *Order) { o.Metadata["settled_x"] = "x" }, "metadata.settled_x"},
		"brackets in a key":          {func(o *Order) { o.Metadata["a[0]"] = "x" }, "metadata.a[0]"},
		"too many metadata": {func(o *Order) {
			for i := range MetadataKeys + 1 {
				o.Metadata[fmt.Sprint(i)] = "x"
			}
		}, "metadata"},
	} {
		o := order()
		tc.change(&o)
		err := o.Check()
		wrong, ok := err.(FieldErrors)
		if !ok || len(wrong) != 1 || wrong[0].Field != tc.field {
			t.Errorf("%s: got %v, want one problem with %s", name, err, tc.field)
		}
	}
	o := Order{Metadata: map[string]string{"[": "x", "]": "x", "[[": "x", "]]": "x"}}
	first := o.Check().Error()
	for range 20 {
		if again := o.Check().Error(); again != first {
			t.Fatalf("the same order is refused in other words:\n%s\n%s", first, again)
		}
	}
}
