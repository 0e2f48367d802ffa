package detect

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/clusterread"
	"github.com/shorthop/shorthop/internal/corefile"
	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/nodecache"
)

// mostKubelets is how many kubelets are asked. Pools may differ, and all nodes
// would be too many.
const mostKubelets = 5

// collector reads the cluster.
type collector struct {
	config   *rest.Config
	client   kubernetes.Interface
	metadata metadata.Interface
	dynamic  dynamic.Interface
	progress func(what string)
	objects  *Objects
}

// Collect reads everything that Judge needs, and changes nothing. It fails only
// where the API server does not answer at all; what else could not be read is
// part of the objects. resolvConf is that of a pod, or empty.
func Collect(ctx context.Context, config *rest.Config, resolvConf string, progress func(what string)) (*Objects, error) {
	c := &collector{config: config, progress: progress, objects: &Objects{Server: config.Host, ResolvConf: resolvConf}}
	var err error
	if c.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.metadata, err = metadata.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	progress("the API server")
	if _, err := c.client.Discovery().ServerVersion(); err != nil {
		return nil, err
	}
	c.nodesAndNamespaces(ctx)
	c.dns(ctx)
	c.configMaps(ctx)
	c.kubelets(ctx)
	c.hosts(ctx)
	return c.objects, nil
}

// unread notes what could not be read, once for each resource.
func (c *collector) unread(resource string, err error) {
	if err != nil && !slices.ContainsFunc(c.objects.Unread, func(u Unread) bool { return u.Resource == resource }) {
		c.objects.Unread = append(c.objects.Unread, Unread{resource, err.Error()})
	}
}

func (c *collector) nodesAndNamespaces(ctx context.Context) {
	c.progress("nodes and namespaces")
	nodes, err := clusterread.List(ctx, "nodes", "", func(ctx context.Context, o metav1.ListOptions) ([]corev1.Node, string, error) {
		found, err := c.client.CoreV1().Nodes().List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		for i := range found.Items {
			n := &found.Items[i] // images and managed fields are most of it
			found.Items[i] = corev1.Node{
				ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.Labels},
				Status:     corev1.NodeStatus{NodeInfo: n.Status.NodeInfo, Addresses: n.Status.Addresses},
			}
		}
		return found.Items, found.Continue, nil
	})
	c.objects.Nodes = nodes
	c.unread("nodes", err)
	namespaces, err := clusterread.List(ctx, "namespaces", "", func(ctx context.Context, o metav1.ListOptions) ([]string, string, error) {
		found, err := c.metadata.Resource(corev1.SchemeGroupVersion.WithResource("namespaces")).List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		var names []string
		for i := range found.Items {
			names = append(names, found.Items[i].Name)
		}
		return names, found.Continue, nil
	})
	c.objects.Namespaces = namespaces
	c.unread("namespaces", err)
}

// dns reads Services, DaemonSets and redirects.
func (c *collector) dns(ctx context.Context) {
	c.progress("the cluster DNS and caches")
	for _, namespace := range discovery.Namespaces() {
		services, err := clusterread.List(ctx, "services", "", func(ctx context.Context, o metav1.ListOptions) ([]corev1.Service, string, error) {
			found, err := c.client.CoreV1().Services(namespace).List(ctx, o)
			if err != nil {
				return nil, "", err
			}
			return found.Items, found.Continue, nil
		})
		slices, sliceErr := clusterread.List(ctx, "endpointslices", "", func(ctx context.Context, o metav1.ListOptions) ([]discoveryv1.EndpointSlice, string, error) {
			found, err := c.client.DiscoveryV1().EndpointSlices(namespace).List(ctx, o)
			if err != nil {
				return nil, "", err
			}
			return found.Items, found.Continue, nil
		})
		c.objects.Services = append(c.objects.Services, services...)
		c.objects.Slices = append(c.objects.Slices, slices...)
		if namespace == metav1.NamespaceSystem { // elsewhere nobody grants them
			c.unread("services", err)
			c.unread("endpointslices", sliceErr)
		}
	}
	var err error
	c.objects.DaemonSets, err = c.daemonSets(ctx, metav1.NamespaceAll)
	if err != nil {
		c.unread("daemonsets", err)
		for _, namespace := range discovery.Namespaces() {
			sets, _ := c.daemonSets(ctx, namespace) // said already
			c.objects.DaemonSets = append(c.objects.DaemonSets, sets...)
		}
	}
	redirects, err := clusterread.List(ctx, nodecache.Redirects.Resource, "", func(ctx context.Context, o metav1.ListOptions) ([]unstructured.Unstructured, string, error) {
		found, err := c.dynamic.Resource(nodecache.Redirects).List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return found.Items, found.GetContinue(), nil
	})
	c.objects.Redirects = redirects
	c.unread(nodecache.Redirects.Resource, err)
}

func (c *collector) daemonSets(ctx context.Context, namespace string) ([]appsv1.DaemonSet, error) {
	return clusterread.List(ctx, "daemonsets", "", func(ctx context.Context, o metav1.ListOptions) ([]appsv1.DaemonSet, string, error) {
		found, err := c.client.AppsV1().DaemonSets(namespace).List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return found.Items, found.Continue, nil
	})
}

// configMaps reads what configures the cluster DNS, caches, kube-proxy, Cilium and
// kubeadm, by their names.
func (c *collector) configMaps(ctx context.Context) {
	c.progress("their configuration")
	names := append(slices.Clone(corefile.ClusterDNS()), microShiftVersion)
	for _, name := range append(nodecache.ProxyConfigs(c.objects.DaemonSets), "kubeadm-config", kubeletConfig) {
		names = append(names, [2]string{metav1.NamespaceSystem, name})
	}
	for i := range c.objects.DaemonSets {
		set := &c.objects.DaemonSets[i]
		if _, is := nodecache.Of(set); !is && !nodecache.OnNode(set) {
			continue
		}
		for _, name := range nodecache.Corefiles(&set.Spec.Template.Spec) {
			names = append(names, [2]string{set.Namespace, name})
		}
	}
	for i, name := range names {
		if slices.Index(names, name) < i {
			continue
		}
		found, err := clusterread.One(ctx, "configmaps", name[1], c.client.CoreV1().ConfigMaps(name[0]).Get)
		if found != nil {
			c.objects.ConfigMaps = append(c.objects.ConfigMaps, *found)
		}
		if name[0] == metav1.NamespaceSystem {
			c.unread("configmaps", err)
		}
	}
}

// kubeletConfig is the ConfigMap with which kubeadm configures kubelets.
const kubeletConfig = "kubelet-config"

// kubelets asks some for their configuration, through the API server; where that is
// not allowed, the ConfigMap of kubeadm has to do.
func (c *collector) kubelets(ctx context.Context) {
	c.progress("kubelets")
	nodes := c.objects.Nodes
	var failed error
	for i := range min(mostKubelets, len(nodes)) {
		node := nodes[i*len(nodes)/min(mostKubelets, len(nodes))].Name // spread over the list
		text, err := clusterread.Get(ctx, "get", "nodes/proxy", func(ctx context.Context) ([]byte, error) {
			return c.client.CoreV1().RESTClient().Get().Resource("nodes").Name(node).SubResource("proxy", "configz").DoRaw(ctx)
		})
		if err != nil {
			failed = err
			continue
		}
		var answer struct{ Kubeletconfig Kubelet }
		if json.Unmarshal(text, &answer) == nil && answer.Kubeletconfig.ClusterDomain != "" {
			answer.Kubeletconfig.From = "kubelet of node " + node
			c.objects.Kubelets = append(c.objects.Kubelets, answer.Kubeletconfig)
		}
	}
	if len(c.objects.Kubelets) > 0 {
		return
	}
	if m := c.objects.configMap(metav1.NamespaceSystem, kubeletConfig); m != nil {
		kubelet := Kubelet{}
		if yaml.Unmarshal([]byte(m.Data["kubelet"]), &kubelet) == nil && strings.TrimSpace(kubelet.ClusterDomain) != "" {
			kubelet.From = "ConfigMap kube-system/" + kubeletConfig
			c.objects.Kubelets = append(c.objects.Kubelets, kubelet)
			return
		}
	}
	if c.objects.ResolvConf == "" {
		c.unread("nodes/proxy", failed)
	}
}
