// Package crash ends the process at named points, for tests that want to see what a death
// there leaves behind.
//
// In an ordinary build nothing of it exists: [Point] is empty and vanishes. In one with the tag
// crashpoints the environment decides:
//
//	SETTLED_CRASHPOINT=list       print every point with its kind, and exit
//	SETTLED_CRASHPOINT=name:n     die by SIGKILL at the n-th pass of a point
//
// The seams of the daemon (store, Stripe, what package http asks for) are wrapped in
// cmd/settled/crash_on.go; the points in between are calls in the code itself.
package crash
