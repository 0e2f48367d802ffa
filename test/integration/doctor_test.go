package integration_test

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shorthop/shorthop/internal/doctor"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

const doctorNamespace = "shorthop-system"

// doctorPolicy uses every feature that doctor looks after. The port is that of the way to the API server; nothing is
// probed again after the start, so that no gate closes while that way is broken.
const doctorPolicy = `apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: doctor}
spec:
  cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}
  serviceHost: {host: localhost, port: %s, probe: {interval: 24h}}
  dns:
    mode: NodeLocal
    nodeLocal: {servers: [169.254.20.10], maxUnavailable: 1}
`

// fault is something wrong with an installation that is otherwise healthy.
type fault struct {
	// seed breaks it until the end of the test.
	seed   func(*testing.T, *installation)
	check  doctor.Check
	status doctor.Status
	// found is part of what doctor says.
	found string
	// consequences are checks that cannot be made then, or that see it too. All others must pass.
	consequences []doctor.Check
	// path is part of the path that doctor draws then, or of what it notes; "": the path is not looked at.
	path string
}

// seededElsewhere are checks without a fault of their own in doctorFaults: a
// gate closes with its cache, what the API server counts stays counted, and
// upstream-dns needs DNS servers on port 53: internal/gates has them. node-probe makes
// pods: TestDoctorProbesNodes has its faults.
var seededElsewhere = map[doctor.Check]bool{"gates": true, "unpatched-pods": true, "upstream-dns": true, "node-probe": true}

func TestDoctorFindsEachFaultAndNothingElse(t *testing.T) {
	t.Parallel()
	i := install(t)
	healthy, code := i.doctor(t, i.Kubeconfig())
	for check, result := range healthy {
		if result.Status != doctor.Pass {
			t.Errorf("a healthy installation: %s is %s: %s %q", check, result.Status, result.Found, result.Items)
		}
	}
	if code != 0 || len(healthy) != len(doctor.Checks()) || t.Failed() {
		t.Fatalf("a healthy installation: exit code %d, %d checks", code, len(healthy))
	}
	i.healthyPaths = i.paths(t)
	if !strings.Contains(i.healthyPaths, "pod -> 169.254.20.10 node-local-dns (3 of 3 nodes) -> kube-dns-upstream 10.0.0.11 -> the cluster DNS (1 pod)") {
		t.Errorf("the path of a healthy installation:\n%s", i.healthyPaths)
	}
	faults := doctorFaults()
	maps.Copy(faults, doctorPodFaults())
	maps.Copy(faults, doctorPathFaults())
	for _, d := range doctor.Checks() {
		found := false
		for _, f := range faults {
			found = found || f.check == d.Check
		}
		if !found && !seededElsewhere[d.Check] {
			t.Errorf("no fault for %s: seed one, or say in seededElsewhere where it is tried", d.Check)
		}
	}
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			f.seed(t, i)
			i.expect(t, &f)
		})
	}
	t.Run("nothing is left of them", func(t *testing.T) {
		i.expect(t, &fault{check: "replicas", status: doctor.Pass})
	})
	t.Run("as text, a check is a line", func(t *testing.T) {
		i.editData(t, doctorNamespace, "shorthop", func(data map[string]string) { data["policy.yaml"] += "  color: blue\n" })
		i.expectText(t)
	})
	t.Run("an operator who may read everything and connect to nothing", func(t *testing.T) {
		grant(t, i.Client, "reader", rbacv1.PolicyRule{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get", "list"}})
		kubeconfig := kubeconfigAs(t, i.Cluster, "reader")
		var report map[doctor.Check]doctor.Result
		err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) { // RBAC is cached
			report, _ = i.doctor(t, kubeconfig)
			return report["replicas"].Status == doctor.Pass, nil
		})
		if err != nil {
			t.Fatal(err, report)
		}
		needs := map[doctor.Check]string{
			"serving-certificate": "needs the right to create pods/portforward",
			"policy":              "needs the right to create pods/portforward",
			"gates":               "needs the right to create pods/portforward",
			"unpatched-pods":      "needs the right to get /metrics",
		}
		for check, result := range report {
			want := doctor.Pass
			if needs[check] != "" {
				want = doctor.Unknown
			}
			if result.Status != want || !strings.Contains(result.Found, needs[check]) {
				t.Errorf("%s is %s: %s; want %s and %q", check, result.Status, result.Found, want, needs[check])
			}
		}
	})
	// The API server never forgets this one.
	t.Run("a pod was created while no replica answered", func(t *testing.T) {
		must[*corev1.Pod](t)(i.Client.CoreV1().Pods("web-shop").Create(t.Context(), plainPod("unpatched"), metav1.CreateOptions{}))
		i.expect(t, &fault{check: "unpatched-pods", status: doctor.Warn, found: webhookconfig.OpenEntry})
	})
}

// expectText expects the checks of -o json in the same order, and that one of them failed.
func (i *installation) expectText(t *testing.T) {
	t.Helper()
	stdout, _, code := kubectl(t, "doctor", "--kubeconfig", i.Kubeconfig())
	if code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	report, _ := i.doctor(t, i.Kubeconfig())
	var checks []string
	for line := range strings.Lines(string(stdout)) {
		words := strings.Fields(line)
		if len(words) < 3 || !slices.Contains(doctor.Statuses(), doctor.Status(words[0])) {
			continue
		}
		checks = append(checks, words[1])
		if result := report[doctor.Check(words[1])]; words[0] != string(result.Status) || strings.Join(words[2:], " ") != result.Found {
			t.Errorf("%swant %s and %s", line, result.Status, result.Found)
		}
	}
	if len(checks) != len(report) || !strings.Contains(string(stdout), "to do: mend the policy") || !strings.HasSuffix(string(stdout), fmt.Sprintf("\n%d pass, 0 warn, 1 fail, 0 unknown\n", len(report)-1)) {
		t.Errorf("%d checks of %d:\n%s", len(checks), len(report), stdout)
	}
	t.Logf("\n%s", stdout)
}

// paths are those that doctor drew last, with their notes.
func (i *installation) paths(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, path := range i.drawn {
		fmt.Fprintf(&b, "%s %s\n", path.Of, &path)
		for _, note := range path.Notes {
			fmt.Fprintf(&b, "    %s\n", note)
		}
	}
	return b.String()
}

func (i *installation) expect(t *testing.T, f *fault) {
	t.Helper()
	report, code := i.doctor(t, i.Kubeconfig())
	if drawn := i.paths(t); !strings.Contains(drawn, f.path) || f.path != "" && strings.Contains(i.healthyPaths, f.path) {
		t.Errorf("the path lacks %q, or has it while all is well:\n%s", f.path, drawn)
	}
	got := report[f.check]
	text := strings.Join(append([]string{got.Found}, got.Items...), "\n")
	if got.Status != f.status || !strings.Contains(text, f.found) {
		t.Errorf("%s is %s: %s\nwant %s and %q", f.check, got.Status, text, f.status, f.found)
	}
	if acts := f.status == doctor.Warn || f.status == doctor.Fail; acts != (got.Do != "") {
		t.Errorf("%s is %s and says what to do: %q", f.check, got.Status, got.Do)
	}
	wantCode := 0
	if f.status == doctor.Fail {
		wantCode = 1
	}
	if code != wantCode {
		t.Errorf("exit code %d, want %d", code, wantCode)
	}
	for check, result := range report {
		if check != f.check && result.Status != doctor.Pass && !slices.Contains(f.consequences, check) {
			t.Errorf("%s is %s as well: %s %q", check, result.Status, result.Found, result.Items)
		}
	}
}

// removeNamespace does what the namespace controller would: nothing is in it.
func removeNamespace(t *testing.T, client kubernetes.Interface, name string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := client.CoreV1().Namespaces().Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	namespace, err := client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	namespace.Spec.Finalizers = nil
	must[*corev1.Namespace](t)(client.CoreV1().Namespaces().Finalize(ctx, namespace, metav1.UpdateOptions{}))
}

// kubeconfigAs returns a kubeconfig for somebody else than the administrator.
func kubeconfigAs(t *testing.T, c *cluster.Cluster, user string) string {
	t.Helper()
	loaded, err := clientcmd.LoadFromFile(c.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range loaded.AuthInfos {
		info.Impersonate = user
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := clientcmd.WriteToFile(*loaded, kubeconfig); err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// grant lets a user do what the rules say, for the rest of the test.
func grant(t *testing.T, client kubernetes.Interface, user string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	rbac, meta := client.RbacV1(), metav1.ObjectMeta{Name: user}
	must[*rbacv1.ClusterRole](t)(rbac.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, metav1.CreateOptions{}))
	must[*rbacv1.ClusterRoleBinding](t)(rbac.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: user}},
	}, metav1.CreateOptions{}))
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_ = rbac.ClusterRoleBindings().Delete(ctx, user, metav1.DeleteOptions{})
		_ = rbac.ClusterRoles().Delete(ctx, user, metav1.DeleteOptions{})
	})
}

// An operator who may only look at the webhook configuration learns that, and which permissions the rest needs.
func TestDoctorSaysWhichPermissionsAreMissing(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	name := s.name + "-doctor"
	grant(t, shared.Client, name, rbacv1.PolicyRule{
		APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"mutatingwebhookconfigurations"}, Verbs: []string{"get"},
	})
	document := parse(t, fmt.Sprintf(doctorPolicy, "443"))
	config := webhookconfig.New(document, webhookconfig.Options{Name: s.name, OwnNamespace: doctorNamespace, Service: "shorthop"})
	s.register(config)

	kubeconfig := kubeconfigAs(t, shared, name)
	i := &installation{}
	var report map[doctor.Check]doctor.Result
	var code int
	err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) { // RBAC is cached
		report, code = i.doctor(t, kubeconfig, "--webhook-configuration", s.name)
		return report["webhook-configuration"].Status == doctor.Pass, nil
	})
	if err != nil {
		t.Fatal(err, report)
	}
	for check, want := range map[doctor.Check]string{
		"replicas":             "needs the right to get services",
		"serving-certificate":  "needs the right to get services", // whatever the caBundle is
		"policy":               "needs the right to get services",
		"namespaces-opted-out": "needs the right to list namespaces",
		"namespace-names":      "needs the right to list namespaces",
		"egress-policies":      "needs the right to list networkpolicies",
		"unpatched-pods":       "needs the right to get /metrics",
	} {
		if got := report[check]; got.Status != doctor.Unknown || !strings.Contains(got.Found, want) {
			t.Errorf("%s is %s: %s; want unknown and %q", check, got.Status, got.Found, want)
		}
	}
	if code != 0 {
		t.Errorf("exit code %d: what is unknown is no failure", code)
	}
}

// A server outside the cluster is registered by URL: what it serves is verified, its replicas cannot be asked.
func TestDoctorVerifiesAServerOutsideTheCluster(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	document := strings.Replace(doctorPolicy, "serviceHost: {host: localhost, port: %s, probe: {interval: 24h}}", "excludedNamespaces: [kube-system]", 1)
	document = strings.Replace(document, "mode: NodeLocal", "mode: Options", 1)
	file := filepath.Join(t.TempDir(), "policy.yaml")
	replaceFile(t, file, document)
	webhook := s.startWebhook(file)
	other := clustertest.CA(t)
	i := &installation{}
	for name, c := range map[string]struct {
		caBundle []byte
		want     doctor.Status
	}{
		"the CA that signed": {webhook.caBundle, doctor.Pass},
		"another CA":         {other.Bundle(), doctor.Fail},
	} {
		s.register(configuration(s.name, parse(t, document), endpoint{webhook.url, c.caBundle}))
		report, _ := i.doctor(t, shared.Kubeconfig(), "--webhook-configuration", s.name, "--own-namespace", ownNamespace, "--policy", file)
		if got := report["serving-certificate"]; got.Status != c.want {
			t.Errorf("%s: serving-certificate is %s: %s", name, got.Status, got.Found)
		}
		if got := report["replicas"]; got.Status != doctor.Pass || !strings.Contains(got.Found, "called by URL") {
			t.Errorf("%s: replicas is %s: %s", name, got.Status, got.Found)
		}
		asked, _ := i.doctor(t, shared.Kubeconfig(), "--webhook-configuration", s.name, "--own-namespace", ownNamespace, "--health-url", webhook.HealthURL)
		if got := asked["policy"]; got.Status != doctor.Pass {
			t.Errorf("%s: asked by --health-url, policy is %s: %s", name, got.Status, got.Found)
		}
		// The test's scope is a selector of its own; the policy is the one that --policy names.
		if got := report["webhook-filter"]; got.Status != doctor.Warn || !strings.Contains(got.Found, scopeLabel) {
			t.Errorf("%s: webhook-filter is %s: %s", name, got.Status, got.Found)
		}
	}
}
