//go:build ignore

// Command vulnerable takes two small steps around govulncheck, which .ci/vulnerabilities runs:
//
//	go run .ci/vulnerable.go index OSV OUT                      a folder of OSV files becomes a database
//	go run .ci/vulnerable.go judge FINDINGS DOCKERFILE KNOWN    the findings are judged; exit 1 on one that counts
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func main() {
	var err error
	switch args := os.Args[1:]; {
	case len(args) == 3 && args[0] == "index":
		err = index(args[1], args[2])
	case len(args) == 4 && args[0] == "judge":
		err = judge(args[1], args[2], args[3])
	default:
		err = errors.New("usage: vulnerable index OSV OUT | judge FINDINGS DOCKERFILE KNOWN")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vulnerabilities:", err)
		os.Exit(1)
	}
}

// index writes the database that govulncheck reads: a list of modules, and a file for each vulnerability.
func index(from, out string) error {
	type vuln struct {
		ID       string `json:"id"`
		Modified string `json:"modified"`
		Fixed    string `json:"fixed,omitempty"`
	}
	modules := map[string][]vuln{}
	files, err := filepath.Glob(filepath.Join(from, "*.json"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("no OSV files in %s: %v", from, err)
	}
	for _, dir := range []string{"index", "ID"} {
		if err := os.MkdirAll(filepath.Join(out, dir), 0o755); err != nil {
			return err
		}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		var entry struct {
			ID, Modified string
			Affected     []struct{ Package struct{ Name string } }
		}
		if err := json.Unmarshal(text, &entry); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		for _, a := range entry.Affected {
			modules[a.Package.Name] = append(modules[a.Package.Name], vuln{ID: entry.ID, Modified: entry.Modified})
		}
		if err := os.WriteFile(filepath.Join(out, "ID", entry.ID+".json"), text, 0o644); err != nil {
			return err
		}
	}
	type module struct {
		Path  string `json:"path"`
		Vulns []vuln `json:"vulns"`
	}
	var list []module
	for path, vulns := range modules {
		list = append(list, module{path, vulns})
	}
	slices.SortFunc(list, func(a, b module) int { return strings.Compare(a.Path, b.Path) })
	text, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "index/modules.json"), text, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(out, "index/db.json"), []byte(`{"modified":"0001-01-01T00:00:00Z"}`), 0o644)
}

// found is a vulnerability whose code is in the binary.
type found struct {
	id, module, version, fixed, where, summary string
}

// judge fails on vulnerabilities in the binary, but for those that the image does not have (it is built by another
// Go than this machine's), and known ones that have a reason.
func judge(findings, dockerfile, known string) error {
	list, symbols, err := read(findings)
	if err != nil {
		return err
	}
	if !symbols {
		return errors.New("the binary was not looked at by its symbols: is it stripped?")
	}
	image, err := builder(dockerfile)
	if err != nil {
		return err
	}
	reasons, err := exceptions(known)
	if err != nil {
		return err
	}
	bad := 0
	for _, f := range list {
		what := fmt.Sprintf("%s: %s (%s %s, fixed in %s; e.g. %s)", f.id, f.summary, f.module, f.version, f.fixed, f.where)
		reason, isKnown := reasons[f.id]
		delete(reasons, f.id)
		switch {
		case f.module == "stdlib" && within(image, f.fixed):
			fmt.Printf("  of this machine's Go alone, the image has go%s: %s\n", image, what)
		case isKnown:
			fmt.Printf("  KNOWN, %s: %s\n", reason, what)
		default:
			fmt.Printf("  FOUND: %s\n", what)
			bad++
		}
	}
	for id := range reasons {
		fmt.Printf("  STALE: %s is in %s, and is not found any more: take it out\n", id, known)
	}
	fmt.Printf("vulnerabilities: %d in code that is reached, %d of them stand in the way\n", len(list), bad)
	if bad > 0 {
		return errors.New("see above")
	}
	return nil
}

// read takes from govulncheck's stream the vulnerabilities of which a function is in the binary.
func read(path string) (list []found, symbols bool, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, false, err
	}
	defer file.Close()
	summaries := map[string]string{}
	decoder := json.NewDecoder(file)
	for {
		var m struct {
			Config *struct {
				ScanLevel string `json:"scan_level"`
			}
			OSV     *struct{ ID, Summary string }
			Finding *struct {
				OSV          string
				FixedVersion string `json:"fixed_version"`
				Trace        []struct{ Module, Version, Package, Function, Receiver string }
			}
		}
		if err := decoder.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, false, fmt.Errorf("%s: %w", path, err)
		}
		if m.Config != nil {
			symbols = m.Config.ScanLevel == "symbol"
		}
		if m.OSV != nil {
			summaries[m.OSV.ID] = m.OSV.Summary
		}
		if f := m.Finding; f != nil && len(f.Trace) > 0 && f.Trace[0].Function != "" {
			t := f.Trace[0]
			if !slices.ContainsFunc(list, func(o found) bool { return o.id == f.OSV && o.module == t.Module }) {
				list = append(list, found{f.OSV, t.Module, t.Version, f.FixedVersion, strings.Trim(t.Package+"."+t.Receiver, ".") + "." + t.Function, summaries[f.OSV]})
			}
		}
	}
	slices.SortFunc(list, func(a, b found) int { return strings.Compare(a.module+a.id, b.module+b.id) })
	return list, symbols, nil
}

// builder tells with which Go the image is built.
func builder(dockerfile string) (string, error) {
	text, err := os.ReadFile(dockerfile)
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(`(?m)^FROM golang:([0-9]+\.[0-9]+\.[0-9]+)@`).FindSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s does not say with which golang:X.Y.Z@… it builds", dockerfile)
	}
	return string(m[1]), nil
}

// within reports that a version has a fix: the same minor version, and no earlier patch.
func within(version, fixed string) bool {
	v, f := strings.Split(version, "."), strings.Split(strings.TrimPrefix(fixed, "v"), ".")
	if len(v) != 3 || len(f) != 3 || v[0] != f[0] || v[1] != f[1] {
		return false
	}
	has, e1 := strconv.Atoi(v[2])
	needs, e2 := strconv.Atoi(f[2])
	return e1 == nil && e2 == nil && has >= needs
}

// exceptions reads the lines "ID reason" of a file.
func exceptions(path string) (map[string]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	reasons := map[string]string{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		id, reason, _ := strings.Cut(line, " ")
		if reason == "" {
			return nil, fmt.Errorf("%s: %s has no reason", path, id)
		}
		reasons[id] = reason
	}
	return reasons, lines.Err()
}
