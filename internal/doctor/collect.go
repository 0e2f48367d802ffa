package doctor

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/clusterread"
	"github.com/shorthop/shorthop/pkg/policy"
)

const (
	// requestTimeout bounds each request, and each page of a list.
	requestTimeout = clusterread.Timeout
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
	// HealthURL is where a server outside the cluster, which the webhook calls by
	// URL, serves /debug/policy. Defaults to "": it is not asked.
	HealthURL string
	// Policy is the one that should be in force. Defaults to nil: whatever is.
	Policy *policy.InjectionPolicy
	// Advice is the one that should be in force. Defaults to nil: whatever is. Only
	// FindInForce reads it.
	Advice *policy.Advice
	// Probe says how nodes are asked. Defaults to nil: they are not.
	Probe *ProbeOptions
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
	c.release(ctx)
	c.configMap(ctx)
	c.nodeLocal(ctx)
	c.countNodes(ctx)
	c.clusterDNS(ctx)
	c.apiHosts(ctx)
	c.namespaces(ctx)
	c.runningPods(ctx) // by what is known of namespaces and DNS
	c.failedCreates(ctx)
	c.metrics(ctx)
	c.probe(ctx)
	return c.facts, nil
}

// get is clusterread.Get as a fact.
func get[T any](ctx context.Context, verb, resource string, read func(context.Context) (T, error)) fact[T] {
	value, err := clusterread.Get(ctx, verb, resource, read)
	return fact[T]{value, err}
}

// one is clusterread.One as a fact.
func one[T any](ctx context.Context, resource, name string, read func(context.Context, string, metav1.GetOptions) (*T, error)) fact[*T] {
	value, err := clusterread.One(ctx, resource, name, read)
	return fact[*T]{value, err}
}

// list is clusterread.List as a fact.
func list[T any](ctx context.Context, resource, selector string, page func(context.Context, metav1.ListOptions) ([]T, string, error)) fact[[]T] {
	value, err := clusterread.List(ctx, resource, selector, page)
	return fact[[]T]{value, err}
}

// apiHosts connects to the hosts that the policy injects, and finds the CA that
// pods verify them with.
func (c *collector) apiHosts(ctx context.Context) {
	f := c.facts
	known := f.inForce()
	if known == nil {
		return
	}
	for _, probe := range known.compiled.HostProbes() {
		f.apiHosts = append(f.apiHosts, apiHost{host: probe.Host, port: probe.Port})
	}
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

// rootCA is the ConfigMap of every namespace with the CA of the API server.
const rootCA = "kube-root-ca.crt"

func (c *collector) clusterCA(ctx context.Context) fact[*trust] {
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
