package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// Seals are the chain across all of the history. A transfer's own chain shows what was changed in it,
// and not that all of it was taken out. So each commit also writes a seal: the rows of the history that
// it wrote, and one hash of them and of the seal before. Whoever keeps a seal's hash elsewhere knows
// all that was before it.

// Sealed names a row of the history in a seal.
type Sealed struct {
	Transfer ID
	Version  int64
	Chain    string // the row's own hash
}

// Seal is the end of a chain of seals.
type Seal struct {
	Chain int64 // which: each process has its own
	No    int64 // how many seals there are; 0: it was begun
	Hash  string
}

// String is the seal as a line of text: what people keep elsewhere.
func (s Seal) String() string { return fmt.Sprintf("%d:%d:%s", s.Chain, s.No, s.Hash) }

// ParseSeal reads [Seal.String].
func ParseSeal(text string) (s Seal, err error) {
	var rest string
	if n, err := fmt.Sscanf(text, "%d:%d:%s%s", &s.Chain, &s.No, &s.Hash, &rest); n != 3 || len(s.Hash) != 2*sha256.Size {
		return Seal{}, fmt.Errorf("%.100q is no seal: %w", text, err)
	}
	return s, nil
}

// BeginSeals begins a chain of seals; heads are the ends of the others.
func BeginSeals(chain int64, at time.Time, heads string) Seal {
	var text pen
	text.str("seals")
	text.num(chain)
	text.time(at)
	text.str(heads)
	return Seal{Chain: chain, Hash: hash(text)}
}

// Next returns the seal of some rows, which it sorts, and the text that names them.
func (s Seal) Next(at time.Time, rows []Sealed) (next Seal, text []byte) {
	slices.SortFunc(rows, func(a, b Sealed) int { return slices.Compare(a.Transfer[:], b.Transfer[:]) })
	text = make([]byte, 0, 18*len(rows))
	for i := range rows {
		text = append(text, rows[i].Transfer[:]...)
		text = binary.AppendUvarint(text, uint64(rows[i].Version))
	}
	return s.Over(at, rows, text), text
}

// Over returns the seal of rows that a text names.
func (s Seal) Over(at time.Time, rows []Sealed, names []byte) Seal {
	text := make(pen, 0, 256+len(names)+66*len(rows))
	text.str(s.Hash)
	text.num(s.Chain)
	text.num(s.No + 1)
	text.time(at)
	text.num(int64(len(rows)))
	text.str(string(names))
	for i := range rows {
		text.str(rows[i].Chain)
	}
	return Seal{s.Chain, s.No + 1, hash(text)}
}

// ParseSealed reads which rows a seal names.
func ParseSealed(text []byte) (rows []Sealed, err error) {
	for len(text) > 0 {
		var r Sealed
		if len(text) < len(r.Transfer)+1 {
			return nil, fmt.Errorf("it ends in the middle of a row")
		}
		text = text[copy(r.Transfer[:], text):]
		v, n := binary.Uvarint(text)
		if n <= 0 {
			return nil, fmt.Errorf("it ends in the middle of a row")
		}
		r.Version, text = int64(v), text[n:]
		rows = append(rows, r)
	}
	return rows, nil
}

func hash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
