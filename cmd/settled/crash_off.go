//go:build !crashpoints

package main

import (
	"github.com/settled/settled/actors"
	"github.com/settled/settled/http"
)

// The seams as they are; crash_on.go wraps them for tests.

func crashStore(s actors.Store) actors.Store    { return s }
func crashStripe(s actors.Stripe) actors.Stripe { return s }
func crashEngine(e http.Engine) http.Engine     { return e }
func crashKeys(k http.Keys) http.Keys           { return k }
