package cli

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/clusterread"
	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/podlist"
	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/policy"
)

var errNoDNSPods = failure("no DNS pods found: name them with --log-pods NAMESPACE/SELECTOR")

// adviseSource is where pods and logs come from: a file, or a cluster.
type adviseSource struct {
	streams   Streams
	podsFiles []string
	client    kubernetes.Interface // nil where nothing is asked of a cluster
	config    *rest.Config         // the client's
}

func (o *adviseOptions) source(s Streams) (*adviseSource, error) {
	source := &adviseSource{streams: s, podsFiles: o.podsFiles}
	if len(o.podsFiles) > 0 && o.since == 0 && o.follow.window == 0 && o.advice.write == "" {
		return source, nil
	}
	config, err := o.cluster.config()
	if err != nil {
		return nil, err
	}
	if source.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, failure("cannot make a client of the API server at %s: %v", config.Host, err)
	}
	source.config = config
	return source, nil
}

// namespaceLabels returns what tells the labels of a namespace. They are read
// where a cluster is asked at all and a rule of the policy asks for them.
func (a *adviseSource) namespaceLabels(ctx context.Context, document *policy.InjectionPolicy) func(namespace string) (labels map[string]string, known bool) {
	none := func(string) (map[string]string, bool) { return nil, false }
	asked := slices.ContainsFunc(document.Spec.Rules, func(rule policy.Rule) bool { return rule.Match.NamespaceSelector != nil })
	if !asked || a.client == nil {
		return none
	}
	all, err := readNamespaces(ctx, a.config, metav1.NamespaceAll)
	if err != nil {
		a.streams.remark("cannot read the labels of namespaces, for which rules of the policy ask: %v", err)
		return none
	}
	return func(namespace string) (map[string]string, bool) {
		found, known := all.find(ctx, namespace)
		return found.Labels, known
	}
}

// pods adds all pods.
func (a *adviseSource) pods(ctx context.Context, clients *advisor.Clients) error {
	if len(a.podsFiles) == 0 {
		if err := a.clusterPods(ctx, clients.Add); err != nil {
			return err
		}
		a.clusterNames(ctx, clients)
		return nil
	}
	for _, file := range a.podsFiles {
		before := clients.Read()
		err := a.streams.readLog(file, func(_ string, r io.Reader) error { return podlist.Decode(r, clients.Add) })
		if err != nil {
			return failure("cannot read %s: %v; pods are what kubectl get pods -A -o json prints, or -o yaml", displayName(file), withoutPath(err))
		}
		if clients.Read() == before {
			return failure("cannot read %s: no pods in it; pods are what kubectl get pods -A -o json prints, or -o yaml", displayName(file))
		}
	}
	return nil
}

func (a *adviseSource) clusterPods(ctx context.Context, add func(*advisor.Pod)) error {
	reader := podlist.Reader[advisor.Pod]{Client: a.client.CoreV1().RESTClient()}
	consistent, err := reader.Read(ctx, metav1.NamespaceAll, add)
	if err != nil {
		return failure("cannot read the pods of the cluster: %v", err)
	}
	if !consistent {
		a.streams.remark("%s", notOfOneMoment)
	}
	return nil
}

// clusterNames adds the namespaces, the Services, and those that StatefulSets name:
// names of these need room, though they have no answer yet. Without them, only the
// pods tell which namespaces there are.
func (a *adviseSource) clusterNames(ctx context.Context, clients *advisor.Clients) {
	add := func(kind string, object metav1.Object, serviceName string) {
		p := advisor.Pod{Kind: kind, Spec: advisor.Spec{ServiceName: serviceName}}
		p.Metadata.Namespace, p.Metadata.Name = object.GetNamespace(), object.GetName()
		clients.Add(&p)
	}
	for what, list := range map[string]func(context.Context, metav1.ListOptions) (next string, err error){
		"namespaces": func(ctx context.Context, o metav1.ListOptions) (string, error) {
			list, err := a.client.CoreV1().Namespaces().List(ctx, o)
			if err != nil {
				return "", err
			}
			for i := range list.Items {
				add("Namespace", &list.Items[i], "")
			}
			return list.Continue, nil
		},
		"Services": func(ctx context.Context, o metav1.ListOptions) (string, error) {
			list, err := a.client.CoreV1().Services(metav1.NamespaceAll).List(ctx, o)
			if err != nil {
				return "", err
			}
			for i := range list.Items {
				add("Service", &list.Items[i], "")
			}
			return list.Continue, nil
		},
		"StatefulSets": func(ctx context.Context, o metav1.ListOptions) (string, error) {
			list, err := a.client.AppsV1().StatefulSets(metav1.NamespaceAll).List(ctx, o)
			if err != nil {
				return "", err
			}
			for i := range list.Items {
				add("StatefulSet", &list.Items[i], list.Items[i].Spec.ServiceName)
			}
			return list.Continue, nil
		},
	} {
		if err := clusterread.Pages(ctx, strings.ToLower(what), "", list); err != nil {
			a.streams.remark("cannot read the %s of the cluster, whose names need room though they are not ready: %v", what, err)
		}
	}
}

// logs hands on the logs of the pods of the first hop. One that breaks off says less
// than there was, and so does one that is missing: both are told, and lower the
// confidence, and the others still say much.
func (a *adviseSource) logs(ctx context.Context, o *adviseOptions, each func(string, io.Reader) error, missing func(name, why string)) error {
	pods, _, err := a.firstHop(ctx, o.logPods)
	if err != nil {
		return err
	}
	for i := range pods {
		pod := &pods[i]
		containers := discovery.DNSContainers(pod)
		for _, container := range containers {
			name := logName(pod, container, len(containers))
			stream, err := a.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
				Container:    container,
				SinceSeconds: new(int64(o.since / time.Second)),
				Timestamps:   true,
			}).Stream(ctx)
			if err != nil {
				missing(name, err.Error())
				continue
			}
			err = each(name, stream)
			stream.Close()
			if ctx.Err() != nil {
				return failure("cannot read the log of pod %s: %v", name, err)
			}
		}
	}
	return nil
}

// firstHop are the pods whose logs are read: those of the node-local cache where there
// is one, else of the cluster DNS. perNode tells that each has the queries of its own
// node, and all of them.
func (a *adviseSource) firstHop(ctx context.Context, where string) (pods []corev1.Pod, perNode bool, err error) {
	cache, cluster := discovery.DNSPodSelectors()
	if where != "" {
		namespace, selector, found := strings.Cut(where, "/")
		if _, err := labels.Parse(selector); err != nil || !found || namespace == "" || selector == "" {
			return nil, false, failure("--log-pods %q: want NAMESPACE/SELECTOR, for example kube-system/k8s-app=kube-dns", where)
		}
		pods, err := a.podsBy(ctx, []string{namespace}, []string{selector})
		if err == nil && len(pods) == 0 {
			err = errNoDNSPods
		}
		return pods, !slices.ContainsFunc(pods, func(p corev1.Pod) bool { return !p.Spec.HostNetwork && !selected(&p, cache) }), err
	}
	for _, selectors := range [][]string{cache, cluster} {
		pods, err := a.podsBy(ctx, discovery.Namespaces(), selectors)
		if err != nil || len(pods) > 0 {
			return pods, slices.Equal(selectors, cache), err
		}
	}
	return nil, false, errNoDNSPods
}

// selected reports whether one of the selectors selects a pod.
func selected(pod *corev1.Pod, selectors []string) bool {
	return slices.ContainsFunc(selectors, func(text string) bool {
		selector, err := labels.Parse(text)
		return err == nil && selector.Matches(labels.Set(pod.Labels))
	})
}

// podsBy are those that one of the selectors selects, each once.
func (a *adviseSource) podsBy(ctx context.Context, namespaces, selectors []string) ([]corev1.Pod, error) {
	var pods []corev1.Pod
	seen := map[string]bool{}
	for k, namespace := range namespaces {
		for _, selector := range selectors {
			list, err := a.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
			if k > 0 && apierrors.IsForbidden(err) {
				break // on most clusters there is no such namespace
			}
			if err != nil {
				return nil, failure("cannot list the DNS pods: %v", err)
			}
			for i := range list.Items {
				if name := namespace + "/" + list.Items[i].Name; !seen[name] {
					seen[name] = true
					pods = append(pods, list.Items[i])
				}
			}
		}
	}
	return pods, nil
}
