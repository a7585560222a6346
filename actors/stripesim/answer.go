package stripesim

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// failure is an error as Stripe states it. An executed failure is stored under its
// key and says Stripe-Should-Retry: false; a validation failure does neither.
type failure struct {
	status   int
	kind     string // error.type
	code     string
	param    string
	message  string
	executed bool
	retry    string            // Stripe-Should-Retry, "" leaves it out
	header   map[string]string // further headers
}

// invalid is a parameter's failure: 400, not stored.
func invalid(code, param, message string) *failure {
	return &failure{status: http.StatusBadRequest, kind: "invalid_request_error", code: code, param: param, message: message}
}

// refused is a state's failure: 400, stored.
func refused(code, param, message string) *failure {
	f := invalid(code, param, message)
	f.executed = true
	return f
}

// noSuch is a lookup that found nothing: 404 for an id in the path, 400 for one in
// the body.
func noSuch(status int, what, id, param string) *failure {
	f := invalid("resource_missing", param, fmt.Sprintf("No such %s: '%s'", what, id))
	f.status = status
	return f
}

// serverError is Stripe's 500.
func serverError() *failure {
	return &failure{status: http.StatusInternalServerError, kind: "api_error",
		message: "An unknown error occurred", executed: true}
}

// answer is what goes back to the caller, whole.
type answer struct {
	status   int
	body     []byte
	retry    string
	header   map[string]string
	html     bool
	unnamed  bool   // without Stripe's headers
	origin   string // Original-Request; "" is the call's own
	replayed bool
}

type wireError struct {
	Error wireErrorBody `json:"error"`
}

type wireErrorBody struct {
	Code          string `json:"code,omitempty"`
	DocURL        string `json:"doc_url,omitempty"`
	Message       string `json:"message"`
	Param         string `json:"param,omitempty"`
	RequestLogURL string `json:"request_log_url,omitempty"`
	Type          string `json:"type"`
}

// fail turns a failure into an answer to this call.
func (s *Sim) fail(c *call, f *failure) answer {
	body := wireErrorBody{
		Code: f.code, Message: f.message, Param: f.param, Type: f.kind,
		RequestLogURL: fmt.Sprintf("https://dashboard.stripe.com/%s/%slogs/%s?t=%d",
			s.world.platform.id, map[bool]string{false: "test/"}[s.cfg.Livemode], c.id, s.clock.now().Unix()),
	}
	if f.code != "" {
		body.DocURL = "https://stripe.com/docs/error-codes/" + strings.ReplaceAll(f.code, "_", "-")
	}
	a := answer{status: f.status, body: encode(wireError{body}), retry: f.retry, header: f.header}
	if a.retry == "" && f.executed && f.status < 500 {
		a.retry = "false"
	}
	return a
}

// succeed is a 200. The header stood on nearly every recorded POST's.
func succeed(c *call, body []byte) answer {
	a := answer{status: http.StatusOK, body: body}
	if c.info.Method == http.MethodPost {
		a.retry = "false"
	}
	return a
}

// proxyPage is an answer no API server wrote.
func proxyPage(status int, title string) answer {
	body := fmt.Sprintf("<html>\r\n<head><title>%d %s</title></head>\r\n<body>\r\n<center><h1>%d %s</h1></center>\r\n"+
		"<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n", status, title, status, title)
	return answer{status: status, body: []byte(body), html: true}
}

// encode marshals what is known to be marshalable.
func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("stripesim: encode %T: %v", v, err))
	}
	return b
}

// manner is how an answer reaches the caller.
type manner uint8

const (
	whole manner = iota
	dropped
	cut
	emptied
)

// outcome is an answer and what becomes of it on the way.
type outcome struct {
	answer answer
	manner manner
	early  []<-chan struct{} // deliveries that go before the answer
}
