package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/streaming/pkg/httpstream"
)

// podDialer connects to a port of a pod.
type podDialer func(ctx context.Context, namespace, pod string, port int) (net.Conn, error)

// forwardingDialer connects through the API server and the kubelet, as kubectl
// port-forward does, but without a local port. It needs create of
// pods/portforward.
func forwardingDialer(config *rest.Config, client kubernetes.Interface) podDialer {
	return func(ctx context.Context, namespace, pod string, port int) (net.Conn, error) {
		target := client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").
			VersionedParams(&corev1.PodPortForwardOptions{}, scheme.ParameterCodec).URL()
		dialer, err := forwardDialer(config, target)
		if err != nil {
			return nil, err
		}
		type dialed struct {
			connection httpstream.Connection
			err        error
		}
		done := make(chan dialed, 1)
		go func() {
			connection, _, err := dialer.Dial(portforward.PortForwardProtocolV1Name)
			done <- dialed{connection, err}
		}()
		select {
		case d := <-done:
			if d.err != nil {
				// Of a refused upgrade only the API server's sentence is left.
				if strings.Contains(d.err.Error(), " is forbidden: ") {
					return nil, apierrors.NewForbidden(corev1.Resource("pods/portforward"), pod, d.err)
				}
				return nil, d.err
			}
			return newPodConn(d.connection, port)
		case <-ctx.Done():
			go func() { // Dial knows no context
				if d := <-done; d.err == nil {
					_ = d.connection.Close()
				}
			}()
			return nil, ctx.Err()
		}
	}
}

// forwardDialer prefers WebSockets, which pass proxies, to SPDY, which older
// API servers want.
func forwardDialer(config *rest.Config, target *url.URL) (httpstream.Dialer, error) {
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		return nil, err
	}
	overSPDY := spdy.NewDialerForStreaming(upgrader, &http.Client{Transport: transport}, http.MethodPost, target)
	overWebSocket, err := portforward.NewSPDYOverWebsocketDialerForStreaming(target, config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialerForStreaming(overWebSocket, overSPDY, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	}), nil
}

// podConn is one forwarded connection. Deadlines do nothing: whoever waits
// closes it. A connection that does not close has nobody to tell.
type podConn struct {
	connection httpstream.Connection
	data       httpstream.Stream
	// refused receives what the kubelet says where it cannot connect, and is
	// closed when it says no more.
	refused chan error
}

func newPodConn(connection httpstream.Connection, port int) (net.Conn, error) {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(port))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	errorStream, err := connection.CreateStream(headers)
	if err != nil {
		_ = connection.Close()
		return nil, fmt.Errorf("opening the error stream: %w", err)
	}
	_ = errorStream.Close() // nothing is written to it
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := connection.CreateStream(headers)
	if err != nil {
		_ = connection.Close()
		return nil, fmt.Errorf("opening the data stream: %w", err)
	}
	c := &podConn{connection, data, make(chan error, 1)}
	go func() {
		defer close(c.refused)
		if message, err := io.ReadAll(errorStream); err == nil && len(message) > 0 {
			c.refused <- errors.New(oneLine(string(message)))
			_ = connection.Close() // or the reader would wait for data that never comes
		}
	}()
	return c, nil
}

func (c *podConn) Read(b []byte) (int, error) {
	n, err := c.data.Read(b)
	if err != nil && n == 0 {
		select {
		case why, ok := <-c.refused:
			if ok {
				err = why
			}
		case <-time.After(time.Second): // the pod closed the connection, the kubelet says nothing
		}
	}
	return n, err
}

func (c *podConn) Write(b []byte) (int, error)      { return c.data.Write(b) }
func (c *podConn) Close() error                     { return c.connection.Close() }
func (c *podConn) LocalAddr() net.Addr              { return podAddr{} }
func (c *podConn) RemoteAddr() net.Addr             { return podAddr{} }
func (c *podConn) SetDeadline(time.Time) error      { return nil }
func (c *podConn) SetReadDeadline(time.Time) error  { return nil }
func (c *podConn) SetWriteDeadline(time.Time) error { return nil }

type podAddr struct{}

func (podAddr) Network() string { return "portforward" }
func (podAddr) String() string  { return "pod" }
