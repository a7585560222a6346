// Package http is how the world talks to settled, on two listeners that share nothing but
// the engine behind them:
//
//	public   POST /webhooks/stripe   verify, store, answer; then the engine acts
//	admin    /v1/…                   orders, reading, messages; a bearer token for each call
//	         /livez /readyz /metrics for probes and Prometheus, without a token
//
// They are two so that no mistake of a proxy, and no smuggled request, reaches the admin
// side from outside. routes.go is the table of contents: every route, who may use it, and the
// one function that all of them pass through.
//
// The package decides nothing about money. It checks each request (json.go: strictly, naming
// each wrong field and its remedy), asks the engine or the store, and tells the result
// (view.go, problem.go). It imports the ledger's words alone; the interfaces in ports.go are
// satisfied elsewhere.
//
// fasthttp reuses its buffers as soon as a handler returns: bytes that are kept are copied first.
package http
