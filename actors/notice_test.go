package actors_test

import (
	"testing"

	"github.com/settled/settled/actors"
	"github.com/settled/settled/ledger"
)

func TestANoticeLastsUntilItIsWithdrawnAndWhatBarsComesFirst(t *testing.T) {
	var s actors.System
	s.Notify(ledger.Notice{Code: "a"})
	s.Notify(ledger.Notice{Code: "b", Bars: true})
	since := s.Notices()[1].Since
	s.Notify(ledger.Notice{Code: "a", Text: "more is known"})
	list := s.Notices()
	if len(list) != 2 || list[0].Code != "b" || list[1].Text != "more is known" || list[1].Since != since || since.IsZero() {
		t.Errorf("%+v", list)
	}
	s.Withdraw("b")
	if list := s.Notices(); len(list) != 1 || list[0].Code != "a" {
		t.Errorf("%+v", list)
	}
}
