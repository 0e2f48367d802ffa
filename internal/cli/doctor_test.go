package cli_test

import (
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/test/testfile"
)

// An API server that does not answer is no finding.
func TestDoctorWithoutAnAPIServer(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close() // nothing listens there
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{"apiVersion": "v1", "kind": "Config", "current-context": "c",
		"clusters": [{"name": "c", "cluster": {"server": "http://` + address + `"}}],
		"contexts": [{"name": "c", "context": {"cluster": "c"}}]}`
	testfile.Write(t, kubeconfig, text)
	stdout, stderr, code := run(t, nil, "doctor", "--kubeconfig", kubeconfig)
	if code != 2 || stdout != "" || !strings.Contains(stderr, "cannot ask the API server at http://"+address) {
		t.Errorf("got exit code %d, %q and %q", code, stdout, stderr)
	}
	_, stderr, code = run(t, nil, "doctor", "--kubeconfig", kubeconfig, "--context", "other")
	if code != 2 || !strings.Contains(stderr, `context "other" does not exist`) {
		t.Errorf("another context: got exit code %d and %q", code, stderr)
	}
}
