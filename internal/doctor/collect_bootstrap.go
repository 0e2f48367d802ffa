package doctor

import (
	"context"
	"fmt"
	"net/netip"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/internal/clusterread"
	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/internal/nodecache"
	"github.com/shorthop/shorthop/internal/podlist"
	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// runningPods looks through the pods of all namespaces, of which it keeps those
// that would be found: there are few.
func (c *collector) runningPods(ctx context.Context) {
	f := c.facts
	known := f.inForce()
	if known == nil {
		return
	}
	c.Progress("pods of all namespaces")
	there := f.serversThere(known)
	reader := podlist.Reader[audit.Pod]{Client: c.client.CoreV1().RESTClient()}
	_, err := reader.Read(ctx, metav1.NamespaceAll, func(pod *audit.Pod) {
		if host, _ := f.waitsForDNS(pod, known); host != "" {
			f.bootstrap.value = append(f.bootstrap.value, *pod)
		}
		if servers, all, looked := f.lost(pod, there); looked && (all || len(servers) > 0) {
			f.pinned.value = append(f.pinned.value, *pod)
		}
	})
	switch {
	case apierrors.IsForbidden(err):
		f.bootstrap.err = clusterread.Forbidden("list", "pods")
	case err != nil:
		f.bootstrap.err = fmt.Errorf("cannot %w", err)
	}
	if f.pinned.err = f.bootstrap.err; len(f.pinned.value) == 0 {
		return
	}
	sets := c.daemonSets(ctx, metav1.NamespaceAll, "")
	f.cachesThere.err = sets.err
	for i := range sets.value {
		set := &sets.value[i]
		var corefiles []corefile.File
		if _, found := nodecache.Of(set); !found && nodecache.OnNode(set) { // its Corefile tells
			if config := c.cacheConfigOf(ctx, set.Namespace, &set.Spec.Template.Spec); config.err != nil {
				f.cachesThere.err = fmt.Errorf("DaemonSet %s/%s may be a cache: %w", set.Namespace, set.Name, config.err)
			} else {
				corefiles = config.value.corefiles
			}
		}
		if cache, found := nodecache.OfServer(set, corefiles); found {
			f.cachesThere.value = append(f.cachesThere.value, cache)
		}
	}
}

// waitsForDNS returns the host by which a pod of the cluster's network or DNS
// finds the API server, where it is a name that has come from Shorthop and that
// the policy does not give the pod; "" for all other pods. recorded is false
// where only the value says that it is ours.
//
//	the pod                                        its host by name counts
//	has finished, is being deleted, is a mirror    no: it does not stay, or no review reaches it
//	is nothing the network or DNS stand on         no
//	would get the host again, since its label      no: somebody asked for it
//	  asks for it
//	has a record of the host                       yes
//	has a host of the policy without a record,     yes
//	  and asks the cluster DNS
//	has another host, or asks the node's DNS       no: it is its author's
func (f *Facts) waitsForDNS(pod *audit.Pod, known *knownPolicy) (host string, recorded bool) {
	if pod.LeftOut() != "" {
		return "", false
	}
	record := mutate.ReadRecord(&pod.Pod)
	recorded = record.ServiceHost != ""
	if recorded {
		host = record.ServiceHost
	} else if pod.AsksClusterDNS() {
		host = hostOfPolicy(&pod.Pod, known)
	}
	if !isName(host) || known.compiled.NeededByDNS(mutate.Undo(&pod.Pod), f.discovered()) == "" {
		return "", false
	}
	if f.decide(known, &pod.Pod, pod.Size).ServiceHost.Injects() {
		return "", false
	}
	return host, recorded
}

// hostOfPolicy returns the value of KUBERNETES_SERVICE_HOST that the policy or
// one of its rules gives, "" where no container has one.
func hostOfPolicy(pod *policy.Pod, known *knownPolicy) string {
	for _, containers := range [][]policy.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			for k := range containers[i].Env {
				v := &containers[i].Env[k]
				if v.Name != policy.EnvServiceHost || v.Value == "" {
					continue
				}
				for e := range known.document.Spec.Effective() {
					if e.ServiceHost != nil && e.ServiceHost.Host == v.Value {
						return v.Value
					}
				}
			}
		}
	}
	return ""
}

// isName reports whether a host has to be looked up.
func isName(host string) bool {
	if host == "" || host == mutate.HostFromNodeIP {
		return false
	}
	_, err := netip.ParseAddr(host)
	return err != nil
}
