package ledger

import "github.com/google/uuid"

// ID names a transfer, a reversal or an injected message: a UUIDv7, so that IDs sort by
// the time they were made. The ledger never draws one; callers hand them in.
type ID = uuid.UUID

// ParseID reads the canonical form of an ID.
func ParseID(s string) (ID, error) { return uuid.Parse(s) }
