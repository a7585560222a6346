package http

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/settled/settled/ledger"
)

// Role is the rights of a token; each role may do all that the one before it may.
type Role string

// The roles.
const (
	RoleNone     Role = ""         // no token is needed
	RoleViewer   Role = "viewer"   // read
	RoleOperator Role = "operator" // order transfers and send messages
	RoleAdmin    Role = "admin"    // everything
)

var ranks = map[Role]int{RoleViewer: 1, RoleOperator: 2, RoleAdmin: 3}

// allows reports whether r includes the needed role. An unknown role may do nothing.
func (r Role) allows(needed Role) bool { return ranks[r] >= ranks[needed] && ranks[r] > 0 }

// Principal is who a request speaks for.
type Principal struct {
	Name string
	Role Role
}

const (
	tokenSecret  = 32 // bytes of chance
	prefixSecret = 5  // bytes, which are 8 characters
	tokenLongest = 256
	// BootstrapShortest is the least length of a bootstrap token, in characters.
	BootstrapShortest = 16
)

var (
	prefixText = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)
	tokenForm  = regexp.MustCompile(`^settled_([a-z2-9]{8})_[A-Za-z0-9_-]{43}$`)
)

// NewToken makes a token: settled_<prefix>_<256 bits>. It is shown once; only its prefix and
// hash are stored. random is [crypto/rand.Reader] but in tests.
func NewToken(random io.Reader) (token, prefix string, hash []byte) {
	var chance [prefixSecret + tokenSecret]byte
	if _, err := io.ReadFull(random, chance[:]); err != nil {
		panic(fmt.Sprintf("http: no randomness for a token: %v", err)) // better no token than a weak one
	}
	prefix = prefixText.EncodeToString(chance[:prefixSecret])
	token = "settled_" + prefix + "_" + base64.RawURLEncoding.EncodeToString(chance[prefixSecret:])
	return token, prefix, HashToken(token)
}

// HashToken returns the form in which a token is stored. It holds 256 bits of chance, so no slow
// hash is needed.
func HashToken(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

const (
	tokensFresh = 3 * time.Second  // so long a revoked token may still be taken
	tokensStale = 30 * time.Second // so long the last known tokens are taken while the store does not answer
	tokensPause = time.Second      // between two reads, however many unknown tokens come
	tokensRead  = 2 * time.Second  // one read takes no longer
)

// keyring knows the tokens: the stored ones from a cache, and the bootstrap ones.
type keyring struct {
	source    Tokens
	now       func() time.Time
	bootstrap []Token

	mu       sync.Mutex
	byPrefix map[string][]Token
	read     time.Time // when byPrefix was read
	tried    time.Time // when a read was last tried
}

// CheckBootstrapToken reports why [New] would refuse a bootstrap token; it does not show it.
func CheckBootstrapToken(token string) error {
	switch {
	case len(token) < BootstrapShortest:
		return fmt.Errorf("it has %d characters: %d is the least that cannot be guessed", len(token), BootstrapShortest)
	case len(token) > tokenLongest || strings.ContainsFunc(token, notVisible):
		return fmt.Errorf("it must have %d to %d visible ASCII characters", BootstrapShortest, tokenLongest)
	}
	return nil
}

// newKeyring takes the bootstrap tokens by name.
func newKeyring(source Tokens, bootstrap map[string]string, now func() time.Time) (*keyring, error) {
	k := &keyring{source: source, now: now}
	for name, token := range bootstrap {
		if name == "" {
			return nil, fmt.Errorf("a bootstrap token has no name")
		}
		if err := CheckBootstrapToken(token); err != nil {
			return nil, fmt.Errorf("the bootstrap token %s: %w", name, err)
		}
		k.bootstrap = append(k.bootstrap, Token{Name: name, Hash: HashToken(token), Role: RoleAdmin})
	}
	return k, nil
}

func notVisible(r rune) bool { return r <= ' ' || r > '~' }

// find returns whose token it is. The zero Principal means nobody's; the log is told why not, and
// the caller is not.
func (k *keyring) find(ctx context.Context, token string) (Principal, miss, error) {
	hash := HashToken(token)
	for _, t := range k.bootstrap {
		if subtle.ConstantTimeCompare(t.Hash, hash) == 1 {
			return Principal{t.Name, t.Role}, miss{}, nil
		}
	}
	form := tokenForm.FindStringSubmatch(token)
	if form == nil {
		return Principal{}, miss{why: deniedUnknown}, nil
	}
	candidates, err := k.candidates(ctx, form[1])
	if err != nil {
		return Principal{}, miss{}, err
	}
	missed := miss{why: deniedUnknown}
	if len(candidates) > 0 {
		missed.prefix = form[1]
	}
	now := k.now()
	for _, t := range candidates {
		switch {
		case subtle.ConstantTimeCompare(t.Hash, hash) != 1:
		case !t.RevokedAt.IsZero():
			missed.why, missed.name = deniedRevoked, t.Name
		case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt):
			missed.why, missed.name = deniedExpired, t.Name
		default:
			return Principal{t.Name, t.Role}, miss{}, nil
		}
	}
	return Principal{}, missed, nil
}

// candidates returns the tokens of a prefix. The lock is held while the store is read: who
// comes meanwhile needs the answer too.
func (k *keyring) candidates(ctx context.Context, prefix string) ([]Token, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	fresh := k.byPrefix != nil && now.Sub(k.read) < tokensFresh
	if _, known := k.byPrefix[prefix]; fresh && (known || now.Sub(k.tried) < tokensPause) {
		return k.byPrefix[prefix], nil
	}
	usable := k.byPrefix != nil && now.Sub(k.read) < tokensStale
	if usable && now.Sub(k.tried) < tokensPause {
		return k.byPrefix[prefix], nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err // waited for the lock too long
	}
	k.tried = now
	ctx, cancel := context.WithTimeout(ctx, tokensRead)
	defer cancel()
	all, err := k.source.Tokens(ctx)
	if err != nil {
		if usable {
			return k.byPrefix[prefix], nil
		}
		return nil, fmt.Errorf("read the tokens: %w: %w", ledger.ErrUnavailable, err)
	}
	k.byPrefix = make(map[string][]Token, len(all))
	for _, t := range all {
		k.byPrefix[t.Prefix] = append(k.byPrefix[t.Prefix], t)
	}
	k.read = now
	return k.byPrefix[prefix], nil
}

// bearer reads an Authorization header.
func bearer(header string) (string, bool) {
	scheme, token, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > tokenLongest ||
		strings.ContainsFunc(token, notVisible) {
		return "", false
	}
	return token, true
}
