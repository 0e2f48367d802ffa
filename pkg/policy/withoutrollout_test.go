package policy_test

import (
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
)

// WithoutRollout decides as the policy does at 100 %, for rules too, and leaves the policy as it is.
func TestWithoutRollout(t *testing.T) {
	t.Parallel()
	document, err := policy.Parse([]byte(`
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: test}
spec:
  dns: {}
  rollout: {percent: 0}
  rules:
  - {name: shop, match: {namespaces: [shop]}, rollout: {percent: 0}}
`))
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := policy.Compile(document, "")
	if err != nil {
		t.Fatal(err)
	}
	whole := compiled.WithoutRollout()
	if whole.Hash() != compiled.Hash() {
		t.Errorf("the hash is %s, want %s", whole.Hash(), compiled.Hash())
	}
	for namespace, rule := range map[string]string{"shop": "shop", "web": policy.DefaultRule} {
		request := policy.Request{Operation: policy.OperationCreatePod, Namespace: namespace, NamespaceKnown: true, Pod: &policy.Pod{}}
		if d := whole.Decide(&request); d.Rule != rule || d.DNS.Reason != policy.ReasonEnabledByPolicy {
			t.Errorf("%s without the rollout: %+v", namespace, d.DNS)
		}
		if d := compiled.Decide(&request); d.DNS.Reason != policy.ReasonRollout {
			t.Errorf("%s with the rollout: %+v", namespace, d.DNS)
		}
	}
}
