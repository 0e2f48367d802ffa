package doctor

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/pkg/policy"
)

const (
	// requestTimeout bounds each request, and each page of a list.
	requestTimeout = 10 * time.Second
	// pageSize is how many objects are read at once.
	pageSize = 500
	// maxDebugSize bounds what a replica's debug endpoint may answer.
	maxDebugSize = 16 << 20
)

// DefaultNamespace is where Shorthop runs unless its webhook configuration
// names a Service elsewhere.
const DefaultNamespace = "shorthop-system"

const appLabel = "app.kubernetes.io/name"

// Options say what to look at.
type Options struct {
	// WebhookConfiguration is its name.
	WebhookConfiguration string
	// OwnNamespace is where Shorthop runs. Defaults to the namespace of the
	// webhook's Service, else to DefaultNamespace.
	OwnNamespace string
	// Policy is the one that should be in force. Defaults to nil: whatever is.
	Policy *policy.InjectionPolicy
	// Progress is told what is being looked at. Required.
	Progress func(what string)
}

// collector reads the cluster.
type collector struct {
	config *rest.Config
	client kubernetes.Interface
	dial   podDialer
	Options
	facts *Facts
}

// Collect reads everything that the checks need. It fails only where the API
// server does not answer at all; whatever else could not be had is part of the
// facts.
func Collect(ctx context.Context, config *rest.Config, o Options) (*Facts, error) {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	c := &collector{config, client, forwardingDialer(config, client), o,
		&Facts{now: time.Now(), webhookName: o.WebhookConfiguration, given: o.Policy}}
	if err := c.webhook(ctx); err != nil {
		return nil, err
	}
	c.replicas(ctx)
	c.configMap(ctx)
	c.nodeLocal(ctx)
	c.clusterDNS(ctx)
	c.apiHosts(ctx)
	c.namespaces(ctx)
	c.metrics(ctx)
	return c.facts, nil
}

// get reads one thing within the time for a request. A thing that does not
// exist is the zero value. verb and resource say which permission it needs.
func get[T any](ctx context.Context, verb, resource string, read func(context.Context) (T, error)) fact[T] {
	ctx, cancel := context.WithTimeoutCause(ctx, requestTimeout, fmt.Errorf("no answer within %s", requestTimeout))
	defer cancel()
	value, err := read(ctx)
	var zero T
	switch {
	case err == nil:
		return fact[T]{value: value}
	case apierrors.IsNotFound(err):
		return fact[T]{}
	case apierrors.IsForbidden(err):
		return fact[T]{zero, fmt.Errorf("needs %s %s", verb, resource)}
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return fact[T]{zero, fmt.Errorf("cannot %s %s: %w", verb, resource, err)}
}

// one is get for an object: nil where it does not exist.
func one[T any](ctx context.Context, resource, name string, read func(context.Context, string, metav1.GetOptions) (*T, error)) fact[*T] {
	return get(ctx, "get", resource, func(ctx context.Context) (*T, error) {
		object, err := read(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		return object, nil
	})
}

// list reads all pages.
func list[T any](ctx context.Context, resource, selector string, page func(context.Context, metav1.ListOptions) ([]T, string, error)) fact[[]T] {
	var all []T
	options := metav1.ListOptions{LabelSelector: selector, Limit: pageSize}
	for {
		found := get(ctx, "list", resource, func(ctx context.Context) ([]T, error) {
			items, next, err := page(ctx, options)
			options.Continue = next
			return items, err
		})
		if found.err != nil {
			return found
		}
		all = append(all, found.value...)
		if options.Continue == "" {
			return fact[[]T]{value: all}
		}
	}
}

// apiHosts connects to the hosts that the policy injects, and finds the CA that
// pods verify them with.
func (c *collector) apiHosts(ctx context.Context) {
	f := c.facts
	known := f.inForce()
	if known == nil {
		return
	}
	f.apiHosts = policyHosts(&known.document.Spec)
	if len(f.apiHosts) == 0 {
		return
	}
	c.Progress("the API host")
	var wait sync.WaitGroup
	for i := range f.apiHosts {
		h := &f.apiHosts[i]
		wait.Go(func() { h.served = served(ctx, h.host, h.port) })
	}
	wait.Wait()
	f.clusterCA = c.clusterCA(ctx)
}

func (c *collector) clusterCA(ctx context.Context) fact[*trust] {
	const rootCA = "kube-root-ca.crt"
	found := one(ctx, "configmaps", rootCA, c.client.CoreV1().ConfigMaps(c.facts.ownNamespace).Get)
	if found.value != nil {
		if pool := parsePool("ConfigMap "+c.facts.ownNamespace+"/"+rootCA, []byte(found.value.Data["ca.crt"])); pool != nil {
			return fact[*trust]{value: pool}
		}
	}
	data := c.config.CAData
	if len(data) == 0 && c.config.CAFile != "" {
		data, _ = os.ReadFile(c.config.CAFile) // the client has read it before
	}
	if pool := parsePool("the kubeconfig's CA", data); pool != nil {
		return fact[*trust]{value: pool}
	}
	if found.err != nil {
		return fact[*trust]{err: found.err}
	}
	return fact[*trust]{err: fmt.Errorf("no CA of the cluster is known: neither ConfigMap %s nor the kubeconfig has one", rootCA)}
}

// namespaces reads all namespaces, and the pods of those where egress is
// restricted.
func (c *collector) namespaces(ctx context.Context) {
	c.Progress("namespaces and NetworkPolicies")
	f := c.facts
	f.namespaces = list(ctx, "namespaces", "", func(ctx context.Context, o metav1.ListOptions) ([]corev1.Namespace, string, error) {
		found, err := c.client.CoreV1().Namespaces().List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return found.Items, found.Continue, nil
	})
	policies := list(ctx, "networkpolicies", "", func(ctx context.Context, o metav1.ListOptions) ([]networkingv1.NetworkPolicy, string, error) {
		found, err := c.client.NetworkingV1().NetworkPolicies(metav1.NamespaceAll).List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return found.Items, found.Continue, nil
	})
	f.isolated.err = policies.err
	for i := range policies.value {
		p := &policies.value[i]
		if !restrictsEgress(p) {
			continue
		}
		at := slices.IndexFunc(f.isolated.value, func(n isolatedNamespace) bool { return n.name == p.Namespace })
		if at < 0 {
			f.isolated.value = append(f.isolated.value, isolatedNamespace{name: p.Namespace})
			at = len(f.isolated.value) - 1
		}
		f.isolated.value[at].policies = append(f.isolated.value[at].policies, *p)
	}
	for i := range f.isolated.value {
		n := &f.isolated.value[i]
		c.Progress("pods of namespace " + n.name)
		pods := list(ctx, "pods", "", c.pods(n.name))
		if n.pods = pods.value; pods.err != nil {
			f.isolated.err = pods.err
			return
		}
	}
}

// metrics reads how often the API server let a review fail open.
func (c *collector) metrics(ctx context.Context) {
	c.Progress("the API server's metrics")
	const name = "apiserver_admission_webhook_fail_open_count"
	c.facts.failOpen = get(ctx, "get", "/metrics", func(ctx context.Context) (map[string]float64, error) {
		text, err := c.client.CoreV1().RESTClient().Get().AbsPath("/metrics").Do(ctx).Raw()
		if err != nil {
			return nil, err
		}
		// Only the lines of one metric: there are tens of thousands of others.
		var lines bytes.Buffer
		for line := range bytes.Lines(text) {
			if bytes.HasPrefix(line, []byte(name)) {
				lines.Write(line)
			}
		}
		parser := expfmt.NewTextParser(model.UTF8Validation)
		families, err := parser.TextToMetricFamilies(&lines)
		if err != nil {
			return nil, err
		}
		counts := map[string]float64{}
		for _, metric := range families[name].GetMetric() {
			counts[label(metric, "name")] += metric.GetCounter().GetValue() + metric.GetUntyped().GetValue()
		}
		return counts, nil
	})
}

func label(metric *dto.Metric, name string) string {
	for _, pair := range metric.GetLabel() {
		if pair.GetName() == name {
			return pair.GetValue()
		}
	}
	return ""
}
