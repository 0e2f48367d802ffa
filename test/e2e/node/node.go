// Package node brings up a real Kubernetes node with its control plane, for one test run: etcd, kube-apiserver,
// kube-controller-manager, kube-scheduler, kubelet, containerd with the CNI bridge plugin, CoreDNS as the cluster DNS and
// a second CoreDNS as the node-local cache.
//
// It runs inside of package sandbox only: it takes over the network namespace, uses fixed addresses and ports, and
// writes below sandbox.Dir. Nothing of it is left when the sandbox ends.
package node

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shorthop/shorthop/test/e2e/sandbox"
)

// Name is the node's name.
const Name = "node-1"

// Assets are the programs that the node runs (see hack/node.sh).
type Assets struct {
	// Kubernetes is the folder with etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubelet.
	Kubernetes string
	// CoreDNS is the coredns binary.
	CoreDNS string
	// Containerd and CNI are the containerd binary and the folder of the CNI plugins. Default: where Debian has them.
	Containerd, CNI string
	// Conntrack is the tool of that name. Default: where Debian has it.
	Conntrack string
	// SandboxImage is an image whose default command sleeps.
	SandboxImage string
	// Images are docker-archive files, imported before kubelet starts. The sandbox image must be among them.
	Images []string
}

// Node is a running node.
type Node struct {
	// Config is for the cluster's administrator and has no client-side rate limit. Client is made from it.
	Config *rest.Config
	Client kubernetes.Interface
	// Kubeconfig is its file.
	Kubeconfig string

	assets        Assets
	dir, logs     string
	pki           *pki
	dnsKubeconfig string
	processes     []*process
	nodeLocal     *process
	clusterDNS    *process
	outside       *process
}

const apiServerPort = "443"

// Start brings up the node and returns once it is Ready. Logs go to files in the folder logs. When it fails, what runs
// already is stopped by the end of the sandbox.
func Start(ctx context.Context, assets Assets, logs string) (*Node, error) {
	if assets.Containerd == "" {
		assets.Containerd = "/usr/bin/containerd"
	}
	if assets.CNI == "" {
		assets.CNI = "/usr/lib/cni"
	}
	if assets.Conntrack == "" {
		assets.Conntrack = "/usr/sbin/conntrack"
	}
	n := &Node{assets: assets, dir: sandbox.Dir, logs: logs}
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return nil, fmt.Errorf("creating the folder of logs: %w", err)
	}
	if err := n.SetHostResolvConf(DefaultHostResolvConf); err != nil {
		return nil, err
	}
	for _, step := range []func(context.Context) error{
		n.network,
		n.startFlows,
		func(context.Context) error { return n.certificates() },
		// containerd and the images take as long as the API server; neither needs the other.
		n.startContainerdAndControlPlane,
		n.startDNS,
		n.startKubelet,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Binaries is the folder with kubectl among others.
func (n *Node) Binaries() string { return n.assets.Kubernetes }

// LogPath is the log file of a component.
func (n *Node) LogPath(component string) string { return filepath.Join(n.logs, component+".log") }

// DefaultHostResolvConf is the node's own resolv.conf, which kubelet builds on.
const DefaultHostResolvConf = `nameserver 10.9.9.9
nameserver 10.9.9.8
search corp.example.com
options edns0 trust-ad
`

// HostResolvConf is the file that kubelet's resolvConf names.
func (n *Node) HostResolvConf() string { return filepath.Join(n.dir, "resolv.conf") }

// SetHostResolvConf replaces the node's resolv.conf. kubelet reads it whenever a pod starts.
func (n *Node) SetHostResolvConf(content string) error {
	return writeFile(n.HostResolvConf(), content)
}

func (n *Node) podLogs() string { return filepath.Join(n.dir, "pod-logs") }

// PodLogs are the files with what a container of a pod has logged, those that were rotated first.
func (n *Node) PodLogs(namespace, pod, container string) ([]string, error) {
	rotated, err := filepath.Glob(filepath.Join(n.podLogs(), namespace+"_"+pod+"_*", container, "0.log.*"))
	if err != nil {
		return nil, fmt.Errorf("looking for logs: %w", err)
	}
	current, err := filepath.Glob(filepath.Join(n.podLogs(), namespace+"_"+pod+"_*", container, "0.log"))
	if err != nil {
		return nil, fmt.Errorf("looking for logs: %w", err)
	}
	return append(rotated, current...), nil
}

func (n *Node) certificates() error {
	var err error
	if n.pki, err = newPKI(filepath.Join(n.dir, "pki")); err != nil {
		return err
	}
	server := "https://127.0.0.1:" + apiServerPort
	for _, c := range []struct{ name, user, group string }{
		{"admin", "shorthop-e2e", "system:masters"},
		{"kube-controller-manager", "system:kube-controller-manager", ""},
		{"kube-scheduler", "system:kube-scheduler", ""},
		{"kubelet", "system:node:" + Name, "system:nodes"},
		{"coredns", "coredns", "system:masters"},
		{"kubelet-client", "kube-apiserver", "system:masters"},
	} {
		if err := n.pki.client(c.name, c.user, c.group); err != nil {
			return err
		}
		if _, err := n.pki.kubeconfig(c.name, server); err != nil {
			return err
		}
	}
	n.Kubeconfig, n.dnsKubeconfig = n.pki.path("admin.kubeconfig"), n.pki.path("coredns.kubeconfig")

	if err := n.pki.server("kube-apiserver", "127.0.0.1", "localhost", IP, APIServerIP, ServiceIP, APIServerName,
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc."+ClusterDomain); err != nil {
		return err
	}
	if n.Config, err = clientcmd.BuildConfigFromFlags("", n.Kubeconfig); err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	n.Config.QPS = -1
	if n.Client, err = kubernetes.NewForConfig(n.Config); err != nil {
		return fmt.Errorf("creating a client: %w", err)
	}
	return n.pki.client("service-accounts", "service-accounts", "") // the key signs tokens
}

func (n *Node) startContainerdAndControlPlane(ctx context.Context) error {
	errs := make(chan error, 2)
	containerd, err := n.startContainerd()
	if err != nil {
		return err
	}
	etcd, err := n.startEtcd()
	if err != nil {
		return err
	}
	apiServer, err := n.startAPIServer()
	if err != nil {
		return err
	}
	go func() { errs <- n.importImages(ctx, containerd) }()
	go func() {
		errs <- errors.Join(etcd.wait(ctx, dialable("127.0.0.1:2379")), apiServer.wait(ctx, n.apiServerReady))
	}()
	if err := errors.Join(<-errs, <-errs); err != nil {
		return err
	}
	return n.startControllers()
}

func (n *Node) startEtcd() (*process, error) {
	return n.start("etcd", filepath.Join(n.assets.Kubernetes, "etcd"),
		"--data-dir", filepath.Join(n.dir, "etcd"), "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=default=http://127.0.0.1:2380")
}

func (n *Node) startAPIServer() (*process, error) {
	return n.start("kube-apiserver", filepath.Join(n.assets.Kubernetes, "kube-apiserver"),
		"--etcd-servers=http://127.0.0.1:2379",
		"--bind-address=0.0.0.0", "--secure-port="+apiServerPort, "--advertise-address="+IP,
		"--tls-cert-file="+n.pki.path("kube-apiserver.crt"), "--tls-private-key-file="+n.pki.path("kube-apiserver.key"),
		"--client-ca-file="+n.pki.path("ca.crt"),
		"--authorization-mode=Node,RBAC",
		"--service-cluster-ip-range="+serviceRange,
		"--service-account-issuer=https://kubernetes.default.svc."+ClusterDomain,
		"--service-account-key-file="+n.pki.path("service-accounts.crt"),
		"--service-account-signing-key-file="+n.pki.path("service-accounts.key"),
		"--kubelet-client-certificate="+n.pki.path("kubelet-client.crt"),
		"--kubelet-client-key="+n.pki.path("kubelet-client.key"),
		"--kubelet-preferred-address-types=InternalIP",
		"--allow-privileged=true",
		// There is no kube-proxy: webhook Services are resolved to the addresses behind them.
		"--enable-aggregator-routing=true",
		"--cert-dir="+filepath.Join(n.dir, "kube-apiserver"),
	)
}

// apiServerReady also waits for the Service kubernetes, without which kubelet starts no pod.
func (n *Node) apiServerReady(ctx context.Context) error {
	if _, err := n.Client.CoreV1().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx); err != nil {
		return err
	}
	_, err := n.Client.CoreV1().Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
	return err
}

func (n *Node) startControllers() error {
	if _, err := n.start("kube-controller-manager", filepath.Join(n.assets.Kubernetes, "kube-controller-manager"),
		"--kubeconfig="+n.pki.path("kube-controller-manager.kubeconfig"),
		"--leader-elect=false",
		// Each controller with the rights of its own that RBAC has for it.
		"--use-service-account-credentials=true",
		"--service-account-private-key-file="+n.pki.path("service-accounts.key"),
		"--root-ca-file="+n.pki.path("ca.crt"),
		"--cert-dir="+filepath.Join(n.dir, "kube-controller-manager"),
	); err != nil {
		return err
	}
	_, err := n.start("kube-scheduler", filepath.Join(n.assets.Kubernetes, "kube-scheduler"),
		"--kubeconfig="+n.pki.path("kube-scheduler.kubeconfig"),
		"--leader-elect=false",
		"--cert-dir="+filepath.Join(n.dir, "kube-scheduler"),
	)
	return err
}

func (n *Node) containerdSocket() string {
	return filepath.Join(n.dir, "containerd", "containerd.sock")
}

func (n *Node) startContainerd() (*process, error) {
	if err := n.cni(); err != nil {
		return nil, err
	}
	dir := filepath.Join(n.dir, "containerd")
	// restrict_oom_score_adj: a machine without CAP_SYS_RESOURCE cannot lower it, and then no pod would start.
	config := `version = 2
root = "` + dir + `/root"
state = "` + dir + `/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "` + n.containerdSocket() + `"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + n.assets.SandboxImage + `"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "` + n.assets.CNI + `"
    conf_dir = "` + n.dir + `/cni/conf"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
`
	path := filepath.Join(dir, "config.toml")
	if err := writeFile(path, config); err != nil {
		return nil, err
	}
	return n.start("containerd", n.assets.Containerd, "--config", path)
}

func (n *Node) importImages(ctx context.Context, containerd *process) error {
	ctr := filepath.Join(filepath.Dir(n.assets.Containerd), "ctr")
	if err := containerd.wait(ctx, func(ctx context.Context) error {
		return run(ctx, ctr, "--address", n.containerdSocket(), "version")
	}); err != nil {
		return err
	}
	for _, image := range n.assets.Images {
		if err := run(ctx, ctr, "--address", n.containerdSocket(), "--namespace", "k8s.io", "images", "import", image); err != nil {
			return fmt.Errorf("importing an image: %w", err)
		}
	}
	return nil
}

func (n *Node) startKubelet(ctx context.Context) error {
	root := filepath.Join(n.dir, "kubelet")
	config := `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: ` + IP + `
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: false}
  x509: {clientCAFile: ` + n.pki.path("ca.crt") + `}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: ` + sandbox.Cgroup() + `
clusterDNS: [` + ClusterDNS + `]
clusterDomain: ` + ClusterDomain + `
containerRuntimeEndpoint: unix://` + n.containerdSocket() + `
enforceNodeAllocatable: []
evictionHard: {memory.available: 50Mi, nodefs.available: 1%, imagefs.available: 1%, nodefs.inodesFree: 1%, imagefs.inodesFree: 1%}
failCgroupV1: false
failSwapOn: false
imageGCHighThresholdPercent: 100
kubeAPIQPS: 200
kubeAPIBurst: 400
maxPods: 500
podLogsDir: ` + n.podLogs() + `
# Logs that the tests fill are rotated, and soon.
containerLogMaxSize: 4Mi
containerLogMonitorInterval: 3s
registerNode: true
resolvConf: ` + n.HostResolvConf() + `
rotateCertificates: false
serializeImagePulls: false
# How soon pods see a changed ConfigMap: sooner than by default.
syncFrequency: 10s
`
	path := filepath.Join(root, "config.yaml")
	if err := writeFile(path, config); err != nil {
		return err
	}
	p, err := n.start("kubelet", filepath.Join(n.assets.Kubernetes, "kubelet"),
		"--config="+path, "--kubeconfig="+n.pki.path("kubelet.kubeconfig"), "--root-dir="+root,
		"--cert-dir="+filepath.Join(root, "pki"), "--hostname-override="+Name, "--node-ip="+IP)
	if err != nil {
		return err
	}
	return p.wait(ctx, n.ready)
}

// ready tells whether pods can be created: the node is Ready and untainted, and the namespace default has its account.
func (n *Node) ready(ctx context.Context) error {
	node, err := n.Client.CoreV1().Nodes().Get(ctx, Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	}) {
		return errors.New("the node is not Ready")
	}
	if len(node.Spec.Taints) > 0 {
		return fmt.Errorf("the node has taints: %v", node.Spec.Taints)
	}
	_, err = n.Client.CoreV1().ServiceAccounts("default").Get(ctx, "default", metav1.GetOptions{})
	return err
}

// Stop ends the daemons, the last one first. Containers end with the sandbox.
func (n *Node) Stop() {
	for _, p := range slices.Backward(n.processes) {
		p.stop(time.Second)
	}
}

// dialable waits for a listener.
func dialable(address string) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}
