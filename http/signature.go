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
	"unicode"
	"unicode/utf8"
)

const (
	signatureTolerance = 5 * time.Minute // both ways: a time to come is as wrong as one long past
	signatureLongest   = 8 << 10         // bytes of the header
	signatureEntries   = 8               // v1 entries that are looked at; Stripe sends one for each secret
	secretShortest     = 8               // characters of a webhook secret
)

// The faults of a signature. The answer is the same for all; the log tells them apart.
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

// Format keeps the secrets out when a verifier is printed.
func (v *verifier) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "verifier of %d secrets", len(v.secrets))
}

func newVerifier(secrets []string, now func() time.Time) (*verifier, error) {
	v := &verifier{now: now}
	if len(secrets) == 0 {
		return nil, errors.New("no webhook secret is given")
	}
	for i, s := range secrets {
		s = strings.TrimSpace(s)
		if why := wrongSecret(s); why != "" {
			return nil, fmt.Errorf("webhook secret %d %s", i+1, why)
		}
		v.secrets = append(v.secrets, []byte(s))
	}
	return v, nil
}

// wrongSecret says why a text is no signing secret, without showing it. A text that is wrongly taken for one would
// refuse every event, and nobody would know why; so each mistake that people make has its name.
func wrongSecret(s string) string {
	odd := strings.IndexFunc(s, func(r rune) bool { return r < '!' || r > '~' })
	switch {
	case strings.ContainsAny(s, "\"'`"):
		return "has quotes in it, which docker's --env-file and some others keep: leave them out"
	case odd >= 0 && strings.ContainsAny(s, "\r\n"):
		return "has a line break in it: separate secrets by a comma"
	case strings.Contains(s, ";"):
		return "has a semicolon in it: separate secrets by a comma"
	case strings.ContainsFunc(s, func(r rune) bool { return r == '\ufeff' || r == utf8.RuneError }):
		return "has a byte order mark in it, or is no UTF-8: save it as plain text"
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.In(r, unicode.Cf) }):
		return "has a character in it that cannot be seen, such as a zero-width space: copy it anew"
	case odd >= 0:
		return "has a blank, or a character beyond ASCII, in it: copy it anew; separate secrets by a comma"
	case strings.HasPrefix(s, "sk_"), strings.HasPrefix(s, "rk_"), strings.HasPrefix(s, "pk_"):
		return "is an API key: the signing secret whsec_… stands with the webhook endpoint at Stripe"
	case strings.HasPrefix(s, "we_"):
		return "is the ID of the webhook endpoint: its signing secret is whsec_…"
	case len(s) < secretShortest:
		// An empty key would verify signatures that anybody can make.
		return fmt.Sprintf("has %d characters: it must have at least %d", len(s), secretShortest)
	}
	return ""
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

// parseSignature reads the header: one t of digits, and at least one v1. Entries of other schemes are passed over, as
// Stripe asks; and so is a v1 that can be no signature, as by Stripe's own libraries: it proves nothing, and takes
// nothing from the one beside it.
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
				continue
			}
			if _, err := hex.Decode(sum[:], []byte(value)); err != nil {
				continue
			}
			signatures = append(signatures, sum)
		}
	}
	if stamp == "" || len(signatures) == 0 {
		return malformed()
	}
	return stamp, at, signatures, nil
}
