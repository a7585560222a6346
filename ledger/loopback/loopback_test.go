package loopback_test

import (
	"testing"

	"github.com/settled/settled/ledger/loopback"
)

func TestOnlyThisMachineIsLoopback(t *testing.T) {
	for host, is := range map[string]bool{
		"localhost": true, "127.0.0.1": true, "127.8.8.8": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "localhost.example": false, "LOCALHOST": false,
		"127.0.0.1.nip.io": false, "[::1]": false, "127.1": false,
	} {
		if loopback.Is(host) != is {
			t.Errorf("%q is this machine: %v", host, !is)
		}
	}
}
