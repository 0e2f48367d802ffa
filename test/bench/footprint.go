package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
)

const (
	manyNamespaces = 10000
	manyRules      = 1000
	manyAdvised    = 10000
	// rest is how long a process is left alone before its memory is read.
	rest = 10 * time.Second
)

// footprint is what the program costs where it has nothing to do.
type footprint struct {
	// ReadyMS is the time from the start of the process to the first 200 of /readyz, the median of five, and to 20 ms.
	ReadyMS float64
	// Idle is with certificates from files, SelfManaged with our own.
	Idle, SelfManaged memory
	// In MiB. There is no image where none has been built.
	BinaryMiB, ImageMiB float64
}

func (b *bench) footprint(ctx context.Context) (f footprint, err error) {
	s := &settings[len(settings)-1]
	document := fmt.Sprintf(policyHeader, "footprint") + b.withEndpoint(s.spec)
	var ready []float64
	for i := range 5 {
		began := time.Now()
		ours, _, err := b.startShorthop(ctx, "", "footprint", document)
		if err != nil {
			return f, err
		}
		ready = append(ready, milliseconds(time.Since(began)))
		if i == 0 {
			f.Idle, err = memoryAtRest(ctx, ours)
		}
		ours.Kill()
		if err != nil {
			return f, err
		}
	}
	f.ReadyMS = quantile(ready, 0.5)
	if f.SelfManaged, err = b.selfManaged(ctx, document); err != nil {
		return f, err
	}
	if f.BinaryMiB, err = fileMiB("bin/webhook"); err != nil {
		return f, err
	}
	if f.ImageMiB, err = fileMiB("bin/webhook.tar"); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return f, err
}

func fileMiB(path string) (float64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return float64(info.Size()) / (1 << 20), nil
}

func memoryAtRest(ctx context.Context, ours *cluster.Webhook) (memory, error) {
	select {
	case <-ctx.Done():
		return memory{}, ctx.Err()
	case <-time.After(rest):
		return memoryOf(ours.PID())
	}
}

// selfManaged measures the program with certificates that it makes itself, for which it holds more clients and caches.
func (b *bench) selfManaged(ctx context.Context, document string) (m memory, err error) {
	parsed, err := policy.Parse([]byte(document))
	if err != nil {
		return m, err
	}
	config := webhookconfig.New(parsed, webhookconfig.Options{OwnNamespace: ownNamespace, Service: "shorthop"})
	for i := range config.Webhooks { // nobody is behind that Service
		config.Webhooks[i].NamespaceSelector = inNamespace("none")
	}
	if err := cluster.RegisterWebhook(ctx, b.cluster.Client, config); err != nil {
		return m, err
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "shorthop-ca"}}
	if _, err := b.cluster.Client.CoreV1().Secrets(ownNamespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		return m, fmt.Errorf("creating the CA's Secret: %w", err)
	}
	file := b.dir + "/footprint.yaml"
	ours, err := cluster.StartProcess(ctx, cluster.WebhookOptions{
		Policy: file, Kubeconfig: b.cluster.Kubeconfig(), ReadyTimeout: time.Minute,
		Args: []string{"--own-namespace", ownNamespace, "--cert-source", "self-managed"},
	})
	if err != nil {
		return m, err
	}
	defer ours.Kill()
	return memoryAtRest(ctx, ours)
}

// large is the program in a large cluster.
type large struct {
	ReadyMS float64
	// Idle is after the start, Loaded after that many pods.
	Idle, Loaded memory
	Pods         int
}

func (b *bench) large(ctx context.Context) (l large, err error) {
	if err := b.createNamespaces(ctx); err != nil {
		return l, err
	}
	s := &settings[len(settings)-1]
	var document strings.Builder
	document.WriteString(fmt.Sprintf(policyHeader, "large") + b.withEndpoint(s.spec) + "  rules:\n")
	for i := range manyRules {
		match := []string{
			"namespaces: [team-%d]",
			`namespaces: ["team-%d-*"]`,
			"podSelector: {matchLabels: {app.kubernetes.io/name: service-%d}}",
			"namespaceSelector: {matchLabels: {team: team-%d}}",
		}[i%4]
		fmt.Fprintf(&document, "  - {name: rule-%d, match: {%s}, dns: {ndots: 2}}\n", i, fmt.Sprintf(match, i))
	}
	advice, err := b.writeAdvice()
	if err != nil {
		return l, err
	}
	began := time.Now()
	ours, compiled, err := b.startShorthop(ctx, "", "large", document.String(), "--advice", advice)
	if err != nil {
		return l, err
	}
	defer ours.Kill()
	l.ReadyMS = milliseconds(time.Since(began))
	if l.Idle, err = memoryAtRest(ctx, ours); err != nil {
		return l, err
	}
	// The load of one namespace: its pods match none of the rules, so all are considered.
	const namespace = "large-shorthop"
	if err := b.cluster.CreateNamespace(ctx, namespace, nil); err != nil {
		return l, err
	}
	if err := cluster.RegisterWebhook(ctx, b.cluster.Client, b.ourWebhook(compiled.Document(), namespace, ours.URL)); err != nil {
		return l, err
	}
	loaded := &lane{variant: nameShorthop, namespace: namespace, pid: ours.PID()}
	if err := cluster.WaitEffective(ctx, func(ctx context.Context) (bool, error) {
		pod, err := b.createPod(ctx, namespace)
		return err == nil && marked(pod, s.marks), err
	}); err != nil {
		return l, err
	}
	loaded.marks = s.marks
	if err := b.createInParallel(ctx, []*lane{loaded}); err != nil {
		return l, err
	}
	l.Pods = len(loaded.parallel)
	l.Loaded, err = memoryOf(ours.PID())
	return l, err
}

// writeAdvice writes a document of advice to a file: manyAdvised workloads with two images in two versions each.
func (b *bench) writeAdvice() (file string, err error) {
	document := policy.DNSAdvice{Spec: policy.AdviceSpec{Workloads: []policy.AdvisedWorkload{}}}
	document.APIVersion, document.Kind, document.Metadata.Name = policy.APIVersion, policy.KindAdvice, "large"
	for i := range manyAdvised {
		w := policy.AdvisedWorkload{
			Namespace: fmt.Sprintf("many-%d", i%manyNamespaces), Kind: "Deployment", Name: fmt.Sprintf("service-%d", i),
			Ndots: new(int32(2)), Fallthrough: new(int32(2)), Confidence: policy.ConfidenceHigh,
			Needed: map[string]policy.Date{"2": "2026-11-29"},
		}
		for version := range 2 {
			w.References = append(w.References,
				policy.AdviceReference{Image: fmt.Sprintf("registry.example.com/service-%d:v1.%d.0", i, version), Seen: "2026-11-29"},
				policy.AdviceReference{Image: fmt.Sprintf("registry.example.com/proxy:1.2%d", version), Seen: "2026-11-29"})
		}
		document.Spec.Workloads = append(document.Spec.Workloads, w)
	}
	text, err := json.Marshal(&document)
	if err != nil {
		return "", fmt.Errorf("encoding advice: %w", err)
	}
	file = filepath.Join(b.dir, "advice.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return "", fmt.Errorf("writing advice: %w", err)
	}
	return file, nil
}

// createNamespaces creates namespaces with labels and annotations, as they have in clusters that are used.
func (b *bench) createNamespaces(ctx context.Context) error {
	names := make(chan int)
	var running sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for range 20 {
		running.Go(func() {
			for i := range names {
				namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
					Name: fmt.Sprintf("many-%d", i),
					Labels: map[string]string{
						"team": fmt.Sprintf("team-%d", i%500), "example.com/cost-center": fmt.Sprint(40000 + i%100), "example.com/stage": "production",
						"pod-security.kubernetes.io/enforce": "restricted",
					},
					Annotations: map[string]string{"example.com/description": strings.Repeat("what this namespace is for ", 8)},
				}}
				if _, err := b.cluster.Client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	for i := range manyNamespaces {
		names <- i
	}
	close(names)
	running.Wait()
	return failed
}
