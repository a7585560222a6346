package http

import (
	"bytes"
	"mime"
	"strings"

	"github.com/valyala/fasthttp"

	"github.com/settled/settled/ledger"
)

const headersMost = 100 // header lines of one request

// onlyOnce are headers of which a second one is never honest: a proxy may have gone by the other.
var onlyOnce = [...][]byte{
	[]byte("Content-Length"), []byte("Transfer-Encoding"),
	[]byte("Content-Type"), []byte("Content-Encoding"), []byte("Authorization"), []byte("Idempotency-Key"),
	[]byte("X-Request-Id"),
}

// Places in onlyOnce.
const contentLength, transferEncoding = 0, 1

// atTheHead are headers that fasthttp would also take from behind a chunked body, where no
// proxy looks for them. Those that frame a message or name its sender it refuses there itself.
var atTheHead = [...]string{"Idempotency-Key", "X-Request-Id", "Stripe-Signature"}

// guard refuses headers that fasthttp lets through although two readers could understand them
// differently, before the request means anything: after it, the connection is closed.
func guard(h *fasthttp.RequestHeader) *fault {
	switch string(h.Protocol()) {
	case "HTTP/1.1", "HTTP/1.0":
	default:
		return faultf(badRequest, "Speak HTTP/1.1, not %s.", quote(string(h.Protocol())))
	}
	if bytes.IndexByte(h.RequestURI(), '#') >= 0 { // fasthttp would drop the rest; a proxy may not
		return faultf(badRequest, "A request has no fragment: write # as %%23.")
	}
	lines := 0
	var seen [len(onlyOnce)]bool
	for rest := h.RawHeaders(); len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		line, ended := bytes.CutSuffix(line, []byte("\r"))
		if !ended {
			return faultf(badRequest, "A header does not end in CRLF.")
		}
		if len(line) == 0 {
			continue
		}
		if lines++; lines > headersMost {
			return faultf(headersTooLarge, "There are more than %d headers.", headersMost)
		}
		if line[0] == ' ' || line[0] == '\t' {
			return faultf(badRequest, "A header is folded over two lines: write it on one.")
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		for i, once := range onlyOnce {
			switch {
			case len(name) != len(once) || !bytes.EqualFold(name, once):
			case seen[i]:
				return headerFault(string(once), "is given more than once: keep one")
			case i == transferEncoding && !bytes.EqualFold(bytes.TrimSpace(value), []byte("chunked")):
				return headerFault(string(once), "must be chunked, or be left out")
			default:
				seen[i] = true
			}
		}
	}
	if seen[contentLength] && seen[transferEncoding] {
		return faultf(badRequest, "Content-Length and Transfer-Encoding contradict each other: send one.")
	}
	if seen[transferEncoding] {
		for _, name := range atTheHead {
			if given := len(h.PeekAll(name)); given > rawCount(h, name) {
				return headerFault(name, "comes behind the body: send it before")
			}
		}
	}
	return nil
}

// rawCount is how often a header was given before the body.
func rawCount(h *fasthttp.RequestHeader, name string) (n int) {
	for line := range bytes.Lines(h.RawHeaders()) {
		if given, _, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(given, []byte(name)) {
			n++
		}
	}
	return n
}

func headerFault(name, detail string) *fault {
	return &fault{kind: invalidHeader, detail: "Nothing was done. See errors for the header and its remedy.",
		fields: ledger.FieldErrors{{Field: name, Detail: detail}}}
}

// plainJSON refuses a body that is not application/json as it stands.
func plainJSON(h *fasthttp.RequestHeader) *fault {
	given := string(h.ContentType())
	if given == "application/json" {
		return nil
	}
	media, params, err := mime.ParseMediaType(given)
	charset := params["charset"]
	if err != nil || media != "application/json" || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return faultf(unsupportedMedia, "Send the header Content-Type: application/json, not %s.", quote(given))
	}
	return nil
}

// uncompressed refuses a body that is encoded: fasthttp would hand it on as it is.
func uncompressed(h *fasthttp.RequestHeader) *fault {
	if given := string(h.Peek("Content-Encoding")); given != "" && !strings.EqualFold(given, "identity") {
		return faultf(unsupportedMedia, "Send the body without Content-Encoding, not %s.", quote(given))
	}
	return nil
}
