package stripesim

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rule is a scripted fault. Rules are tried in the order they came, before the
// random plan; a call or event meets the first that fits.
type Rule struct {
	// Kind is what happens; a rule only fits calls its kind can happen to.
	Kind Kind
	// Path is a prefix of the URL's path, of "METHOD /path", or of an event's type;
	// "" fits all. A "$" at its end makes it the whole path.
	Path string
	// Key is a prefix of the idempotency key.
	Key string
	// Arrival is which coming of the key or URL is meant, from 1; 0 is any.
	Arrival int
	// Match decides further, in process only. It must not call the simulator.
	Match func(r RequestInfo) bool
	// Times is how often the rule fires; 0 is once, below 0 for ever.
	Times int
	// Delay overrides the drawn delay of kinds that wait.
	Delay time.Duration
	// Amount is what KindExternalReversal and KindAutoReversal reverse, in minor
	// units; 0 is all that is left.
	Amount int64
	// Status, Body and Header are KindAnswer's answer. A Header is also added to
	// the answers of kinds that fail.
	Status int
	Body   string
	Header map[string]string
	// Code, Type, Message and Param make KindAnswer's error when Body is empty, and
	// override those of other kinds that fail.
	Code, Type, Message, Param string
	// Store keeps KindAnswer's answer under the key, as if it had been executed.
	Store bool
	// Execute lets the call take effect, and its true answer be stored, behind
	// KindAnswer and the gateway kinds.
	Execute bool
}

// armedRule is a rule with what is left of it.
type armedRule struct {
	Rule
	left int
}

// Inject adds a scripted fault. A kind that does not exist is a bug of the caller.
func (s *Sim) Inject(r Rule) {
	if err := r.check(); err != nil {
		panic(err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, &armedRule{Rule: r, left: max(r.Times, 1)})
}

// ClearRules forgets every rule that has not fired.
func (s *Sim) ClearRules() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
}

func (r Rule) check() error {
	if _, ok := specOf(r.Kind); !ok {
		return fmt.Errorf("stripesim: no fault of kind %q", r.Kind)
	}
	if r.Kind == KindAnswer && r.Status == 0 {
		return fmt.Errorf("stripesim: a %s needs a status", r.Kind)
	}
	if r.Store && r.Execute {
		return fmt.Errorf("stripesim: a rule stores its own answer or the true one, not both")
	}
	return nil
}

// takeRule uses up the first rule that fits a call.
func (s *Sim) takeRule(info RequestInfo, on class) *Rule {
	for i, r := range s.rules {
		if r.fitsClass(on) && r.fitsPath(info.Path, info.Method+" "+info.Path) && strings.HasPrefix(info.Key, r.Key) &&
			(r.Arrival == 0 || r.Arrival == info.Arrival) && (r.Match == nil || r.Match(info)) {
			return s.useRule(i)
		}
	}
	return nil
}

// takeEventRule uses up the first rule of a kind that fits an event.
func (s *Sim) takeEventRule(k Kind, eventType string) *Rule {
	for i, r := range s.rules {
		if r.Kind == k && r.fitsPath(eventType) {
			return s.useRule(i)
		}
	}
	return nil
}

func (s *Sim) useRule(i int) *Rule {
	r := s.rules[i]
	if r.Times >= 0 {
		if r.left--; r.left == 0 {
			s.rules = slices.Delete(s.rules, i, i+1)
		}
	}
	return &r.Rule
}

func (r *armedRule) fitsClass(on class) bool {
	spec, _ := specOf(r.Kind)
	return spec.on&on != 0
}

func (r *armedRule) fitsPath(names ...string) bool {
	exact, isExact := strings.CutSuffix(r.Path, "$")
	return slices.ContainsFunc(names, func(name string) bool {
		if isExact {
			return name == exact
		}
		return strings.HasPrefix(name, r.Path)
	})
}

// colour lets a rule change how its fault looks.
func (f fault) colour(was *failure) *failure {
	if f.rule == nil {
		return was
	}
	now := *was
	for _, set := range []struct {
		field *string
		value string
	}{{&now.code, f.rule.Code}, {&now.kind, f.rule.Type}, {&now.message, f.rule.Message}, {&now.param, f.rule.Param}} {
		if set.value != "" {
			*set.field = set.value
		}
	}
	if len(f.rule.Header) > 0 {
		header := make(map[string]string)
		for k, v := range was.header {
			header[k] = v
		}
		for k, v := range f.rule.Header {
			header[k] = v
		}
		now.header = header
	}
	return &now
}

// scripted is KindAnswer's answer.
func (s *Sim) scripted(c *call) answer {
	r := c.fault.rule
	if r.Body == "" && (r.Code != "" || r.Type != "" || r.Message != "") {
		f := c.fault.colour(&failure{status: r.Status, kind: "invalid_request_error", message: "scripted", executed: r.Store})
		return s.fail(c, f)
	}
	return answer{status: r.Status, body: []byte(r.Body), header: r.Header}
}
