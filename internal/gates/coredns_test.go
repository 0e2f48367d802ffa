//go:build e2e

package gates_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/testfile"
)

// coreDNS runs the real one with a Corefile until the end of the test; PORT in it
// is the server's.
func coreDNS(t *testing.T, corefile string) (port string) {
	t.Helper()
	binary := os.Getenv("E2E_COREDNS")
	if binary == "" {
		binary = "../../.cache/tools/coredns-v1.15.0/coredns"
	}
	listener, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ = net.SplitHostPort(listener.LocalAddr().String())
	listener.Close()
	file := filepath.Join(t.TempDir(), "Corefile")
	testfile.Write(t, file, strings.ReplaceAll(corefile, "PORT", port))
	var output bytes.Buffer
	command := exec.CommandContext(t.Context(), binary, "-conf", file)
	command.Stdout, command.Stderr = &output, &output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Logf("CoreDNS: %s", output.String())
		}
	})
	return port
}

// The block that doctor prints, in CoreDNS itself, behind one cache and in front
// of upstreams of every kind; and the same without it.
func TestTheTemplateBlockInCoreDNS(t *testing.T) {
	upstreams := map[string]struct {
		answer  answering
		without policy.Reason
	}{
		"an upstream that says NXDOMAIN":     {forwarded, policy.ReasonServiceNotLocal},
		"an upstream that invents addresses": {record(dns.RcodeSuccess, "answer", "QNAME 60 IN A 192.0.2.80"), policy.ReasonUpstreamInventsAnswers},
		"an upstream that refuses":           {rcode(dns.RcodeRefused), policy.ReasonUpstreamFails},
		"an upstream that fails":             {rcode(dns.RcodeServerFailure), policy.ReasonUpstreamFails},
		"an upstream that is silent":         {silent, policy.ReasonUpstreamSlow},
	}
	block := strings.Join(corefile.TemplateBlock(), "\n    ")
	for name, upstream := range upstreams {
		for _, local := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, template %t", name, local), func(t *testing.T) {
				t.Parallel()
				server := newDNSServer(t, upstream.answer)
				want, inBlock := upstream.without, ""
				if local {
					want, inBlock = "", block
				}
				cluster := coreDNS(t, fmt.Sprintf(".:PORT {\n    bind 127.0.0.1\n    %s\n    cache 30\n    forward . 127.0.0.1:%s {\n        max_concurrent 1000\n    }\n}\n", inBlock, server.port))
				cache := coreDNS(t, fmt.Sprintf(".:PORT {\n    bind 127.0.0.1\n    cache 30\n    forward . 127.0.0.1:%s\n}\n", cluster))
				for _, port := range []string{cluster, cache} {
					set, _ := newSet(t, clustertest.CA(t))
					set.AskDNSAt(port)
					var got policy.Reason
					var err error
					for range 50 { // until it listens
						if got, err = set.AskUpstream(t.Context(), []string{"127.0.0.1"}, 2*time.Second); err == nil || !strings.Contains(err.Error(), "refused") {
							break
						}
						time.Sleep(100 * time.Millisecond)
					}
					if got != want {
						t.Errorf("port %s: %q, want %q: %v", port, got, want, err)
					}
				}
			})
		}
	}
}
