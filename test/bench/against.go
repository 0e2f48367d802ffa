package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/test/cluster"
)

// againstRounds is how often the two builds take turns. Each figure is the median of its rounds.
const againstRounds = 5

// build is one of two builds of the webhook, the other of which is measured in the same minutes.
type build struct {
	name, binary string
	// CPU per review in µs and memory in MiB, over HTTPS without an API server; what a pod's creation takes in ms at a real
	// one. One value a round.
	cpu, memory, create []float64
}

// measureAgainst compares bin/webhook with another build of it: whether a change made reviews dearer. It prints a table and
// writes no page.
func (b *bench) measureAgainst(ctx context.Context, other string) error {
	builds := []*build{{name: "other", binary: other}, {name: "this", binary: filepath.Join("bin", "webhook")}}
	b.step("Reviews over HTTPS")
	if err := b.reviewsOfBuilds(ctx, builds); err != nil {
		return err
	}
	b.step("Pods")
	without, err := b.podsOfBuilds(ctx, builds)
	if err != nil {
		return err
	}
	fmt.Printf("%-8s %12s %14s %20s\n", "build", "µs/review", "RssAnon MiB", "added latency, ms")
	var rows [2][3]float64
	for i, build := range builds {
		rows[i] = [3]float64{
			quantile(build.cpu, 0.5), quantile(build.memory, 0.5), quantile(build.create, 0.5) - quantile(without, 0.5),
		}
		fmt.Printf("%-8s %12.1f %14.2f %20.3f\n", build.name, rows[i][0], rows[i][1], rows[i][2])
	}
	fmt.Printf("%-8s %12.3f %14.3f %20.3f\n", "ratio", rows[1][0]/rows[0][0], rows[1][1]/rows[0][1], rows[1][2]/rows[0][2])
	return nil
}

// reviewsOfBuilds sends reviews to both builds, each from 32 senders in turn. Every round has processes of its own: where the
// pages of one process happen to lie can make it some percent slower or larger than its twin, for all its life.
func (b *bench) reviewsOfBuilds(ctx context.Context, builds []*build) error {
	review, err := os.ReadFile(filepath.Join(reviewsDir, "typical.json"))
	if err != nil {
		return fmt.Errorf("reading a review: %w", err)
	}
	policyFile := filepath.Join(b.dir, "serving.yaml")
	if err := os.WriteFile(policyFile, []byte(policyWithoutCluster), 0o600); err != nil {
		return fmt.Errorf("writing a policy: %w", err)
	}
	for range againstRounds {
		round, end := context.WithCancel(ctx)
		err := b.reviewsRound(round, builds, policyFile, review)
		end()
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) reviewsRound(ctx context.Context, builds []*build, policyFile string, review []byte) (err error) {
	var targets []target
	err = onCore(serverCore, func() error {
		for _, build := range builds {
			started, err := cluster.StartProcess(ctx, cluster.WebhookOptions{Binary: build.binary, Policy: policyFile, CertDir: b.certDir})
			if err != nil {
				return fmt.Errorf("%s: %w", build.name, err)
			}
			context.AfterFunc(ctx, started.Kill)
			targets = append(targets, target{build.name, started.URL, started.PID()})
		}
		return nil
	})
	if err != nil {
		return err
	}
	restore, err := leaveCore(serverCore)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()

	sums := make([]sent, len(targets))
	for slice := range 2 * turns {
		for i := range targets {
			at := (i + slice) % len(targets)
			client := b.reviewClient()
			if err := sums[at].add(ctx, client, &targets[at], review, 0, b.time/(2*turns)); err != nil {
				return fmt.Errorf("sending reviews to %s: %w", targets[at].name, err)
			}
			client.CloseIdleConnections()
		}
	}
	for i, build := range builds {
		used, err := memoryOf(targets[i].pid)
		if err != nil {
			return err
		}
		build.cpu = append(build.cpu, sums[i].cpu.Seconds()*1e6/float64(len(sums[i].latencies)))
		build.memory = append(build.memory, used.Anonymous)
	}
	return nil
}

// podsOfBuilds creates pods that both builds patch, each in a namespace of its own, and pods that none does.
func (b *bench) podsOfBuilds(ctx context.Context, builds []*build) (without []float64, err error) {
	var stops []func() error
	defer func() {
		for _, stop := range stops {
			err = errors.Join(err, stop())
		}
	}()
	s := &settings[len(settings)-1]
	lanes := []*lane{{variant: variantNone, namespace: "against-none"}}
	for _, build := range builds {
		lanes = append(lanes, &lane{variant: build.name, namespace: "against-" + build.name, marks: s.marks})
	}
	for i, l := range lanes {
		if err := b.cluster.CreateNamespace(ctx, l.namespace, nil); err != nil {
			return nil, err
		}
		if i == 0 {
			continue
		}
		started, compiled, err := b.startShorthop(ctx, builds[i-1].binary, l.namespace, fmt.Sprintf(policyHeader, s.slug)+b.withEndpoint(s.spec))
		if err != nil {
			return nil, err
		}
		stops = append(stops, func() error { started.Kill(); return nil })
		config := b.ourWebhook(compiled.Document(), l.namespace, started.URL)
		if err := cluster.RegisterWebhook(ctx, b.cluster.Client, config); err != nil {
			return nil, err
		}
		stops = append(stops, func() error {
			return b.cluster.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Delete(context.WithoutCancel(ctx), config.Name, metav1.DeleteOptions{})
		})
	}
	if err := b.awaitLanes(ctx, s, lanes); err != nil {
		return nil, err
	}
	for range againstRounds {
		for _, l := range lanes {
			l.serial = nil
		}
		for began := time.Now(); time.Since(began) < b.time; {
			for _, i := range rand.Perm(len(lanes)) {
				start := time.Now()
				pod, err := b.createPod(ctx, lanes[i].namespace)
				took := time.Since(start)
				if err := lanes[i].check(pod, err); err != nil {
					return nil, err
				}
				lanes[i].serial = append(lanes[i].serial, milliseconds(took))
			}
		}
		without = append(without, quantile(lanes[0].serial, 0.5))
		for i, build := range builds {
			build.create = append(build.create, quantile(lanes[i+1].serial, 0.5))
		}
	}
	return without, nil
}
