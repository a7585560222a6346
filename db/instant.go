package db

import (
	"database/sql/driver"
	"fmt"
	"time"
)

// instant is a time as both databases keep it: microseconds, UTC. PostgreSQL reads its text as
// a timestamptz; SQLite keeps the text, whose fixed form sorts as the times do. The zero time
// is NULL.
type instant time.Time

const (
	instantForm  = "2006-01-02T15:04:05.000000Z"
	instantGrain = time.Microsecond
)

func toInstant(t time.Time) instant {
	if t.IsZero() {
		return instant{}
	}
	return instant(t.UTC().Truncate(instantGrain))
}

func (i instant) time() time.Time { return time.Time(i) }

// IsZero tells bun what is NULL.
func (i instant) IsZero() bool { return time.Time(i).IsZero() }

// fits reports a time whose text sorts among the others'.
func (i instant) fits() bool {
	y := i.time().Year()
	return y >= 1 && y <= 9999
}

// Value implements driver.Valuer.
func (i instant) Value() (driver.Value, error) {
	if i.IsZero() {
		return nil, nil
	}
	if !i.fits() {
		return nil, fmt.Errorf("the year %d cannot be stored", i.time().Year())
	}
	return i.time().UTC().Format(instantForm), nil
}

// Scan implements sql.Scanner.
func (i *instant) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*i = instant{}
	case time.Time:
		*i = instant(v.UTC())
	case string:
		t, err := time.Parse(instantForm, v)
		*i = instant(t)
		return err
	default:
		return fmt.Errorf("a time came as %T", src)
	}
	return nil
}
