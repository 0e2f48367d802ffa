package app

import (
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
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
