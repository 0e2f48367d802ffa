package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"

	"github.com/shorthop/shorthop/internal/nodeprobe"
	"github.com/shorthop/shorthop/pkg/policy"
)

const (
	// MaxProbedNodes bounds how many nodes are asked where nobody says how many.
	MaxProbedNodes = 100
	// probesAtOnce bounds how many pods there are at one time.
	probesAtOnce = 20
	// podTimeout bounds how long a pod may take from its creation to its answers:
	// an image may have to be pulled.
	podTimeout = time.Minute
	// removeTimeout bounds how long pods are taken away, interrupted or not.
	removeTimeout = 15 * time.Second
	// leftOver is how old a pod of a run is that could not take it away.
	leftOver = 10 * time.Minute

	probeName  = "shorthop-probe"
	probeLabel = "shorthop.dev/probe-run"
	nodeIP     = "NODE_IP"
)

// ProbeOptions say how nodes are asked.
type ProbeOptions struct {
	// Nodes is how many; 0 for all, at most MaxProbedNodes.
	Nodes int
	// Image that has the command "webhook probe". Defaults to "": that of a replica.
	Image string
}

// probed is what nodes said.
type probed struct {
	nodes []nodeAnswers
	// left counts the nodes that were not asked.
	left int
}

// nodeAnswers are those of a node, or why there are none.
type nodeAnswers struct {
	node    string
	answers []nodeprobe.Answer
	err     error
}

// probe starts a short pod on nodes, reads what each says, and takes all away
// whatever happens: also when it is interrupted. Were this process killed, the
// pods end by themselves, are removed by the next run, and with the release,
// whose ReplicaSet owns them.
func (c *collector) probe(ctx context.Context) {
	f := c.facts
	if c.Probe == nil {
		return
	}
	f.probed.value = &probed{}
	fail := func(err error) { f.probed = fact[*probed]{err: err} }
	template, err := c.probePod()
	if err != nil {
		fail(err)
		return
	}
	c.Progress("which nodes to probe")
	nodes, err := c.nodesToProbe(ctx)
	if err != nil {
		fail(err)
		return
	}
	defer c.removeProbes(context.WithoutCancel(ctx), template.Labels[probeLabel])
	waiting := map[string]running{} // by the pod's name
	for next := 0; next < len(nodes) || len(waiting) > 0; {
		for ; next < len(nodes) && len(waiting) < probesAtOnce; next++ {
			c.Progress(fmt.Sprintf("node %d of %d by a probe", next+1, len(nodes)))
			pod := template.DeepCopy()
			pod.Name = fmt.Sprintf("%s-%s-%d", probeName, template.Labels[probeLabel], next)
			pod.Spec.NodeName = nodes[next]
			_, err := get(ctx, "create", "pods", func(ctx context.Context) (*corev1.Pod, error) {
				return c.client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
			}).unpack()
			if err != nil {
				f.probed.value.nodes = append(f.probed.value.nodes, nodeAnswers{node: nodes[next], err: err})
				continue
			}
			waiting[pod.Name] = running{nodes[next], time.Now()}
		}
		if !c.collectProbes(ctx, template, waiting) {
			fail(fmt.Errorf("interrupted: %w", context.Cause(ctx)))
			return
		}
	}
}

// running is a pod of a node, since when.
type running struct {
	node  string
	since time.Time
}

// collectProbes waits a moment and takes the answers of the pods that have
// ended. It is false once the command is interrupted.
func (c *collector) collectProbes(ctx context.Context, template *corev1.Pod, waiting map[string]running) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(500 * time.Millisecond):
	}
	pods := list(ctx, "pods", probeLabel+"="+template.Labels[probeLabel], c.pods(template.Namespace))
	for name, r := range waiting {
		late := time.Since(r.since) > podTimeout
		i := slices.IndexFunc(pods.value, func(p corev1.Pod) bool { return p.Name == name })
		said := nodeAnswers{node: r.node, err: pods.err}
		switch {
		case pods.err != nil && !late:
			continue
		case pods.err == nil && i < 0:
			said.err = errors.New("somebody took its pod away")
		case i >= 0:
			if said = saidBy(&pods.value[i]); said.err != nil && !finished(&pods.value[i]) && !late {
				continue
			}
			said.node = r.node
			c.removeProbe(context.WithoutCancel(ctx), &pods.value[i])
		}
		delete(waiting, name)
		c.facts.probed.value.nodes = append(c.facts.probed.value.nodes, said)
	}
	return ctx.Err() == nil
}

// saidBy reads the last words of a pod.
func saidBy(pod *corev1.Pod) nodeAnswers {
	said := nodeAnswers{node: pod.Spec.NodeName, err: fmt.Errorf("its pod did not end within %s", podTimeout)}
	for i := range pod.Status.ContainerStatuses {
		switch state := pod.Status.ContainerStatuses[i].State; {
		case state.Terminated != nil:
			said.answers, said.err = nodeprobe.Decode(state.Terminated.Message)
			return said
		case state.Waiting != nil && state.Waiting.Reason != "":
			said.err = fmt.Errorf("its pod does not run: %s %s", state.Waiting.Reason, state.Waiting.Message)
		}
	}
	if finished(pod) {
		said.err = fmt.Errorf("its pod failed: %s %s", pod.Status.Reason, pod.Status.Message)
	}
	return said
}

func (c *collector) removeProbe(ctx context.Context, pod *corev1.Pod) {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	// What is left is taken away once more at the end.
	_ = c.client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64), Preconditions: metav1.NewUIDPreconditions(string(pod.UID))})
}

// removeProbes takes away the pods of a run, and what earlier runs have left.
func (c *collector) removeProbes(ctx context.Context, run string) {
	ctx, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	found := list(ctx, "pods", probeLabel, c.pods(c.facts.ownNamespace))
	for i := range found.value {
		if pod := &found.value[i]; pod.Labels[probeLabel] == run || time.Since(pod.CreationTimestamp.Time) > leftOver {
			c.removeProbe(ctx, pod)
		}
	}
}

// nodesToProbe are the nodes that are ready and run pods of Linux, as many as are
// asked for, from all of them.
func (c *collector) nodesToProbe(ctx context.Context) ([]string, error) {
	found, err := list(ctx, "nodes", "", func(ctx context.Context, o metav1.ListOptions) ([]string, string, error) {
		page, err := c.client.CoreV1().Nodes().List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		var names []string
		for i := range page.Items {
			if n := &page.Items[i]; runsProbes(n) {
				names = append(names, n.Name)
			}
		}
		return names, page.Continue, nil
	}).unpack()
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, errors.New("no node is ready and runs pods of Linux")
	}
	slices.Sort(found)
	wanted := min(len(found), cmp.Or(c.Probe.Nodes, MaxProbedNodes))
	c.facts.probed.value.left = len(found) - wanted
	nodes := make([]string, wanted)
	for i := range nodes {
		nodes[i] = found[i*len(found)/wanted] // of all pools, as far as names tell them
	}
	return nodes, nil
}

func runsProbes(n *corev1.Node) bool {
	ready := slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
	return ready && !isVirtual(n.Labels) && !(&policy.Pod{Spec: policy.PodSpec{NodeSelector: n.Labels}}).IsWindows()
}

// probePod is the pod of all nodes, but for its name and node. It is one that
// the restricted Pod Security Standard admits.
func (c *collector) probePod() (*corev1.Pod, error) {
	f := c.facts
	image, server := c.Probe.Image, f.server
	if server == nil {
		server = &corev1.Pod{}
	}
	pull := corev1.PullIfNotPresent
	for i := range server.Spec.Containers {
		if image == "" || image == server.Spec.Containers[i].Image {
			image, pull = server.Spec.Containers[i].Image, server.Spec.Containers[i].ImagePullPolicy
		}
	}
	if image == "" {
		return nil, errors.New("there is no pod of the server whose image nodes could be probed with: name one with --probe-image")
	}
	args := c.probeArguments()
	if args == nil {
		return nil, f.noPolicy()
	}
	id := int64(65532)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: f.ownNamespace,
			Labels:    map[string]string{appLabel: probeName, probeLabel: rand.String(8), policy.LabelInject: policy.DisablingValues()[0]},
		},
		Spec: corev1.PodSpec{
			RestartPolicy:                 corev1.RestartPolicyNever,
			ActiveDeadlineSeconds:         new(int64(podTimeout / time.Second)),
			TerminationGracePeriodSeconds: new(int64),
			AutomountServiceAccountToken:  new(bool),
			EnableServiceLinks:            new(bool),
			ImagePullSecrets:              server.Spec.ImagePullSecrets,
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot: new(true), RunAsUser: &id, RunAsGroup: &id, SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name: "probe", Image: image, ImagePullPolicy: pull, Args: args,
				Env: []corev1.EnvVar{{Name: nodeIP, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.hostIP"}}}},
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("10m"), corev1.ResourceMemory: resource.MustParse("32Mi")},
					Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
				},
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(bool), ReadOnlyRootFilesystem: new(true), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				},
				VolumeMounts: []corev1.VolumeMount{{Name: "ca", MountPath: caFolder, ReadOnly: true}},
			}},
			Volumes: []corev1.Volume{{Name: "ca", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: rootCA}, Optional: new(true),
			}}}},
		},
	}
	for _, owner := range server.OwnerReferences {
		if owner.Controller != nil && *owner.Controller {
			owner.Controller, owner.BlockOwnerDeletion = nil, nil
			pod.OwnerReferences = []metav1.OwnerReference{owner}
		}
	}
	return pod, nil
}

const caFolder = "/etc/shorthop-probe"

// probeArguments ask what new pods ask: caches, the cluster DNS and API hosts. nil
// where no policy is known.
func (c *collector) probeArguments() []string {
	f := c.facts
	known := f.inForce()
	if known == nil {
		return nil
	}
	args := []string{"probe", "--out=" + corev1.TerminationMessagePathDefault, "--ca=" + caFolder + "/ca.crt"}
	if domain := f.domain(known); domain != "" {
		args = append(args, "--name=kubernetes.default.svc."+domain)
	}
	for _, server := range slices.Concat(f.cacheServers(known), f.clusterServers(known)) {
		if arg := "--dns=" + server; !slices.Contains(args, arg) {
			args = append(args, arg)
		}
	}
	for e := range known.document.Spec.Effective() {
		h := e.ServiceHost
		if h == nil || h.Host == "" && h.HostFrom == "" {
			continue
		}
		port := "443"
		if h.Port != nil {
			port = strconv.Itoa(int(*h.Port))
		}
		at := net.JoinHostPort(h.Host, port)
		if h.Host == "" {
			at = "[$(" + nodeIP + ")]:" + port // kubelet puts it in, of whichever family
		}
		if arg := "--api=" + at; !slices.Contains(args, arg) {
			args = append(args, arg)
		}
	}
	return args
}

// domain is the cluster's, as far as it is known.
func (f *Facts) domain(known *knownPolicy) string {
	if domain := known.document.Spec.Cluster.DomainWith(f.discovered()); domain != "" {
		return domain
	}
	if zones, _ := f.clusterDNS.value.clusterZones(); len(zones) > 0 {
		return zones[0]
	}
	return ""
}
