package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Order is what a platform asks for: one stand-alone transfer. It never changes once accepted.
type Order struct {
	Reference         string // the platform's own name for it; unique
	Seller            string // the platform's own name for who is owed
	Destination       string // acct_…
	Money             Money
	SourceTransaction string // ch_… that funds it, or empty
	TransferGroup     string // Stripe's grouping, or empty
	Description       string
	NotBefore         time.Time         // not sent before; zero: at once
	Metadata          map[string]string // the platform's own, copied to Stripe
}

// FieldError says what is wrong with one field of an input, and how to put it right.
type FieldError struct {
	Field  string // as the API spells it
	Detail string
}

func (e FieldError) Error() string { return e.Field + ": " + e.Detail }

// FieldErrors is every problem of one input at once.
type FieldErrors []FieldError

func (e FieldErrors) Error() string {
	texts := make([]string, len(e))
	for i, f := range e {
		texts[i] = f.Error()
	}
	return strings.Join(texts, "; ")
}

// The limits of an order's fields. Those of metadata are Stripe's (50 keys of 40 and 500
// characters, docs.stripe.com/api/metadata) less room for our own seven keys.
const (
	ReferenceMax     = 200 // characters
	SellerMax        = 200
	GroupMax         = 200
	DescriptionMax   = 500
	MetadataKeys     = 40
	MetadataKeyMax   = 40
	MetadataValueMax = 500
	ReasonMax        = 500
)

var (
	destinationForm = regexp.MustCompile(`^acct_[A-Za-z0-9_]{1,64}$`)
	sourceForm      = regexp.MustCompile(`^(ch|py)_[A-Za-z0-9_]{1,64}$`)
	transferForm    = regexp.MustCompile(`^tr_[A-Za-z0-9_]{1,64}$`)
	reversalForm    = regexp.MustCompile(`^trr_[A-Za-z0-9_]{1,64}$`)
)

// CheckText reports why a text is refused: too long (in characters), not UTF-8, or with
// control characters, which no log, statement or database of ours should have to carry.
func CheckText(s string, longest int) error {
	switch {
	case !utf8.ValidString(s):
		return fmt.Errorf("is not valid UTF-8")
	case utf8.RuneCountInString(s) > longest:
		return fmt.Errorf("has %d characters: shorten it to %d or fewer", utf8.RuneCountInString(s), longest)
	case strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return fmt.Errorf("has a control character: remove it")
	}
	return nil
}

// Check reports every field that is wrong, or nil.
func (o Order) Check() error {
	var wrong FieldErrors
	add := func(field string, err error) {
		if err != nil {
			wrong = append(wrong, FieldError{field, err.Error()})
		}
	}
	add("reference", CheckReference(o.Reference, ReferenceMax))
	add("seller", CheckReference(o.Seller, SellerMax))
	if !destinationForm.MatchString(o.Destination) {
		add("destination", fmt.Errorf("must be a connected account such as acct_1Abc"))
	}
	if _, err := ParseCurrency(string(o.Money.Currency)); err != nil {
		add("currency", err)
	} else {
		add("amount", o.Money.Check())
	}
	if o.SourceTransaction != "" && !sourceForm.MatchString(o.SourceTransaction) {
		add("source_transaction", fmt.Errorf("must be a charge such as ch_1Abc, or absent"))
	}
	if y := o.NotBefore.UTC().Year(); !o.NotBefore.IsZero() && (y < 2000 || y > 2199) {
		add("not_before", fmt.Errorf("is in the year %d: give a moment between 2000 and 2199, or leave it out", y))
	}
	add("transfer_group", CheckText(o.TransferGroup, GroupMax))
	if strings.HasPrefix(o.TransferGroup, groupPrefix) { // by such a one a transfer is recognised
		add("transfer_group", fmt.Errorf("must not begin with %q: those are our own", groupPrefix))
	}
	add("description", CheckText(o.Description, DescriptionMax))
	if len(o.Metadata) > MetadataKeys {
		add("metadata", fmt.Errorf("has %d keys: Stripe and we leave room for %d", len(o.Metadata), MetadataKeys))
	}
	for _, k := range slices.Sorted(maps.Keys(o.Metadata)) {
		v := o.Metadata[k]
		field := "metadata." + k
		switch {
		case k == "":
			add("metadata", fmt.Errorf("has an empty key"))
		case strings.HasPrefix(k, MetaReserved):
			add(field, fmt.Errorf("keys that begin with %q are reserved", MetaReserved))
		case strings.ContainsAny(k, "[]"):
			add(field, fmt.Errorf("has a square bracket, which Stripe takes in no key"))
		case v == "":
			add(field, fmt.Errorf("is empty, and Stripe drops empty values: leave the key out"))
		}
		add(field, CheckText(k, MetadataKeyMax))
		add(field, CheckText(v, MetadataValueMax))
	}
	if len(wrong) == 0 {
		return nil
	}
	return wrong
}

// Hash names the order's content (SHA-256, hex): the same reference may come again with the
// same content, and no other.
func (o Order) Hash() string {
	o.NotBefore = o.NotBefore.UTC().Truncate(time.Microsecond) // as far as a database keeps it
	if len(o.Metadata) == 0 {
		o.Metadata = nil // none and an empty one say the same
	}
	text, err := json.Marshal(o) // struct fields in order, maps sorted
	if err != nil {
		panic(fmt.Sprintf("ledger: an order cannot be written as JSON: %v", err)) // strings and numbers always can
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
