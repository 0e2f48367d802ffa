package doctor

import (
	"context"
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
)

// serverFlags are those flags of the server that say what it needs besides
// the policy.
type serverFlags struct {
	selfManaged bool
	caSecret    string
	detects     bool
	lease       string
}

// flagsOf reads the flags that a pod starts the server with. What is not there
// has the server's default.
func flagsOf(pod *corev1.Pod) *serverFlags {
	values := map[string]string{"cert-source": "provided", "ca-secret": "shorthop-ca", "detect-interval": "10m", "detect-lease": "shorthop-detector"}
	for i := range pod.Spec.Containers {
		args := append(append([]string(nil), pod.Spec.Containers[i].Command...), pod.Spec.Containers[i].Args...)
		for k, arg := range args {
			name, value, joined := strings.Cut(strings.TrimLeft(arg, "-"), "=")
			if _, known := values[name]; !known || !strings.HasPrefix(arg, "--") {
				continue
			}
			if !joined && k+1 < len(args) {
				value = args[k+1]
			}
			values[name] = value
		}
	}
	return &serverFlags{
		selfManaged: values["cert-source"] == "self-managed",
		caSecret:    values["ca-secret"],
		detects:     strings.TrimRight(values["detect-interval"], "smh") != "0",
		lease:       values["detect-lease"],
	}
}

// release reads what the chart creates for the server, and who else is like
// it.
func (c *collector) release(ctx context.Context) {
	c.Progress("what the release has created")
	f := c.facts
	f.configurations = list(ctx, "mutatingwebhookconfigurations", "", func(ctx context.Context, o metav1.ListOptions) ([]admissionv1.MutatingWebhookConfiguration, string, error) {
		found, err := c.client.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return found.Items, found.Continue, nil
	})
	if f.flags == nil {
		return
	}
	if f.flags.selfManaged {
		f.caSecret = c.secretExists(ctx, f.flags.caSecret)
	}
	if f.flags.detects {
		f.lease = one(ctx, "leases", f.flags.lease, c.client.CoordinationV1().Leases(f.ownNamespace).Get)
	}
}

// secretExists reads no more than the metadata: the key of a CA is nothing to
// carry around.
func (c *collector) secretExists(ctx context.Context, name string) fact[bool] {
	return get(ctx, "get", "secrets", func(ctx context.Context) (bool, error) {
		client, err := metadata.NewForConfig(c.config)
		if err != nil {
			return false, err
		}
		_, err = client.Resource(corev1.SchemeGroupVersion.WithResource("secrets")).Namespace(c.facts.ownNamespace).Get(ctx, name, metav1.GetOptions{})
		return err == nil, err
	})
}

// countNodes counts those that a DaemonSet could run on.
func (c *collector) countNodes(ctx context.Context) {
	known := c.facts.inForce()
	if known == nil || len(daemonSetNames(nodeLocalUses(&known.document.Spec))) == 0 {
		return
	}
	all := c.nodes(ctx)
	c.facts.nodes.err = all.err
	for i := range all.value {
		if !isVirtual(all.value[i].Labels) {
			c.facts.nodes.value++
		}
	}
}

// nodes reads the metadata of all nodes.
func (c *collector) nodes(ctx context.Context) fact[[]metav1.PartialObjectMetadata] {
	client, err := metadata.NewForConfig(c.config)
	if err != nil {
		return fact[[]metav1.PartialObjectMetadata]{err: fmt.Errorf("making a client: %w", err)}
	}
	return list(ctx, "nodes", "", func(ctx context.Context, o metav1.ListOptions) ([]metav1.PartialObjectMetadata, string, error) {
		found, err := client.Resource(corev1.SchemeGroupVersion.WithResource("nodes")).List(ctx, o)
		if err != nil {
			return nil, "", err
		}
		return found.Items, found.Continue, nil
	})
}

// isVirtual knows nodes on which no DaemonSet of the cluster's own runs, and whose
// pods Shorthop leaves alone, by their labels.
func isVirtual(labels map[string]string) bool {
	return labels["type"] == "virtual-kubelet" || labels["eks.amazonaws.com/compute-type"] == "fargate"
}

// leaseHolder is who holds a Lease, "" for nobody.
func leaseHolder(lease *coordinationv1.Lease) string { return valueOf(lease.Spec.HolderIdentity) }
