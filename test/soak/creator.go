package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/pkg/policy"
)

const (
	// createTimeout bounds one creation, the webhook's timeout included.
	createTimeout = 15 * time.Second
	// sweepInterval is how often the pods that are there are deleted, so that etcd stays small.
	sweepInterval = 2 * time.Second
)

// creator creates pods, which are stored, and deletes them.
type creator struct {
	client   kubernetes.Interface
	host     string
	accepted atomic.Pointer[[]string] // values of ndots, of which one may be in force
	counts   atomic.Pointer[tally]
}

func newCreator(config *rest.Config, host string) (*creator, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	c := &creator{client: client, host: host}
	c.counts.Store(&tally{})
	return c, nil
}

// start creates pods until stop is called, which waits for those under way.
func (c *creator) start(ctx context.Context, rate int) (p *pacer, stop func()) {
	p = newPacer(rate, 64)
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { p.run(ctx, func(n int, due time.Time) { c.count(context.WithoutCancel(ctx), n, due) }) })
	running.Go(func() {
		for sleep(ctx, sweepInterval) == nil {
			c.sweep(ctx)
		}
	})
	return p, func() {
		cancel()
		running.Wait()
	}
}

// sweep deletes the pods that are there. It fails while the API server is away; the next one deletes more.
func (c *creator) sweep(ctx context.Context) {
	for _, namespace := range []string{openNamespace, closedNamespace} {
		_ = c.client.CoreV1().Pods(namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}, metav1.ListOptions{})
	}
}

func (c *creator) count(ctx context.Context, n int, due time.Time) {
	before, called := *c.accepted.Load(), time.Now()
	pod, err := c.create(ctx, n)
	result, problem := failed, ""
	switch {
	case err != nil:
		problem = generalized(err.Error())
	default:
		result = expected
		// A policy may come into force while the review is under way.
		if problem = podProblem(pod, c.host, before); problem != "" && podProblem(pod, c.host, *c.accepted.Load()) != "" {
			result = other
			if pod.Annotations[policy.AnnotationInjected] == "" {
				result = unpatched
			}
		}
	}
	c.counts.Load().add(result, due, called, problem)
}

// create creates a pod in one of the namespaces in turn.
func (c *creator) create(ctx context.Context, n int) (*corev1.Pod, error) {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "load-"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}}},
	}
	namespace := openNamespace
	if n%2 == 1 {
		namespace, pod.Labels = closedNamespace, map[string]string{policy.LabelInject: "enabled"}
	}
	return c.client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
}
