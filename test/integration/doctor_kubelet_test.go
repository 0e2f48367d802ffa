package integration_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// forwardingKubelet is as much of a kubelet as port forwarding through the API server needs: it connects a pod's ports
// to addresses on this machine, where the pod's processes listen.
type forwardingKubelet struct {
	// port is that of 127.0.0.1.
	port int32
	// addresses by "pod:port".
	addresses sync.Map
}

// startKubelet serves until the end of the test.
func startKubelet(t *testing.T) *forwardingKubelet {
	t.Helper()
	k := &forwardingKubelet{}
	server := httptest.NewTLSServer(k)
	t.Cleanup(server.Close)
	k.port = int32(server.Listener.Addr().(*net.TCPAddr).Port)
	return k
}

// ServeHTTP answers /portForward/NAMESPACE/POD.
func (k *forwardingKubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if len(parts) < 3 || parts[0] != "portForward" {
		http.NotFound(w, r)
		return
	}
	if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
		return // it has answered
	}
	streams := make(chan httpstream.Stream, 2)
	connection := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, _ <-chan struct{}) error {
		streams <- stream
		return nil
	})
	if connection == nil {
		return // likewise
	}
	defer connection.Close()
	var errorStream httpstream.Stream
	for {
		select {
		case stream := <-streams:
			if stream.Headers().Get(corev1.StreamType) == corev1.StreamTypeError {
				errorStream = stream
				continue
			}
			go k.forward(parts[2], stream, errorStream)
		case <-connection.CloseChan():
			return
		}
	}
}

func (k *forwardingKubelet) forward(pod string, data, errorStream httpstream.Stream) {
	defer errorStream.Close()
	defer data.Close()
	port := data.Headers().Get(corev1.PortHeader)
	address, found := k.addresses.Load(pod + ":" + port)
	if !found {
		fmt.Fprintf(errorStream, "nothing of %s listens on %s", pod, port)
		return
	}
	conn, err := net.Dial("tcp", address.(string))
	if err != nil {
		fmt.Fprint(errorStream, err)
		return
	}
	defer conn.Close()
	go func() {
		_, _ = io.Copy(conn, data) // ends with the connection
		conn.Close()
	}()
	_, _ = io.Copy(data, conn)
}
