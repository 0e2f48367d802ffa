package namespaces

import (
	"errors"
	"io"
	"net/http"

	"k8s.io/client-go/rest"
)

// Limit returns a copy of a configuration with which answers of the API server
// that are larger than a namespace can be are errors.
func Limit(config *rest.Config) *rest.Config {
	limited := rest.CopyConfig(config)
	limited.Wrap(func(next http.RoundTripper) http.RoundTripper { return &limitedTransport{next} })
	return limited
}

type limitedTransport struct{ next http.RoundTripper }

func (l *limitedTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	response, err := l.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	response.Body = &limitedBody{ReadCloser: response.Body, left: maxNamespace}
	return response, nil
}

var errTooLarge = errors.New("the API server's answer is larger than a namespace can be")

// limitedBody fails after so many bytes.
type limitedBody struct {
	io.ReadCloser
	left int
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLarge
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
