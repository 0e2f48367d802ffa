//go:build e2e

package advisor_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// proxyEnv marks the process that is a proxy, and has its address.
const proxyEnv = "SHORTHOP_ADVISOR_PROXY"

// startBetween starts what serves in CoreDNS's place for a client.
func startBetween(ctx context.Context, c *client) (stop func(), err error) {
	if c.Between == nil {
		return func() {}, nil
	}
	cmd := exec.CommandContext(ctx, c.Between[0], c.Between[1:]...)
	cmd.Env = append(os.Environ(), proxyEnv+"="+c.Address)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}
	r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", net.JoinHostPort(c.Address, "53"))
	}}
	for range 100 {
		if _, err = r.LookupHost(ctx, "ready.test."); err == nil {
			return stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return nil, fmt.Errorf("%s does not answer: %w", c.Between[0], err)
}

// runProxy is a proxy of the kind that policies for DNS need: it passes queries on from
// the pod's address and from a port of each port of the pod's, with IDs of its own.
func runProxy(address string) error {
	listener, err := net.ListenPacket("udp", net.JoinHostPort(address, "53"))
	if err != nil {
		return err
	}
	var (
		mu      sync.Mutex
		sockets = make(map[string]*net.UDPConn)
		asked   = make(map[string]map[uint16]uint16)
	)
	server := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53}
	buffer := make([]byte, 4096)
	for {
		n, from, err := listener.ReadFrom(buffer)
		if err != nil {
			return err
		}
		if n < 12 {
			continue
		}
		mu.Lock()
		key := from.String()
		socket := sockets[key]
		if socket == nil {
			if socket, err = net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(address)}, server); err != nil {
				return err
			}
			sockets[key], asked[key] = socket, make(map[uint16]uint16)
			go func() {
				answer := make([]byte, 4096)
				for {
					n, err := socket.Read(answer)
					if err != nil {
						return
					}
					mu.Lock()
					binary.BigEndian.PutUint16(answer, asked[key][binary.BigEndian.Uint16(answer)])
					mu.Unlock()
					_, _ = listener.WriteTo(answer[:n], from) // the client asks again
				}
			}()
		}
		id := uint16(rand.Uint32())
		asked[key][id] = binary.BigEndian.Uint16(buffer)
		mu.Unlock()
		binary.BigEndian.PutUint16(buffer, id)
		if _, err := socket.Write(buffer[:n]); err != nil {
			return err
		}
	}
}

// linkEtc fills a folder that takes the place of /etc with links to its files, which
// stay within reach beside it.
func linkEtc(dir string) error {
	entries, err := os.ReadDir("/etc")
	if err != nil {
		return err
	}
	kept := dir + "-etc"
	if err := os.Mkdir(kept, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("/etc", kept, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("keep /etc: %w", err)
	}
	for _, entry := range entries {
		switch entry.Name() {
		case "resolv.conf", "hosts", "nsswitch.conf":
			continue
		}
		if err := os.Symlink(filepath.Join(kept, entry.Name()), filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
