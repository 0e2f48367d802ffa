package audit

import (
	"context"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	appsv1client "k8s.io/client-go/kubernetes/typed/apps/v1"

	"github.com/shorthop/shorthop/internal/clusterread"
	"github.com/shorthop/shorthop/pkg/policy"
)

// Advice for workloads that `kubectl rollout restart` does not bring new pods, or not
// all of them. A pod that is deleted comes again, with or without a new template.
const (
	restartPaused    = "its rollout is paused, which a restart is refused for: resume it, or delete its pods one after the other"
	restartOnDelete  = "its updateStrategy is OnDelete, so a restart replaces none of its pods: delete them one after the other"
	restartPartition = "its updateStrategy has a partition, so a restart leaves the pods below it as they are: delete its pods one after the other"
)

// CheckRestarts reads the workloads whose restart is a command, and puts advice in the
// place of a command that would not bring all pods of a workload again. namespace is
// empty for all. What cannot be read is returned, and its commands stay.
//
//	Deployment                paused                 kubectl refuses
//	DaemonSet, StatefulSet    updateStrategy         the controller replaces no pod
//	                          is OnDelete
//	StatefulSet               partition above 0      the controller leaves pods with
//	                                                 lower numbers as they are
func CheckRestarts(ctx context.Context, client appsv1client.AppsV1Interface, namespace string, workloads []*Workload) (unread []error) {
	held := map[key]string{}
	hold := func(kind string, of *metav1.ObjectMeta, advice string) {
		if advice != "" {
			held[key{of.Namespace, policy.Workload{Group: appsv1.GroupName, Kind: kind, Name: of.Name}}] = advice
		}
	}
	lists := []struct {
		kind, resource string
		page           func(context.Context, metav1.ListOptions) (next string, err error)
	}{
		{"Deployment", "deployments", func(ctx context.Context, o metav1.ListOptions) (string, error) {
			page, err := client.Deployments(namespace).List(ctx, o)
			if err != nil {
				return "", err
			}
			for i := range page.Items {
				d := &page.Items[i]
				if d.Spec.Paused {
					hold("Deployment", &d.ObjectMeta, restartPaused)
				}
			}
			return page.Continue, nil
		}},
		{"DaemonSet", "daemonsets", func(ctx context.Context, o metav1.ListOptions) (string, error) {
			page, err := client.DaemonSets(namespace).List(ctx, o)
			if err != nil {
				return "", err
			}
			for i := range page.Items {
				d := &page.Items[i]
				if d.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
					hold("DaemonSet", &d.ObjectMeta, restartOnDelete)
				}
			}
			return page.Continue, nil
		}},
		{"StatefulSet", "statefulsets", func(ctx context.Context, o metav1.ListOptions) (string, error) {
			page, err := client.StatefulSets(namespace).List(ctx, o)
			if err != nil {
				return "", err
			}
			for i := range page.Items {
				s := &page.Items[i]
				hold("StatefulSet", &s.ObjectMeta, heldByStrategy(&s.Spec.UpdateStrategy))
			}
			return page.Continue, nil
		}},
	}
	for _, list := range lists {
		commanded := func(w *Workload) bool { return w.Kind == list.kind && w.Restart != nil && len(w.Restart.Command) > 0 }
		if !slices.ContainsFunc(workloads, commanded) {
			continue
		}
		if err := clusterread.Pages(ctx, list.resource, "", list.page); err != nil {
			unread = append(unread, err)
		}
	}
	for _, w := range workloads {
		if advice, is := held[key{w.Namespace, w.Workload}]; is && w.Restart != nil {
			w.Restart = &Restart{Advice: advice}
		}
	}
	return unread
}

func heldByStrategy(s *appsv1.StatefulSetUpdateStrategy) string {
	switch rolling := s.RollingUpdate; {
	case s.Type == appsv1.OnDeleteStatefulSetStrategyType:
		return restartOnDelete
	case rolling != nil && rolling.Partition != nil && *rolling.Partition > 0:
		return restartPartition
	}
	return ""
}
