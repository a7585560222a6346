package stripesim

import (
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// shape is what a parameter may look like.
type shape uint8

const (
	text    shape = iota
	clears        // text whose empty value unsets it
	integer       // at least 1
	boolean
	pairs // metadata
	moment
	anything // nested parameters the simulator takes and ignores
)

// param is one parameter an endpoint takes.
type param struct {
	name     string
	shape    shape
	required bool
}

// params are all that an endpoint takes; expand is always among them.
type params []param

func takes(ps ...param) params { return append(ps, param{"expand", anything, false}) }

// listing adds what every list takes.
func listing(ps ...param) params {
	return takes(append(ps, param{"limit", integer, false}, param{"starting_after", text, false},
		param{"ending_before", text, false})...)
}

func optional(s shape, names ...string) []param {
	ps := make([]param, len(names))
	for i, name := range names {
		ps[i] = param{name, s, false}
	}
	return ps
}

func required(s shape, name string) param { return param{name, s, true} }

func (ps params) find(root string) (param, bool) {
	i := slices.IndexFunc(ps, func(p param) bool { return p.name == root })
	if i < 0 {
		return param{}, false
	}
	return ps[i], true
}

// validate refuses what Stripe refuses before it looks at anything it holds.
func (ps params) validate(form url.Values) *failure {
	for _, name := range sortedKeys(form) {
		root, nested, isNested := strings.Cut(name, "[")
		p, known := ps.find(root)
		if !known {
			return invalid("parameter_unknown", root, "Received unknown parameter: "+root)
		}
		if f := p.check(name, nested, isNested, form.Get(name)); f != nil {
			return f
		}
	}
	for _, p := range ps {
		if p.required && !form.Has(p.name) {
			return invalid("parameter_missing", p.name, fmt.Sprintf("Missing required param: %s.", p.name))
		}
	}
	return checkMetadata(form)
}

func (p param) check(name, nested string, isNested bool, value string) *failure {
	switch p.shape {
	case anything:
		return nil
	case pairs:
		if !isNested && value != "" {
			return invalid("", name, "Invalid hash")
		}
		if isNested && strings.Count(nested, "]") != 1 {
			return invalid("", name, "Metadata values must be strings, but for key "+nested+" you passed in a value of type hash")
		}
		return nil
	case moment:
		return checkMoment(name, strings.TrimSuffix(nested, "]"), isNested, value)
	}
	if isNested {
		return invalid("", p.name, "Invalid string: {}")
	}
	if value == "" && p.shape != clears {
		return invalid("parameter_invalid_empty", name, fmt.Sprintf("You passed an empty string for '%s'. We assume empty values "+
			"are an attempt to unset a parameter; however '%s' cannot be unset. You should remove '%s' from your request or "+
			"supply a non-empty value.", name, name, name))
	}
	switch p.shape {
	case integer:
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return invalid("parameter_invalid_integer", name, "Invalid integer: "+value)
		}
		if n < 1 {
			return invalid("parameter_invalid_integer", name, "This value must be greater than or equal to 1.")
		}
	case boolean:
		if value != "true" && value != "false" {
			return invalid("", name, "Invalid boolean: "+value)
		}
	}
	return nil
}

// checkMoment takes created=… and created[gt|gte|lt|lte]=…, in Unix seconds.
func checkMoment(name, bound string, isNested bool, value string) *failure {
	if isNested && !slices.Contains([]string{"gt", "gte", "lt", "lte"}, bound) {
		return invalid("parameter_unknown", name, "Received unknown parameter: "+name)
	}
	if _, err := strconv.ParseInt(value, 10, 64); err != nil {
		return invalid("parameter_invalid_integer", name, "Invalid integer: "+value)
	}
	return nil
}

// Stripe's bounds on metadata, in entries and characters.
const (
	metadataMax      = 50
	metadataKeyMax   = 40
	metadataValueMax = 500
)

func checkMetadata(form url.Values) *failure {
	n := 0
	for _, name := range sortedKeys(form) {
		key, ok := metadataKey(name)
		if !ok {
			continue
		}
		n++
		if length := utf8.RuneCountInString(key); length > metadataKeyMax {
			return invalid("", "metadata", fmt.Sprintf("Metadata keys can have up to %d characters, but you passed in a key that "+
				"is %d characters. Invalid key: %s", metadataKeyMax, length, key))
		}
		if length := utf8.RuneCountInString(form.Get(name)); length > metadataValueMax {
			return invalid("", "metadata", fmt.Sprintf("Metadata values can have up to %d characters, but you passed in a value that "+
				"is %d characters. Invalid value: %s", metadataValueMax, length, form.Get(name)))
		}
	}
	if n > metadataMax {
		return invalid("", "metadata", fmt.Sprintf("Metadata can have up to %d keys, but you passed in %d", metadataMax, n))
	}
	return nil
}

func metadataKey(name string) (string, bool) {
	rest, ok := strings.CutPrefix(name, "metadata[")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(rest, "]")
}

// metadataOf merges a call's metadata into what an object had and returns a new map:
// an empty value unsets its key, an empty metadata unsets all.
func metadataOf(form url.Values, before map[string]string) map[string]string {
	after := make(map[string]string)
	if !(form.Has("metadata") && form.Get("metadata") == "") {
		for k, v := range before {
			after[k] = v
		}
	}
	for name, values := range form {
		key, ok := metadataKey(name)
		if !ok {
			continue
		}
		if values[0] == "" {
			delete(after, key)
		} else {
			after[key] = values[0]
		}
	}
	return after
}

// num reads an integer the validation has let through; 0 when it is absent.
func num(form url.Values, name string) int64 {
	n, _ := strconv.ParseInt(form.Get(name), 10, 64)
	return n
}

// span is a half-open stretch of Unix seconds.
type span struct{ from, to int64 }

var always = span{math.MinInt64, math.MaxInt64}

// spanOf reads the created filters.
func spanOf(form url.Values, name string) span {
	t := always
	if form.Has(name) {
		n := num(form, name)
		t = span{n, n + 1}
	}
	for bound, apply := range map[string]func(n int64){
		"[gte]": func(n int64) { t.from = max(t.from, n) },
		"[gt]":  func(n int64) { t.from = max(t.from, n+1) },
		"[lte]": func(n int64) { t.to = min(t.to, n+1) },
		"[lt]":  func(n int64) { t.to = min(t.to, n) },
	} {
		if form.Has(name + bound) {
			apply(num(form, name+bound))
		}
	}
	return t
}

// unix is a moment on the wire.
func unix(t time.Time) int64 { return t.Unix() }

func sortedKeys[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
