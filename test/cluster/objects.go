package cluster

import (
	"context"
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
)

// CreateNamespace creates a namespace and its ServiceAccount default, without which no pod can be created in it.
func (c *Cluster) CreateNamespace(ctx context.Context, name string, labels map[string]string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if _, err := c.Client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating namespace %s: %w", name, err)
	}
	return c.createDefaultServiceAccount(ctx, name)
}

func (c *Cluster) createDefaultServiceAccount(ctx context.Context, namespace string) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := c.Client.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the ServiceAccount of namespace %s: %w", namespace, err)
	}
	return nil
}

// RegisterWebhook creates the configuration, or replaces the one of the same name. The API server acts on it a moment
// later: see WaitEffective.
func RegisterWebhook(ctx context.Context, client kubernetes.Interface, config *admissionregistrationv1.MutatingWebhookConfiguration) error {
	configs := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	current, err := configs.Get(ctx, config.Name, metav1.GetOptions{})
	switch {
	case err == nil:
		// An update must name the version that it replaces.
		replacement := config.DeepCopy()
		replacement.ResourceVersion = current.ResourceVersion
		_, err = configs.Update(ctx, replacement, metav1.UpdateOptions{})
	case apierrors.IsNotFound(err):
		_, err = configs.Create(ctx, config, metav1.CreateOptions{})
	}
	if err != nil {
		return fmt.Errorf("registering webhook %s: %w", config.Name, err)
	}
	return nil
}

// WaitEffective calls probe until it returns true, as the API server learns of new webhooks and of changed labels through
// its caches, a moment after it has accepted them. The probe is usually a dry-run create whose outcome is known. An error
// of the probe ends the wait, and so do 30 seconds.
func WaitEffective(ctx context.Context, probe func(context.Context) (bool, error)) error {
	const interval, timeout = 20 * time.Millisecond, 30 * time.Second
	if err := wait.PollUntilContextTimeout(ctx, interval, timeout, true, probe); err != nil {
		return fmt.Errorf("waiting for a change to take effect: %w", err)
	}
	return nil
}
