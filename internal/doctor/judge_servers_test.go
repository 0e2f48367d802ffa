package doctor

import (
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/internal/health"
)

// serversFaults are the cases of judge_servers.go.
func serversFaults() map[string]fault {
	return map[string]fault{
		"a leaf that nobody renews": {
			func(t *testing.T, f *Facts) {
				ca := newIssuer(t)
				for i := range f.webhook.value.Webhooks {
					f.webhook.value.Webhooks[i].ClientConfig.CABundle = ca.pem()
				}
				for i := range f.replicas.value {
					f.replicas.value[i].served = ca.serve(t, testName, -80*day, 10*day)
				}
			},
			"serving-certificate", Warn, "expires in 240h0m0s", nil,
		},
		"a short-lived leaf in the middle of its life": {
			func(t *testing.T, f *Facts) {
				ca := newIssuer(t)
				for i := range f.webhook.value.Webhooks {
					f.webhook.value.Webhooks[i].ClientConfig.CABundle = append(f.webhook.value.Webhooks[i].ClientConfig.CABundle, ca.pem()...)
				}
				f.replicas.value[0].served = ca.serve(t, testName, -12*time.Hour, 12*time.Hour)
			},
			"serving-certificate", Pass, "valid until 2026-03-02T00:00:00Z", nil,
		},
		"a replica cannot be asked": {
			func(_ *testing.T, f *Facts) {
				why := errors.New("needs create pods/portforward")
				f.replicas.value[0].served, f.replicas.value[0].debug = fact[[]*x509.Certificate]{err: why}, fact[*health.PolicyDocument]{err: why}
			},
			"serving-certificate", Unknown, "pod a: needs create pods/portforward", []Check{"policy", "gates"},
		},
		"all replicas on one node": {
			func(_ *testing.T, f *Facts) { f.replicas.value[1].node = "node-a" },
			"replicas", Warn, "all 2 ready replicas are on node node-a", nil,
		},
		"a third replica is not ready": {
			func(_ *testing.T, f *Facts) { f.replicas.value = append(f.replicas.value, replica{name: "c"}) },
			"replicas", Warn, "1 replica not ready: c", nil,
		},
		"a quota that keeps all replicas from being created": {
			func(_ *testing.T, f *Facts) {
				f.replicas.value, f.failOpen.value = nil, nil
				f.notCreated.value = []notCreated{{"shorthop-5d8", "insufficient quota to match these scopes: [{PriorityClass In [system-cluster-critical]}]"}}
			},
			"replicas", Fail, "ReplicaSet shorthop-5d8 cannot create pods: insufficient quota", []Check{"serving-certificate", "policy", "gates"},
		},
		"a policy engine that keeps a third replica from being created": {
			func(_ *testing.T, f *Facts) {
				f.notCreated.value = []notCreated{{"shorthop-5d8", "denied:\n" + strings.Repeat("long ", 100)}}
			},
			"replicas", Warn, "ReplicaSet shorthop-5d8 cannot create pods: denied: long", nil,
		},
		"--policy names another one": {
			func(t *testing.T, f *Facts) {
				f.given = parsed(t, strings.Replace(testPolicy, "NodeLocal", "Options", 1))
			},
			"policy", Warn, "that of --policy", nil,
		},
		"the policy of the ConfigMap is broken": {
			func(_ *testing.T, f *Facts) { f.configMap.value.document = []byte(testPolicy + "  mode: Sometimes\n") },
			"policy", Fail, `ConfigMap shorthop-system/shorthop, key policy.yaml, is not a valid policy, and is not loaded: spec.mode: Unsupported value: "Sometimes"`, nil,
		},
		"two ConfigMaps have a policy": {
			func(_ *testing.T, f *Facts) {
				f.otherConfigMaps = []policyConfigMap{{testNamespace + "/old", "policy.yaml", []byte(testPolicy)}}
			},
			"policy", Warn, "2 keys of ConfigMaps with the label app.kubernetes.io/name=shorthop look like a policy: ConfigMap shorthop-system/shorthop, key policy.yaml is used, and ConfigMap shorthop-system/old, key policy.yaml not", nil,
		},
		"the API host is not in the certificate": {
			func(_ *testing.T, f *Facts) { f.apiHosts[0].host = "api.example.org" },
			"api-host", Fail, "not api.example.org", nil,
		},
		"one of two API hosts is not reachable": {
			func(_ *testing.T, f *Facts) {
				f.apiHosts = append(f.apiHosts, apiHost{"internal", "6443", fact[[]*x509.Certificate]{err: errors.New("connection refused")}})
			},
			"api-host", Warn, "internal:6443 is not reachable from here", nil,
		},
	}
}

func TestFlagsOfAPod(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]serverFlags{
		"": {false, "shorthop-ca", true, "shorthop-detector"},
		"--cert-source=self-managed --ca-secret=a --detect-interval=0 --detect-lease=b": {true, "a", false, "b"},
		"--cert-source self-managed --ca-secret a --detect-interval 0s --policy=x":      {true, "a", false, "shorthop-detector"},
		"--detect-interval=10m --detect-lease":                                          {false, "shorthop-ca", true, ""},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{}, {Command: []string{"webhook"}, Args: strings.Fields(args)}}}}
		if got := flagsOf(pod); *got != want {
			t.Errorf("%q: got %+v, want %+v", args, *got, want)
		}
	}
}
