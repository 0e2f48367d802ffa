package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
)

// auditIDHeader makes the API server log a request under an id of the client's choice.
const auditIDHeader = "Audit-ID"

// Prefixes of the annotations in which the API server itself says which webhooks it called.
const (
	calledPrefix     = "mutation.webhook.admission.k8s.io/"
	failedOpenPrefix = "failed-open." + calledPrefix
)

// review is what the API server's audit log says of a call of the webhook.
type review struct {
	// Entry is the entry of the webhook configuration through which the pod came.
	Entry string `json:"entry"`
	// Failed is true where the call failed and the pod was created without us.
	Failed bool `json:"failed,omitzero"`
	// Error is the stage at which the webhook gave up, empty where it did not.
	Error string `json:"error,omitzero"`
	// Rule is the rule that matched the pod.
	Rule        string          `json:"rule,omitzero"`
	ServiceHost policy.Outcome  `json:"serviceHost"`
	DNS         policy.Outcome  `json:"dns"`
	Record      *policy.Outcome `json:"record,omitzero"` // only where it was left out
}

// injects reports whether anything was patched.
func (r *review) injects() bool {
	return r != nil && (r.ServiceHost.Action == policy.ActionInject || r.DNS.Action == policy.ActionInject)
}

// reviewFrom reads the annotations of an audit event. It returns nil where the webhook was not called: the API server's
// own filter kept the pod from it.
func reviewFrom(annotations map[string]string) (*review, error) {
	var r *review
	for key, value := range annotations {
		entry, failed := value, strings.HasPrefix(key, failedOpenPrefix)
		if strings.HasPrefix(key, calledPrefix) {
			var called struct{ Webhook string }
			if err := json.Unmarshal([]byte(value), &called); err != nil {
				return nil, fmt.Errorf("audit annotation %s: %w", key, err)
			}
			entry = called.Webhook
		} else if !failed {
			continue
		}
		if !slices.Contains(webhookconfig.Entries(), entry) {
			continue // somebody else's webhook
		}
		if r == nil {
			r = &review{Entry: entry}
		}
		r.Failed = r.Failed || failed
	}
	if r == nil {
		return nil, nil
	}
	// What the webhook answered, under the entry's name.
	r.Rule = annotations[r.Entry+"/rule"]
	r.Error = annotations[r.Entry+"/error"]
	r.ServiceHost = parseOutcome(annotations[r.Entry+"/"+string(policy.FeatureServiceHost)])
	r.DNS = parseOutcome(annotations[r.Entry+"/"+string(policy.FeatureDNS)])
	if text, ok := annotations[r.Entry+"/"+string(policy.FeatureRecord)]; ok {
		record := parseOutcome(text)
		r.Record = &record
	}
	return r, nil
}

// parseOutcome reads "inject enabled_by_policy".
func parseOutcome(text string) policy.Outcome {
	action, reason, _ := strings.Cut(text, " ")
	return policy.Outcome{Action: policy.Action(action), Reason: policy.Reason(reason)}
}

// waitForAudit returns the annotations of the event with an id. The API server answers the client a moment before it
// writes the event.
func waitForAudit(ctx context.Context, path, id string) (annotations map[string]string, err error) {
	const interval, timeout = 5 * time.Millisecond, 10 * time.Second
	err = wait.PollUntilContextTimeout(ctx, interval, timeout, true, func(context.Context) (found bool, err error) {
		// The log of a demo is small enough to be read anew each time.
		content, err := os.ReadFile(path)
		if err != nil {
			return false, err
		}
		annotations, found, err = findEvent(content, id)
		return found, err
	})
	if err != nil {
		return nil, fmt.Errorf("looking for a pod's creation in the audit log: %w", err)
	}
	return annotations, nil
}

// findEvent looks for an event in an audit log, which has one JSON document a line. The last line may be incomplete.
func findEvent(log []byte, id string) (annotations map[string]string, found bool, err error) {
	for line := range bytes.Lines(log) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break
		}
		var event struct {
			AuditID     string
			Stage       string
			Annotations map[string]string
		}
		if err := json.Unmarshal(line, &event); err != nil {
			return nil, false, fmt.Errorf("audit event: %w", err)
		}
		if event.AuditID == id && event.Stage == "ResponseComplete" {
			return event.Annotations, true, nil
		}
	}
	return nil, false, nil
}
