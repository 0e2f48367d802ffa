package detect

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/internal/discovery"
)

func nodeIsAuto(node corev1.Node) bool { return discovery.AnswersDNS(node.Labels) }

// logSource is somebody whose log may have the queries of pods.
type logSource struct {
	what  string
	files []corefile.File
	// pods is what `advise --log-pods` needs; "" where it finds them by itself.
	pods string
}

// judgeLogs says whether queries of pods are logged where they can be read. Only
// the first that pods ask logs them with the address of the pod: a cache, where
// pods ask one.
func (d *dns) judgeLogs(r *Result, flavour string) {
	if slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.About == aboutManaged }) && flavour == aks {
		r.found(aboutLogs, "LocalDNS logs into the journal of its node (journalctl -u localdns), which advise reads from a file")
		return
	}
	source := d.firstHop()
	if source == nil {
		if flavour == gke {
			r.found(aboutLogs, "kube-dns writes no log of queries; Cloud DNS writes one to Cloud Logging where its policy says so, which advise does not read")
			return
		}
		of := "the cluster DNS"
		if len(d.caches) > 0 {
			of = "the cache (DaemonSet " + name(&d.caches[0]) + ")"
		}
		r.unknown(aboutLogs, "no Corefile of "+of+" was found", "look for the plugin log in its configuration, and read its log with `kubectl shorthop advise`")
		return
	}
	blocks, err := corefile.Read(source.files)
	if err != nil {
		r.problem(aboutLogs, "the Corefile of %s cannot be read: %v", source.what, err)
	}
	command := "kubectl shorthop advise --since 1h"
	if source.pods != "" {
		command += " --log-pods " + source.pods
	}
	part := ""
	for i := range blocks {
		all, only := blocks[i].Logs()
		if all {
			r.found(aboutLogs, "%s logs queries for %s (%s): %s", source.what, strings.Join(blocks[i].Zones, ", "), blocks[i].From, command)
			return
		}
		if len(only) > 0 && part == "" {
			part = fmt.Sprintf("logs only some queries: %s (%s)", strings.Join(only, ", "), blocks[i].From)
		}
	}
	if len(blocks) == 0 {
		return // said already
	}
	add := "add the plugin log to the block of \".\" and of the cluster's zone"
	switch {
	case flavour == openShift:
		add = "set spec.logLevel of dns.operator/default to Trace"
	case flavour == microShift:
		add = "add the plugin log to ConfigMap openshift-dns/dns-default, which MicroShift writes again when it starts"
	case part != "":
		add = "take classes and names away from the plugin log"
	}
	if part == "" {
		part = "logs no queries"
	}
	r.found(aboutLogs, "%s %s; for an hour of them: %s, then %s", source.what, part, add, command)
}

// firstHop is whom pods ask, nil where no Corefile of it is known.
func (d *dns) firstHop() *logSource {
	cacheLabels, clusterLabels := discovery.DNSPodSelectors()
	for i := range d.caches {
		c := &d.caches[i]
		set := d.o.daemonSet(c.Namespace, c.Name)
		source := logSource{what: "the cache (DaemonSet " + name(c) + ")", files: d.cacheFiles(c)}
		if len(source.files) > 0 {
			source.pods = logPods(c.Namespace, set.Spec.Selector, set.Spec.Template.Labels, cacheLabels)
			return &source
		}
	}
	if len(d.caches) > 0 {
		return nil
	}
	source := logSource{what: "the cluster DNS", files: d.clusterFiles()}
	if len(source.files) == 0 {
		return nil
	}
	for i := range d.o.Services {
		s := &d.o.Services[i]
		if len(d.cluster) > 0 && s.Namespace == d.cluster[0].Namespace && s.Name == d.cluster[0].Name && len(s.Spec.Selector) > 0 {
			source.pods = logPods(s.Namespace, &metav1.LabelSelector{MatchLabels: s.Spec.Selector}, s.Spec.Selector, clusterLabels)
		}
	}
	return &source
}

// logPods is "" where advise finds the pods by what it knows.
func logPods(namespace string, selector *metav1.LabelSelector, podLabels map[string]string, known []string) string {
	if slices.Contains(discovery.Namespaces(), namespace) && slices.ContainsFunc(known, func(text string) bool {
		s, err := labels.Parse(text)
		return err == nil && s.Matches(labels.Set(podLabels))
	}) {
		return ""
	}
	if selector == nil || len(selector.MatchLabels) == 0 {
		return ""
	}
	return fmt.Sprintf("%s/%s", namespace, labels.Set(selector.MatchLabels).String())
}
