package ledger

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Currency is a lower-case ISO 4217 code, as Stripe answers it.
type Currency string

// AmountMax is the largest amount accepted, in minor units. Stripe documents no maximum for
// transfers; twelve digits hold every charge it accepts (docs.stripe.com/currencies) and
// leave int64 sums room for nine million of them.
const AmountMax int64 = 999_999_999_999

// exponents has the currencies that Stripe moves, with their number of decimals
// (docs.stripe.com/currencies). Three-decimal ones are not here: how Stripe takes them is
// not documented any more, so they are refused rather than guessed.
var exponents = func() map[Currency]int {
	m := make(map[Currency]int)
	for _, c := range strings.Fields(`aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd
		cad cdf chf cny cop crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl htg huf idr ils inr
		isk jmd kes kgs khr kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur mvr mwk mxn myr mzn nad ngn nio nok npr
		nzd pab pen pgk php pkr pln qar ron rsd rub sar sbd scr sek sgd shp sle sos srd std szl thb tjs top try ttd twd tzs
		uah ugx usd uyu uzs wst xcd xcg yer zar zmw`) {
		m[Currency(c)] = 2
	}
	for _, c := range strings.Fields("bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf") {
		m[Currency(c)] = 0
	}
	return m
}()

// threeDecimal currencies exist, and are refused with a reason of their own.
var threeDecimal = map[Currency]bool{"bhd": true, "iqd": true, "jod": true, "kwd": true, "lyd": true, "omr": true, "tnd": true}

// wholeUnits have no decimals in ISO 4217 but two at Stripe, which must be 00
// (docs.stripe.com/currencies, special cases).
var wholeUnits = map[Currency]bool{"isk": true, "ugx": true}

// ParseCurrency reads a code in either case. It is of ASCII: to fold other letters would make a code of what is none
// (the sign of kelvin becomes a k).
func ParseCurrency(s string) (Currency, error) {
	c := Currency(lowerASCII(s))
	if _, ok := exponents[c]; ok {
		return c, nil
	}
	if s == "" {
		return "", errors.New("is required: a three-letter ISO 4217 code such as usd")
	}
	if threeDecimal[c] {
		return "", fmt.Errorf("%s has three decimals, which Stripe does not document for transfers: convert it first", strings.ToUpper(s))
	}
	return "", fmt.Errorf("%q is no currency that Stripe transfers: use a three-letter ISO 4217 code such as usd", s)
}

// lowerASCII is [strings.ToLower] for the letters A to Z alone.
func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// Money is an amount of one currency in its minor units (cents; yen).
type Money struct {
	Amount   int64 // minor units
	Currency Currency
}

// Check reports why Stripe could not take m as the amount of a transfer or reversal.
func (m Money) Check() error {
	if _, ok := exponents[m.Currency]; !ok {
		_, err := ParseCurrency(string(m.Currency))
		if err == nil {
			err = fmt.Errorf("%q must be written in lower case", m.Currency)
		}
		return err
	}
	switch {
	case m.Amount < 1:
		return fmt.Errorf("%d is below 1, the smallest amount in minor units", m.Amount)
	case m.Amount > AmountMax:
		return fmt.Errorf("%d is above %d, the largest amount in minor units", m.Amount, AmountMax)
	case wholeUnits[m.Currency] && m.Amount%100 != 0:
		return fmt.Errorf("%d is not divisible by 100: %s has no cents, and Stripe wants its two decimals to be 00",
			m.Amount, strings.ToUpper(string(m.Currency)))
	}
	return nil
}

// String prints the exact decimal and the code: "12.30 EUR", "-5 JPY".
func (m Money) String() string {
	sign, n := "", m.Amount
	digits := ""
	if n < 0 {
		sign, digits = "-", strconv.FormatUint(-uint64(n), 10) // also exact for the smallest int64
	} else {
		digits = strconv.FormatInt(n, 10)
	}
	if e := exponents[m.Currency]; e > 0 {
		if len(digits) <= e {
			digits = strings.Repeat("0", e+1-len(digits)) + digits
		}
		digits = digits[:len(digits)-e] + "." + digits[len(digits)-e:]
	}
	return sign + digits + " " + strings.ToUpper(string(m.Currency))
}
