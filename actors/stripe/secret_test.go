package stripe

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/settled/settled/ledger"
)

// TestTheKeyDoesNotComeBack has a server that hands the key back wherever it can: in errors,
// pages, headers, codes and objects, whole and cut.
func TestTheKeyDoesNotComeBack(t *testing.T) {
	long := strings.Repeat("x", 485) // the SDK cuts bodies at 500 bytes, here in the middle of the key
	for name, answer := range map[string]reply{
		"an error":          refusal(401, invalidRequest, "", "", "Invalid API Key provided: "+canary),
		"an error's code":   refusal(400, invalidRequest, canary, canary, "x"),
		"a page":            {status: 502, body: "<html>Authorization: Bearer " + canary},
		"a cut page":        {status: 502, body: long + canary},
		"a cut 200":         {status: 200, body: long + canary},
		"a cut error":       {status: 400, body: long + canary},
		"an object":         {status: 200, body: transferObject().with("destination", canary).String()},
		"an object's id":    {status: 200, body: transferObject().with("id", canary).String()},
		"a list":            {status: 200, body: jsonMap{"object": canary, "data": []any{}}.String()},
		"a header":          apiError(500, "x").but("Request-Id", canary),
		"a redirect":        {status: 307, header: map[string]string{"Location": "http://127.0.0.1:1/?key=" + canary}},
		"a bad redirect":    {status: 307, header: map[string]string{"Location": "http://[" + canary}},
		"not even an error": {status: 400, body: jsonMap{"error": canary}.String()},
	} {
		t.Run(name, func(t *testing.T) {
			c := client(t, serve(t, answer)) // its log is looked at, too, at the level that says most
			for _, kind := range []ledger.Kind{transfer, reversal} {
				a := c.Send(t.Context(), requestOf(kind), always)
				noCanary(t, "the answer", fmt.Sprintf("%+v", a))
			}
			_, err := c.Transfer(t.Context(), "tr_9Demo01")
			noCanary(t, "the error of a read", fmt.Sprintf("%v %+v %#v", err, err, err))
			_, err = search(t.Context(), c, operation, PageQuery{})
			noCanary(t, "the error of a search", fmt.Sprintf("%v %+v %#v", err, err, err))
			_, _, err = c.Account(t.Context())
			noCanary(t, "the error of a look at the account", fmt.Sprintf("%v %+v %#v", err, err, err))
		})
	}
}

func TestTheKeyDoesNotPrint(t *testing.T) {
	cfg := Config{Key: canary, Base: "http://127.0.0.1:1"}
	c := client(t, cfg.Base)
	text := ""
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		text += fmt.Sprintf(verb+verb+verb+verb, cfg, &cfg, c, *c)
		text += fmt.Sprintf(verb, struct{ C Config }{cfg})
		text += fmt.Sprintf(verb, c.key)
	}
	var buf bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&buf, nil), slog.NewJSONHandler(&buf, nil)} {
		slog.New(h).Info("x", "config", cfg, "client", c, "key", c.key)
	}
	j, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{canary, "pk_live_" + canary, "sk_" + canary + "\n"} {
		if _, err := New(Config{Key: key, Base: "ftp://" + canary}); err != nil {
			text += err.Error()
		}
	}
	noCanary(t, "what is printed", text+buf.String()+string(j)+fmt.Sprintf("%x", text))
	if strings.Contains(text, fmt.Sprintf("%x", canary)) {
		t.Error("the key is printed in hexadecimal")
	}
}

func TestAnAnswerIsFitToKeep(t *testing.T) {
	nasty := "é\x00\x1b[31m" + strings.Repeat("ü", 5000)
	for _, answer := range []reply{
		refusal(400, invalidRequest, nasty, nasty, nasty),
		{status: 400, body: "\xff\xfe" + nasty},
		{status: 200, body: transferObject().with("currency", nasty).String()},
	} {
		a := client(t, serve(t, answer)).Send(t.Context(), transferRequest(), always)
		for name, text := range map[string]string{"message": a.Message, "code": a.Code, "param": a.Param} {
			if !utf8.ValidString(text) || strings.ContainsAny(text, "\x00\x1b") || utf8.RuneCountInString(text) > messageMax {
				t.Errorf("the %s is %d runes: %.50q", name, utf8.RuneCountInString(text), text)
			}
		}
	}
}

func TestConfigSaysWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		cfg  Config
		want string // in the error; empty: there is none
	}{
		"a secret key":             {Config{Key: "sk_test_1"}, ""},
		"a restricted key":         {Config{Key: "rk_live_1"}, ""},
		"a simulator":              {Config{Key: "sk_test_1", Base: "http://sim:8420"}, ""},
		"a simulator with a slash": {Config{Key: "sk_test_1", Base: "http://sim:8420/"}, ""},
		"a live key on loopback":   {Config{Key: "sk_live_1", Base: "http://127.0.0.1:8420"}, ""},
		"no key":                   {Config{}, "empty"},
		"a publishable key":        {Config{Key: "pk_live_1"}, "sk_ or rk_"},
		"a key with a line end":    {Config{Key: "sk_test_1\n"}, "blank"},
		"a live key in the clear":  {Config{Key: "sk_live_1", Base: "http://proxy.example"}, "in the clear"},
		"a base with a path":       {Config{Key: "sk_test_1", Base: "http://h/stripe"}, "nothing more"},
		"a base with a password":   {Config{Key: "sk_test_1", Base: "http://u:p@h"}, "nothing more"},
		"a base that is a host":    {Config{Key: "sk_test_1", Base: "h:80"}, "http(s)://"},
		"a negative time-out":      {Config{Key: "sk_test_1", Timeout: -1}, "negative"},
		"negative connections":     {Config{Key: "sk_test_1", Connections: -1}, "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(c.cfg)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestTheSDKIsHeardAtDebugOnly(t *testing.T) {
	var said bytes.Buffer
	say := func(level slog.Level) string {
		said.Reset()
		c := client(t, serve(t, invalid("balance_insufficient", "", "Too little.")), func(c *Config) {
			c.Log = slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: level}))
		})
		c.Send(t.Context(), transferRequest(), always)
		return said.String()
	}
	if got := say(slog.LevelInfo); got != "" {
		t.Errorf("at info: %s", got)
	}
	if got := say(slog.LevelDebug); !strings.Contains(got, "Too little.") || strings.Contains(got, http.MethodPost) {
		t.Errorf("at debug: %s", got)
	}
}
