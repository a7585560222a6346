package ledger

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestCeilingsAreRead(t *testing.T) {
	for text, want := range map[string]map[Currency]int64{
		"": nil, " ": nil, "eur:1": {"eur": 1}, " EUR:100000 , jpy : 5 ": {"eur": 100000, "jpy": 5},
	} {
		got, err := ParseCeilings(text)
		if err != nil || len(got) != len(want) || (got == nil) != (want == nil) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
		for c, n := range want {
			if got[c] != n {
				t.Errorf("%q: %s is %d", text, c, got[c])
			}
		}
	}
	for text, says := range map[string]string{
		"1000": "of the form", "eur=1": "of the form", "eur:": "no whole number", "eur:1.5": "no whole number", "eur:0": "at least 1", "eur:-1": "at least 1",
		"eur:1,EUR:2": "twice", "kwd:1": "three decimals", "xyz:1": "no currency", "eur:1,": "of the form", "eur:9223372036854775808": "no whole number",
	} {
		if _, err := ParseCeilings(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v does not say %q", text, err, says)
		}
	}
}

func TestACeilingIsKept(t *testing.T) {
	c := Ceilings{Transfer: map[Currency]int64{"eur": 1000}, Daily: map[Currency]int64{"eur": 1500, "usd": 10}}
	for name, tc := range map[string]struct {
		m     Money
		today int64
		says  string
	}{
		"up to both":                        {Money{1000, "eur"}, 500, ""},
		"above that of a transfer":          {Money{1001, "eur"}, 0, "MAX_TRANSFER of 10.00 EUR"},
		"above that of a day":               {Money{501, "eur"}, 1000, "10.00 EUR were ordered today"},
		"of another currency":               {Money{5, "usd"}, 0, "MAX_TRANSFER names no ceiling for usd"},
		"so much that a sum would overflow": {Money{1000, "eur"}, math.MaxInt64, "MAX_DAILY"},
	} {
		err := c.Check(tc.m, tc.today)
		switch {
		case tc.says == "" && err == nil:
		case tc.says == "" || !errors.Is(err, ErrCeiling) || !strings.Contains(err.Error(), tc.says):
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (Ceilings{}).Check(Money{math.MaxInt64, "eur"}, math.MaxInt64); err != nil {
		t.Errorf("without ceilings: %v", err)
	}
}
