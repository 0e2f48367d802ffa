package cluster

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Endpoint returns the address at which the API server serves, with a certificate that is valid for it.
func (c *Cluster) Endpoint() (host string, port int32, err error) {
	address, err := url.Parse(c.Config.Host)
	if err != nil {
		return "", 0, fmt.Errorf("reading the API server's address: %w", err)
	}
	host, text, err := net.SplitHostPort(address.Host)
	if err != nil {
		return "", 0, fmt.Errorf("reading the API server's address: %w", err)
	}
	number, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return "", 0, fmt.Errorf("reading the API server's port: %w", err)
	}
	return host, int32(number), nil
}

// PointAtAPIServer replaces every host of a policy by the API server's address. The hosts of policies for users do not
// exist on this machine, and the webhook injects no host that does not work.
func (c *Cluster) PointAtAPIServer(document *policy.InjectionPolicy) error {
	host, port, err := c.Endpoint()
	if err != nil {
		return err
	}
	blocks := []*policy.ServiceHost{document.Spec.ServiceHost}
	for i := range document.Spec.Rules {
		blocks = append(blocks, document.Spec.Rules[i].ServiceHost)
	}
	for _, block := range blocks {
		if block != nil && block.Host != "" {
			block.Host, block.Port = host, new(port)
		}
	}
	return nil
}

// SetDaemonSet gives a DaemonSet, namespace/name, the status that its controller would give it, and creates it if it is
// not there.
func (c *Cluster) SetDaemonSet(ctx context.Context, target string, desired, available int32) error {
	namespace, name, _ := strings.Cut(target, "/")
	sets := c.Client.AppsV1().DaemonSets(namespace)
	labels := map[string]string{"k8s-app": name}
	set, err := sets.Create(ctx, &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "cache", Image: "example.com/cache"}}},
			},
		},
	}, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		set, err = sets.Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil {
		return fmt.Errorf("creating DaemonSet %s: %w", target, err)
	}
	set.Status = appsv1.DaemonSetStatus{
		ObservedGeneration:     set.Generation,
		DesiredNumberScheduled: desired, CurrentNumberScheduled: desired, UpdatedNumberScheduled: desired,
		NumberReady: available, NumberAvailable: available, NumberUnavailable: desired - available,
	}
	if _, err := sets.UpdateStatus(ctx, set, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("setting the status of DaemonSet %s: %w", target, err)
	}
	return nil
}
