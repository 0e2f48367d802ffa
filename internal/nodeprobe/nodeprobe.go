// Package nodeprobe tries the DNS servers and API servers that pods of a node ask,
// from that node. `webhook probe` runs it in a pod that lives for seconds, and doctor
// reads the answers in that pod's termination message.
package nodeprobe

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// timeout bounds one try. A question is tried up to tries times, as one lost
	// packet is no fault.
	timeout = 2 * time.Second
	tries   = 2
	// MaxSize bounds, in bytes, what Encode returns: kubelet keeps that much of a
	// container's termination message.
	MaxSize = 4096
	// maxError bounds, in bytes, the error of one answer.
	maxError = 160
)

// Questions say which servers to try, and with what.
type Questions struct {
	// DNS are addresses of servers, which are asked for Name on port 53. Name is a
	// name that exists; if it is empty, they are asked for the servers of the root,
	// and any answer will do.
	DNS  []string
	Name string
	// API are API servers as HOST:PORT. CAFile has the CA that verifies their
	// certificates; if it is empty, or there is no such file, any certificate will do.
	API    []string
	CAFile string
}

// Kinds of what is asked.
const (
	KindDNS = "dns"
	KindAPI = "api"
)

// Answer is what became of one question.
type Answer struct {
	Kind   string `json:"kind"`
	Target string `json:"target"`
	// Error is empty where the server answered as it should.
	Error string `json:"error,omitzero"`
}

// Ask asks all servers at once, and takes four seconds at most. The answers are in
// the order of q, those of DNS first.
func Ask(ctx context.Context, q *Questions) []Answer {
	answers := make([]Answer, len(q.DNS)+len(q.API))
	var wait sync.WaitGroup
	ask := func(a *Answer, kind, target string, try func(context.Context) error) {
		a.Kind, a.Target = kind, target
		wait.Go(func() {
			var err error
			for range tries {
				attempt, cancel := context.WithTimeout(ctx, timeout)
				err = try(attempt)
				cancel()
				if err == nil {
					return
				}
			}
			text := err.Error()
			a.Error = text[:min(len(text), maxError)]
		})
	}
	for i, server := range q.DNS {
		ask(&answers[i], KindDNS, server, func(ctx context.Context) error { return askDNS(ctx, server, q.Name) })
	}
	roots, err := trusted(q.CAFile)
	for i, server := range q.API {
		ask(&answers[len(q.DNS)+i], KindAPI, server, func(ctx context.Context) error {
			return errors.Join(err, askAPI(ctx, server, roots))
		})
	}
	wait.Wait()
	return answers
}

func askDNS(ctx context.Context, server, name string) error {
	question := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)
	if name == "" {
		question = new(dns.Msg).SetQuestion(".", dns.TypeNS)
	}
	reply, _, err := (&dns.Client{Timeout: timeout}).ExchangeContext(ctx, question, net.JoinHostPort(server, "53"))
	var failed net.Error
	switch {
	case errors.As(err, &failed) && failed.Timeout():
		return fmt.Errorf("no answer within %s", timeout)
	case err != nil:
		return err
	case name != "" && reply.Rcode != dns.RcodeSuccess:
		return fmt.Errorf("says %s of %s", cmp.Or(dns.RcodeToString[reply.Rcode], fmt.Sprint(reply.Rcode)), name)
	}
	return nil
}

func askAPI(ctx context.Context, server string, roots *x509.CertPool) error {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	config.InsecureSkipVerify = roots == nil // nothing is sent, and doctor's api-host judges the certificate
	connection, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", server)
	if err != nil {
		return err
	}
	return connection.Close()
}

// trusted reads the CAs in a file, nil where there is no such file.
func trusted(file string) (*x509.CertPool, error) {
	data, err := os.ReadFile(file)
	switch {
	case file == "" || errors.Is(err, os.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s has no certificate", file)
	}
	return pool, nil
}

// Encode writes answers as JSON of at most MaxSize bytes: as many of the first ones
// as fit.
func Encode(answers []Answer) []byte {
	for n := len(answers); ; n-- {
		text, err := json.Marshal(answers[:n])
		if err == nil && len(text) <= MaxSize || n == 0 {
			return text
		}
	}
}

// Decode reads what Encode wrote.
func Decode(text string) ([]Answer, error) {
	var answers []Answer
	if len(text) > MaxSize {
		return nil, fmt.Errorf("%d bytes are more than a probe writes", len(text))
	}
	if err := json.Unmarshal([]byte(text), &answers); err != nil {
		return nil, fmt.Errorf("%.80q is not what a probe writes", text)
	}
	return answers, nil
}
