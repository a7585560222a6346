package stripesim

// took reports a reversal that moved its money.
func (r *reversal) took() bool { return r.status == "" || r.status == "succeeded" }

// keepReversal takes a reversal and moves nothing yet. Later it succeeds, when as much is left to
// reverse as it is of; else it fails or is canceled, as drawn or as the rule says.
func (s *Sim) keepReversal(c *call, t *transfer, amount int64) *reversal {
	s.hit(KindKept)
	r := &reversal{amount: amount, metadata: metadataOf(c.form, nil), key: c.info.Key, of: t, status: "pending"}
	r.head = s.stamp(freshID(s, c, "trr_", &s.world.reversals))
	t.reversals = append(t.reversals, r)
	s.world.reversals.add(r)
	h := mix(s.plan.seed, "kept", r.id)
	end := []string{"succeeded", "succeeded", "failed", "canceled"}[h%4]
	if rule := c.fault.rule; rule != nil && rule.Code != "" {
		end = rule.Code
	}
	delay := c.fault.delay
	if delay == 0 {
		delay = s.delayOf(KindKept, 0, scramble(h))
	}
	s.underWay++
	s.clock.after(delay, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.underWay--
		seller, ok := s.world.accounts.get(t.destination)
		if r.status = end; end == "succeeded" && ok && amount <= t.amount-t.reversed {
			s.takeBack(nil, r, seller)
			return
		}
		if end == "succeeded" {
			r.status = "failed"
		}
		s.emit(nil, event{kind: "transfer.updated", object: s.renderTransfer(t)})
	})
	return r
}
