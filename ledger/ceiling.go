package ledger

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrCeiling is an order above what may be ordered. Another day, or another setting, may let it through.
var ErrCeiling = errors.New("above a ceiling")

// Ceilings bound the damage of a token in the wrong hands, or of a loop in somebody's code. A nil map is no ceiling;
// a currency that a map does not name has none that could be kept, so nothing of it is taken.
type Ceilings struct {
	Transfer map[Currency]int64 // minor units of one transfer
	Daily    map[Currency]int64 // minor units of all that one principal orders in a day of UTC
}

// ParseCeilings reads eur:100000,usd:200000 (minor units); nil for an empty text.
func ParseCeilings(text string) (map[Currency]int64, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	most := make(map[Currency]int64)
	for part := range strings.SplitSeq(text, ",") {
		code, amount, ok := strings.Cut(strings.TrimSpace(part), ":")
		if !ok {
			return nil, fmt.Errorf("%q is not of the form eur:100000, in minor units", part)
		}
		c, err := ParseCurrency(strings.TrimSpace(code))
		if err != nil {
			return nil, err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(amount), 10, 64)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no whole number of minor units of %s, of at least 1", amount, c)
		}
		if _, twice := most[c]; twice {
			return nil, fmt.Errorf("%s is given twice", c)
		}
		most[c] = n
	}
	return most, nil
}

// Check reports why an order of some money may not be taken, when its principal has ordered so much already today.
func (c Ceilings) Check(m Money, today int64) error {
	if err := under(c.Transfer, "MAX_TRANSFER", Money{Currency: m.Currency}, m); err != nil {
		return err
	}
	return under(c.Daily, "MAX_DAILY", Money{today, m.Currency}, m)
}

// under compares without adding: a sum could overflow.
func under(most map[Currency]int64, name string, already, m Money) error {
	ceiling, named := most[m.Currency]
	switch {
	case most == nil:
		return nil
	case !named:
		return fmt.Errorf("%w: %s names no ceiling for %s, so none of it is taken", ErrCeiling, name, m.Currency)
	case m.Amount <= ceiling-already.Amount:
		return nil
	case already.Amount > 0:
		return fmt.Errorf("%w: %s is above %s of %s for one principal and day, of which %s were ordered today", ErrCeiling, m, name, Money{ceiling, m.Currency}, already)
	}
	return fmt.Errorf("%w: %s is above %s of %s", ErrCeiling, m, name, Money{ceiling, m.Currency})
}
