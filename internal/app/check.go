package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/pkg/policy"
)

// checkInterval is the time between two tries: replicas may still be starting,
// and the API server learns of a webhook a moment after it is registered.
const checkInterval = time.Second

type checkOptions struct {
	kubeconfig string
	namespace  string
	image      string
	timeout    time.Duration
}

// newCheck is what the chart's test pod runs: the image has nothing else.
func newCheck() *cobra.Command {
	o := &checkOptions{}
	cmd := &cobra.Command{
		Use:   "check --namespace NAMESPACE",
		Short: "Ask the API server for a pod, as a dry run, and see whether it comes back injected",
		Long: `Ask the API server for a pod, as a dry run, and see whether it comes back
injected: API server, webhook configuration, certificate, Service and policy
then work together. The pod asks for injection by its label.

It ends with exit code 0 when it is injected, 1 when it is not, and 2 when the
API server does not answer or refuses the pod.`,
		Args:          noArguments,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.namespace == "" {
				return errors.New("--namespace: is required")
			}
			config, err := clusterConfig(o.kubeconfig)
			if err != nil {
				return &runtimeError{err}
			}
			config.WarningHandler = rest.NewWarningWriter(cmd.ErrOrStderr(), rest.WarningWriterOptions{Deduplicate: true})
			ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
			defer cancel()
			record, err := o.run(ctx, config)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "a pod in namespace %s is injected: %s\n", o.namespace, record)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.namespace, "namespace", "", "`NAMESPACE` of the pod; not one that is excluded or opted out (required)")
	flags.StringVar(&o.image, "image", "shorthop/webhook", "`IMAGE` of the pod, for clusters that admit only some; it is not pulled")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long to try")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "`FILE` that says how to connect (default: as a pod of the cluster)")
	flags.SortFlags = false
	return cmd
}

// run returns the record on the pod that the API server answered.
func (o *checkOptions) run(ctx context.Context, config *rest.Config) (record string, err error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return "", &runtimeError{fmt.Errorf("making a client for the API server: %w", err)}
	}
	pods := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace(o.namespace)
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	outcome := error(&runtimeError{errors.New("the API server has not answered")})
	for {
		pod, err := pods.Create(ctx, o.pod(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		switch {
		case err == nil && pod.GetAnnotations()[policy.AnnotationInjected] != "":
			return pod.GetAnnotations()[policy.AnnotationInjected], nil
		case err == nil:
			outcome = fmt.Errorf("a pod in namespace %s is created as it is: either the webhook is not called (not ready, wrong caBundle, no client certificate where one is wanted, namespace opted out) or the policy has nothing for it", o.namespace)
		case ctx.Err() == nil:
			outcome = &runtimeError{fmt.Errorf("creating a pod in namespace %s, as a dry run: %w", o.namespace, err)}
		}
		select {
		case <-ctx.Done():
			return "", outcome
		case <-tick.C:
		}
	}
}

// pod is admitted under restricted Pod Security and in a namespace with quotas.
func (o *checkOptions) pod() *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1",
		"kind":       "Pod",
		"metadata": map[string]any{
			"generateName": "shorthop-check-",
			"labels":       map[string]any{policy.LabelInject: "enabled"},
		},
		"spec": map[string]any{
			"automountServiceAccountToken": false,
			"securityContext": map[string]any{
				"runAsNonRoot":   true,
				"seccompProfile": map[string]any{"type": "RuntimeDefault"},
			},
			"containers": []any{map[string]any{
				"name":  "check",
				"image": o.image,
				"resources": map[string]any{
					"requests": map[string]any{"cpu": "1m", "memory": "1Mi"},
					"limits":   map[string]any{"cpu": "1m", "memory": "1Mi"},
				},
				"securityContext": map[string]any{
					"allowPrivilegeEscalation": false,
					"capabilities":             map[string]any{"drop": []any{"ALL"}},
				},
			}},
		},
	}}
}
