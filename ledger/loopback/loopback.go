// Package loopback tells the hosts of this machine from others: a live key, a database without a verified
// certificate and the admin API in the clear stay on it.
package loopback

import "net"

// Is reports a host that is this machine. No resolver is asked.
func Is(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
