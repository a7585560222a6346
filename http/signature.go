package http

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	signatureTolerance = 5 * time.Minute // both ways: a time to come is as wrong as one long past
	signatureLongest   = 8 << 10         // bytes of the header
	signatureEntries   = 8               // v1 entries that are looked at; Stripe sends one for each secret
	secretShortest     = 8               // characters of a webhook secret
)

// What a signature fails by. The answer is the same for all; the log tells them apart.
var (
	errSignatureForm  = errors.New("the signature header is malformed")
	errSignatureWrong = errors.New("no signature matches")
	errSignatureStale = errors.New("the signature's time is too far from ours")
)

// verifier checks Stripe's signatures: t=<unix>,v1=<hex>[,v1=…], where v1 is the HMAC-SHA256
// of "<t>.<body>". Any of several secrets will do, so that one can be rolled.
type verifier struct {
	secrets [][]byte
	now     func() time.Time
}

// CheckWebhookSecrets reports why [New] would refuse the secrets; it shows none of them.
func CheckWebhookSecrets(secrets []string) error {
	_, err := newVerifier(secrets, nil)
	return err
}

// Format keeps the secrets out of whatever prints a verifier.
func (v *verifier) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "verifier of %d secrets", len(v.secrets))
}

func newVerifier(secrets []string, now func() time.Time) (*verifier, error) {
	v := &verifier{now: now}
	if len(secrets) == 0 {
		return nil, errors.New("no webhook secret is given")
	}
	for i, s := range secrets {
		// An empty key would verify signatures that anybody can make.
		if s = strings.TrimSpace(s); len(s) < secretShortest {
			return nil, fmt.Errorf("webhook secret %d has %d characters: it must have at least %d", i+1, len(s), secretShortest)
		}
		v.secrets = append(v.secrets, []byte(s))
	}
	return v, nil
}

// verify checks the raw body, before anybody looks into it.
func (v *verifier) verify(header string, body []byte) error {
	stamp, at, signatures, err := parseSignature(header)
	if err != nil {
		return err
	}
	matches := false
	for _, secret := range v.secrets {
		if matches {
			break
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(stamp))
		mac.Write([]byte{'.'})
		mac.Write(body)
		want := mac.Sum(nil)
		for i := range signatures {
			matches = hmac.Equal(want, signatures[i][:]) || matches
		}
	}
	if !matches {
		return errSignatureWrong
	}
	// Only now, so that the time is Stripe's own word.
	if off := v.now().Sub(at); off > signatureTolerance || off < -signatureTolerance {
		return fmt.Errorf("%w: by %s", errSignatureStale, off.Round(time.Second))
	}
	return nil
}

// parseSignature reads the header: one t of digits, and at least one v1. Entries of other
// schemes are passed over, as Stripe asks.
func parseSignature(header string) (stamp string, at time.Time, signatures [][sha256.Size]byte, err error) {
	malformed := func() (string, time.Time, [][sha256.Size]byte, error) { return "", time.Time{}, nil, errSignatureForm }
	if len(header) > signatureLongest {
		return malformed()
	}
	for entry := range strings.SplitSeq(header, ",") {
		name, value, ok := strings.Cut(entry, "=")
		if !ok || strings.Contains(value, "=") { // as in Stripe's own library
			return malformed()
		}
		switch name {
		case "t":
			seconds, err := strconv.ParseUint(value, 10, 36) // until the year 4147, so that nothing overflows
			if err != nil || stamp != "" {
				return malformed()
			}
			stamp, at = value, time.Unix(int64(seconds), 0)
		case "v1":
			if len(signatures) == signatureEntries {
				return malformed()
			}
			var sum [sha256.Size]byte
			if len(value) != hex.EncodedLen(len(sum)) {
				return malformed()
			}
			if _, err := hex.Decode(sum[:], []byte(value)); err != nil {
				return malformed()
			}
			signatures = append(signatures, sum)
		}
	}
	if stamp == "" || len(signatures) == 0 {
		return malformed()
	}
	return stamp, at, signatures, nil
}
