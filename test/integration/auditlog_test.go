package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/shorthop/shorthop/test/cluster"
)

// auditEvent is the part of an event in the API server's audit log that tests look at.
type auditEvent struct {
	Stage     string `json:"stage"`
	ObjectRef struct {
		Namespace   string `json:"namespace"`
		Name        string `json:"name"`
		Subresource string `json:"subresource"`
	} `json:"objectRef"`
	Annotations map[string]string `json:"annotations"`
}

// failedOpen returns the webhooks whose calls failed and were ignored.
func (e *auditEvent) failedOpen() []string {
	const prefix = "failed-open.mutation.webhook.admission.k8s.io/"
	var webhooks []string
	for key, value := range e.Annotations {
		if strings.HasPrefix(key, prefix) {
			webhooks = append(webhooks, value)
		}
	}
	return webhooks
}

// audited returns the event of a request for the pod, or for a subresource of it. A pod's name should be used once.
func (s *scope) audited(namespace, name, subresource string) *auditEvent {
	s.t.Helper()
	var found *auditEvent
	err := cluster.WaitEffective(s.t.Context(), func(context.Context) (bool, error) {
		var err error
		found, err = s.findEvent(namespace, name, subresource)
		return found != nil, err
	})
	if err != nil {
		s.t.Fatalf("looking for pod %s/%s in the audit log: %v", namespace, name, err)
	}
	return found
}

// findEvent reads what the audit log has got since the scope was made. The event is nil if it is not there yet.
func (s *scope) findEvent(namespace, name, subresource string) (*auditEvent, error) {
	log, err := os.Open(auditLog)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	if _, err := log.Seek(s.auditFrom, io.SeekStart); err != nil {
		return nil, err
	}
	lines := bufio.NewReader(log)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil, nil // what follows the last newline is not written completely yet
		}
		if err != nil {
			return nil, err
		}
		if !bytes.Contains(line, []byte(namespace)) || !bytes.Contains(line, []byte(name)) {
			continue
		}
		var event auditEvent
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, err
		}
		ref := &event.ObjectRef
		if event.Stage == "ResponseComplete" && ref.Namespace == namespace && ref.Name == name && ref.Subresource == subresource {
			return &event, nil
		}
	}
}

// auditLogSize returns how long the audit log is now; it does not exist before the first event.
func auditLogSize() int64 {
	info, err := os.Stat(auditLog)
	if err != nil {
		return 0
	}
	return info.Size()
}
