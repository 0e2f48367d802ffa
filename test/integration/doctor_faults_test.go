package integration_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/doctor"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// doctorFaults are those that show that something is read from the cluster, at least one for each check. What is made of what
// was read, TestJudge of internal/doctor has.
func doctorFaults() map[string]fault {
	eachEntry := func(change func(*admissionv1.MutatingWebhook)) func(*testing.T, *installation) {
		return func(t *testing.T, i *installation) {
			i.editConfig(t, func(c *admissionv1.MutatingWebhookConfiguration) {
				for k := range c.Webhooks {
					change(&c.Webhooks[k])
				}
			})
		}
	}
	corefile := func(namespace, name, from, to string) func(*testing.T, *installation) {
		return func(t *testing.T, i *installation) {
			i.editData(t, namespace, name, func(data map[string]string) { data["Corefile"] = strings.ReplaceAll(data["Corefile"], from, to) })
		}
	}
	return map[string]fault{
		"the API server would reject pods": {
			seed:  eachEntry(func(w *admissionv1.MutatingWebhook) { w.FailurePolicy = new(admissionv1.Fail) }),
			check: "webhook-configuration", status: doctor.Fail, found: "failurePolicy is Fail",
		},
		"pods would wait for half a minute": {
			seed:  eachEntry(func(w *admissionv1.MutatingWebhook) { w.TimeoutSeconds = new(int32(30)) }),
			check: "webhook-configuration", status: doctor.Warn, found: "timeoutSeconds is 30",
		},
		"sidecars that come later are missed": {
			seed:  eachEntry(func(w *admissionv1.MutatingWebhook) { w.ReinvocationPolicy = new(admissionv1.NeverReinvocationPolicy) }),
			check: "webhook-configuration", status: doctor.Warn, found: "reinvocationPolicy is Never",
		},
		"an entry is missing": {
			seed: func(t *testing.T, i *installation) {
				i.editConfig(t, func(c *admissionv1.MutatingWebhookConfiguration) { c.Webhooks = c.Webhooks[:2] })
			},
			check: "webhook-configuration", status: doctor.Fail, found: webhookconfig.ClosedEntry + " is missing",
		},
		"the webhook configuration is gone": {
			seed: func(t *testing.T, i *installation) {
				configs := i.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
				if err := configs.Delete(t.Context(), "shorthop", metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					again := i.config.DeepCopy()
					again.ResourceVersion = ""
					must[*admissionv1.MutatingWebhookConfiguration](t)(configs.Create(context.WithoutCancel(t.Context()), again, metav1.CreateOptions{FieldManager: bundleManager}))
				})
			},
			check: "webhook-configuration", status: doctor.Fail, found: "there is no webhook configuration shorthop",
			consequences: []doctor.Check{"ca-bundle-writers", "webhook-filter", "serving-certificate", "unpatched-pods"},
		},
		"Shorthop's own namespace is selected": {
			seed: eachEntry(func(w *admissionv1.MutatingWebhook) {
				for k := range w.NamespaceSelector.MatchExpressions {
					r := &w.NamespaceSelector.MatchExpressions[k]
					r.Values = slices.DeleteFunc(r.Values, func(v string) bool { return v == doctorNamespace })
				}
			}),
			check: "webhook-filter", status: doctor.Fail, found: "selects shorthop-system, the namespace Shorthop runs in",
		},
		"a policy excludes a namespace that the API server does not": {
			seed: func(t *testing.T, i *installation) {
				document := i.policy + "  excludedNamespaces: [kube-system, kube-public, kube-node-lease, vault]\n"
				i.loadPolicy(t, document, i.replicas...)
				i.editData(t, doctorNamespace, "shorthop", func(data map[string]string) { data["policy.yaml"] = document })
			},
			check: "webhook-filter", status: doctor.Fail, found: "filter-hash",
		},
		"advice is applied, and no replica has any": {
			seed: func(t *testing.T, i *installation) {
				document := i.policy + "    advice: Apply\n"
				i.loadPolicy(t, document, i.replicas...)
				i.editData(t, doctorNamespace, "shorthop", func(data map[string]string) { data["policy.yaml"] = document })
			},
			check: "advice", status: doctor.Warn, found: "pod shorthop-0 has no advice",
		},
		"a condition keeps pods away": {
			seed: eachEntry(func(w *admissionv1.MutatingWebhook) {
				for k := range w.MatchConditions {
					w.MatchConditions[k].Expression = "false"
				}
			}),
			check: "webhook-filter", status: doctor.Warn, found: "another expression",
		},
		"the caBundle is of another CA": {
			seed: eachEntry(func(w *admissionv1.MutatingWebhook) {
				other, err := cluster.NewCA()
				if err == nil {
					w.ClientConfig.CABundle = other.Bundle()
				}
			}),
			check: "serving-certificate", status: doctor.Fail, found: "does not verify what pod shorthop-0 serves",
		},
		"the caBundle is empty": {
			seed:  eachEntry(func(w *admissionv1.MutatingWebhook) { w.ClientConfig.CABundle = nil }),
			check: "serving-certificate", status: doctor.Fail, found: "caBundle is empty",
		},
		"one replica serves a certificate of another CA": {
			seed: func(t *testing.T, i *installation) {
				other := clustertest.CA(t)
				i.replicas[1].serveFrom(t, other, i.ca)
			},
			check: "serving-certificate", status: doctor.Fail, found: "does not verify what pod shorthop-1 serves",
		},
		"somebody else writes the caBundle": {
			seed: func(t *testing.T, i *installation) {
				i.editConfig(t, func(*admissionv1.MutatingWebhookConfiguration) {}) // what puts it back
				configs := i.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
				current, err := configs.Get(t.Context(), "shorthop", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				for k := range current.Webhooks {
					current.Webhooks[k].ClientConfig.CABundle = append([]byte("# theirs\n"), i.ca.Bundle()...)
				}
				must[*admissionv1.MutatingWebhookConfiguration](t)(configs.Update(t.Context(), current, metav1.UpdateOptions{FieldManager: "argocd-controller"}))
			},
			check: "ca-bundle-writers", status: doctor.Warn, found: `field manager argocd-controller writes the caBundle too`,
		},
		"the Secret with the CA is gone": {
			seed: func(t *testing.T, i *installation) {
				secrets := i.Client.CoreV1().Secrets(doctorNamespace)
				if err := secrets.Delete(t.Context(), "shorthop-ca", metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					again := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "shorthop-ca"}}
					must[*corev1.Secret](t)(secrets.Create(context.WithoutCancel(t.Context()), again, metav1.CreateOptions{}))
				})
			},
			check: "ca-secret", status: doctor.Fail, found: `there is no Secret shorthop-system/shorthop-ca`,
		},
		"nobody looks for missed pods": {
			seed: func(t *testing.T, i *installation) {
				leases := i.Client.CoordinationV1().Leases(doctorNamespace)
				edit(t, "shorthop-detector", leases.Get, leases.Update, func(l *coordinationv1.Lease) { l.Spec.RenewTime.Time = l.Spec.RenewTime.Add(-time.Hour) })
			},
			check: "detector", status: doctor.Warn, found: "was renewed last at",
		},
		"a second release": {
			seed: func(t *testing.T, i *installation) {
				second := i.config.DeepCopy()
				second.ObjectMeta = metav1.ObjectMeta{Name: "shorthop-two"}
				for k := range second.Webhooks {
					second.Webhooks[k].ClientConfig.Service.Namespace = "other"
				}
				createFor(t, i.Client.AdmissionregistrationV1().MutatingWebhookConfigurations(), second)
			},
			check: "other-installations", status: doctor.Fail, found: `shorthop-two is one of Shorthop's too, and calls Service other/shorthop`,
		},
		"nodes have no cache": {
			seed: func(t *testing.T, i *installation) {
				for _, name := range []string{"bare-0", "bare-1"} {
					createFor(t, i.Client.CoreV1().Nodes(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
				}
			},
			check: "node-local-cache", status: doctor.Warn, found: "1 node of 4 without a cache",
		},
		"no replica is ready": {
			seed: func(t *testing.T, i *installation) {
				for _, r := range i.replicas {
					i.editPodStatus(t, r.name, func(s *corev1.PodStatus) { s.Conditions[0].Status = corev1.ConditionFalse })
				}
			},
			check: "replicas", status: doctor.Fail, found: "no replica is ready",
			consequences: []doctor.Check{"serving-certificate", "policy", "gates"},
		},
		"the ConfigMap is not loaded": {
			seed: func(t *testing.T, i *installation) {
				i.editData(t, doctorNamespace, "shorthop", func(data map[string]string) { data["policy.yaml"] += "  rollout: {percent: 50}\n" })
			},
			check: "policy", status: doctor.Warn, found: "the replicas have loaded",
		},
		"the ConfigMap is not a valid policy": {
			seed: func(t *testing.T, i *installation) {
				i.editData(t, doctorNamespace, "shorthop", func(data map[string]string) { data["policy.yaml"] += "  color: blue\n" })
			},
			check: "policy", status: doctor.Fail, found: "color",
		},
		"somebody else answers at the API host": {
			seed:  func(t *testing.T, i *installation) { i.apiServer.Lead(t, i.replicas[0].address()) },
			check: "api-host", status: doctor.Fail, found: "does not prove to be the API server",
		},
		"pods do not trust the API server's CA": {
			seed: func(t *testing.T, i *installation) {
				i.editData(t, doctorNamespace, "kube-root-ca.crt", func(data map[string]string) { data["ca.crt"] = string(i.ca.Bundle()) })
			},
			check: "api-host", status: doctor.Fail, found: "checked with ConfigMap shorthop-system/kube-root-ca.crt",
		},
		"the node-local cache is not available on more nodes than allowed": {
			seed: func(t *testing.T, i *installation) {
				i.editCache(t, func(s *appsv1.DaemonSetStatus) { s.NumberAvailable, s.NumberReady, s.NumberUnavailable = 1, 1, 2 })
			},
			check: "node-local-cache", status: doctor.Fail, found: "not available on 2 of 3 nodes, 1 allowed",
			consequences: []doctor.Check{"gates"},
		},
		"the node-local cache listens elsewhere": {
			seed: func(t *testing.T, i *installation) {
				t.Cleanup(func() { i.observeCache(t) })
				corefile("kube-system", "node-local-dns", "169.254.20.10", "169.254.1.1")(t, i)
				sets := i.Client.AppsV1().DaemonSets("kube-system")
				edit(t, "node-local-dns", sets.Get, sets.Update, func(s *appsv1.DaemonSet) {
					s.Spec.Template.Spec.Containers[0].Args[1] = "169.254.1.1"
				})
				i.observeCache(t)
			},
			check: "node-local-cache", status: doctor.Fail, found: "points pods at 169.254.20.10",
		},
		"the cluster DNS has another address": {
			seed: func(t *testing.T, i *installation) {
				services := i.Client.CoreV1().Services("kube-system")
				replace := func(ctx context.Context, ip string) {
					if err := services.Delete(ctx, "kube-dns", metav1.DeleteOptions{}); err != nil {
						t.Fatal(err)
					}
					must[*corev1.Service](t)(services.Create(ctx, dnsService("kube-dns", ip), metav1.CreateOptions{}))
				}
				replace(t.Context(), "10.0.0.12")
				t.Cleanup(func() { replace(context.WithoutCancel(t.Context()), "10.0.0.10") })
			},
			check: "cluster-dns", status: doctor.Fail, found: "cluster.dnsServers has 10.0.0.10",
		},
		"the cluster has another domain": {
			seed:  corefile("kube-system", "coredns", "cluster.local", "k8s.example.com"),
			check: "cluster-domain", status: doctor.Fail, found: "the cluster DNS serves k8s.example.com",
		},
		"a namespace opts out": {
			seed: func(t *testing.T, i *installation) {
				namespaces := i.Client.CoreV1().Namespaces()
				edit(t, "batch", namespaces.Get, namespaces.Update, func(n *corev1.Namespace) { n.Labels["node-local-dns-injection"] = "disabled" })
			},
			check: "namespaces-opted-out", status: doctor.Pass, found: "batch (node-local-dns-injection=disabled)",
		},
		"a namespace is named like a top-level domain": {
			seed: func(t *testing.T, i *installation) {
				if err := i.CreateNamespace(t.Context(), "dev", nil); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { removeNamespace(t, i.Client, "dev") })
			},
			check: "namespace-names", status: doctor.Warn, found: "dev",
		},
		"a policy cuts a pinned pod off": {
			seed: func(t *testing.T, i *installation) {
				policies := i.Client.NetworkingV1().NetworkPolicies("web-shop")
				edit(t, "default-deny", policies.Get, policies.Update, func(p *networkingv1.NetworkPolicy) { p.Spec.Egress = p.Spec.Egress[1:] })
			},
			check: "egress-policies", status: doctor.Fail, found: "web-0",
		},
		"the network waits for DNS, and DNS for the network": {
			// No review sees this namespace, so that the pod is as an earlier policy left it.
			seed:  func(t *testing.T, i *installation) { i.createBootstrapPod(t) },
			check: "bootstrap-pods", status: doctor.Fail, found: "the name api.example.com, and the network or DNS may stand on it: 1 pod, cni-node",
		},
		"a zone of the cluster DNS is bypassed": {
			seed: func(t *testing.T, i *installation) {
				createFor(t, i.Client.CoreV1().ConfigMaps("kube-system"), &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Name: "coredns-custom"},
					Data:       map[string]string{"corp.server": "corp.example.com:53 {\n    forward . 192.0.2.53\n}\n"},
				})
			},
			check: "custom-zones", status: doctor.Warn, found: "asks the upstream resolvers (/etc/resolv.conf) for corp.example.com",
		},
	}
}
