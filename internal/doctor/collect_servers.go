package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/shorthop/shorthop/internal/clusterread"
	"github.com/shorthop/shorthop/internal/health"
	"github.com/shorthop/shorthop/pkg/policy"
)

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
		c.facts.webhook.err = clusterread.Forbidden("get", "mutatingwebhookconfigurations")
	default:
		return err
	}
	c.facts.ownNamespace = c.OwnNamespace
	c.facts.withoutNamespace = c.OwnNamespace == "" && (c.facts.webhook.err != nil && c.HealthURL != "" || err == nil && calledByURL(config) != "")
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
	if config := f.webhook.value; config != nil && calledByURL(config) != "" {
		f.outside = c.servedAt(ctx, calledByURL(config))
		f.replicas.err = errOutside
		if c.HealthURL != "" {
			c.outsideReplica(ctx, calledByURL(config))
		}
		return
	}
	if f.webhook.err != nil && c.HealthURL != "" { // who names it says that the server is there
		f.outside.err = f.webhook.err
		c.outsideReplica(ctx, c.HealthURL)
		return
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
	f.notCreated = c.notCreated(ctx, namespace, selector)
	f.replicas.err = pods.err
	f.replicas.value = make([]replica, len(pods.value))
	var wait sync.WaitGroup
	for i := range pods.value {
		pod, r := &pods.value[i], &f.replicas.value[i]
		r.name, r.node, r.ready, r.advice = pod.Name, pod.Spec.NodeName, isReady(pod), adviceSources(pod)
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
	if f.webhook.err != nil && f.replicas.err == nil && len(f.replicas.value)+len(f.notCreated.value) == 0 {
		f.replicas.err = fmt.Errorf("where the replicas are is not known: %w (no pod in namespace %s has the label %s; --own-namespace names another, --health-url a server outside the cluster)", f.webhook.err, namespace, selector)
	}
	for i := range pods.value {
		if len(f.replicas.value) > 0 && pods.value[i].Name == f.replicas.value[0].name {
			f.flags, f.server = flagsOf(&pods.value[i]), &pods.value[i]
		}
	}
}

// outsideReplica asks the server whose health address the operator names.
func (c *collector) outsideReplica(ctx context.Context, name string) {
	debug := get(ctx, "get", c.HealthURL, func(ctx context.Context) (*health.PolicyDocument, error) {
		return debugAt(ctx, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, strings.TrimSuffix(c.HealthURL, "/")+"/debug/policy")
	})
	c.facts.replicas = fact[[]replica]{value: []replica{{name: name, outside: true, ready: true, served: c.facts.outside, debug: debug}}}
}

// notCreated asks the ReplicaSets, whose controller keeps the last failure in a
// condition and takes it away when it succeeds; its events are gone after an hour.
func (c *collector) notCreated(ctx context.Context, namespace, selector string) fact[[]notCreated] {
	sets := list(ctx, "replicasets", selector, func(ctx context.Context, o metav1.ListOptions) ([]appsv1.ReplicaSet, string, error) {
		found, err := c.client.AppsV1().ReplicaSets(namespace).List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return found.Items, found.Continue, nil
	})
	var all []notCreated
	for i := range sets.value {
		set := &sets.value[i]
		failure := slices.IndexFunc(set.Status.Conditions, func(c appsv1.ReplicaSetCondition) bool {
			return c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue
		})
		if failure >= 0 {
			all = append(all, notCreated{set.Name, set.Status.Conditions[failure].Message})
		}
	}
	return fact[[]notCreated]{all, sets.err}
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
func (c *collector) debugOf(ctx context.Context, pod *corev1.Pod, port int) fact[*health.PolicyDocument] {
	return get(ctx, "create", "pods/portforward", func(ctx context.Context) (*health.PolicyDocument, error) {
		return debugAt(ctx, &http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return c.dial(ctx, pod.Namespace, pod.Name, port)
			},
		}}, "http://"+pod.Name+"/debug/policy")
	})
}

// debugAt asks a server for its policy.
func debugAt(ctx context.Context, client *http.Client, address string) (*health.PolicyDocument, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
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
	debug := &health.PolicyDocument{}
	if err := json.Unmarshal(body, debug); err != nil {
		return nil, fmt.Errorf("/debug/policy answers something else: %w", err)
	}
	return debug, nil
}

// policyKey is where the chart has the policy in its ConfigMap.
const policyKey = "policy.yaml"

// configMap finds the ConfigMap with the policy: labelled as Shorthop's, in its
// namespace. Of several, the one that a replica mounts is taken, else the first.
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
	all := policiesIn(found.value)
	if len(all) == 0 {
		return
	}
	taken := max(0, slices.IndexFunc(all, func(m policyConfigMap) bool { return c.facts.server != nil && mounts(c.facts.server, m.name) }))
	c.facts.configMap.value = &all[taken]
	c.facts.otherConfigMaps = slices.Concat(all[:taken], all[taken+1:])
}

// policiesIn goes by the word, so that one that is not valid YAML is found too; and
// where there is none, by the key: a policy may be broken at its kind.
func policiesIn(configMaps []corev1.ConfigMap) []policyConfigMap {
	for _, is := range []func(key, text string) bool{
		func(_, text string) bool { return strings.Contains(text, policy.Kind) },
		func(key, _ string) bool { return key == policyKey },
	} {
		var all []policyConfigMap
		for i := range configMaps {
			m := &configMaps[i]
			for _, key := range slices.Sorted(maps.Keys(m.Data)) {
				if is(key, m.Data[key]) {
					all = append(all, policyConfigMap{m.Namespace + "/" + m.Name, key, []byte(m.Data[key])})
				}
			}
		}
		if len(all) > 0 {
			return all
		}
	}
	return nil
}

// mounts reports whether a pod has a ConfigMap of its namespace as a volume.
func mounts(pod *corev1.Pod, configMap string) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.ConfigMap != nil && pod.Namespace+"/"+v.ConfigMap.Name == configMap
	})
}
