package prove

import (
	"encoding/json"
	"flag"
	"io"
	"testing"
	"time"
)

// Question asks for the outcome of a seed.
type Question struct {
	Seed   uint64
	Trace  bool          // of every step
	Shrink time.Duration // how long to look for the smallest world that breaks the same invariant
}

// Outcome answers a question.
type Outcome struct {
	Result
	Smallest *Result `json:",omitempty"` // of a world that broke an invariant
}

// Answer reads a configuration and then questions, all in JSON, and answers each. It ends the process: only a
// test gets a bubble of testing/synctest, so all of this runs as one. That is why package testing is in the
// shipped binary; the linker refuses every other way to a bubble (internal/synctest is closed to it by name).
func Answer(questions io.Reader, answers io.Writer) {
	serve := func(t *testing.T) {
		in, out := json.NewDecoder(questions), json.NewEncoder(answers)
		var conf Config
		if err := in.Decode(&conf); err != nil {
			t.Fatal(err)
		}
		for in.More() {
			var q Question
			if err := in.Decode(&q); err != nil {
				t.Fatal(err)
			}
			o := Outcome{Result: Run(t, conf, q.Seed, q.Trace)}
			if len(o.Violations) > 0 && q.Shrink > 0 {
				smallest := Shrink(t, conf, o.Result, q.Shrink)
				o.Smallest = &smallest
			}
			if err := out.Encode(o); err != nil {
				t.Fatal(err)
			}
		}
	}
	testing.Init()
	flag.CommandLine.Parse(nil) // else the tests would read the command's arguments
	testing.Main(func(_, _ string) (bool, error) { return true, nil },
		[]testing.InternalTest{{Name: "prove", F: serve}}, nil, nil)
}
