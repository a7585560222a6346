package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// mistaken are names that people give to a setting, and the setting that they mean. They are never read: a daemon that
// ran on its default because of a name would look as if it were configured.
var mistaken = map[string]string{
	"TRANSFER_MAX_RETRIES": "TRANSFER_RETRY_MAX_ATTEMPTS", "TRANSFER_MAX_ATTEMPTS": "TRANSFER_RETRY_MAX_ATTEMPTS",
	"TRANSFER_RETRY_MAX": "TRANSFER_RETRY_MAX_ATTEMPTS", "TRANSFER_CHECK_INTERVAL": "TRANSFER_RETRY_INTERVAL",
	"TRANSFER_WORKER_ENABLED": "TRANSFER_RETRY_ENABLED", "REVERSAL_RETRY_MAX_ATTEMPTS": "REVERSAL_MAX_RETRIES",
	"REVERSAL_MAX_ATTEMPTS": "REVERSAL_MAX_RETRIES", "REVERSAL_RETRY_INTERVAL": "REVERSAL_CHECK_INTERVAL",
	"REVERSAL_RETRY_ENABLED": "REVERSAL_WORKER_ENABLED", "STRIPE_WEBHOOK_SIGNING_SECRET": "STRIPE_WEBHOOK_SECRET",
	"STRIPE_API_URL": "STRIPE_API_BASE", "STRIPE_BASE_URL": "STRIPE_API_BASE", "STRIPE_API_BASE_URL": "STRIPE_API_BASE",
	"PUBLIC_ADDRESS": "PUBLIC_ADDR", "ADMIN_ADDRESS": "ADMIN_ADDR", "ADMIN_API_TOKEN": "ADMIN_TOKEN",
}

// borrowed are such names too, that other programs on a machine may be given for good reasons: they are a problem
// only while the setting that they may mean is not given.
var borrowed = map[string]string{
	"STRIPE_API_KEY": "STRIPE_SECRET_KEY", "STRIPE_KEY": "STRIPE_SECRET_KEY", "STRIPE_SECRET": "STRIPE_SECRET_KEY",
	"STRIPE_ENDPOINT_SECRET": "STRIPE_WEBHOOK_SECRET", "STRIPE_SIGNING_SECRET": "STRIPE_WEBHOOK_SECRET",
	"DATABASE_URI": "DATABASE_URL", "DB_URL": "DATABASE_URL", "POSTGRES_URL": "DATABASE_URL",
}

// nearly reports the names in the environment that are nearly one of ours. Values are not shown.
func nearly(env map[string]string) (problems []error) {
	ours := map[string]bool{} // whether a file may be named
	given := map[string]bool{}
	for _, s := range settings {
		for _, name := range []string{s.name, s.alias} {
			if name == "" {
				continue
			}
			ours[name] = s.file
			given[s.name] = given[s.name] || env[name] != "" || s.file && env[name+"_FILE"] != ""
		}
	}
	known := slices.Sorted(maps.Keys(ours))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		bare, file := strings.CutSuffix(name, "_FILE")
		mayBeFile, exact := ours[bare]
		if _, here := ours[name]; here || exact && mayBeFile || env[name] == "" {
			continue
		}
		switch meant := mistaken[bare]; {
		case exact && file:
			problems = append(problems, fmt.Errorf("%s: %s is no secret and is not read from a file: set %s", name,
				bare, bare))
		case meant != "":
			problems = append(problems, fmt.Errorf("%s is no setting: did you mean %s?", name, meant))
		case borrowed[bare] != "":
			if meant = borrowed[bare]; !given[meant] {
				problems = append(problems, fmt.Errorf("%s is no setting: did you mean %s?", name, meant))
			}
		default:
			for _, k := range known {
				if resembles(bare, k) {
					problems = append(problems, fmt.Errorf("%s is no setting: did you mean %s?", name, k))
					break
				}
			}
		}
	}
	return problems
}

// resembles reports whether a name is easily written instead of one of ours: in other letters, with other lines
// between the words, with our name before it, or with a slip or two.
func resembles(name, ours string) bool {
	bare := func(s string) string {
		return strings.NewReplacer("_", "", "-", "", ".", "").Replace(strings.ToUpper(s))
	}
	n, o := bare(name), bare(ours)
	if n == o || strings.TrimPrefix(n, "SETTLED") == o {
		return true
	}
	slips := 1
	if len(o) >= 12 {
		slips = 2
	}
	return len(name) >= 8 && distance(n, o, slips) <= slips
}

// distance counts the letters that were left out, put in, or exchanged, as far as most; two that changed places
// count once.
func distance(a, b string, most int) int {
	if len(a)-len(b) > most || len(b)-len(a) > most {
		return most + 1
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
