package rotation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	// The program is built from source. `go test` must know what it is built
	// from, or it would show the cached result of an older build.
	_ "github.com/shorthop/shorthop/internal/app"
	"github.com/shorthop/shorthop/test/cluster"
)

// Build builds the webhook into dir.
func Build(ctx context.Context, dir string) (program string, err error) {
	root, err := Root(ctx)
	if err != nil {
		return "", err
	}
	program = filepath.Join(dir, "webhook")
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", program, "./cmd/webhook")
	command.Dir, command.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building the webhook: %w\n%s", err, output)
	}
	return program, nil
}

// Root returns the folder of this repository, also to tests in a module of
// their own.
func Root(ctx context.Context) (string, error) {
	command := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/shorthop/shorthop")
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("finding the repository: %w", err)
	}
	return strings.TrimSpace(string(output)), nil
}

// Served returns the certificate that a server serves now.
func Served(ctx context.Context, webhook *cluster.Webhook) (*x509.Certificate, error) {
	at, err := url.Parse(webhook.URL)
	if err != nil {
		return nil, err
	}
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}} // it is only looked at
	conn, err := dialer.DialContext(ctx, "tcp", at.Host)
	if err != nil {
		return nil, fmt.Errorf("looking at the certificate: %w", err)
	}
	defer hangUp(conn)
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0], nil
}

// Folder is where a Secret is mounted. It changes as kubelet changes it: all
// files at once, by a symbolic link that is replaced.
type Folder struct {
	Dir     string
	version int
}

// Publish replaces the files with those that write puts into a folder.
func (f *Folder) Publish(write func(dir string) error) error {
	previous := filepath.Join(f.Dir, fmt.Sprintf("..version-%d", f.version))
	f.version++
	name := fmt.Sprintf("..version-%d", f.version)
	next, data := filepath.Join(f.Dir, name), filepath.Join(f.Dir, "..data")
	if err := os.MkdirAll(next, 0o700); err != nil {
		return fmt.Errorf("publishing files: %w", err)
	}
	if err := write(next); err != nil {
		return err
	}
	if err := errors.Join(os.Symlink(name, data+"_tmp"), os.Rename(data+"_tmp", data)); err != nil {
		return fmt.Errorf("publishing files: %w", err)
	}
	files, err := os.ReadDir(next)
	if err != nil {
		return fmt.Errorf("publishing files: %w", err)
	}
	for _, file := range files {
		err := os.Symlink(filepath.Join("..data", file.Name()), filepath.Join(f.Dir, file.Name()))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("publishing files: %w", err)
		}
	}
	return os.RemoveAll(previous)
}
