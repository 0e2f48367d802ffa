//go:build chart

package chart_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionreviewv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/reviewtest"
)

// The server runs with the token of its service account. It is forbidden nothing, and asks for everything that it is
// granted: whatever it does not need is not granted.
func TestPermissionsAreLeast(t *testing.T) {
	for name, test := range map[string]struct{ mode, values string }{
		"everything":            {"self-managed", `{policy: {dns: {mode: NodeLocal}, resolvers: [{images: ["debian:*"], resolver: glibc}]}}`},
		"as little as possible": {"provided", "{detector: {enabled: false}}"},
	} {
		t.Run(name, func(t *testing.T) {
			mode, flags := test.mode, append(modeFlags(t, test.mode), values(t, test.values))
			newest.helm(t, append([]string{"install", release, chartDir}, flags...)...)
			t.Cleanup(func() { newest.uninstall(t) })
			// As if somebody had deleted the Lease: the one case in which the server creates it.
			leases := newest.Client.CoordinationV1().Leases(namespace)
			if err := leases.Delete(t.Context(), release+"-detector", metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				t.Fatal(err)
			}
			t.Cleanup(func() { // it is not Helm's then: see TestALeaseThatTheServerHasMade
				err := leases.Delete(context.WithoutCancel(t.Context()), release+"-detector", metav1.DeleteOptions{})
				if err != nil && !apierrors.IsNotFound(err) {
					t.Error(err)
				}
			})
			began := time.Now()
			kubeconfig := kubeconfigOf(t, release)
			// By a streaming watch, as API servers offer it by default, and by a list and a watch.
			for _, stream := range []string{"true", "false"} {
				t.Setenv("KUBE_FEATURE_WatchListClient", stream)
				if stream == "false" {
					// As under Argo CD, which leaves Leases out: the server creates its own.
					err := newest.Client.CoordinationV1().Leases(namespace).Delete(t.Context(), release+"-detector", metav1.DeleteOptions{})
					if err != nil && !apierrors.IsNotFound(err) {
						t.Fatal(err)
					}
				}
				var webhook *cluster.Webhook
				if mode == "self-managed" {
					webhook = startSelfManaged(t, kubeconfig)
				} else {
					webhook = startProvided(t, kubeconfig)
				}
				// A namespace that it has never heard of: the one case in which it reads a single one.
				review(t, webhook.URL, "never-heard-of")
			}
			granted := granted(t, flags...)
			// There is no Cilium here, so there is nothing to ask for.
			delete(granted, "list ciliumlocalredirectpolicies")
			delete(granted, "watch ciliumlocalredirectpolicies")
			var used, forbidden map[string]bool
			err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
				used, forbidden = requests(t, "system:serviceaccount:"+namespace+":"+release, began)
				return len(used) >= len(granted), nil
			})
			if err != nil {
				t.Error(err)
			}
			// Whether this is OpenShift, the server finds out by asking.
			for _, resource := range []string{"services", "endpointslices"} {
				delete(forbidden, "list "+resource+" openshift-dns/")
				delete(forbidden, "watch "+resource+" openshift-dns/")
			}
			if len(forbidden) > 0 {
				t.Errorf("forbidden: %q", slices.Sorted(maps.Keys(forbidden)))
			}
			if diff := cmp.Diff(granted, used); diff != "" {
				t.Errorf("permissions (-granted +used):\n%s", diff)
			}
		})
	}
}

// As under Argo CD, which leaves Leases out: everything is applied but the Lease. The detector runs all the same, with what
// the service account may do.
func TestTheDetectorRunsWithoutTheReleasesLease(t *testing.T) {
	newest.helm(t, append([]string{"install", release, chartDir}, modeFlags(t, "self-managed")...)...)
	t.Cleanup(func() { newest.uninstall(t) })
	leases := newest.Client.CoordinationV1().Leases(namespace)
	if err := leases.Delete(t.Context(), release+"-detector", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	webhook := startSelfManaged(t, kubeconfigOf(t, release))
	err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
		return slices.Contains(scrape(t, webhook.MetricsURL), "shorthop_detector_last_success_timestamp_seconds"), nil // without a series before the first scan
	})
	if err != nil {
		t.Errorf("no scan has ended: %v\n%s", err, webhook.Logs())
	}
	lease, err := leases.Get(t.Context(), release+"-detector", metav1.GetOptions{})
	if err != nil || lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
		t.Errorf("nobody holds the Lease: %v, %v", lease, err)
	}
	// `helm upgrade` takes it for the release's own again.
	newest.helm(t, append([]string{"upgrade", release, chartDir}, modeFlags(t, "self-managed")...)...)
}

// The roles for the health gates name the DaemonSets that the server watches under the same policy.
func TestPermissionsForGatesFollowThePolicy(t *testing.T) {
	cases := map[string]string{
		"options only":                     `{dns: {}}`,
		"no dns at all":                    `{dns: null}`,
		"node-local":                       `{dns: {mode: NodeLocal}}`,
		"by annotation":                    `{dns: {nodeLocal: {servers: [169.254.20.10]}}}`,
		"not by annotation":                `{dns: {nodeLocal: {servers: [169.254.20.10]}}, podOverrides: {allowed: [ndots]}}`,
		"no gate":                          `{dns: {mode: NodeLocal, nodeLocal: {daemonSet: ""}}}`,
		"a rule without a gate":            `{dns: {mode: NodeLocal}, rules: [{name: a, dns: {nodeLocal: {daemonSet: ""}}}]}`,
		"a rule with a gate":               `{dns: {mode: NodeLocal, nodeLocal: {daemonSet: ""}}, rules: [{name: a, dns: {nodeLocal: {daemonSet: dns/cache}}}]}`,
		"a selector":                       `{dns: {mode: NodeLocal, nodeLocal: {daemonSetSelector: {namespace: kube-system, matchLabels: {a: b}}}}}`,
		"a rule with a selector":           `{dns: {mode: NodeLocal}, rules: [{name: a, dns: {nodeLocal: {daemonSetSelector: {namespace: dns, matchLabels: {a: b}}}}}]}`,
		"a rule with a name again":         `{dns: {mode: NodeLocal, nodeLocal: {daemonSetSelector: {namespace: dns, matchLabels: {a: b}}}}, rules: [{name: a, dns: {nodeLocal: {daemonSet: other/cache}}}]}`,
		"a rule alone":                     `{dns: null, rules: [{name: a, dns: {mode: NodeLocal, nodeLocal: {daemonSet: kube-system/cache}}}, {name: b}]}`,
		"a rule alone, and the annotation": `{rules: [{name: a, dns: {mode: NodeLocal, nodeLocal: {daemonSet: kube-system/cache}}}, {name: b, dns: {ndots: 1}}]}`,
		"a rule in mode Options":           `{dns: {mode: NodeLocal}, podOverrides: {allowed: []}, rules: [{name: a, dns: {mode: Options, nodeLocal: {daemonSet: dns/cache}}}]}`,
		"two in one namespace":             `{dns: {mode: NodeLocal}, rules: [{name: a, dns: {nodeLocal: {daemonSet: kube-system/other}}}, {name: b, dns: {nodeLocal: {daemonSet: a/b}}}]}`,
		"no servers":                       `{dns: {nodeLocal: {servers: [], daemonSet: a/b}}}`,
		"a service host":                   `{serviceHost: {host: api.example.com}, rules: [{name: a, serviceHost: {enabled: false}}]}`,
	}
	flags := map[string]string{}
	for name, spec := range cases {
		flags[name] = values(t, "policy: "+spec)
	}
	for _, preset := range presets(t) {
		flags[filepath.Base(preset)] = "--values=" + preset
	}
	for name, flag := range flags {
		t.Run(name, func(t *testing.T) {
			objects := render(t, flag)
			var policies corev1.ConfigMap
			convert(t, objects["ConfigMap "+namespace+"/"+release].Object, &policies)
			compiled := reviewtest.Compile(t, policies.Data["policy.yaml"], namespace)
			want, got := map[string]bool{}, map[string]bool{}
			for _, c := range compiled.Caches() {
				namespace, name, _ := c.Find()
				want[namespace+"/"+name] = true // no name: all of the namespace
			}
			for _, o := range objects {
				if o.GetKind() != "Role" || o.GetName() != release+"-gate" {
					continue
				}
				var role rbacv1.Role
				convert(t, o.Object, &role)
				for _, name := range role.Rules[0].ResourceNames {
					got[role.Namespace+"/"+name] = true
				}
				if len(role.Rules[0].ResourceNames) == 0 {
					got[role.Namespace+"/"] = true
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("DaemonSets (-watched +granted):\n%s", diff)
			}
		})
	}
}

// `helm test` succeeds while the webhook does what the mode says, fails when it does not, and leaves nothing behind. Its pod may
// do nothing but ask for pods.
func TestHelmTest(t *testing.T) {
	for _, test := range []struct{ mode, without, with string }{
		{"Enforce", "is created as it is", "a pod in namespace default is injected: {"},
		{"DryRun", "a pod in namespace default is not reviewed", "was reviewed, and is created as it is (mode DryRun)"},
		{"Off", "", "is created as it is (mode Off)"}, // nobody is asked, whether somebody is there or not
	} {
		t.Run(test.mode, func(t *testing.T) {
			newest.helm(t, append([]string{"install", release, chartDir, "--set=policy.mode=" + test.mode}, modeFlags(t, "provided")...)...)
			t.Cleanup(func() { newest.uninstall(t) })
			before := inventory(t, newest)
			began := time.Now()

			verdict, err := helmTest(t)
			if (err != nil) != (test.without != "") || test.without != "" && (!strings.Contains(verdict, "exit status 1\n") || !strings.Contains(verdict, test.without)) {
				t.Errorf("without a webhook: helm says %v, its pod %s", err, verdict)
			}
			webhook := startProvided(t, newest.Kubeconfig())
			verdict, err = helmTest(t)
			if err != nil || !strings.Contains(verdict, test.with) {
				t.Errorf("with the webhook: helm says %v, its pod %s\n%s", err, verdict, webhook.Logs())
			}
			used, forbidden := requests(t, "system:serviceaccount:"+namespace+":"+release+"-test", began)
			if len(forbidden) > 0 || !maps.Equal(used, map[string]bool{"create pods": true}) {
				t.Errorf("used %v, forbidden %v; want create pods only", used, forbidden)
			}
			if diff := cmp.Diff(before, inventory(t, newest)); diff != "" {
				t.Errorf("objects (-before +after):\n%s", diff)
			}
		})
	}

	newest.helm(t, append([]string{"install", release, chartDir}, modeFlags(t, "provided")...)...)
	t.Cleanup(func() { newest.uninstall(t) })
	// The server's own account may not create pods.
	_, err := output(t, webhookBinary, "check", "--namespace=default", "--timeout=3s", "--kubeconfig", kubeconfigOf(t, release))
	if err == nil || !strings.Contains(err.Error(), "exit status 2\n") || !strings.Contains(err.Error(), "pods is forbidden") {
		t.Errorf("without permission: %v", err)
	}
}

// helmTest runs `helm test`, and its pod as kubelet would: the container's arguments, the service account's token, and the
// exit code as the pod's phase. It returns what the container wrote, and what helm made of it.
func helmTest(t *testing.T) (verdict string, err error) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		_, err := output(t, os.Getenv("HELM"), "--kubeconfig", newest.Kubeconfig(), "--namespace", namespace, "test", release, "--timeout=2m")
		done <- err
	}()
	pods := newest.Client.CoreV1().Pods(namespace)
	var pod *corev1.Pod
	waited := cluster.WaitEffective(t.Context(), func(ctx context.Context) (bool, error) {
		var err error
		pod, err = pods.Get(ctx, release+"-test", metav1.GetOptions{})
		return err == nil, nil
	})
	if waited != nil {
		t.Fatal(waited)
	}
	command := append([]string{webhookBinary}, pod.Spec.Containers[0].Args...)
	verdict, err = output(t, append(command, "--timeout=3s", "--kubeconfig", kubeconfigOf(t, pod.Spec.ServiceAccountName))...)
	pod.Status.Phase = corev1.PodSucceeded
	if err != nil {
		verdict += err.Error()
		pod.Status.Phase = corev1.PodFailed
	}
	if _, err := pods.UpdateStatus(t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return verdict, <-done
}

// startProvided runs the webhook with the installed policy and a certificate for this machine, and points the installed
// webhook configuration at it: there is nothing here that would make the Service's address work.
func startProvided(t *testing.T, kubeconfig string) *cluster.Webhook {
	t.Helper()
	dir := t.TempDir()
	bundle, err := cluster.ServingCert(dir, "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	webhook, err := cluster.StartProcess(t.Context(), cluster.WebhookOptions{
		Binary: webhookBinary, Policy: installedPolicy(t), CertDir: dir, Kubeconfig: kubeconfig,
		Args: deployedArguments(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(webhook.Kill)
	_, config := webhookConfiguration(t)
	for i := range config.Webhooks {
		config.Webhooks[i].ClientConfig.Service = nil
		config.Webhooks[i].ClientConfig.URL = &webhook.URL
		config.Webhooks[i].ClientConfig.CABundle = bundle
		config.Webhooks[i].TimeoutSeconds = new(int32(10)) // tests share their machine with compilers
	}
	if _, err := newest.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Update(t.Context(), config, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	return webhook
}

// kubeconfigOf returns a kubeconfig with a token of a service account of the release, as a pod has one.
func kubeconfigOf(t *testing.T, account string) string {
	t.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: new(int64(3600))}}
	token, err := newest.Client.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), account, request, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: newest.Config.Host, CertificateAuthorityData: newest.Config.CAData}
	config.AuthInfos["u"] = &clientcmdapi.AuthInfo{Token: token.Status.Token}
	config.Contexts["x"] = &clientcmdapi.Context{Cluster: "c", AuthInfo: "u"}
	config.CurrentContext = "x"
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// granted returns the permissions of the rendered roles, as "verb resource".
func granted(t *testing.T, flags ...string) map[string]bool {
	t.Helper()
	permissions := map[string]bool{}
	for _, o := range render(t, flags...) {
		if o.GetKind() != "Role" && o.GetKind() != "ClusterRole" || !strings.HasPrefix(o.GetName(), release) || o.GetName() == release+"-test" {
			continue
		}
		var role rbacv1.Role
		convert(t, o.Object, &role)
		for _, rule := range role.Rules {
			if slices.Contains(rule.APIGroups, "*") || slices.Contains(rule.Resources, "*") || slices.Contains(rule.Verbs, "*") {
				t.Errorf("%s %s: a wildcard: %v", o.GetKind(), o.GetName(), rule)
			}
			for _, verb := range rule.Verbs {
				for _, resource := range rule.Resources {
					// Which of these there are is not known before, and what is created has no name yet.
					if len(rule.ResourceNames) == 0 && verb != "create" && !slices.Contains([]string{"namespaces", "services", "endpointslices", "pods", "ciliumlocalredirectpolicies"}, resource) {
						t.Errorf("%s %s: names could limit %s %s", o.GetKind(), o.GetName(), verb, resource)
					}
					permissions[verb+" "+resource] = true
				}
			}
		}
	}
	return permissions
}

// requests returns what a user has asked the API server for, as "verb resource", and what it was refused.
func requests(t *testing.T, user string, since time.Time) (allowed, forbidden map[string]bool) {
	t.Helper()
	allowed, forbidden = map[string]bool{}, map[string]bool{}
	eachRequest(t, user, since, func(e *auditEvent) {
		if e.allowed() {
			allowed[e.Verb+" "+e.ObjectRef.Resource] = true
		} else {
			forbidden[fmt.Sprintf("%s %s %s/%s", e.Verb, e.ObjectRef.Resource, e.ObjectRef.Namespace, e.ObjectRef.Name)] = true
		}
	})
	return allowed, forbidden
}

// auditEvent is what is read of a line of the audit log.
type auditEvent struct {
	Verb                     string
	User                     struct{ Username string }
	ObjectRef                *struct{ Resource, Subresource, Namespace, Name string }
	RequestReceivedTimestamp time.Time
	Annotations              map[string]string
}

func (e *auditEvent) allowed() bool { return e.Annotations["authorization.k8s.io/decision"] == "allow" }

// eachRequest goes through what a user has asked of objects.
func eachRequest(t *testing.T, user string, since time.Time, each func(*auditEvent)) {
	t.Helper()
	file, err := os.Open(auditLog)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e auditEvent
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			continue // the line that is being written
		}
		if e.User.Username == user && e.ObjectRef != nil && !e.RequestReceivedTimestamp.Before(since) {
			each(&e)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
}

// review sends a review of a new pod in a namespace straight to the webhook.
func review(t *testing.T, url, namespace string) *admissionreviewv1.AdmissionResponse {
	t.Helper()
	body, err := json.Marshal(&admissionreviewv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionreviewv1.AdmissionRequest{
			UID: "1", Operation: admissionreviewv1.Create, Namespace: namespace,
			Kind:     metav1.GroupVersionKind{Version: "v1", Kind: "Pod"},
			Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			Object:   runtime.RawExtension{Raw: []byte(`{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","image":"b"}]}}`)},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	// Which certificate it has is not what this is about.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("a review is answered with status %s", response.Status)
	}
	var answer admissionreviewv1.AdmissionReview
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer.Response
}
