package ledger

// NewDigest folds the rows of a transfer's history that are the operation's own.
func NewDigest(rows []History, operation ID) Digest {
	var d Digest
	for _, h := range rows {
		if h.Subject == operation {
			d = d.Add(h)
		}
	}
	return d
}
