// Package detector scans, at intervals, for pods that missed injection or carry an
// old decision, so that a webhook that failed open shows on a dashboard. One of the
// replicas does it, elected by a Lease.
//
// It keeps out of the way of reviews: it has a client of its own, holds one pod in
// memory at a time, and a failure of it is a log line and a count, nothing more.
package detector

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/internal/podlist"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
)

const (
	// pause is between two pages of pods, so that 100,000 pods are read in
	// about two minutes.
	pause = 500 * time.Millisecond
	// readyInterval is between two looks at whether a scan can begin.
	readyInterval = time.Second
)

// Times of the Lease. Nothing is lost when nobody scans for some minutes, so
// they are longer than those of controllers.
const (
	leaseDuration = 3 * time.Minute
	renewDeadline = 2 * time.Minute
	retryPeriod   = 30 * time.Second
	// leaseTimeout bounds each request: giving up the Lease must not hold up
	// the end of the server.
	leaseTimeout = 3 * time.Second
)

// Recorder learns what a scan found.
type Recorder interface {
	// Scanned says how many pods a scan found in each class; at is when it ended.
	Scanned(counts *audit.Counts, at time.Time)
	// ScanFailed counts a scan that was not finished.
	ScanFailed()
	// ScansElsewhere says that another replica scans from now on.
	ScansElsewhere()
}

// Options holds what a Detector needs. All fields are required.
type Options struct {
	// Config says how to reach the API server.
	Config *rest.Config
	// Namespace and Lease name the Lease. It is created if it is not there.
	Namespace, Lease string
	// Interval is the time from the end of a scan to the beginning of the next.
	Interval time.Duration
	// Ready reports whether what a decision depends on has been read. Until
	// then no scan begins.
	Ready      func() bool
	Policy     func() *policy.Compiled
	Gates      func() *policy.Gates
	Discovered func() *policy.Discovered
	// Advice returns the advice in force, nil while there is none.
	Advice func() *policy.Advice
	// Namespaces returns what decisions read of a namespace; known is false where
	// that cannot be had.
	Namespaces func(ctx context.Context, name string) (namespace policy.Namespace, known bool)
	Recorder   Recorder
	Log        logr.Logger
}

// Detector scans.
type Detector struct {
	Options
	client kubernetes.Interface
	lock   resourcelock.Interface
	// reporting keeps a scan that ends too late from reporting after somebody
	// else has taken over.
	reporting sync.Mutex
}

// New connects to nothing yet.
func New(o Options) (*Detector, error) {
	config := rest.CopyConfig(o.Config)
	config.QPS, config.Burst = 5, 10
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for the API server: %w", err)
	}
	config.Timeout = leaseTimeout
	leases, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for the API server: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("reading the host's name: %w", err)
	}
	return &Detector{Options: o, client: client, lock: &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Lease},
		Client:     leases.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID())},
	}}, nil
}

// Start scans while this replica holds the Lease, until ctx ends. An error means
// that the election cannot be set up, which is a bug.
func (d *Detector) Start(ctx context.Context) error {
	for d.Policy() == nil { // a replica without a policy must not keep others from scanning
		if !sleep(ctx, readyInterval) {
			return nil
		}
	}
	for ctx.Err() == nil {
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock:          d.lock,
			LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
			// Another replica takes over at once when this one ends.
			ReleaseOnCancel: true,
			Name:            "detector",
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: d.scanAgainAndAgain,
				OnStoppedLeading: d.stopped,
			},
		})
		if err != nil {
			return fmt.Errorf("electing who looks for missed pods: %w", err)
		}
		elector.Run(ctx) // ends when the Lease is lost
	}
	return nil
}

func (d *Detector) stopped() {
	d.reporting.Lock()
	defer d.reporting.Unlock()
	d.Recorder.ScansElsewhere()
}

// scanAgainAndAgain scans until ctx ends, which it also does when the Lease is lost.
func (d *Detector) scanAgainAndAgain(ctx context.Context) {
	d.Log.Info("this replica looks for missed pods", "interval", d.Interval.String())
	for !d.Ready() {
		if !sleep(ctx, readyInterval) {
			return
		}
	}
	for {
		started := time.Now()
		counts, err := d.scan(ctx)
		d.report(ctx, counts, err, time.Since(started))
		if !sleep(ctx, d.Interval) {
			return
		}
	}
}

// report tells the recorder and the log the result of a scan, unless the Lease was
// lost meanwhile.
func (d *Detector) report(ctx context.Context, counts *audit.Counts, err error, took time.Duration) {
	d.reporting.Lock()
	defer d.reporting.Unlock()
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		d.Recorder.ScanFailed()
		d.Log.Info("cannot look for missed pods", "error", printable.Clip(err.Error()))
		return
	}
	d.Recorder.Scanned(counts, time.Now())
	fields := []any{"pods", counts.Pods, "took", took.Round(time.Millisecond).String()}
	for _, class := range audit.Classes() {
		fields = append(fields, string(class), counts.Classes[class])
	}
	d.Log.Info("looked for missed pods", fields...)
}

// scan classifies every pod of the cluster once. A panic becomes an error.
func (d *Detector) scan(ctx context.Context) (_ *audit.Counts, err error) {
	defer func() {
		if p := recover(); p != nil {
			d.Log.Error(fmt.Errorf("panic: %v", p), "bug in Shorthop; please report it", "stack", string(debug.Stack()))
			err = errors.New("internal error")
		}
	}()
	compiled, gates := policy.InForce(d.Policy, d.Gates)
	classifier := audit.NewClassifier(audit.Conditions{Policy: compiled, Gates: gates, Discovered: d.Discovered(), Advice: d.Advice()})
	counts := audit.NewCounts()
	reader := podlist.Reader[audit.Pod]{
		Client: d.client.CoreV1().RESTClient(),
		Page: func(ctx context.Context, _, _ int) error {
			sleep(ctx, pause)
			return ctx.Err()
		},
	}
	_, err = reader.Read(ctx, metav1.NamespaceAll, func(pod *audit.Pod) {
		if why := pod.LeftOut(); why != "" {
			counts.LeftOut[why]++
			return
		}
		namespace, known := d.Namespaces(ctx, pod.Metadata.Namespace)
		counts.Add(classifier.Classify(pod, namespace, known))
	})
	if err != nil {
		return nil, err
	}
	return &counts, nil
}

// sleep waits for a time, or until ctx ends, and reports whether ctx goes on.
func sleep(ctx context.Context, duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
