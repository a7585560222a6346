package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// runs runs a program and tells how it ended, with its output.
func runs(t testing.TB, name string, args ...string) (ok bool, out string) {
	t.Helper()
	text, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	return err == nil, string(text)
}

func written(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// An image's tag is moved to other contents; its digest is not.
func TestTheImageIsBuiltFromDigests(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("0f", 32)
	if ok, out := runs(t, "bash", "../../.ci/release", "--pinned"); !ok {
		t.Errorf("the Dockerfile: %s", out)
	}
	for what, file := range map[string]string{
		"a tag":                     "FROM golang:1.26.9 AS build\nFROM scratch\n",
		"a tag with a platform":     "FROM --platform=linux/amd64 golang:1.26.9 AS build\nFROM scratch\n",
		"a second base with a tag":  "FROM golang:1.26.9" + digest + " AS build\nFROM alpine:3.24\n",
		"a digest that is cut":      "FROM golang:1.26.9@sha256:0f0f AS build\nFROM scratch\n",
		"a frontend without digest": "# syntax=docker/dockerfile:1\nFROM golang:1.26.9" + digest + " AS build\n",
		"no base at all":            "COPY . .\n",
	} {
		if ok, _ := runs(t, "bash", "../../.ci/release", "--pinned", written(t, "Dockerfile", file)); ok {
			t.Errorf("%s is taken for pinned", what)
		}
	}
	pinned := written(t, "Dockerfile", "FROM --platform=linux/amd64 golang:1.26.9"+digest+" AS build\nFROM build AS other\nFROM scratch\n")
	if ok, out := runs(t, "bash", "../../.ci/release", "--pinned", pinned); !ok {
		t.Errorf("digests, a stage and scratch are refused: %s", out)
	}
}

func TestAVulnerabilityThatIsReachedStandsInTheWay(t *testing.T) {
	judge := filepath.Join(t.TempDir(), "vulnerable")
	if ok, out := runs(t, "go", "build", "-o", judge, "../../.ci/vulnerable.go"); !ok {
		t.Fatal(out)
	}
	const symbols = `{"config":{"scan_level":"symbol"}}{"osv":{"id":"GO-1","summary":"a fault"}}`
	finding := func(module, version, fixed, function string) string {
		return `{"finding":{"osv":"GO-1","fixed_version":"` + fixed + `","trace":[{"module":"` + module + `","version":"` + version +
			`","package":"p","function":"` + function + `"}]}}`
	}
	dockerfile := written(t, "Dockerfile", "FROM golang:1.26.9@sha256:00 AS build\n")
	none, known := written(t, "none", "# nothing\n"), written(t, "known", "GO-1 it cannot be reached from outside\n")
	for what, c := range map[string]struct {
		findings, known string
		passes          bool
		says            string
	}{
		"nothing is found":                           {symbols, none, true, "0 in code"},
		"a module's function is linked":              {symbols + finding("m.test/x", "v1.0.0", "v1.0.1", "F"), none, false, "FOUND: GO-1: a fault"},
		"it is required, and no function is linked":  {symbols + finding("m.test/x", "v1.0.0", "v1.0.1", ""), none, true, "0 in code"},
		"nothing mends it":                           {symbols + finding("m.test/x", "v1.0.0", "", "F"), none, false, "FOUND"},
		"it is known":                                {symbols + finding("m.test/x", "v1.0.0", "v1.0.1", "F"), known, true, "KNOWN, it cannot be reached"},
		"what is known is gone":                      {symbols, known, true, "STALE: GO-1"},
		"the image's Go has the fix":                 {symbols + finding("stdlib", "v1.26.8", "v1.26.9", "F"), none, true, "the image has go1.26.9"},
		"the image's Go lacks it too":                {symbols + finding("stdlib", "v1.26.8", "v1.26.10", "F"), none, false, "FOUND"},
		"the fix is in another minor version":        {symbols + finding("stdlib", "v1.26.8", "v1.27.0", "F"), none, false, "FOUND"},
		"the binary was stripped":                    {`{"config":{"scan_level":"module"}}`, none, false, "stripped"},
		"govulncheck was cut off":                    {symbols + `{"finding":{`, none, false, "unexpected EOF"},
		"an exception that nobody gave a reason for": {symbols, written(t, "bare", "GO-1\n"), false, "has no reason"},
	} {
		passes, out := runs(t, judge, "judge", written(t, "findings", c.findings), dockerfile, c.known)
		if passes != c.passes || !strings.Contains(out, c.says) {
			t.Errorf("%s: passes %v, want %v with %q\n%s", what, passes, c.passes, c.says, out)
		}
	}
}

func TestWithoutADatabaseNothingIsSaidToBeChecked(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "bash", "../../.ci/vulnerabilities", program)
	cmd.Env = append(os.Environ(), "GOVULNDB=file://"+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "vulnerabilities: SKIPPED, there is no database at GOVULNDB") {
		t.Errorf("%v\n%s", err, out)
	}
}

// The bill of materials names what the binary says it was made of, and nothing else.
func TestTheBillOfMaterialsListsEveryModule(t *testing.T) {
	if os.Getenv("CI") == "" || testing.Short() {
		t.Skip("builds a tool, which is done for CI")
	}
	path := filepath.Join(t.TempDir(), "settled.cdx.json")
	if ok, out := runs(t, "bash", "../../.ci/release", "--bill", program, path, "v0.0.0"); !ok {
		t.Fatal(out)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var bill struct {
		Format     string `json:"bomFormat"`
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal(text, &bill); err != nil || bill.Format != "CycloneDX" {
		t.Fatalf("%v: %.300s", err, text)
	}
	var has, want []string
	for _, c := range bill.Components {
		if c.Name != "std" { // the standard library, which go version -m does not list
			has = append(has, c.Name+" "+c.Version)
		}
		if !strings.HasPrefix(c.PURL, "pkg:golang/") {
			t.Errorf("%s has the name %q", c.Name, c.PURL)
		}
	}
	ok, out := runs(t, "go", "version", "-m", program)
	if !ok {
		t.Fatal(out)
	}
	for line := range strings.SplitSeq(out, "\n") {
		if f := strings.Fields(line); len(f) > 2 && f[0] == "dep" {
			want = append(want, f[1]+" "+f[2])
		}
	}
	slices.Sort(has)
	slices.Sort(want)
	if len(want) < 20 || !slices.Equal(has, want) {
		t.Errorf("it lists %d modules: %q\nthe binary has %d: %q", len(has), has, len(want), want)
	}
}
