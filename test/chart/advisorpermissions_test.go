//go:build chart

package chart_test

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/test/cluster"
)

// The advisor runs as its CronJob says, with the token of its service account: once where the log of a cache cannot be had, since
// there is no kubelet, and once by a file with queries. It is forbidden nothing, and asks for everything that it is granted, by
// name where there are names.
func TestTheAdvisorsPermissionsAreLeast(t *testing.T) {
	flags := append(modeFlags(t, "provided"), values(t, `{advisor: {enabled: true, window: 2s, configMaps: 1, logPods: shorthop-system/app=cache}}`))
	newest.helm(t, append([]string{"install", release, chartDir}, flags...)...)
	t.Cleanup(func() { newest.uninstall(t) })
	for name, address := range map[string]string{"cache": "10.244.0.9", "web-0": "10.244.0.1"} {
		pods := newest.Client.CoreV1().Pods(namespace)
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}}, Spec: corev1.PodSpec{
			NodeName: "nowhere", Containers: []corev1.Container{{Name: "c", Image: "registry.example/" + name + ":1"}},
		}}
		if name == "web-0" {
			pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "web", UID: "1", Controller: new(true)}}
		}
		made, err := pods.Create(t.Context(), pod, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := pods.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
				t.Error(err)
			}
		})
		made.Status.Phase, made.Status.PodIP, made.Status.PodIPs = corev1.PodRunning, address, []corev1.PodIP{{IP: address}}
		made.Status.HostIP, made.Status.HostIPs = "192.168.0.1", []corev1.HostIP{{IP: "192.168.0.1"}}
		if _, err := pods.UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var log strings.Builder
	for i := range 10 {
		fmt.Fprintf(&log, "%s [INFO] 10.244.0.1:4000 - %d \"A IN db.data.svc.%s. udp 60 false 512\" NXDOMAIN qr,aa,rd 100 0.0001s\n", time.Now().UTC().Format(time.RFC3339), i, namespace+".svc.cluster.local")
		fmt.Fprintf(&log, "%s [INFO] 10.244.0.1:4000 - %d \"A IN db.data.svc.cluster.local. udp 60 false 512\" NOERROR qr,aa,rd 100 0.0001s\n", time.Now().UTC().Format(time.RFC3339), 100+i)
	}
	evidence := filepath.Join(t.TempDir(), "queries.log")
	write(t, evidence, []byte(log.String()))

	job, err := newest.Client.BatchV1().CronJobs(namespace).Get(t.Context(), release+"-advisor", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := job.Spec.JobTemplate.Spec.Template.Spec
	kubeconfig, policyFile, spool := kubeconfigOf(t, pod.ServiceAccountName), installedPolicy(t), t.TempDir()
	began := time.Now()
	run := func(want int, without []string, more ...string) {
		t.Helper()
		var args []string
		for _, arg := range pod.Containers[0].Args {
			flag, _, _ := strings.Cut(arg, "=")
			switch flag {
			case "--policy":
				arg = flag + "=" + policyFile
			case "--spool":
				arg = flag + "=" + spool
			}
			if !slices.Contains(without, flag) {
				args = append(args, arg)
			}
		}
		command := exec.CommandContext(t.Context(), filepath.Join(filepath.Dir(webhookBinary), "kubectl-shorthop"), append(append(args, "--kubeconfig="+kubeconfig), more...)...)
		said, err := command.CombinedOutput()
		if err != nil && command.ProcessState == nil {
			t.Fatal(err)
		}
		if got := command.ProcessState.ExitCode(); got != want {
			t.Errorf("%v: exit code %d, want %d\n%s", command.Args, got, want, said)
		}
	}
	run(2, nil)
	run(0, []string{"--follow", "--nodes", "--spool", "--spool-limit", "--log-pods"}, evidence)

	granted := map[string]bool{}
	for _, o := range render(t, flags...) {
		if o.GetKind() != "Role" && o.GetKind() != "ClusterRole" || !strings.HasPrefix(o.GetName(), release+"-advisor") {
			continue
		}
		var role rbacv1.Role
		convert(t, o.Object, &role)
		for _, rule := range role.Rules {
			for _, verb := range rule.Verbs {
				for _, resource := range rule.Resources {
					for _, name := range rule.ResourceNames {
						granted[verb+" "+resource+" "+name] = true
					}
					if len(rule.ResourceNames) == 0 {
						granted[verb+" "+resource] = true
					}
				}
			}
		}
	}
	var used, forbidden map[string]bool
	err = cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
		used, forbidden = map[string]bool{}, map[string]bool{}
		eachRequest(t, "system:serviceaccount:"+namespace+":"+pod.ServiceAccountName, began, func(e *auditEvent) {
			what := e.Verb + " " + e.ObjectRef.Resource
			if e.ObjectRef.Subresource != "" {
				what += "/" + e.ObjectRef.Subresource
			}
			if e.ObjectRef.Resource == "configmaps" {
				what += " " + e.ObjectRef.Name
			}
			if e.allowed() {
				used[what] = true
			} else {
				forbidden[what] = true
			}
		})
		return maps.Equal(used, granted), nil
	})
	if diff := cmp.Diff(granted, used); err != nil || len(forbidden) > 0 {
		t.Errorf("permissions (-granted +used):\n%s\nforbidden: %v", diff, slices.Sorted(maps.Keys(forbidden)))
	}
}
