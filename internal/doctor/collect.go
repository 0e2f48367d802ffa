package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
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

// webhook reads the webhook configuration, which says where everything else
// is. Its errors are those of an API server that does not answer, or not to
// us.
func (c *collector) webhook(ctx context.Context) error {
	c.Progress("the webhook configuration")
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	config, err := c.client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, c.WebhookConfiguration, metav1.GetOptions{})
	switch {
	case err == nil:
		c.facts.webhook.value = config
	case apierrors.IsNotFound(err):
	case apierrors.IsForbidden(err):
		c.facts.webhook.err = errors.New("needs get mutatingwebhookconfigurations")
	default:
		return err
	}
	c.facts.ownNamespace = c.OwnNamespace
	if service := c.service(); c.facts.ownNamespace == "" && service != nil {
		c.facts.ownNamespace = service.Namespace
	}
	if c.facts.ownNamespace == "" {
		c.facts.ownNamespace = DefaultNamespace
	}
	return nil
}

// service is what the webhook calls, nil where that is a URL, or not known.
func (c *collector) service() *corev1.ObjectReference {
	if config := c.facts.webhook.value; config != nil {
		for i := range config.Webhooks {
			if s := config.Webhooks[i].ClientConfig.Service; s != nil {
				return &corev1.ObjectReference{Namespace: s.Namespace, Name: s.Name}
			}
		}
	}
	return nil
}

// replicas finds the pods behind the Service and asks each ready one what it
// serves and which policy it has.
func (c *collector) replicas(ctx context.Context) {
	c.Progress("the replicas")
	f := c.facts
	if config := f.webhook.value; config != nil {
		if target := calledByURL(config); target != "" {
			f.outside = c.servedAt(ctx, target)
			f.replicas.err = errOutside
			return
		}
	}
	namespace, selector, ports := f.ownNamespace, appLabel+"=shorthop", []corev1.ServicePort(nil)
	if reference := c.service(); reference != nil {
		service := one(ctx, "services", reference.Name, c.client.CoreV1().Services(reference.Namespace).Get)
		switch {
		case service.err != nil:
			f.replicas.err = service.err
			return
		case service.value == nil:
			f.replicas.err = fmt.Errorf("there is no Service %s/%s, which the webhook configuration names", reference.Namespace, reference.Name)
			return
		case len(service.value.Spec.Selector) > 0:
			namespace, selector, ports = reference.Namespace, labels.Set(service.value.Spec.Selector).String(), service.value.Spec.Ports
		}
	}
	pods := list(ctx, "pods", selector, c.pods(namespace))
	f.replicas.err = pods.err
	f.replicas.value = make([]replica, len(pods.value))
	var wait sync.WaitGroup
	for i := range pods.value {
		pod, r := &pods.value[i], &f.replicas.value[i]
		r.name, r.node, r.ready = pod.Name, pod.Spec.NodeName, isReady(pod)
		if r.ready {
			wait.Go(func() {
				r.served = c.servedBy(ctx, pod, reviewPort(pod, ports))
				r.debug = c.debugOf(ctx, pod, healthPort(pod))
			})
		}
	}
	wait.Wait()
	// What is being deleted or has ended is no replica any more.
	gone := func(r replica) bool {
		return slices.ContainsFunc(pods.value, func(pod corev1.Pod) bool {
			return pod.Name == r.name && (pod.DeletionTimestamp != nil || finished(&pod))
		})
	}
	f.replicas.value = slices.DeleteFunc(f.replicas.value, gone)
}

func (c *collector) pods(namespace string) func(context.Context, metav1.ListOptions) ([]corev1.Pod, string, error) {
	return func(ctx context.Context, o metav1.ListOptions) ([]corev1.Pod, string, error) {
		found, err := c.client.CoreV1().Pods(namespace).List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return found.Items, found.Continue, nil
	}
}

func isReady(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// reviewPort is the pod's port behind port 443 of the Service. Defaults to
// 9443.
func reviewPort(pod *corev1.Pod, ports []corev1.ServicePort) int {
	for i := range ports {
		if p := &ports[i]; p.Port == 443 || len(ports) == 1 {
			if n := p.TargetPort.IntValue(); n != 0 {
				return n
			}
			if n := namedPort(pod, p.TargetPort.String()); n != 0 {
				return n
			}
		}
	}
	return 9443
}

// healthPort is where the readiness probe asks. Defaults to 8081.
func healthPort(pod *corev1.Pod) int {
	for i := range pod.Spec.Containers {
		probe := pod.Spec.Containers[i].ReadinessProbe
		if probe == nil || probe.HTTPGet == nil {
			continue
		}
		if n := probe.HTTPGet.Port.IntValue(); n != 0 {
			return n
		}
		if n := namedPort(pod, probe.HTTPGet.Port.String()); n != 0 {
			return n
		}
	}
	return 8081
}

func namedPort(pod *corev1.Pod, name string) int {
	for i := range pod.Spec.Containers {
		for _, p := range pod.Spec.Containers[i].Ports {
			if p.Name == name {
				return int(p.ContainerPort)
			}
		}
	}
	return 0
}

// servedBy returns the certificates that a pod serves.
func (c *collector) servedBy(ctx context.Context, pod *corev1.Pod, port int) fact[[]*x509.Certificate] {
	return get(ctx, "create", "pods/portforward", func(ctx context.Context) ([]*x509.Certificate, error) {
		conn, err := c.dial(ctx, pod.Namespace, pod.Name, port)
		if err != nil {
			return nil, err
		}
		return handshake(ctx, conn, "")
	})
}

// servedAt returns the certificates that are served at a URL.
func (c *collector) servedAt(ctx context.Context, target string) fact[[]*x509.Certificate] {
	u, err := url.Parse(target)
	if err != nil {
		return fact[[]*x509.Certificate]{err: err}
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return served(ctx, u.Hostname(), port)
}

// served returns the certificates that are served at an address.
func served(ctx context.Context, host, port string) fact[[]*x509.Certificate] {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		return fact[[]*x509.Certificate]{err: err}
	}
	chain, err := handshake(ctx, conn, host)
	return fact[[]*x509.Certificate]{chain, err}
}

// handshake takes what is served as it is; it is verified when it is judged.
// No request is sent.
func handshake(ctx context.Context, conn net.Conn, serverName string) ([]*x509.Certificate, error) {
	client := tls.Client(conn, &tls.Config{ServerName: strings.TrimSuffix(serverName, "."), InsecureSkipVerify: true})
	defer func() { _ = conn.Close() }() // what was to be had is had
	if err := client.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return client.ConnectionState().PeerCertificates, nil
}

// debugOf asks a pod for its policy.
func (c *collector) debugOf(ctx context.Context, pod *corev1.Pod, port int) fact[*debugPolicy] {
	return get(ctx, "create", "pods/portforward", func(ctx context.Context) (*debugPolicy, error) {
		client := &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return c.dial(ctx, pod.Namespace, pod.Name, port)
			},
		}}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+pod.Name+"/debug/policy", http.NoBody)
		if err != nil {
			return nil, err
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(io.LimitReader(response.Body, maxDebugSize))
		if err != nil {
			return nil, err
		}
		if response.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("/debug/policy answers %s: %s", response.Status, oneLine(string(body)))
		}
		debug := &debugPolicy{}
		if err := json.Unmarshal(body, debug); err != nil {
			return nil, fmt.Errorf("/debug/policy answers something else: %w", err)
		}
		return debug, nil
	})
}

// configMap finds the ConfigMap with the policy: labelled as Shorthop's, in its
// namespace.
func (c *collector) configMap(ctx context.Context) {
	c.Progress("the policy")
	found := list(ctx, "configmaps", appLabel+"=shorthop", func(ctx context.Context, o metav1.ListOptions) ([]corev1.ConfigMap, string, error) {
		found, err := c.client.CoreV1().ConfigMaps(c.facts.ownNamespace).List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return found.Items, found.Continue, nil
	})
	c.facts.configMap.err = found.err
	for i := range found.value {
		m := &found.value[i]
		for _, key := range slices.Sorted(maps.Keys(m.Data)) {
			// By the word, so that one that is not valid YAML is found too.
			if strings.Contains(m.Data[key], policy.Kind) {
				c.facts.configMap.value = &policyConfigMap{m.Namespace + "/" + m.Name, key, []byte(m.Data[key])}
				return
			}
		}
	}
}

// nodeLocal reads the DaemonSets that the policy names, and their settings.
func (c *collector) nodeLocal(ctx context.Context) {
	f := c.facts
	known := f.inForce()
	if known == nil {
		return
	}
	c.Progress("the node-local cache")
	for _, name := range daemonSetNames(nodeLocalUses(&known.document.Spec)) {
		namespace, short, _ := strings.Cut(name, "/")
		set := one(ctx, "daemonsets", short, c.client.AppsV1().DaemonSets(namespace).Get)
		setFact(&f.daemonSets, name, set)
		if set.value != nil {
			setFact(&f.cacheConfig, name, c.cacheConfigOf(ctx, namespace, &set.value.Spec.Template.Spec))
		}
	}
}

func setFact[T any](all *map[string]fact[T], name string, value fact[T]) {
	if *all == nil {
		*all = map[string]fact[T]{}
	}
	(*all)[name] = value
}

func (c *collector) cacheConfigOf(ctx context.Context, namespace string, pod *corev1.PodSpec) fact[*cacheConfig] {
	found := &cacheConfig{}
	for i := range pod.Containers {
		found.args = slices.Concat(found.args, pod.Containers[i].Command, pod.Containers[i].Args)
	}
	for i := range pod.Volumes {
		source := pod.Volumes[i].ConfigMap
		if source == nil {
			continue
		}
		if source.Name == labelDNSValue {
			found.readsStubDomains = true
			continue
		}
		corefiles, err := c.corefiles(ctx, namespace, source.Name)
		if err != nil {
			return fact[*cacheConfig]{err: err}
		}
		found.corefiles = append(found.corefiles, corefiles...)
	}
	return fact[*cacheConfig]{value: found}
}

// corefiles returns those of a ConfigMap: Corefile, Corefile.base, and
// coredns-custom's *.server and *.override.
func (c *collector) corefiles(ctx context.Context, namespace, name string) ([]namedCorefile, error) {
	found := one(ctx, "configmaps", name, c.client.CoreV1().ConfigMaps(namespace).Get)
	if found.err != nil || found.value == nil {
		return nil, found.err
	}
	var corefiles []namedCorefile
	for _, key := range slices.Sorted(maps.Keys(found.value.Data)) {
		snippet := strings.HasSuffix(key, ".override")
		if snippet || strings.HasPrefix(key, "Corefile") || strings.HasSuffix(key, ".server") {
			corefiles = append(corefiles, namedCorefile{"ConfigMap " + namespace + "/" + name, snippet, found.value.Data[key]})
		}
	}
	return corefiles, nil
}

// clusterDNS reads the Services and the settings of the cluster DNS, where
// installers are known to put them.
func (c *collector) clusterDNS(ctx context.Context) {
	c.Progress("the cluster DNS")
	f := c.facts
	for _, namespace := range []string{metav1.NamespaceSystem, openShiftDNS} {
		services := list(ctx, "services", "", func(ctx context.Context, o metav1.ListOptions) ([]corev1.Service, string, error) {
			found, err := c.client.CoreV1().Services(namespace).List(ctx, o)
			if err != nil {
				return nil, "", err
			}
			return found.Items, found.Continue, nil
		})
		if services.err != nil && namespace == metav1.NamespaceSystem {
			f.dnsServices.err = services.err
		}
		for i := range services.value {
			if isDNSService(&services.value[i]) {
				f.dnsServices.value = append(f.dnsServices.value, services.value[i])
			}
		}
	}
	dns := &clusterDNSConfig{}
	for _, at := range []struct{ namespace, name string }{
		{metav1.NamespaceSystem, "coredns"},
		{metav1.NamespaceSystem, "coredns-custom"},
		{metav1.NamespaceSystem, "rke2-coredns-rke2-coredns"},
		{openShiftDNS, openShiftName},
	} {
		corefiles, err := c.corefiles(ctx, at.namespace, at.name)
		if err != nil && at.namespace == metav1.NamespaceSystem {
			f.clusterDNS.err = err
			return
		}
		dns.corefiles = append(dns.corefiles, corefiles...)
	}
	stub := one(ctx, "configmaps", labelDNSValue, c.client.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get)
	if stub.err != nil {
		f.clusterDNS.err = stub.err
		return
	}
	if stub.value != nil {
		var domains map[string][]string
		if json.Unmarshal([]byte(stub.value.Data["stubDomains"]), &domains) == nil {
			dns.stubDomains = slices.Sorted(maps.Keys(domains))
		}
	}
	f.clusterDNS.value = dns
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
