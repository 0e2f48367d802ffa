package app

import (
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/internal/detector"
	"github.com/shorthop/shorthop/internal/metrics"
	"github.com/shorthop/shorthop/pkg/policy"
)

// detectOptions are the flags of the detector.
type detectOptions struct {
	interval time.Duration
	lease    string
}

func (o *detectOptions) addFlags(flags *pflag.FlagSet) {
	flags.DurationVar(&o.interval, "detect-interval", 10*time.Minute,
		"time between two scans for pods that missed injection or carry an old decision, which one replica makes; 0 disables them")
	flags.StringVar(&o.lease, "detect-lease", "shorthop-detector",
		"`NAME` of the Lease in the own namespace by which replicas agree who scans")
}

func (o *detectOptions) validate(wrong func(flag, format string, args ...any)) {
	if o.interval < 0 {
		wrong("detect-interval", "%s is negative", o.interval)
	}
	for _, problem := range validation.IsDNS1123Subdomain(o.lease) {
		wrong("detect-lease", "%q: %s", o.lease, problem)
	}
}

// detect adds the detector, where it can do its work. config is nil without
// cluster access.
func (a *app) detect(o *options, config *rest.Config, current func() *policy.Compiled, labels admission.NamespaceLabels, ready func() bool, recorder *metrics.Metrics) error {
	switch {
	case config == nil || o.detect.interval == 0:
		return nil
	case o.ownNamespace == "":
		a.log.Info("not looking for missed pods: without --own-namespace there is no place for the Lease")
		return nil
	}
	found, err := detector.New(detector.Options{
		Config:     config,
		Namespace:  o.ownNamespace,
		Lease:      o.detect.lease,
		Interval:   o.detect.interval,
		Ready:      ready,
		Policy:     current,
		Gates:      a.observers.currentGates,
		Discovered: a.observers.discovered,
		Labels:     labels.Labels,
		Recorder:   recorder,
		Log:        a.log.WithName("detector"),
	})
	if err != nil {
		return err
	}
	a.background = append(a.background, found.Start)
	return nil
}
