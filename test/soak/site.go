package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/rotation"
)

const (
	// siteName is the name of the namespace, the Service and the webhook configuration.
	siteName = "soak"
	// openNamespace and closedNamespace get the load; pods of the latter must ask for injection themselves.
	openNamespace, closedNamespace = "soak-open", "soak-closed"
	loadLabel                      = "example.com/load"

	nodeLocal = "169.254.20.10"
	cacheSet  = "kube-system/node-local-dns"

	// settle is how long API servers get to hear of a CA before it is used.
	settle = 2 * time.Second
)

// document is the policy. Its two versions differ in ndots, which comes from a rule that needs the namespace's labels.
const document = `apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: soak}
spec:
  cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}
  serviceHost: {host: %q, port: %d}
  dns:
    mode: NodeLocal
    nodeLocal: {servers: [` + nodeLocal + `], daemonSet: ` + cacheSet + `}
  rules:
  - name: load
    match: {namespaceSelector: {matchLabels: {` + loadLabel + `: "true"}}}
    dns: {ndots: %d}
`

// version is one of the two versions of the policy.
type version struct {
	ndots   string
	text    []byte
	hash    string
	parsed  *policy.InjectionPolicy
	patches patches
}

// site is an installation of Shorthop behind a balancer, with the load on it.
type site struct {
	options   *options
	cluster   *cluster.Cluster
	dir       string
	program   string
	host      string // the API server's
	balancer  *rotation.Balancer
	generator *generator
	creator   *creator

	ca       *cluster.CA
	versions [2]*version
	current  int // the version in force
	replicas []*replica
	started  int
}

// replica is a server with files of its own, as on a node of its own.
type replica struct {
	*cluster.Webhook
	policy, certs rotation.Folder
}

// newSite starts a control plane and two replicas. If it fails, the site that it returns must still be stopped, if there
// is one.
func newSite(ctx context.Context, root string, o *options) (s *site, err error) {
	s = &site{options: o}
	if s.dir, err = os.MkdirTemp("", "shorthop-soak-"); err != nil {
		return nil, fmt.Errorf("creating a temporary folder: %w", err)
	}
	// A copy: who builds meanwhile does not change what is measured.
	s.program = filepath.Join(s.dir, "webhook")
	program, err := os.ReadFile(filepath.Join(root, "bin", "webhook"))
	if err != nil {
		return s, fmt.Errorf("no webhook binary (run make build first): %w", err)
	}
	if err := os.WriteFile(s.program, program, 0o700); err != nil {
		return s, fmt.Errorf("copying the webhook: %w", err)
	}
	assets := os.Getenv("KUBEBUILDER_ASSETS")
	if assets == "" {
		assets = filepath.Join(root, ".cache", "control-plane", cluster.DefaultVersion)
	}
	if s.cluster, err = cluster.Start(ctx, cluster.Options{BinaryAssetsDirectory: assets}); err != nil {
		return s, err
	}
	if err := s.prepareCluster(ctx); err != nil {
		return s, err
	}
	if s.balancer, err = rotation.NewBalancer(ctx); err != nil {
		return s, err
	}
	s.balancer.SetLag(o.lag())
	reviews, err := readReviews(root)
	if err != nil {
		return s, err
	}
	if s.generator, err = newGenerator(reviews, s.balancer.Port); err != nil {
		return s, err
	}
	if s.creator, err = newCreator(s.cluster.Config, s.host); err != nil {
		return s, err
	}
	if s.ca, err = cluster.NewCA(); err != nil {
		return s, err
	}
	if err := s.register(ctx, s.ca.Bundle()); err != nil {
		return s, err
	}
	for i := range s.versions {
		s.current = i
		if err := s.learn(ctx); err != nil {
			return s, fmt.Errorf("learning what to expect: %w", err)
		}
	}
	for range 2 {
		if _, err := s.startReplica(ctx); err != nil {
			return s, err
		}
	}
	s.accept(s.current)
	err = s.injecting(ctx)
	return s, err
}

func (s *site) prepareCluster(ctx context.Context) error {
	host, port, err := s.cluster.Endpoint()
	if err != nil {
		return err
	}
	s.host = host
	for i, ndots := range []int{2, 1} {
		v := &version{ndots: fmt.Sprint(ndots), text: fmt.Appendf(nil, document, host, port, ndots)}
		if v.parsed, err = policy.Parse(v.text); err != nil {
			return fmt.Errorf("reading the policy: %w", err)
		}
		compiled, err := policy.Compile(v.parsed, siteName)
		if err != nil {
			return fmt.Errorf("reading the policy: %w", err)
		}
		v.hash, s.versions[i] = compiled.Hash(), v
	}
	for namespace, labels := range map[string]map[string]string{
		siteName:        nil,
		openNamespace:   {loadLabel: "true"},
		closedNamespace: {loadLabel: "true", policy.LabelInject: "disabled"},
	} {
		if err := s.cluster.CreateNamespace(ctx, namespace, labels); err != nil {
			return err
		}
	}
	if err := s.cluster.SetDaemonSet(ctx, cacheSet, 5, 5); err != nil {
		return err
	}
	// The API server verifies the name of the Service, as always, and connects to this address instead of a cluster IP
	// that nobody routes.
	_, err = s.cluster.Client.CoreV1().Services(siteName).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: siteName},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "127.0.0.1"},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("creating the Service: %w", err)
	}
	return nil
}

func (s *site) stop() error {
	for _, r := range s.replicas {
		r.Kill()
	}
	var errs []error
	if s.balancer != nil {
		errs = append(errs, s.balancer.Close())
	}
	if s.cluster != nil {
		errs = append(errs, s.cluster.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(s.dir))...)
}

// register makes the API server and the generator trust a bundle of CAs.
func (s *site) register(ctx context.Context, caBundle []byte) error {
	config := webhookconfig.New(s.versions[0].parsed, webhookconfig.Options{Name: siteName, OwnNamespace: siteName, Service: siteName, CABundle: caBundle})
	for i := range config.Webhooks {
		entry := &config.Webhooks[i]
		entry.ClientConfig.Service.Port = new(int32(s.balancer.Port))
		entry.TimeoutSeconds = new(int32(reviewTimeout / time.Second))
	}
	if err := cluster.RegisterWebhook(ctx, s.cluster.Client, config); err != nil {
		return err
	}
	s.generator.caBundle.Store(&caBundle)
	return nil
}

// accept says which versions may be in force.
func (s *site) accept(versions ...int) {
	var accepted []patches
	var ndots []string
	for _, i := range versions {
		accepted = append(accepted, s.versions[i].patches)
		ndots = append(ndots, s.versions[i].ndots)
	}
	s.generator.accepted.Store(&accepted)
	s.creator.accepted.Store(&ndots)
}

// startReplica starts a server with the current version of the policy, and gives it to the balancer once it is ready.
func (s *site) startReplica(ctx context.Context) (*replica, error) {
	s.started++
	dir := filepath.Join(s.dir, fmt.Sprintf("replica-%d", s.started))
	r := &replica{policy: rotation.Folder{Dir: filepath.Join(dir, "policy")}, certs: rotation.Folder{Dir: filepath.Join(dir, "certs")}}
	if err := errors.Join(r.publishPolicy(s.versions[s.current].text), r.publishCert(s.ca)); err != nil {
		return nil, err
	}
	var err error
	r.Webhook, err = cluster.StartProcess(ctx, cluster.WebhookOptions{
		Binary: s.program, Policy: r.policyFile(), CertDir: r.certs.Dir, Kubeconfig: s.cluster.Kubeconfig(), ReadyTimeout: 2 * time.Minute,
		Args: []string{"--own-namespace", siteName, "--shutdown-delay", s.options.shutdownDelay.String()},
	})
	if err != nil {
		return nil, err
	}
	s.replicas = append(s.replicas, r)
	return r, s.balancer.Add(r.Webhook)
}

func (r *replica) policyFile() string { return filepath.Join(r.policy.Dir, "policy.yaml") }

func (r *replica) publishPolicy(text []byte) error {
	return r.policy.Publish(func(dir string) error { return os.WriteFile(filepath.Join(dir, "policy.yaml"), text, 0o600) })
}

func (r *replica) publishCert(ca *cluster.CA) error {
	return r.certs.Publish(func(dir string) error { return ca.WriteServingCert(dir, siteName+"."+siteName+".svc") })
}

// endReplica ends a server as kubelet does.
func (s *site) endReplica(ctx context.Context, r *replica) error {
	code, err := r.Stop(ctx)
	if err == nil && code != 0 {
		err = fmt.Errorf("a server ended with exit code %d; its output ends with\n%.2000s", code, tail(r.Logs(), 2000))
	}
	s.forget(r)
	return err
}

func (s *site) forget(r *replica) {
	s.balancer.Remove(r.Webhook)
	s.replicas = slices.DeleteFunc(s.replicas, func(other *replica) bool { return other == r })
}

func tail(text string, most int) string { return text[max(0, len(text)-most):] }

// learn asks a server with the current version of the policy what it makes of each review. That counts as expected from
// then on, so it must be what the policy says.
func (s *site) learn(ctx context.Context) error {
	r, err := s.startReplica(ctx)
	if err != nil {
		return err
	}
	v := s.versions[s.current]
	v.patches = patches{}
	for name, review := range s.generator.reviews {
		// The state of the cache may be known a moment after the server is ready.
		if err := until(ctx, "a review of "+name+" is answered as the policy says", func(ctx context.Context) (bool, error) {
			patch, err := s.generator.call(ctx, &s.generator.kept, name)
			if err != nil {
				return false, err
			}
			pod, err := patched(review.Request.Object.Raw, patch)
			if err != nil {
				return false, err
			}
			v.patches[name] = patch
			problem := s.problem(pod, v.ndots)
			return problem == "", errors.New(problem)
		}); err != nil {
			return err
		}
	}
	r.Kill()
	s.forget(r)
	return nil
}

func patched(object []byte, patch string) (*corev1.Pod, error) {
	if patch == "" {
		return nil, errors.New("no patch")
	}
	decoded, err := jsonpatch.DecodePatch([]byte(patch))
	if err != nil {
		return nil, fmt.Errorf("decoding a patch: %w", err)
	}
	applied, err := decoded.Apply(object)
	if err != nil {
		return nil, fmt.Errorf("applying a patch: %w", err)
	}
	pod := &corev1.Pod{}
	return pod, json.Unmarshal(applied, pod)
}

// problem says what a pod lacks of what a policy with one of these ndots asks for, or nothing.
func (s *site) problem(pod *corev1.Pod, ndots ...string) string {
	return podProblem(pod, s.host, ndots)
}

func podProblem(pod *corev1.Pod, host string, ndots []string) string {
	if pod.Annotations[policy.AnnotationInjected] == "" {
		return "no mark"
	}
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			if env := containers[i].Env; len(env) == 0 || env[0] != (corev1.EnvVar{Name: "KUBERNETES_SERVICE_HOST", Value: host}) {
				return "a container without the host"
			}
		}
	}
	dns := pod.Spec.DNSConfig
	if pod.Spec.DNSPolicy != corev1.DNSNone || dns == nil || len(dns.Nameservers) == 0 || dns.Nameservers[0] != nodeLocal {
		return "not the node-local cache"
	}
	if !slices.ContainsFunc(dns.Options, func(option corev1.PodDNSConfigOption) bool {
		return option.Name == "ndots" && option.Value != nil && slices.Contains(ndots, *option.Value)
	}) {
		return "not the ndots of the policy"
	}
	return ""
}

// injecting waits until pods are created and injected, in both namespaces.
func (s *site) injecting(ctx context.Context) error {
	return until(ctx, "pods are injected", func(ctx context.Context) (bool, error) {
		for n := range 2 {
			pod, err := s.creator.create(ctx, n)
			if err != nil {
				return false, err
			}
			if problem := s.problem(pod, *s.creator.accepted.Load()...); problem != "" {
				return false, errors.New(problem)
			}
		}
		return true, nil
	})
}
