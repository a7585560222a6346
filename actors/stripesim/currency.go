package stripesim

import (
	"fmt"
	"strings"
)

// currencies are the codes Stripe takes; the value is the number of decimals.
var currencies = func() map[string]int {
	m := make(map[string]int)
	for decimals, codes := range map[int]string{
		0: "bif clp djf gnf jpy kmf krw mga pyg rwf vnd vuv xaf xof xpf",
		2: `usd aed afn all amd ang aoa ars aud awg azn bam bbd bdt bgn bmd bnd bob brl bsd bwp byn bzd cad
			cdf chf cny cop crc cve czk dkk dop dzd egp etb eur fjd fkp gbp gel gip gmd gtq gyd hkd hnl hrk
			htg huf idr ils inr isk jmd kes kgs khr kyd kzt lak lbp lkr lrd lsl mad mdl mkd mmk mnt mop mur
			mvr mwk mxn myr mzn nad ngn nio nok npr nzd pab pen pgk php pkr pln qar ron rsd rub sar sbd scr
			sek sgd shp sle sos srd std svc szl thb tjs top try ttd twd tzs uah ugx uyu uzs wst xcd yer zar
			zmw`,
		3: "bhd jod kwd omr tnd",
	} {
		for _, code := range strings.Fields(codes) {
			m[code] = decimals
		}
	}
	return m
}()

// checkCurrency refuses a code Stripe does not know.
func checkCurrency(code string) *failure {
	if _, ok := currencies[code]; ok {
		return nil
	}
	return invalid("", "currency", fmt.Sprintf("Invalid currency: %s. Stripe currently supports these currencies: "+
		"usd, aed, afn, all, amd, ang, aoa, ars, aud, awg, eur, gbp, jpy, and others", code))
}

// checkAmount refuses amounts the currency cannot carry. Three-decimal amounts must
// end in 0 (STRIPE.md §8, unconfirmed for transfers).
func checkAmount(amount int64, currency string) *failure {
	const most = 999_999_999_999 // twelve digits, the widest Stripe takes for any currency
	if amount > most {
		return invalid("amount_too_large", "amount", "Amount must be no more than "+money(most, currency))
	}
	if currencies[currency] == 3 && amount%10 != 0 {
		return invalid("parameter_invalid_integer", "amount",
			"Amounts in three-decimal currencies must end in 0: "+fmt.Sprint(amount))
	}
	return nil
}

// money writes an amount as Stripe's messages do: €70.00.
func money(amount int64, currency string) string {
	symbol, ok := map[string]string{"eur": "€", "usd": "$", "gbp": "£", "jpy": "¥"}[currency]
	if !ok {
		symbol = strings.ToUpper(currency) + " "
	}
	scale := int64(1)
	decimals := currencies[currency]
	for range decimals {
		scale *= 10
	}
	if decimals == 0 {
		return fmt.Sprintf("%s%d", symbol, amount)
	}
	return fmt.Sprintf("%s%d.%0*d", symbol, amount/scale, decimals, amount%scale)
}

// currencyOf is a country's default currency, as far as tests care.
func currencyOf(country string) string {
	known := map[string]string{
		"US": "usd", "GB": "gbp", "CH": "chf", "JP": "jpy", "BR": "brl", "CA": "cad",
		"AU": "aud", "PL": "pln", "SE": "sek", "DK": "dkk", "NO": "nok", "CZ": "czk",
		"MX": "mxn", "SG": "sgd", "IN": "inr", "NZ": "nzd", "HK": "hkd", "RO": "ron",
	}
	if code, ok := known[country]; ok {
		return code
	}
	return "eur"
}

// region groups countries between which separate transfers are possible: the EEA
// with the United Kingdom and Switzerland is one, every other country its own.
func region(country string) string {
	const europe = " AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE IS LI NO GB CH GI "
	if strings.Contains(europe, " "+country+" ") {
		return "EEA"
	}
	return country
}
