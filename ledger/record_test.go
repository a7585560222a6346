package ledger

import (
	"strings"
	"testing"
)

func TestAReasonShowsSomething(t *testing.T) {
	for _, blank := range []string{"", " ", "\t\n", "\u00a0", "\u200b", "\u2060\ufeff", "\u0301", "\u2028"} {
		if err := CheckReason(blank); err == nil || !strings.Contains(err.Error(), "is required") {
			t.Errorf("%+q is taken for a reason: %v", blank, err)
		}
	}
	for _, reason := range []string{"x", "#4711", "…", "заявка", "理由", "👍", "the seller asked for it "} {
		if err := CheckReason(reason); err != nil {
			t.Errorf("%q: %v", reason, err)
		}
	}
	if CheckReason(strings.Repeat("x", ReasonMax+1)) == nil {
		t.Error("a reason has no end")
	}
}
