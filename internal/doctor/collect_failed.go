package doctor

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/printable"
)

// failedCreate is a workload whose controller was refused a pod, with the words of
// the API server that name an entry of ours.
type failedCreate struct {
	namespace, workload, message string
	last                         time.Time
}

// failedCreates reads the events that controllers write when they cannot create a
// pod, and keeps the last of each workload of which the webhook is the reason.
func (c *collector) failedCreates(ctx context.Context) {
	c.Progress("events of workloads without their pods")
	const reason = "FailedCreate" // of the controllers of ReplicaSets, StatefulSets, DaemonSets and Jobs
	names := webhookconfig.Entries()
	if config := c.facts.webhook.value; config != nil {
		for i := range config.Webhooks {
			names = append(names, config.Webhooks[i].Name)
		}
	}
	found := list(ctx, "events", "", func(ctx context.Context, o metav1.ListOptions) ([]failedCreate, string, error) {
		o.FieldSelector = "reason=" + reason
		events, err := c.client.CoreV1().Events(metav1.NamespaceAll).List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		var ours []failedCreate
		for i := range events.Items {
			e := &events.Items[i]
			if slices.ContainsFunc(names, func(name string) bool { return strings.Contains(e.Message, `"`+name+`"`) }) {
				ours = append(ours, failedCreate{
					e.Namespace, printable.Name(e.InvolvedObject.Kind) + " " + printable.Name(e.InvolvedObject.Name), e.Message, lastSeen(e),
				})
			}
		}
		return ours, events.Continue, nil
	})
	c.facts.failedCreates.err = found.err
	for _, f := range found.value {
		all := &c.facts.failedCreates.value
		at := slices.IndexFunc(*all, func(k failedCreate) bool { return k.namespace == f.namespace && k.workload == f.workload })
		switch {
		case at < 0:
			*all = append(*all, f)
		case f.last.After((*all)[at].last):
			(*all)[at] = f
		}
	}
}

// lastSeen is when an event happened last, in whichever of its editions.
func lastSeen(e *corev1.Event) time.Time {
	last := e.FirstTimestamp.Time
	candidates := []time.Time{e.LastTimestamp.Time, e.EventTime.Time, e.CreationTimestamp.Time}
	if e.Series != nil {
		candidates = append(candidates, e.Series.LastObservedTime.Time)
	}
	for _, at := range candidates {
		if at.After(last) {
			last = at
		}
	}
	return last
}
