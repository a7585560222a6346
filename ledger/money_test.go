package ledger_test

import (
	"math"
	"strconv"
	"strings"
	"testing"

	. "github.com/settled/settled/ledger"
	"pgregory.net/rapid"
)

// The currencies by their number of decimals at Stripe, written down again from its page.
var (
	twoDecimals = strings.Fields(`aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad cdf chf cny
		cop crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf idr ils inr isk jmd kes kgs khr kyd kzt lak
		lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr pln qar ron rsd rub sar
		sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs uah ugx usd uyu uzs wst xcd xcg yer zar zmw`)
	noDecimals    = strings.Fields(`bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf`)
	threeDecimals = strings.Fields(`bhd iqd jod kwd lyd omr tnd`)
)

func TestMoneyReadsAsItIsWritten(t *testing.T) {
	for text, want := range map[string]Money{
		"12.30 EUR":                 {1230, "eur"},
		"0.00 USD":                  {0, "usd"},
		"0.01 USD":                  {1, "usd"},
		"-0.05 USD":                 {-5, "usd"},
		"5 JPY":                     {5, "jpy"},
		"-5 JPY":                    {-5, "jpy"},
		"100.00 ISK":                {10000, "isk"},
		"3.00 UGX":                  {300, "ugx"},
		"92233720368547758.07 EUR":  {math.MaxInt64, "eur"},
		"-92233720368547758.08 EUR": {math.MinInt64, "eur"},
		"-9223372036854775808 JPY":  {math.MinInt64, "jpy"},
	} {
		if got := want.String(); got != text {
			t.Errorf("%d %s prints as %q, want %q", want.Amount, want.Currency, got, text)
		}
		if got, err := readMoney(text); err != nil || got != want {
			t.Errorf("%q reads as %v (%v), want %v", text, got, err, want)
		}
	}
}

// readMoney reads a printed amount: without its point it is an integer of minor units.
func readMoney(s string) (Money, error) {
	number, code, _ := strings.Cut(s, " ")
	n, err := strconv.ParseInt(strings.Replace(number, ".", "", 1), 10, 64)
	return Money{Amount: n, Currency: Currency(strings.ToLower(code))}, err
}

func TestEveryCurrencyGoesRound(t *testing.T) {
	extremes := []int64{0, 1, 9, 10, 99, 100, 101, AmountMax, math.MaxInt64, -1, -99, -100, math.MinInt64}
	for decimals, codes := range map[int][]string{2: twoDecimals, 0: noDecimals} {
		for _, code := range codes {
			c, err := ParseCurrency(strings.ToUpper(code))
			if err != nil || string(c) != code {
				t.Errorf("%s reads as %q (%v)", code, c, err)
				continue
			}
			for _, n := range extremes {
				m := Money{n, c}
				text := m.String()
				if got, err := readMoney(text); err != nil || got != m {
					t.Errorf("%d %s prints as %q, which reads as %v (%v)", n, c, text, got, err)
				}
				if _, fraction, _ := strings.Cut(strings.Fields(text)[0], "."); len(fraction) != decimals {
					t.Errorf("%q has %d decimals, want %d", text, len(fraction), decimals)
				}
			}
		}
	}
	for _, code := range threeDecimals {
		if _, err := ParseCurrency(code); err == nil || !strings.Contains(err.Error(), "three decimals") {
			t.Errorf("%s: got %v, want a refusal that says why", code, err)
		}
	}
}

func TestMoneyThatStripeCouldNotTakeIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		m  Money
		ok bool
	}{
		"one cent is the least":                {Money{1, "usd"}, true},
		"nothing is too little":                {Money{0, "usd"}, false},
		"less than nothing is too little":      {Money{-1, "usd"}, false},
		"the largest amount is accepted":       {Money{AmountMax, "usd"}, true},
		"one more is too much":                 {Money{AmountMax + 1, "usd"}, false},
		"one yen is fine":                      {Money{1, "jpy"}, true},
		"a whole króna is fine":                {Money{100, "isk"}, true},
		"a part of a króna does not exist":     {Money{150, "isk"}, false},
		"a whole Ugandan shilling is fine":     {Money{2500, "ugx"}, true},
		"a part of a shilling does not exist":  {Money{1, "ugx"}, false},
		"an upper-case code is not normalised": {Money{1, "USD"}, false},
		"three decimals are not guessed at":    {Money{1000, "kwd"}, false},
		"no currency is no money":              {Money{1000, ""}, false},
	} {
		if err := tc.m.Check(); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMoneyGoesRound(t *testing.T) {
	codes := append(append([]string{}, twoDecimals...), noDecimals...)
	rapid.Check(t, func(t *rapid.T) {
		m := Money{rapid.Int64().Draw(t, "amount"), Currency(rapid.SampledFrom(codes).Draw(t, "currency"))}
		if got, err := readMoney(m.String()); err != nil || got != m {
			t.Fatalf("%d %s prints as %q, which reads as %v (%v)", m.Amount, m.Currency, m, got, err)
		}
	})
}
