package stripesim

import (
	"math"
	"time"
)

// mix hashes the seed with what a decision is about. It is FNV-1a with a final
// avalanche, written out because the plan of a seed must be the same for ever.
func mix(seed uint64, parts ...string) uint64 {
	h := uint64(14695981039346656037) ^ scramble(seed)
	for _, p := range parts {
		for i := 0; i < len(p); i++ {
			h = (h ^ uint64(p[i])) * 1099511628211
		}
		h = (h ^ 0x1ff) * 1099511628211 // a separator no byte can be
	}
	return scramble(h)
}

// scramble is the finalizer of splitmix64.
func scramble(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// unit maps a hash to [0, 1).
func unit(h uint64) float64 { return float64(h>>11) / (1 << 53) }

// spread draws a duration between max/4096 and max, each power of two as likely as
// the next: most waits are short and a few reach the bound.
func spread(h uint64, max time.Duration) time.Duration {
	return time.Duration(float64(max) * math.Exp2(-12*unit(h)))
}

const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// base62 writes a hash in eleven characters, and enough for any 64 bits.
func base62(h uint64) string {
	var b [11]byte
	for i := range b {
		b[i] = alphabet[h%62]
		h /= 62
	}
	return string(b[:])
}

// longID writes 22 characters from one hash, the length Stripe's ids have.
func longID(prefix string, h uint64) string {
	return prefix + "1" + base62(h) + base62(scramble(h^0x5bd1e995))
}
