package nodeprobe

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/shorthop/shorthop/test/testfile"
)

// A DNS server on port 53 needs an address of its own: 127.0.0.x is this machine's everywhere on Linux.
func serveDNS(t *testing.T, address string, rcode int) {
	t.Helper()
	connection, err := net.ListenPacket("udp", address+":53")
	if err != nil {
		t.Skipf("port 53 may not be listened on here: %v", err)
	}
	server := &dns.Server{PacketConn: connection, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		_ = w.WriteMsg(new(dns.Msg).SetRcode(q, rcode))
	})}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown() })
}

func TestWhatDNSServersSay(t *testing.T) {
	t.Parallel()
	serveDNS(t, "127.0.53.1", dns.RcodeSuccess)
	serveDNS(t, "127.0.53.2", dns.RcodeNameError)
	silent, err := net.ListenPacket("udp", "127.0.53.3:53")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	got := Ask(t.Context(), &Questions{DNS: []string{"127.0.53.1", "127.0.53.2", "127.0.53.3", "127.0.53.4"}, Name: "kubernetes.default.svc.cluster.local"})
	if len(got) != 4 || got[0].Error != "" || !strings.Contains(got[1].Error, "says NXDOMAIN of kubernetes.default.svc.cluster.local") ||
		got[2].Error != "no answer within 2s" || !strings.Contains(got[3].Error, "refused") {
		t.Errorf("%+v", got)
	}
	if got := Ask(t.Context(), &Questions{DNS: []string{"127.0.53.2"}}); got[0].Error != "" {
		t.Errorf("without a name, any answer is one: %+v", got)
	}
}

func TestWhatAPIServersProve(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	address := server.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	file := filepath.Join(t.TempDir(), "ca.crt")
	write := func(cert *x509.Certificate) {
		testfile.Write(t, file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
	}
	write(server.Certificate())
	ask := func(target, file string) string {
		return Ask(t.Context(), &Questions{API: []string{target}, CAFile: file})[0].Error
	}
	if got := ask(address, file); got != "" {
		t.Error(got)
	}
	if got := ask("localhost:"+port, file); !strings.Contains(got, "certificate is valid for") {
		t.Errorf("another name: %q", got)
	}
	if got := ask("localhost:"+port, file+".missing"); got != "" {
		t.Errorf("without a CA: %q", got)
	}
	if got := ask("127.0.0.1:1", file); !strings.Contains(got, "refused") {
		t.Errorf("nobody there: %q", got)
	}
	testfile.Write(t, file, "nothing")
	if got := ask(address, file); !strings.Contains(got, "has no certificate") {
		t.Errorf("a broken CA: %q", got)
	}
}

func TestEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := Ask(ctx, &Questions{DNS: []string{"192.0.2.1"}, API: []string{"192.0.2.1:443"}}); got[0].Error == "" || got[1].Error == "" {
		t.Errorf("%+v", got)
	}
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	t.Parallel()
	few := []Answer{{KindDNS, "169.254.20.10", "no answer within 2s"}, {KindAPI, "api.example.com:443", ""}}
	got, err := Decode(string(Encode(few)))
	if diff := cmp.Diff(few, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	many := make([]Answer, 1000)
	text := Encode(many)
	if got, err := Decode(string(text)); err != nil || len(text) > MaxSize || len(got) == 0 {
		t.Errorf("%d bytes, %d answers, %v", len(text), len(got), err)
	}
	for _, text := range []string{"", "panic: x", "{}", strings.Repeat(" ", MaxSize+1)} {
		if got, err := Decode(text); err == nil {
			t.Errorf("%.20q is read as %v", text, got)
		}
	}
}
