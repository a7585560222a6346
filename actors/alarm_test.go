package actors

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestEveryAlarmIsThereFromTheStart(t *testing.T) {
	var files []string
	for _, pattern := range []string{"*.go", "gate/*.go", "reconcile/*.go"} {
		more, err := filepath.Glob(pattern)
		if err != nil || len(more) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		files = append(files, more...)
	}
	raised := map[string]bool{"bug": true, "gave_up": true, "parked": true} // by a variable
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\.[aA]larm\("([a-z_]+)"`).FindAllStringSubmatch(string(text), -1) {
			raised[m[1]] = true
			if !slices.Contains(alarmKinds, m[1]) {
				t.Errorf("%s raises %q, which is not there before it is raised", file, m[1])
			}
		}
	}
	for _, kind := range alarmKinds {
		if !raised[kind] {
			t.Errorf("nothing raises %q", kind)
		}
	}
}
