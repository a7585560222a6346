package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/settled/settled/actors/stripesim"
	"github.com/settled/settled/ledger"
	"github.com/settled/settled/ledger/audit"
)

// What can be counted in the repository is counted here. Figures of a run, such as how many worlds it took, are of
// that run, and held by nothing.

// repository reads the files that a pattern names, by path.
func repository(t testing.TB, pattern string) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../../" + pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no file is called %s: %v", pattern, err)
	}
	files := map[string]string{}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimPrefix(path, "../../")] = string(text)
	}
	return files
}

// flat has one blank wherever the text has blanks and ends of lines.
func flat(text string) string { return strings.Join(strings.Fields(text), " ") }

func TestTheFiguresThatCanBeCountedAreRight(t *testing.T) {
	mutants, tested := 0, 0
	for _, patch := range repository(t, ".ci/mutants/*.patch") {
		mutants++
		if regexp.MustCompile(`(?m)^Found-by: go test `).MatchString(patch) {
			tested++
		}
	}
	targets := 0
	err := filepath.WalkDir("../..", func(path string, _ os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			text, _ := os.ReadFile(path)
			targets += len(regexp.MustCompile(`(?m)^func Fuzz\w+\(`).FindAll(text, -1))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	variants := 0
	for _, line := range strings.Split(part(t, claims(t, ".ci/model"), "<<'TABLE'\n", "\nTABLE"), "\n") {
		cells := strings.Split(line, "|")
		if strings.HasPrefix(line, "#") || len(cells) < 6 || strings.TrimSpace(cells[1]) == "full" {
			continue
		}
		if name := strings.TrimSpace(cells[0]); !strings.HasPrefix(name, "REPEAT_") && !strings.HasPrefix(name, "a lost order") {
			variants++
		}
	}
	said := func(file, pattern string) []string {
		t.Helper()
		m := regexp.MustCompile(pattern).FindStringSubmatch(claims(t, file))
		if m == nil {
			t.Fatalf("%s says nothing like %s", file, pattern)
		}
		return m[1:]
	}
	death := said(".ci/death", `kills=\$\{1:-(\d+)\} crashes=\$\{2:-(\d+)\} putbacks=\$\{3:-(\d+)\}`)
	nightly := said(".ci/nightly", `\.ci/death "\$\{KILLS:-(\d+)\}" "\$\{CRASHES:-(\d+)\}"`)
	thousands := func(n string) string {
		if len(n) > 3 {
			return n[:len(n)-3] + "," + n[len(n)-3:]
		}
		return n
	}
	security, changelog := flat(claims(t, "SECURITY.md")), flat(claims(t, "CHANGELOG.md"))
	for text, sentences := range map[*string][]string{
		&security: {
			fmt.Sprintf("%d planted bugs, %d of which name the Go test", mutants, tested),
			fmt.Sprintf("%d targets with their corpora; %s s each in CI, %s s each in", targets, said(".ci/run", `bash \.ci/fuzz (\d+)`)[0], said(".ci/nightly", `FUZZ:-(\d+)`)[0]),
			fmt.Sprintf("%d variants of the first in CI", variants),
			fmt.Sprintf("in CI %s kills, %s crashes, ", thousands(death[0]), death[1]), fmt.Sprintf("%s copies or steps", death[2]),
			fmt.Sprintf("Once %s kills, %s crashes", thousands(nightly[0]), nightly[1]), // as .ci/nightly does it
		},
		&changelog: {fmt.Sprintf("with %d planted bugs", mutants)},
	} {
		for _, sentence := range sentences {
			if !strings.Contains(*text, sentence) {
				t.Errorf("it is not said: %q", sentence)
			}
		}
	}
}

// SECURITY speaks of promises by their numbers.
func TestThePromisesOfSecurityAreThose(t *testing.T) {
	promises := part(t, claims(t, "SECURITY.md"), "## The promises", "They rest on")
	spoken := regexp.MustCompile(`\((\d+(?:, \d+)*)\)`).FindAllStringSubmatch(promises, -1)
	if len(spoken) < 15 {
		t.Errorf("%d promises have numbers", len(spoken))
	}
	for _, m := range spoken {
		for n := range strings.SplitSeq(m[1], ", ") {
			if !slices.ContainsFunc(audit.Invariants, func(i audit.Invariant) bool { return fmt.Sprint(i.Number) == n }) {
				t.Errorf("there is no promise %s", n)
			}
		}
	}
}

// The README's third step: what Stripe is to send, and nothing that is of no use.
func TestTheWebhooksOfTheReadmeAreThoseOfUse(t *testing.T) {
	step := flat(part(t, claims(t, "README.md"), "3. **Webhooks**", "4. `settled config`"))
	if !strings.Contains(step, "`"+stripesim.APIVersion+"`") {
		t.Errorf("the version is not %s", stripesim.APIVersion)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("`([a-z0-9._]+\\.[a-z_*]+|v2\\.core\\.account\\[…\\])`").FindAllStringSubmatch(step, -1) {
		listed[m[1]] = true
	}
	for _, kind := range []string{"transfer.created", "transfer.reversed", "transfer.updated", "balance.available", "account.updated", "capability.updated",
		"v2.core.account[requirements].updated", "v2.core.account[configuration.recipient].capability_status_updated"} {
		if ledger.SubjectOf(kind) == ledger.AboutNothing {
			t.Errorf("%s is of no use", kind)
		}
		group, _, _ := strings.Cut(kind, ".")
		bracket, _, _ := strings.Cut(kind, "[")
		if !listed[kind] && !listed[group+".*"] && !listed[bracket+"[…]"] {
			t.Errorf("the README does not ask for %s: %v", kind, listed)
		}
	}
	for kind := range listed {
		one := strings.NewReplacer(".*", ".created", "[…]", "[identity].updated").Replace(kind)
		if ledger.SubjectOf(one) == ledger.AboutNothing {
			t.Errorf("the README asks for %s, which is of no use", kind)
		}
	}
}

// What the README says of the demo is what it does without any flag.
func TestTheDemoIsAsTheReadmeTells(t *testing.T) {
	_, help := says(t, nil, "demo", "--help")
	readme := flat(claims(t, "README.md"))
	for says, does := range map[string]string{
		"a daemon that is killed without warning three times": "--kills=3",
		"a simulated Stripe that fails in every way":          `--faults="heavy"`,
	} {
		if !strings.Contains(readme, says) || !strings.Contains(flat(help), does) {
			t.Errorf("the README says %q, and the demo has not %s:\n%s", says, does, help)
		}
	}
	if !strings.Contains(claims(t, "README.md"), "go run ./cmd/settled demo\n") || !strings.Contains(claims(t, ".ci/run"), "settled demo --exit") {
		t.Error("the README's demo is not the one that CI runs")
	}
	for _, name := range []string{"README.md", "SECURITY.md"} {
		for _, m := range regexp.MustCompile("settled prove((?: --[a-z]+ [0-9]+)+)").FindAllStringSubmatch(claims(t, name), -1) {
			_, help := says(t, nil, "prove", "--help")
			for _, flag := range regexp.MustCompile(`--[a-z]+`).FindAllString(m[1], -1) {
				if !strings.Contains(help, flag) {
					t.Errorf("%s: settled prove has no %s", name, flag)
				}
			}
		}
	}
}

// The periods that README and SECURITY name are those of the code.
func TestThePeriodsAreThose(t *testing.T) {
	days := func(d time.Duration) int { return int(d / (24 * time.Hour)) }
	for file, sentences := range map[string][]string{
		"README.md": {fmt.Sprintf("(`until`: %d days unless given, %d at most)", days(audit.AcceptFor), days(audit.AcceptMax))},
		"SECURITY.md": {fmt.Sprintf("for %d days at most, and the audit lists it", days(audit.AcceptMax)),
			fmt.Sprintf("differ by more than %d minutes", int(ledger.DefaultWindows().Skew.Minutes()))},
	} {
		for _, sentence := range sentences {
			if !strings.Contains(flat(claims(t, file)), sentence) {
				t.Errorf("%s does not say %q", file, sentence)
			}
		}
	}
}

// Each test that SECURITY tells people to run is there.
func TestTheTestsThatSecurityNamesAreThere(t *testing.T) {
	commands := regexp.MustCompile("`go test ([^`]*)`").FindAllStringSubmatch(claims(t, "SECURITY.md"), -1)
	if len(commands) < 4 {
		t.Errorf("%d commands", len(commands))
	}
	for _, m := range commands {
		paths, pattern, _ := strings.Cut(m[1], " -run ")
		for path := range strings.FieldsSeq(paths) {
			if strings.HasPrefix(path, "-") || strings.HasSuffix(path, "...") {
				continue
			}
			found := false
			for _, text := range repository(t, path+"/*_test.go") {
				found = found || strings.Contains(text, "\nfunc Test"+strings.TrimPrefix(pattern, "Test"))
			}
			if !found {
				t.Errorf("go test %s runs nothing", m[1])
			}
		}
	}
}

// No retry counter, no next_retry_at: the schema has no such column.
func TestTheSchemaHasNoRetryBookkeeping(t *testing.T) {
	for _, dialect := range []string{"postgres", "sqlite"} {
		_, schema := says(t, nil, "migrate", "dump", dialect)
		if !strings.Contains(schema, "CREATE TABLE transfers") {
			t.Fatalf("%s: %.200s", dialect, schema)
		}
		if found := regexp.MustCompile(`(?i)retry_count|next_retry|retries|attempts`).FindString(schema); found != "" {
			t.Errorf("%s has %s", dialect, found)
		}
	}
}
