package integration_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// warningList collects the warnings that kubectl would show. The zero value is ready to use.
type warningList struct {
	mu    sync.Mutex
	texts []string
}

// HandleWarningHeader implements rest.WarningHandler.
func (l *warningList) HandleWarningHeader(_ int, _, text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.texts = append(l.texts, text)
}

// client returns a client whose warnings the list collects.
func (l *warningList) client(t *testing.T) kubernetes.Interface {
	t.Helper()
	config := rest.CopyConfig(shared.Config)
	config.WarningHandler = l
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func (l *warningList) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.texts)
}

// has reports whether there is a warning with this text in it. Without a text it reports whether there is none at all.
func (l *warningList) has(part string) bool {
	all := l.all()
	if part == "" {
		return len(all) == 0
	}
	return slices.ContainsFunc(all, func(text string) bool { return strings.Contains(text, part) })
}
