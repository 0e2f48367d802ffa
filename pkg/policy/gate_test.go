package policy_test

import (
	"testing"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/shorthop/shorthop/pkg/policy"
)

func TestCacheIsOpenWhileFewNodesLackIt(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		maxUnavailable     intstr.IntOrString
		desired, available int
		want               bool
	}{
		"available everywhere":                          {intstr.FromInt32(0), 5, 5, true},
		"one too many":                                  {intstr.FromInt32(0), 5, 4, false},
		"as many as allowed":                            {intstr.FromInt32(2), 5, 3, true},
		"one more than allowed":                         {intstr.FromInt32(2), 5, 2, false},
		"a percentage of five nodes is rounded up":      {intstr.FromString("10%"), 5, 4, true},
		"one more than the rounded percentage":          {intstr.FromString("10%"), 5, 3, false},
		"a percentage that needs no rounding":           {intstr.FromString("10%"), 30, 27, true},
		"one more than that":                            {intstr.FromString("10%"), 30, 26, false},
		"no percent at all":                             {intstr.FromString("0%"), 5, 4, false},
		"all may be unavailable":                        {intstr.FromString("100%"), 5, 0, true},
		"a DaemonSet that wants no node is not a cache": {intstr.FromString("100%"), 0, 0, false},
		"more available than wanted, while nodes leave": {intstr.FromInt32(0), 3, 4, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cache := policy.Cache{DaemonSet: "kube-system/cache", MaxUnavailable: test.maxUnavailable}
			if got := cache.Open(test.desired, test.available); got != test.want {
				t.Errorf("open: %v, want %v", got, test.want)
			}
		})
	}
}

// An upstream that no gate knows yet counts as failing.
func TestAnUpstreamThatIsNotKnownFails(t *testing.T) {
	t.Parallel()
	compiled := compile(t, header+"  resolvers: [{images: [\"*\"], resolver: glibc}]\n  dns: {}\n")
	d := compiled.Decide(&policy.Request{
		Operation: policy.OperationCreatePod, Namespace: "shop", NamespaceKnown: true, Gates: &policy.Gates{},
		Pod: &policy.Pod{Spec: policy.PodSpec{Containers: []policy.Container{{Name: "app", Image: "debian:13"}}}},
	})
	if d.Fallthrough.Reason != policy.ReasonUpstreamFails {
		t.Errorf("the reason is %s", d.Fallthrough.Reason)
	}
}
