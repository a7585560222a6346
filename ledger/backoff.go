package ledger

import (
	"encoding/binary"
	"hash/fnv"
	"time"
)

// Backoff is exponential with a cap and equal jitter: the n-th wait lies between half and all
// of base × 2^(n-1), capped at Max.
type Backoff struct {
	Base time.Duration // the first wait
	Max  time.Duration // no wait is longer
}

// Wait returns the wait after the n-th setback in a row, n from 1. The jitter is handed in:
// 0 gives the shortest wait, the largest value the longest.
func (b Backoff) Wait(n int, jitter uint32) time.Duration {
	d := b.Base
	for i := 1; i < n && d < b.Max; i++ {
		if d > b.Max/2 { // doubling could overflow
			d = b.Max
			break
		}
		d *= 2
	}
	d = min(d, b.Max)
	half := d / 2
	// In thousandths, so that the product cannot overflow for waits of years.
	return half + half/1000*time.Duration(uint64(jitter)*1000>>32)
}

// Jitter derives the jitter of an operation's n-th wait. It is derived, not drawn, so that a
// restart in the middle of a wait computes the same end of it.
func Jitter(operation ID, n int) uint32 {
	h := fnv.New64a()
	h.Write(operation[:])
	var word [8]byte
	binary.BigEndian.PutUint64(word[:], uint64(n))
	h.Write(word[:])
	x := h.Sum64()
	// FNV's high bits mix poorly in the last bytes written; a final avalanche spreads them.
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return uint32(x)
}
