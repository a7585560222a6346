package http

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/valyala/fasthttp"
)

// CheckHost reports why a name cannot be one that the admin listener answers to.
func CheckHost(name string) error {
	if _, err := netip.ParseAddr(name); err == nil {
		return nil
	}
	odd := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' ||
			r == '-' || r == '_' || r == '.')
	}
	if name == "" || len(name) > 253 || strings.ContainsFunc(name, odd) || strings.HasPrefix(name, ".") {
		return fmt.Errorf("%s is no host: write a name or an address alone, such as settled.internal, without scheme, port or *", quote(name))
	}
	return nil
}

// hosts are names that the admin listener answers to beside loopback's.
type hosts map[string]bool

func newHosts(names []string) (hosts, error) {
	h := hosts{}
	for _, name := range names {
		if err := CheckHost(name); err != nil {
			return nil, err
		}
		h[strings.ToLower(name)] = true
	}
	return h, nil
}

// ours refuses a request that was meant for another host. A page in a browser reaches loopback under
// its own name when it has that name resolve there (DNS rebinding): the name then tells it.
//
// The address that the connection came to is no such name, so a probe may ask a container by it.
func (h hosts) ours(ctx *fasthttp.RequestCtx) *fault {
	// An absolute URI outweighs the header in one reader and not in another: both must be ours.
	asked := []string{string(ctx.Request.Header.Host())}
	if absolute := string(ctx.URI().Host()); absolute != "" {
		asked = append(asked, absolute)
	}
	for _, host := range asked {
		name, ok := hostname(host)
		if !ok || !h.answers(name, ctx.LocalAddr()) {
			return misdirectedTo(host)
		}
	}
	return nil
}

func misdirectedTo(host string) *fault {
	return faultf(misdirected, "%s is not served here. ADMIN_HOSTS lists the names that are, beside loopback's.",
		quote(host))
}

func (h hosts) answers(name string, local net.Addr) bool {
	if name == "localhost" || h[name] {
		return true
	}
	ip, err := netip.ParseAddr(name)
	if err != nil {
		return false
	}
	if ip = ip.Unmap(); ip.IsLoopback() {
		return true
	}
	tcp, ok := local.(*net.TCPAddr)
	return ok && ip == tcp.AddrPort().Addr().Unmap()
}

// hostname takes the port off.
func hostname(host string) (string, bool) {
	if name, port, err := net.SplitHostPort(host); err == nil {
		for _, r := range port {
			if r < '0' || r > '9' {
				return "", false
			}
		}
		host = name
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	return strings.ToLower(host), host != ""
}
