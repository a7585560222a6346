package stripesim

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// endpoint is one method of one URL.
type endpoint struct {
	name    string // "POST /v1/transfers/:id/reversals"
	counter string // "request " + name
	class   class
	params  params
	// check finds the objects named in path and body, before the key is claimed.
	check func(*Sim, *call) *failure
	// run executes in one step and renders the answer.
	run func(*Sim, *call) (json.RawMessage, *failure)
}

// endpoints is the API the simulator knows, by "METHOD /path" with :id for ids.
var endpoints = map[string]*endpoint{}

// init builds the table here and not in a composite literal, because the functions
// in it reach, through route, the table itself.
func init() {
	for _, group := range [][]*endpoint{transferEndpoints(), accountEndpoints(), balanceEndpoints(), chargeEndpoints(), eventEndpoints()} {
		for _, ep := range group {
			ep.counter = "request " + ep.name
			if ep.class == 0 {
				ep.class = classOf(ep.name)
			}
			endpoints[ep.name] = ep
		}
	}
}

// classOf guesses a class from the name; transfers and reversals say theirs.
func classOf(name string) class {
	switch {
	case strings.HasPrefix(name, http.MethodPost):
		return classWrite
	case strings.HasSuffix(name, "s") && !strings.HasSuffix(name, ":id"):
		return classList
	}
	return classGet
}

// unknownEndpoint answers 404 in the pipeline's validation.
var (
	unknownRead  = &endpoint{name: "unknown", counter: "request unknown", class: classGet}
	unknownWrite = &endpoint{name: "unknown", counter: "request unknown", class: classWrite}
)

// route finds the endpoint and the ids in the path: every second segment after /v1.
func route(method, path string) (*endpoint, [2]string) {
	var ids [2]string
	unknown := unknownRead
	if method == http.MethodPost {
		unknown = unknownWrite
	}
	rest, ok := strings.CutPrefix(path, "/v1/")
	if !ok {
		return unknown, ids
	}
	segments := strings.Split(rest, "/")
	if len(segments) > 4 {
		return unknown, ids
	}
	name := make([]byte, 0, 64)
	name = append(append(name, method...), " /v1"...)
	for i, segment := range segments {
		if i%2 == 1 {
			ids[i/2] = segment
			segment = ":id"
		}
		name = append(append(name, '/'), segment...)
	}
	if ep, ok := endpoints[string(name)]; ok {
		return ep, ids
	}
	return unknown, ids
}

// statusText holds every status as a counter's name needs it.
var statusText = func() map[int]string {
	m := make(map[int]string)
	for status := 100; status < 600; status++ {
		m[status] = strconv.Itoa(status)
	}
	return m
}()
