package ledger_test

import (
	"strings"
	"testing"

	"github.com/settled/settled/ledger"
)

func TestANameThatLooksLikeAnotherIsRefused(t *testing.T) {
	for text, why := range map[string]string{
		"order-1":                "",
		"order 1/seller 7 (é)":   "",
		"注文-1":                   "",
		"":                       "is required",
		" order-1":               "begins with a blank",
		"order-1 ":               "ends with a blank",
		"order-1\u00a0":          "ends with a blank",
		"\u3000order-1":          "begins with a blank",
		"order\t1":               "control character",
		"order\u0085":            "U+0085",
		"order-1\u200b":          "U+200B",
		"order\u00ad-1":          "U+00AD",
		"\u202eorder-1":          "U+202E",
		"\ufefforder-1":          "U+FEFF",
		"order\u20281":           "U+2028",
		"order\u20291":           "U+2029",
		"order-1\ufe0f":          "U+FE0F",
		"order-\u31641":          "U+3164",
		"order-1\U000e0041":      "U+E0041",
		"cafe\u0301":             "NFC",
		"\u212bngström":          "NFC",
		strings.Repeat("x", 201): "shorten it",
		"\xff":                   "UTF-8",
	} {
		err := ledger.CheckReference(text, 200)
		if why == "" && err != nil || why != "" && (err == nil || !strings.Contains(err.Error(), why)) {
			t.Errorf("%+q: %v, want %q", text, err, why)
		}
	}
}

func TestAnOrderNamesTheFieldWhoseNameLooksLikeAnother(t *testing.T) {
	o := ledger.Order{Reference: "order-1\u200b", Seller: "s ", Destination: "acct_1", Money: ledger.Money{Amount: 100, Currency: "eur"}}
	err := o.Check()
	for _, want := range []string{"reference: has U+200B, which cannot be seen, as its character 8: remove it", "seller: ends with a blank: remove it"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestNamesThatAreTakenForEachOtherHaveOneSkeleton(t *testing.T) {
	for _, alike := range [][]string{
		{"order-1001", "ORDER-1001", "оrder-1001", "order-l00l", "order‐1001", "order–1001", "ＯＲＤＥＲ-1001", "Οrder-1001", "оrԁеr-1OOI"},
		{"inv 7", "inv\u00a07", "inv  7", "INV 7"},
		{"modern", "rnodern", "mоdеrn"},
		{"ВЕСНА", "BECHA"},
	} {
		for _, s := range alike[1:] {
			if ledger.Skeleton(s) != ledger.Skeleton(alike[0]) {
				t.Errorf("%+q (%q) is not like %+q (%q)", s, ledger.Skeleton(s), alike[0], ledger.Skeleton(alike[0]))
			}
		}
	}
	for _, pair := range [][2]string{{"order-1001", "order-1002"}, {"order-10", "order-1"}, {"a/b", "ab"}, {"café", "cafe"}, {"注文", "注丈"}} {
		if ledger.Skeleton(pair[0]) == ledger.Skeleton(pair[1]) {
			t.Errorf("%q is like %q", pair[0], pair[1])
		}
	}
}
