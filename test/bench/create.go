package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/bench/contender"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/measured"
)

// Variants of admission, each of which has a namespace of its own in the same API server: they can be measured in turns.
const (
	variantNone         = "none"
	variantNull         = "null webhook"
	variantConstant     = "constant patch"
	variantFiltered     = "constant patch, our filter"
	variantPrefixed     = "constant patch, filter with a prefix"
	variantConventional = "conventional"
	variantMAP          = "MutatingAdmissionPolicy"
)

// setting is a policy, and what does the same without us.
type setting struct {
	name, slug string
	// spec is that of our policy; %s is the host and %d the port of the API server.
	spec string
	// host, ndots and nodeLocal say what a pod gets.
	host, ndots, nodeLocal bool
	// marks are in a pod that was patched, and in no other.
	marks []string
}

const (
	specHost      = "  serviceHost: {host: \"%s\", port: %d}\n"
	markHost      = `"name":"KUBERNETES_SERVICE_HOST"`
	markNdots     = `"name":"ndots"`
	markNodeLocal = `"nameservers":["169.254.20.10"`
	cacheSet      = "kube-system/node-local-dns"
)

var settings = []setting{
	{
		name: "service host only", slug: "host", host: true, marks: []string{markHost},
		spec: specHost + "  dns: {enabled: false}\n",
	},
	{
		name: "ndots only", slug: "ndots", ndots: true, marks: []string{markNdots},
		spec: "  serviceHost: {enabled: false}\n  dns: {ndots: 3}\n",
	},
	{
		name: "NodeLocal + service host", slug: "both", host: true, ndots: true, nodeLocal: true,
		marks: []string{markHost, markNdots, markNodeLocal},
		spec:  specHost + "  dns: {ndots: 3, mode: NodeLocal, nodeLocal: {servers: [169.254.20.10], daemonSet: " + cacheSet + "}}\n",
	},
}

// createRow is one variant under one setting.
type createRow struct {
	Setting, Variant string
	// In ms: one pod at a time, and 50 at the same time.
	SerialP50, SerialP99, ParallelP50, ParallelP99 float64
	// PodsPerSecond at 50 at the same time.
	PodsPerSecond float64
	// CPU is the webhook's, in s per 10,000 pods, 0 without a webhook; APIServerCPU is kube-apiserver's.
	CPU, APIServerCPU float64
	// Memory of the webhook after all these pods.
	Memory memory
	Pods   int
}

// lane is a variant that is ready to get pods.
type lane struct {
	variant, namespace string
	marks              []string // nil: none of the setting's
	pid                int      // 0: no process
	serial, parallel   []float64
	took               time.Duration
	cpu, apiServerCPU  time.Duration
}

// creates measures how long the creation of a pod takes. The pods are dry runs: they go through all of admission and
// validation, and no disk is measured.
func (b *bench) creates(ctx context.Context, s *setting) (rows []createRow, err error) {
	lanes, stop, err := b.lanes(ctx, s)
	defer func() { err = errors.Join(err, stop()) }()
	if err != nil {
		return nil, err
	}
	lanes = slices.DeleteFunc(lanes, func(l *lane) bool { return b.variants != nil && !slices.Contains(b.variants, l.variant) })
	if err := b.awaitLanes(ctx, s, lanes); err != nil {
		return nil, err
	}
	if err := b.createSerially(ctx, lanes); err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	if err := b.createInParallel(ctx, lanes); err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	for _, l := range lanes {
		row := createRow{
			Setting: s.name, Variant: l.variant,
			SerialP50: quantile(l.serial, 0.5), SerialP99: quantile(l.serial, 0.99),
			ParallelP50: quantile(l.parallel, 0.5), ParallelP99: quantile(l.parallel, 0.99),
			PodsPerSecond: float64(len(l.parallel)) / l.took.Seconds(),
			CPU:           l.cpu.Seconds() / float64(len(l.parallel)) * 10000,
			APIServerCPU:  l.apiServerCPU.Seconds() / float64(len(l.parallel)) * 10000,
			Pods:          len(l.serial) + len(l.parallel),
		}
		if l.pid != 0 {
			if row.Memory, err = memoryOf(l.pid); err != nil {
				return nil, err
			}
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// measurePrefix is a run of the rows that tell what a prefix costs: the difference of the last two. It prints them.
func (b *bench) measurePrefix(ctx context.Context) error {
	b.variants = []string{variantNone, variantFiltered, variantPrefixed}
	s := &settings[1]
	b.step("Creating pods: %s", s.name)
	rows, err := b.creates(ctx, s)
	if err != nil {
		return err
	}
	t := measured.NewTable("variant", "p50 ms", "50 under way: p50 ms", "pods/s", "API server, CPU s per 10,000 pods")
	for i := range rows {
		row := &rows[i]
		t.Row(row.Variant, fmt.Sprintf("%.2f", row.SerialP50), fmt.Sprintf("%.1f", row.ParallelP50),
			fmt.Sprintf("%.0f", row.PodsPerSecond), fmt.Sprintf("%.1f", row.APIServerCPU))
	}
	var page strings.Builder
	t.Write(&page)
	fmt.Print(page.String())
	return nil
}

// awaitLanes returns once every lane's pods are what they are to be measured as.
func (b *bench) awaitLanes(ctx context.Context, s *setting, lanes []*lane) error {
	for _, l := range lanes {
		if err := cluster.WaitEffective(ctx, func(ctx context.Context) (bool, error) {
			pod, err := b.createPod(ctx, l.namespace)
			return err == nil && marked(pod, s.marks) == (l.marks != nil), err
		}); err != nil {
			return fmt.Errorf("%s, %s: %w", s.name, l.variant, err)
		}
	}
	return nil
}

// createSerially creates one pod in each lane, again and again. The order is random: in a fixed one, the webhook that comes
// after the lane without any finds the API server's path to webhooks cold, and looks slower than the rest.
func (b *bench) createSerially(ctx context.Context, lanes []*lane) error {
	for began, round := time.Now(), 0; time.Since(began) < 2*b.time; round++ {
		for _, i := range rand.Perm(len(lanes)) {
			l := lanes[i]
			start := time.Now()
			pod, err := b.createPod(ctx, l.namespace)
			took := time.Since(start)
			if err := l.check(pod, err); err != nil {
				return err
			}
			if round >= 20 { // those before warm up
				l.serial = append(l.serial, milliseconds(took))
			}
		}
	}
	return nil
}

// createInParallel lets each lane in turn have 50 pods under way.
func (b *bench) createInParallel(ctx context.Context, lanes []*lane) error {
	const rounds = 5
	lasting := 2 * b.time / time.Duration(rounds*len(lanes))
	apiServer, err := childNamed("kube-apiserver")
	if err != nil {
		return err
	}
	for round := range rounds {
		for i := range lanes {
			l := lanes[(i+round)%len(lanes)]
			before, err := cpuTimes(l.pid, apiServer)
			if err != nil {
				return err
			}
			if err := b.createAtOnce(ctx, l, lasting); err != nil {
				return err
			}
			after, err := cpuTimes(l.pid, apiServer)
			if err != nil {
				return err
			}
			l.cpu += after[0] - before[0]
			l.apiServerCPU += after[1] - before[1]
		}
	}
	return nil
}

// createAtOnce keeps 50 pods of a lane under way for a while.
func (b *bench) createAtOnce(ctx context.Context, l *lane, lasting time.Duration) (err error) {
	began := time.Now()
	var mu sync.Mutex
	var running sync.WaitGroup
	for range 50 {
		running.Go(func() {
			for time.Since(began) < lasting {
				start := time.Now()
				pod, failure := b.createPod(ctx, l.namespace)
				took := time.Since(start)
				failure = l.check(pod, failure)
				mu.Lock()
				err = errors.Join(err, failure)
				l.parallel = append(l.parallel, milliseconds(took))
				mu.Unlock()
				if failure != nil {
					return
				}
			}
		})
	}
	running.Wait()
	l.took += time.Since(began)
	return err
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// createPod returns the created pod as JSON.
func (b *bench) createPod(ctx context.Context, namespace string) ([]byte, error) {
	return b.cluster.Client.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").
		Param("dryRun", metav1.DryRunAll).SetHeader("Content-Type", "application/json").SetHeader("Accept", "application/json").
		Body(b.pod).Do(ctx).Raw()
}

func marked(pod []byte, marks []string) bool {
	for _, mark := range marks {
		if !bytes.Contains(pod, []byte(mark)) {
			return false
		}
	}
	return true
}

// check fails for a pod that did not get what its lane stands for: the figures would be of something else.
func (l *lane) check(pod []byte, err error) error {
	if err != nil {
		return fmt.Errorf("%s: creating a pod: %w", l.variant, err)
	}
	if !marked(pod, l.marks) {
		return fmt.Errorf("%s: a pod was created without the patch", l.variant)
	}
	return nil
}

// lanes starts and registers everything of a setting.
func (b *bench) lanes(ctx context.Context, s *setting) (lanes []*lane, stop func() error, err error) {
	var stops []func() error
	stop = func() (err error) {
		for _, f := range slices.Backward(stops) {
			err = errors.Join(err, f())
		}
		return err
	}
	// What is left registered would be considered for the pods of the settings that follow.
	register := func(config *admissionregistrationv1.MutatingWebhookConfiguration) error {
		stops = append(stops, func() error {
			return b.cluster.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(context.WithoutCancel(ctx), config.Name, metav1.DeleteOptions{})
		})
		return cluster.RegisterWebhook(ctx, b.cluster.Client, config)
	}
	add := func(variant, slug string, marks []string, pid int) *lane {
		l := &lane{variant: variant, namespace: s.slug + "-" + slug, marks: marks, pid: pid}
		lanes = append(lanes, l)
		return l
	}
	for _, slug := range []string{"none", nameShorthop, kindNull, kindConstant, "filtered", "prefixed", kindConventional, "map"} {
		if err := b.cluster.CreateNamespace(ctx, s.slug+"-"+slug, map[string]string{"team": "bench"}); err != nil {
			return nil, stop, err
		}
	}
	add(variantNone, "none", nil, 0)

	ours, compiled, err := b.startShorthop(ctx, "", s.slug, fmt.Sprintf(policyHeader, s.slug)+b.withEndpoint(s.spec))
	if err != nil {
		return nil, stop, err
	}
	stops = append(stops, func() error { ours.Kill(); return nil })
	l := add(nameShorthop, nameShorthop, s.marks, ours.PID())
	if err := register(b.ourWebhook(compiled.Document(), l.namespace, ours.URL)); err != nil {
		return nil, stop, err
	}

	patch, err := b.patchOf(ctx, ours.URL, s.slug+"-"+kindConstant)
	if err != nil {
		return nil, stop, err
	}
	for _, c := range []struct {
		variant, slug string
		marks         []string
		served        served
	}{
		{variantNull, kindNull, nil, served{Kind: kindConstant}},
		{variantConstant, kindConstant, s.marks, served{Kind: kindConstant, Patch: patch}},
		{variantFiltered, "filtered", s.marks, served{Kind: kindConstant, Patch: patch}},
		{variantPrefixed, "prefixed", s.marks, served{Kind: kindConstant, Patch: patch}},
		{variantConventional, kindConventional, s.marks, served{Kind: kindConventional, Settings: b.conventionally(s)}},
	} {
		c.served.CertDir = b.certDir
		p, err := startContender(ctx, b.dir, c.served)
		if err != nil {
			return nil, stop, err
		}
		stops = append(stops, func() error { p.stop(); return nil })
		l := add(c.variant, c.slug, c.marks, p.pid())
		config := plainWebhook(l.namespace, p.url, b.caBundle)
		switch c.variant {
		case variantFiltered:
			config = b.ourWebhook(compiled.Document(), l.namespace, p.url)
		case variantPrefixed:
			config = b.ourWebhook(withPrefix(compiled.Document()), l.namespace, p.url)
		}
		if err := register(config); err != nil {
			return nil, stop, err
		}
	}

	l = add(variantMAP, "map", s.marks, 0)
	stops = append(stops, func() error {
		bindings := b.cluster.Client.AdmissionregistrationV1().MutatingAdmissionPolicyBindings()
		return bindings.Delete(context.WithoutCancel(ctx), l.namespace, metav1.DeleteOptions{})
	})
	return lanes, stop, b.registerMAP(ctx, s, l.namespace)
}

// policyHeader begins a policy.
const policyHeader = `apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: bench-%s}
spec:
  cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}
`

// withEndpoint fills in the API server's address: nothing is injected that does not work.
func (b *bench) withEndpoint(spec string) string {
	if !strings.Contains(spec, "%s") {
		return spec
	}
	return fmt.Sprintf(spec, b.host, b.port)
}

// startShorthop runs the real program as a Deployment does, with access to the API server. binary is a build of it, empty
// for bin/webhook.
func (b *bench) startShorthop(ctx context.Context, binary, name, document string, args ...string) (*cluster.Webhook, *policy.Compiled, error) {
	parsed, err := policy.Parse([]byte(document))
	if err != nil {
		return nil, nil, err
	}
	compiled, err := policy.Compile(parsed, ownNamespace)
	if err != nil {
		return nil, nil, err
	}
	file := filepath.Join(b.dir, name+".yaml")
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		return nil, nil, fmt.Errorf("writing a policy: %w", err)
	}
	started, err := cluster.StartProcess(ctx, cluster.WebhookOptions{
		Binary: binary,
		Policy: file, CertDir: b.certDir, Kubeconfig: b.cluster.Kubeconfig(), Args: append([]string{"--own-namespace", ownNamespace}, args...),
	})
	return started, compiled, err
}

// patchOf asks Shorthop for the patch of the pod, for those who answer it without a thought.
func (b *bench) patchOf(ctx context.Context, url, namespace string) ([]byte, error) {
	review, err := os.ReadFile(filepath.Join(reviewsDir, "typical.json"))
	if err != nil {
		return nil, fmt.Errorf("reading a review: %w", err)
	}
	review = bytes.ReplaceAll(review, []byte(`"namespace":"default"`), []byte(`"namespace":"`+namespace+`"`))
	answer, err := post(ctx, b.reviewClient(), url, review)
	if err != nil {
		return nil, fmt.Errorf("asking for the patch: %w", err)
	}
	var decoded struct{ Response struct{ Patch []byte } }
	if err := json.Unmarshal(answer, &decoded); err != nil {
		return nil, fmt.Errorf("asking for the patch: %w", err)
	}
	if len(decoded.Response.Patch) == 0 {
		return nil, fmt.Errorf("asking for the patch: there is none: %s", answer)
	}
	return decoded.Response.Patch, nil
}

func (b *bench) conventionally(s *setting) contender.Settings {
	var c contender.Settings
	if s.host {
		c.Host, c.Port = b.host, fmt.Sprint(b.port)
	}
	if s.ndots {
		c.Options = []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("3")}}
	}
	if s.nodeLocal {
		c.NodeLocal = []string{"169.254.20.10", "10.0.0.10"}
	}
	return c
}

// registerMAP makes the API server do the same by itself.
func (b *bench) registerMAP(ctx context.Context, s *setting, namespace string) error {
	text, err := yaml.YAMLToJSON([]byte(mutatingPolicy(s, namespace, b.host, b.port)))
	if err != nil {
		return fmt.Errorf("making a MutatingAdmissionPolicy: %w", err)
	}
	var object admissionregistrationv1.MutatingAdmissionPolicy
	if err := json.Unmarshal(text, &object); err != nil {
		return fmt.Errorf("making a MutatingAdmissionPolicy: %w", err)
	}
	client := b.cluster.Client.AdmissionregistrationV1()
	if _, err := client.MutatingAdmissionPolicies().Create(ctx, &object, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating a MutatingAdmissionPolicy: %w", err)
	}
	binding := &admissionregistrationv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: object.Name},
		Spec:       admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{PolicyName: object.Name},
	}
	if _, err := client.MutatingAdmissionPolicyBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating a MutatingAdmissionPolicyBinding: %w", err)
	}
	return nil
}
