// Package rotation shows that no pod is missed while certificates and servers
// change: it creates pods at a steady rate, through a balancer that behaves
// like a Service, and counts those that come back without our mark.
package rotation

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/pkg/policy"
)

const (
	// workers create pods side by side; every other one opens a new connection
	// to the API server for each.
	workers = 8
	// cutInterval is how often the API server loses its connections to the
	// webhook.
	cutInterval = 100 * time.Millisecond
)

// Result counts pods.
type Result struct {
	Created, Mutated, Missed int
	// NewConnections is how many the API server opened to the webhook.
	NewConnections int
	Took           time.Duration
	// Errors are of pods that were not created.
	Errors []error
}

func (r Result) String() string {
	return fmt.Sprintf("created %d, mutated %d, missed %d (%.0f pods/s for %s, over %d connections to the webhook)",
		r.Created, r.Mutated, r.Missed, float64(r.Created)/r.Took.Seconds(), r.Took.Round(time.Second), r.NewConnections)
}

// Load creates pods until it is stopped. They go through admission, and are
// not stored.
type Load struct {
	balancer *Balancer
	started  time.Time
	stop     context.CancelFunc
	running  sync.WaitGroup
	// quiet is held for reading while a pod is created.
	quiet sync.RWMutex

	mu     sync.Mutex
	result Result
}

// StartLoad creates that many pods per second in turn in the namespaces. Ten
// times per second it lets the pods under way finish and then cuts all
// connections of the balancer, so that those that follow need new ones.
func StartLoad(ctx context.Context, config *rest.Config, balancer *Balancer, rate int, namespaces ...string) (*Load, error) {
	var clients [2]kubernetes.Interface
	for i := range clients {
		config := rest.CopyConfig(config)
		config.QPS = -1
		// A dialer of its own makes a transport of its own.
		config.Dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			return nil, fmt.Errorf("making a client: %w", err)
		}
		if i == 1 {
			client.Transport = closing{client.Transport}
		}
		if clients[i], err = kubernetes.NewForConfigAndClient(config, client); err != nil {
			return nil, fmt.Errorf("making a client: %w", err)
		}
	}
	ctx, stop := context.WithCancel(ctx)
	l := &Load{balancer: balancer, started: time.Now(), stop: stop}
	l.result.NewConnections = -balancer.Accepted()
	due := make(chan int)
	l.running.Go(func() {
		defer close(due)
		for n := 0; ; n++ {
			// By the clock, so that what was late is made up for.
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(l.started.Add(time.Duration(n) * time.Second / time.Duration(rate)))):
			}
			select {
			case <-ctx.Done():
				return
			case due <- n:
			}
		}
	})
	for w := range workers {
		l.running.Go(func() {
			for n := range due {
				l.create(context.WithoutCancel(ctx), clients[w%2], namespaces[n%len(namespaces)], n)
			}
		})
	}
	l.running.Go(func() {
		tick := time.NewTicker(cutInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				l.quiet.Lock()
				balancer.Cut()
				l.quiet.Unlock()
			}
		}
	})
	return l, nil
}

// closing asks for an end of the connection after each request.
type closing struct{ http.RoundTripper }

func (c closing) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Close = true
	return c.RoundTripper.RoundTrip(request)
}

// create creates a pod that asks for injection itself, for namespaces that do
// not.
func (l *Load) create(ctx context.Context, client kubernetes.Interface, namespace string, n int) {
	l.quiet.RLock()
	defer l.quiet.RUnlock()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("load-%d", n), Labels: map[string]string{policy.LabelInject: "enabled"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}}},
	}
	created, err := client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.result.Errors = append(l.result.Errors, err)
	case Mutated(created):
		l.result.Created++
		l.result.Mutated++
	default:
		l.result.Created++
		l.result.Missed++
	}
}

// SoFar returns the counts up to now.
func (l *Load) SoFar() Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	result := l.result
	result.Took = time.Since(l.started)
	result.NewConnections += l.balancer.Accepted()
	return result
}

// Stop lets the pods under way finish and returns the counts.
func (l *Load) Stop() Result {
	l.stop()
	l.running.Wait()
	return l.SoFar()
}

// Mutated reports whether a pod has our mark.
func Mutated(pod *corev1.Pod) bool { return pod.Annotations[policy.AnnotationInjected] != "" }
