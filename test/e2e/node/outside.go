package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"syscall"
	"time"
)

// Outside is what the world outside of the cluster does with names that nobody has.
type Outside string

// The states of the outside.
const (
	// OutsideAnswers says NXDOMAIN.
	OutsideAnswers Outside = "answers"
	// OutsideSilent takes queries and never answers.
	OutsideSilent Outside = "silent"
	// OutsideClosed has nobody at its port, so that the cluster DNS says SERVFAIL at once.
	OutsideClosed Outside = "closed"
	// OutsideLies has an address for every name.
	OutsideLies Outside = "lying"
)

// InventedA is the address that it then has.
const InventedA = "192.0.2.99"

// outsideAddress is where the cluster DNS forwards to.
const outsideAddress = "127.0.0.1:5301"

const logOutside = "coredns-outside"

// SetOutside lets the outside do something else, and returns once it does.
func (n *Node) SetOutside(ctx context.Context, o Outside) error {
	if n.outside != nil {
		n.outside.kill()
	}
	if o == OutsideClosed {
		return nil
	}
	zone := `  template IN ANY . {
    rcode NXDOMAIN
    authority ". 60 IN SOA a.root-servers.net nstld.root-servers.net 1 60 60 60 30"
  }
`
	if o == OutsideLies {
		zone = `  template IN A . {
    answer "{{.Name}} 60 IN A ` + InventedA + `"
  }
  template IN AAAA . {
    answer "{{.Name}} 60 IN AAAA 2001:db8::99"
  }
`
	}
	corefile := filepath.Join(n.dir, logOutside, "Corefile")
	if err := writeFile(corefile, ".:5301 {\n  bind 127.0.0.1\n  errors\n"+zone+"}\n"); err != nil {
		return err
	}
	p, err := n.start(logOutside, n.assets.CoreDNS, "-conf", corefile)
	if err != nil {
		return err
	}
	n.outside = p
	if err := p.wait(ctx, func(ctx context.Context) error { return answers(ctx, outsideAddress, "ready.invalid.") }); err != nil {
		return err
	}
	if o == OutsideSilent {
		if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			return fmt.Errorf("silencing the outside: %w", err)
		}
	}
	return nil
}

// answers asks a server for a name, and is content with the answer that there is none.
func answers(ctx context.Context, server, name string) error {
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, server)
	}}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_, err := r.LookupNetIP(ctx, "ip4", name)
	if denied := (*net.DNSError)(nil); errors.As(err, &denied) && denied.IsNotFound {
		return nil
	}
	return err
}

// AnswerSvc puts the block into the cluster DNS that makes it answer "svc." itself, or takes it out, as an operator does:
// the server reads its Corefile again.
func (n *Node) AnswerSvc(itself bool) error {
	if err := writeFile(filepath.Join(n.dir, "coredns", "Corefile"), n.clusterCorefile(itself)); err != nil {
		return err
	}
	if err := n.clusterDNS.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		return fmt.Errorf("reloading the cluster DNS: %w", err)
	}
	return nil
}
