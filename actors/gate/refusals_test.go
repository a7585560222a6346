package gate

import (
	"errors"
	"testing"
	"time"

	"github.com/settled/settled/actors/stripe"
	"github.com/settled/settled/ledger"
)

func TestTheSameRefusalOfThreeSellersIsAboutThePlatform(t *testing.T) {
	refusal := ledger.Answer{Verdict: ledger.Failed, Reaction: ledger.AskOperator, Row: "T18",
		Code: "brand_new", Message: "No such destination: 'acct_1'"}
	other := refusal
	other.Message = "No such destination: 'acct_2'" // the same, but for the ID
	paid := ledger.Answer{Verdict: ledger.Done}
	replay := ledger.Answer{Verdict: ledger.Done, Replayed: true}
	lost := ledger.Answer{Verdict: ledger.Unknown}
	unlike := refusal
	unlike.Code = "another"
	type heard struct {
		seller string
		answer ledger.Answer
	}
	for name, tc := range map[string]struct {
		before []heard
		want   ledger.Reaction
	}{
		"the third seller is the proof":       {[]heard{{"a", refusal}, {"b", other}}, ledger.AwaitPlatform},
		"two calls of one seller are one":     {[]heard{{"a", refusal}, {"a", refusal}}, ledger.AskOperator},
		"a transfer that is paid between":     {[]heard{{"a", refusal}, {"b", other}, {"d", paid}}, ledger.AskOperator},
		"another refusal between":             {[]heard{{"a", refusal}, {"b", unlike}}, ledger.AskOperator},
		"a replay is an answer of long ago":   {[]heard{{"a", refusal}, {"b", replay}, {"b", other}}, ledger.AwaitPlatform},
		"nobody heard it before":              {nil, ledger.AskOperator},
		"an answer that never came is no end": {[]heard{{"a", refusal}, {"b", other}, {"d", lost}}, ledger.AwaitPlatform},
	} {
		t.Run(name, func(t *testing.T) {
			var r Refusals
			for _, h := range tc.before {
				r.Attribute(ledger.CreateTransfer, h.seller, h.answer)
			}
			if got := r.Attribute(ledger.CreateTransfer, "c", refusal); got.Reaction != tc.want {
				t.Errorf("the reaction is %v, want %v", got.Reaction, tc.want)
			}
		})
	}
}

func TestAReadTeachesTheGateWhatItsErrorSays(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want Release
	}{
		"an object":           {nil, Release{}},
		"an error of our own": {errors.New("cut off"), Release{Unused: true}},
		"a rate limit": {
			&stripe.ReadError{Scope: ledger.ScopeEndpoint, HTTPStatus: 429, RetryAfter: time.Second, Said: "slow down"},
			Release{Scope: ledger.ScopeEndpoint, After: time.Second, Said: "slow down"}},
		"no answer":               {&stripe.ReadError{Scope: ledger.ScopeDown}, Release{Scope: ledger.ScopeDown}},
		"given up by ourselves":   {&stripe.ReadError{}, Release{Unused: true}},
		"a key that may not read": {&stripe.ReadError{Scope: ledger.ScopePlatform, HTTPStatus: 403}, Release{}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.want.No, tc.want.Endpoint = 3, Lists
			if got := AfterRead(3, Lists, tc.err); got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
		})
	}
}
