package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"

	"github.com/settled/settled/cmd/settled/prove"
)

// proofWorker is a process that tries worlds: one that a world kills, by a deadlock or a panic,
// takes no other with it.
type proofWorker struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	errors bytes.Buffer
}

func startProofWorker(conf prove.Config) (*proofWorker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &proofWorker{cmd: exec.Command(self, "prove", "--worker")}
	// One thread, as one step runs at a time; garbage is collected seldom; and a stack begins
	// as large as they mostly become: SQLite's are deep.
	p.cmd.Env = []string{"GOMAXPROCS=1", "GOGC=400", "GODEBUG=adaptivestackstart=1"}
	p.cmd.Stderr = &p.errors
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, json.NewEncoder(p.in).Encode(conf)
}

// ask has a seed tried. An error says that the world took the process with it.
func (p *proofWorker) ask(q prove.Question) (o prove.Outcome, err error) {
	if err = json.NewEncoder(p.in).Encode(q); err == nil {
		var line []byte
		if line, err = p.out.ReadBytes('\n'); err == nil {
			err = json.Unmarshal(line, &o)
		}
	}
	if err != nil {
		p.kill()
		p.cmd.Wait()
		err = fmt.Errorf("its process ended: %s %s", p.cmd.ProcessState, tail(p.errors.String(), 4000))
	}
	return o, err
}

func (p *proofWorker) kill() { p.cmd.Process.Kill() }

func (p *proofWorker) stop() {
	p.in.Close()
	p.cmd.Wait()
}

func tail(s string, most int) string {
	return s[max(0, len(s)-most):]
}
