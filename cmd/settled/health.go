package main

import (
	"context"
	"time"

	"github.com/settled/settled/http"
)

type healthCommand struct{ flags }

// Run asks the admin listener's /readyz.
func (c healthCommand) Run(ctx context.Context, proc process) error {
	v, _ := gather(c.flags, proc.environ, ".env")
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return http.Probe(ctx, v.value["ADMIN_ADDR"])
}
