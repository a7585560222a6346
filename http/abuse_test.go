package http

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is when a test gives up. No test fails because something took long, but because it
// never came.
const patience = 2 * time.Minute

// dial opens a connection of its own.
func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

// raw writes bytes and returns the answers until the server closes.
func raw(t testing.TB, addr, request string) []answer {
	t.Helper()
	c := dial(t, addr)
	go io.WriteString(c, request) // the server may answer, and close, before it has read all
	var all []answer
	r := bufio.NewReader(c)
	for {
		got, err := nethttp.ReadResponse(r, nil)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("no end after %d answers", len(all))
		}
		if err != nil {
			return all
		}
		body, err := io.ReadAll(got.Body)
		got.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if got.StatusCode != 100 {
			all = append(all, answer{got.StatusCode, got.Header, body})
		}
	}
}

func TestAMalformedRequestIsRefusedAndEndsItsConnection(t *testing.T) {
	s := open(t)
	// A request that never ends is cut by this one, which has no patience; its requests are small.
	hasty := open(t, func(c *Config) { c.Limits.Read = 300 * time.Millisecond })
	post := "POST /v1/transfers HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + s.operator + "\r\nContent-Type: application/json\r\n"
	length := "Content-Length: " + strconv.Itoa(len(orderText)) + "\r\n"
	hooks := "POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\n"
	smuggled := "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
	chunk := "1000\r\n" + strings.Repeat("a", 4096) + "\r\n"
	for name, c := range map[string]struct {
		addr, request string
		kind          *kind
		field         []string
	}{
		"a length over the limit":          {s.public, hooks + "Content-Length: 999999999\r\n\r\n", bodyTooLarge, nil},
		"the same, and it asks first":      {s.public, hooks + "Content-Length: 999999999\r\nExpect: 100-continue\r\n\r\n", bodyTooLarge, nil},
		"chunks over the limit":            {s.public, hooks + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat(chunk, 300) + "0\r\n\r\n", bodyTooLarge, nil},
		"2 MB for one transfer":            {s.admin, post + "Content-Length: 2097152\r\n\r\n" + strings.Repeat(" ", 2<<20), bodyTooLarge, nil},
		"5 MB for a batch":                 {s.admin, strings.Replace(post, "/v1/transfers", batchPath, 1) + "Content-Length: 5242880\r\n\r\n" + strings.Repeat(" ", 5<<20), bodyTooLarge, nil},
		"100 kB for a message":             {s.admin, strings.Replace(post, "/v1/transfers", "/v1/transfers/x/messages", 1) + "Content-Length: 102400\r\n\r\n" + strings.Repeat(" ", 100<<10), bodyTooLarge, nil},
		"headers of 64 kB":                 {s.public, hooks + "X: " + strings.Repeat("a", 64<<10) + "\r\n\r\n", headersTooLarge, nil},
		"a signature of 64 kB":             {s.public, hooks + "Stripe-Signature: t=1," + strings.Repeat("v1=00,", 10000) + "\r\n\r\n", headersTooLarge, nil},
		"a thousand headers":               {s.public, hooks + strings.Repeat("A: b\r\n", 1000) + "Content-Length: 0\r\n\r\n", headersTooLarge, nil},
		"two lengths":                      {s.admin, post + "Content-Length: 2\r\n" + length + "\r\n" + orderText, badRequest, nil},
		"a length and chunks":              {s.admin, post + "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, badRequest, nil},
		"chunks and a length":              {s.public, hooks + "Transfer-Encoding: chunked\r\ncontent-length: 4\r\n\r\n0\r\n\r\n" + smuggled, badRequest, nil},
		"chunks of no kind":                {s.admin, post + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + smuggled, badRequest, nil},
		"an identity that hides a request": {s.admin, post + "Transfer-Encoding: identity\r\n\r\n" + smuggled, invalidHeader, []string{"Transfer-Encoding"}},
		"a negative length":                {s.admin, post + "Content-Length: -1\r\n\r\n" + smuggled, badRequest, nil},
		"a length with a plus":             {s.admin, post + "Content-Length: +2\r\n\r\n{}" + smuggled, badRequest, nil},
		"a space before the colon":         {s.admin, post + "Content-Length : 2\r\n\r\n{}" + smuggled, badRequest, nil},
		"a folded header":                  {s.admin, post + "X: a\r\n b\r\n" + length + "\r\n" + orderText + smuggled, badRequest, nil},
		"a header folded with a tab":       {s.admin, post + "X: a\r\n\tTransfer-Encoding: chunked\r\n" + length + "\r\n" + orderText + smuggled, badRequest, nil},
		"bare line feeds":                  {hasty.admin, strings.ReplaceAll(post+length+"\r\n", "\r", "") + orderText, requestTimeout, nil},
		"one bare line feed":               {s.admin, strings.Replace(post, "Host: x\r\n", "Host: x\n", 1) + length + "\r\n" + orderText + smuggled, badRequest, nil},
		"a bare line feed at the end":      {s.admin, post + length + "\n" + orderText + smuggled, badRequest, nil},
		"a bare carriage return":           {s.admin, post + "X: a\rTransfer-Encoding: chunked\r\n" + length + "\r\n" + orderText + smuggled, badRequest, nil},
		"a NUL in a header":                {s.admin, post + "X: a\x00b\r\n" + length + "\r\n" + orderText + smuggled, badRequest, nil},
		"the same length twice":            {s.admin, post + length + length + "\r\n" + orderText + smuggled, badRequest, nil},
		"a list of lengths":                {s.admin, post + "Content-Length: 2, 2\r\n\r\n{}" + smuggled, badRequest, nil},
		"a length beyond 64 bits":          {s.admin, post + "Content-Length: 18446744073709551618\r\n\r\n{}" + smuggled, badRequest, nil},
		"chunks in a list":                 {s.admin, post + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + smuggled, badRequest, nil},
		"chunks behind a vertical tab":     {s.admin, post + "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + smuggled, badRequest, nil},
		"chunks twice":                     {s.admin, post + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, badRequest, nil},
		"chunks in HTTP/1.0":               {s.admin, strings.Replace(post, "HTTP/1.1", "HTTP/1.0", 1) + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled, badRequest, nil},
		"a chunk's size with 0x":           {s.admin, post + "Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n" + smuggled, badRequest, nil},
		"a chunk's size beyond 64 bits":    {s.admin, post + "Transfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n" + smuggled, badRequest, nil},
		"a line feed in a chunk's size":    {s.admin, post + "Transfer-Encoding: chunked\r\n\r\n2;\n\r\n{}\r\n0\r\n\r\n" + smuggled, badRequest, nil},
		"a token behind the body":          {s.admin, post + "Transfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer " + adminToken + "\r\n\r\n" + smuggled, badRequest, nil},
		"a length behind the body":         {s.admin, post + "Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n" + smuggled, badRequest, nil},
		"a key behind the body":            {s.admin, post + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nIdempotency-Key: a\r\n\r\n" + smuggled, invalidHeader, []string{"Idempotency-Key"}},
		"two keys, one behind the body":    {s.admin, post + "Idempotency-Key: b\r\nTrailer: Idempotency-Key\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nidempotency-key: a\r\n\r\n" + smuggled, invalidHeader, []string{"Idempotency-Key"}},
		"a signature behind the body":      {s.public, hooks + "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nStripe-Signature: " + sign(secretOld, "{}", s.now()) + "\r\n\r\n" + smuggled, invalidHeader, []string{"Stripe-Signature"}},
		"HTTP/2.0":                         {s.admin, strings.Replace(post, "HTTP/1.1", "HTTP/2.0", 1) + length + "\r\n" + orderText + smuggled, badRequest, nil},
		"HTTP/1.2":                         {s.admin, strings.Replace(post, "HTTP/1.1", "HTTP/1.2", 1) + length + "\r\n" + orderText + smuggled, badRequest, nil},
		"a space in the path":              {s.admin, strings.Replace(post, "/v1/transfers", "/v1/transfers x", 1) + length + "\r\n" + orderText + smuggled, badRequest, nil},
		"a fragment":                       {s.admin, strings.Replace(post, "/v1/transfers", "/v1/transfers#/messages", 1) + length + "\r\n" + orderText + smuggled, badRequest, nil},
		"a header without a name":          {s.admin, post + ": x\r\n" + length + "\r\n" + orderText + smuggled, badRequest, nil},
		"a host in two words":              {s.admin, strings.Replace(post, "Host: x", "Host: x y", 1) + length + "\r\n" + orderText + smuggled, badRequest, nil},
		"no host":                          {s.admin, strings.Replace(post, "Host: x\r\n", "", 1) + length + "\r\n" + orderText, badRequest, nil},
		"two hosts":                        {s.admin, post + "Host: y\r\n" + length + "\r\n" + orderText, badRequest, nil},
		"HTTP/0.9":                         {s.admin, "GET /livez\r\n\r\n", badRequest, nil},
		"no HTTP":                          {s.admin, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", badRequest, nil},
		"two content types":                {s.admin, post + "Content-Type: text/plain\r\n" + length + "\r\n" + orderText, invalidHeader, []string{"Content-Type"}},
		"two tokens":                       {s.admin, post + "authorization: Bearer x\r\n" + length + "\r\n" + orderText, invalidHeader, []string{"Authorization"}},
		"two idempotency keys":             {s.admin, post + "Idempotency-Key: a\r\nIdempotency-Key: b\r\n" + length + "\r\n" + orderText, invalidHeader, []string{"Idempotency-Key"}},
		"an empty idempotency key":         {s.admin, post + "Idempotency-Key:\r\nConnection: close\r\n" + length + "\r\n" + orderText, invalidHeader, []string{"Idempotency-Key"}},
		"two request IDs":                  {s.admin, post + "X-Request-Id: a\r\nX-Request-Id: b\r\n" + length + "\r\n" + orderText, invalidHeader, []string{"X-Request-Id"}},
		"a body that is cut short":         {hasty.admin, post + length + "\r\n" + orderText[:20], requestTimeout, nil},
		"a header that is cut short":       {hasty.admin, post, requestTimeout, nil},
		"chunks that end nowhere":          {hasty.admin, post + "Transfer-Encoding: chunked\r\n\r\n4\r\n{}", requestTimeout, nil},
		"a broken chunk":                   {s.admin, post + "Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", badRequest, nil},
		"two signatures":                   {s.public, hooks + "Stripe-Signature: " + sign(secretOld, "{}", s.now()) + "\r\nStripe-Signature: " + sign(secretOld, "{}", s.now()) + "\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", invalidSignature, nil},
		"a path with dots":                 {s.admin, strings.Replace(post, "/v1/transfers", "/v1/../v1/transfers", 1) + "Connection: close\r\n" + length + "\r\n" + orderText, notFound, nil},
		"a path with slashes":              {s.admin, strings.Replace(post, "/v1/transfers", "//v1//transfers", 1) + "Connection: close\r\n" + length + "\r\n" + orderText, notFound, nil},
		"a path in per cent":               {s.admin, strings.Replace(post, "/v1/transfers", "/v1/%74ransfers", 1) + "Connection: close\r\n" + length + "\r\n" + orderText, notFound, nil},
	} {
		t.Run(name, func(t *testing.T) {
			all := raw(t, c.addr, c.request)
			if len(all) != 1 {
				t.Fatalf("%d answers: %+v", len(all), all)
			}
			all[0].wants(t, c.kind, c.field...)
		})
	}
	if s.commits != 0 || hasty.commits != 0 || len(s.events) != 0 {
		t.Errorf("%d commits, %d events", s.commits+hasty.commits, len(s.events))
	}
	// Another host in the absolute form is as foreign as in the header, and ours is ours.
	for host, status := range map[string]int{"evil.example": 421, "x": 201} {
		all := raw(t, s.admin, strings.Replace(post, "POST /v1/transfers", "POST http://"+host+"/v1/transfers", 1)+"Connection: close\r\n"+length+"\r\n"+orderText)
		if len(all) != 1 || all[0].status != status {
			t.Errorf("the absolute form with %s: %+v", host, all)
		}
	}
}

func TestAChunkedBodyIsReadLikeAnyOther(t *testing.T) {
	s := open(t)
	all := raw(t, s.admin, "POST /v1/transfers HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "+s.operator+"\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"+
		fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(orderText), orderText))
	if len(all) != 1 || all[0].status != 201 {
		t.Errorf("%+v", all)
	}
}

func TestA2MBBodyIsAnswered413ByAnyClient(t *testing.T) {
	s := open(t)
	big := order("description", `"`+strings.Repeat("x", 2<<20)+`"`)
	for range 20 { // a reset would overtake the answer now and then
		s.post("/v1/transfers", big).wants(t, bodyTooLarge)
		s.deliver(big, sign(secretOld, big, s.now())).wants(t, bodyTooLarge)
	}
	if a := s.post("/v1/transfers/batch", `{"transfers":[`+big+`]}`); a.status != 200 { // fits here
		t.Errorf("%d %s", a.status, a.body)
	}
}

func TestSlowClientsAreCutAndNobodyWaitsForThem(t *testing.T) {
	s := open(t, func(c *Config) { c.Limits.Read = 500 * time.Millisecond })
	request := "POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nStripe-Signature: " + strings.Repeat("v1=0,", 100)
	var slow sync.WaitGroup
	stop := make(chan struct{})
	defer close(stop)
	const clients = 100
	cut := make(chan error, clients)
	for range clients {
		slow.Add(1)
		c := dial(t, s.public)
		go func() { // one byte now and then, so that it is never idle
			tick := time.NewTicker(50 * time.Millisecond)
			defer tick.Stop()
			slow.Done()
			for i := range request {
				if _, err := c.Write([]byte{request[i]}); err != nil {
					return
				}
				select {
				case <-tick.C:
				case <-stop:
					return
				}
			}
		}()
		go func() {
			text, err := io.ReadAll(c)
			if err == nil && !strings.HasPrefix(string(text), "HTTP/1.1 408 ") {
				err = fmt.Errorf("answered %q", text)
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = fmt.Errorf("never cut: %w", err)
			} else if err != nil && strings.Contains(err.Error(), "reset") {
				err = nil // its own bytes crossed the end
			}
			cut <- err
		}()
	}
	slow.Wait()
	until(t, "another client is served", func() bool {
		a := s.deliver(eventText, sign(secretOld, eventText, s.now()))
		if a.status != 200 && a.status != 408 { // 408: this machine was too busy to let it write in time
			t.Fatalf("another client: %d %s", a.status, a.body)
		}
		return a.status == 200
	})
	for range clients {
		if err := <-cut; err != nil {
			t.Fatal(err)
		}
	}
}

func TestAConnectionEndsAfterItsShareOfRequests(t *testing.T) {
	s := open(t)
	c := dial(t, s.public)
	go io.WriteString(c, strings.Repeat("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", requestsPerConn+10))
	r := bufio.NewReader(c)
	for n := 0; ; n++ {
		got, err := nethttp.ReadResponse(r, nil)
		if err != nil {
			if n != requestsPerConn {
				t.Errorf("%d answers: %v", n, err)
			}
			return
		}
		io.Copy(io.Discard, got.Body)
	}
}

func TestNothingTellsWhatServesHere(t *testing.T) {
	s := open(t)
	for _, a := range append(raw(t, s.public, "GARBAGE\r\n\r\n"), s.get("/livez"), s.get("/nowhere")) {
		if a.header.Get("Server") != "" || strings.Contains(strings.ToLower(string(a.body)), "fasthttp") {
			t.Errorf("%v %s", a.header, a.body)
		}
	}
}
