package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/bench/contender"
)

// A contender runs in a process of its own, as Shorthop does: this program, called as `bench serve FILE`.

// served says what a contender's process serves.
type served struct {
	// Kind is null (controller-runtime's), constant or conventional.
	Kind string
	// Patch is what constant answers.
	Patch []byte
	// Settings are conventional's.
	Settings contender.Settings
	CertDir  string
}

func (s *served) handler() (http.Handler, error) {
	switch s.Kind {
	case kindNull:
		return contender.Null(), nil
	case kindConstant:
		return contender.Constant(s.Patch), nil
	case kindConventional:
		return contender.Conventional(s.Settings), nil
	}
	return nil, fmt.Errorf("no contender is called %q", s.Kind)
}

// Kinds of contenders.
const (
	kindNull         = "null"
	kindConstant     = "constant"
	kindConventional = "conventional"
)

// serve is the contender's process. It prints its URL and ends with SIGTERM, or when its parent has.
func serve(ctx context.Context, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var s served
	if err := json.Unmarshal(text, &s); err != nil {
		return fmt.Errorf("reading what to serve: %w", err)
	}
	handler, err := s.handler()
	if err != nil {
		return err
	}
	if s.Kind != kindConstant { // that one is the floor, and measures nothing either
		measured := webhook.NewServer(webhook.Options{})
		measured.Register(webhookconfig.Path, handler)
		handler = measured.WebhookMux()
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 90 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })() // the process ends
	fmt.Printf("https://%s%s\n", listener.Addr(), webhookconfig.Path)
	err = server.ServeTLS(listener, filepath.Join(s.CertDir, "tls.crt"), filepath.Join(s.CertDir, "tls.key"))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// process is a contender that runs.
type process struct {
	url string
	cmd *exec.Cmd
}

// startContender returns once the contender listens.
func startContender(ctx context.Context, dir string, s served) (*process, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("encoding what to serve: %w", err)
	}
	file, err := os.CreateTemp(dir, s.Kind+"-*.json")
	if err != nil {
		return nil, fmt.Errorf("writing what to serve: %w", err)
	}
	_, err = file.Write(text)
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("writing what to serve: %w", err)
	}
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), program, "serve", file.Name())
	// A contender ends with this program, however that ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", s.Kind, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", s.Kind, err)
	}
	p := &process{cmd: cmd}
	line, err := bufio.NewReader(output).ReadString('\n')
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("starting %s: no URL: %w", s.Kind, err)
	}
	p.url = strings.TrimSpace(line)
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) stop() {
	_ = p.cmd.Process.Kill() // fails only when the process is gone already
	_ = p.cmd.Wait()         // says that it was killed
}
