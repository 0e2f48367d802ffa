package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
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
	mode       string
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
		Short: "Ask the API server for a pod, as a dry run, and see whether it comes back as it should",
		Long: `Ask the API server for a pod, as a dry run, and see whether it comes back as it
should: API server, webhook configuration, certificate, Service and policy then
work together. The pod asks for injection by its label. It has another label
with a value that means nothing, of which whoever creates a pod is warned.

  --mode    the pod must come back
  Enforce   injected
  DryRun    as it is, with the warning: the webhook was asked
  Off       as it is, without it: the webhook was not asked, or decides nothing

It ends with exit code 0 when it does, 1 when it does not, and 2 when the API
server does not answer or refuses the pod.`,
		Args:          noArguments,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			config, err := clusterConfig(o.kubeconfig)
			if err != nil {
				return &runtimeError{err}
			}
			warned := &warnings{others: rest.NewWarningWriter(cmd.ErrOrStderr(), rest.WarningWriterOptions{Deduplicate: true})}
			config.WarningHandler = warned
			ctx, cancel := context.WithTimeout(cmd.Context(), o.timeout)
			defer cancel()
			verdict, err := o.run(ctx, config, warned)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "a pod in namespace %s %s\n", o.namespace, verdict)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&o.namespace, "namespace", "", "`NAMESPACE` of the pod; not one that is excluded or opted out (required)")
	flags.StringVar(&o.mode, "mode", string(policy.ModeEnforce), "`MODE` of the policy: "+strings.Join(checkModes, ", "))
	flags.StringVar(&o.image, "image", "shorthop/webhook", "`IMAGE` of the pod, for clusters that admit only some; it is not pulled")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "how long to try")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "`FILE` that says how to connect (default: as a pod of the cluster)")
	flags.SortFlags = false
	mustHave(cmd.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions(checkModes, cobra.ShellCompDirectiveNoFileComp)))
	return cmd
}

var checkModes = []string{string(policy.ModeEnforce), string(policy.ModeDryRun), string(policy.ModeOff)}

// validate returns everything that is wrong, one line each.
func (o *checkOptions) validate() error {
	var errs []error
	if o.namespace == "" {
		errs = append(errs, errors.New("--namespace: is required"))
	}
	if !slices.Contains(checkModes, o.mode) {
		errs = append(errs, fmt.Errorf("--mode: %q is not one of %s", o.mode, strings.Join(checkModes, ", ")))
	}
	return errors.Join(errs...)
}

// meaningless is the value of a label that only the webhook warns of.
const meaningless = "checked-by-shorthop"

// warnings are those that came with an answer of the API server.
type warnings struct {
	others rest.WarningHandler
	// asked: the webhook has warned of the meaningless label.
	asked atomic.Bool
}

// HandleWarningHeader is of rest.WarningHandler.
func (w *warnings) HandleWarningHeader(code int, agent, text string) {
	if strings.Contains(text, policy.LabelServiceHost) && strings.Contains(text, meaningless) {
		w.asked.Store(true)
		return
	}
	w.others.HandleWarningHeader(code, agent, text)
}

// verdict says what is right or wrong with a pod that came back.
func (o *checkOptions) verdict(record string, asked bool) (right string, wrong error) {
	const notAsked = "either the webhook is not called (not ready, wrong caBundle, no client certificate where one is wanted, namespace opted out)"
	switch mode := policy.Mode(o.mode); {
	case record != "" && mode == policy.ModeEnforce:
		return "is injected: " + record, nil
	case record != "":
		return "", fmt.Errorf("a pod in namespace %s is injected, though the mode is %s: %s", o.namespace, mode, record)
	case mode == policy.ModeEnforce:
		return "", fmt.Errorf("a pod in namespace %s is created as it is: %s or the policy has nothing for it", o.namespace, notAsked)
	case mode == policy.ModeDryRun && asked:
		return "was reviewed, and is created as it is (mode DryRun)", nil
	case mode == policy.ModeDryRun:
		return "", fmt.Errorf("a pod in namespace %s is not reviewed: %s or its policy is not in mode DryRun", o.namespace, notAsked)
	case asked:
		return "", fmt.Errorf("a pod in namespace %s is reviewed, though the mode is Off", o.namespace)
	}
	return "is created as it is (mode Off)", nil
}

// run returns what is right about the pod that the API server answered.
func (o *checkOptions) run(ctx context.Context, config *rest.Config, warned *warnings) (verdict string, err error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return "", &runtimeError{fmt.Errorf("making a client for the API server: %w", err)}
	}
	pods := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace(o.namespace)
	tick := time.NewTicker(checkInterval)
	defer tick.Stop()
	outcome := error(&runtimeError{errors.New("the API server has not answered")})
	for {
		warned.asked.Store(false)
		pod, err := pods.Create(ctx, o.pod(), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		switch {
		case err == nil:
			verdict, wrong := o.verdict(pod.GetAnnotations()[policy.AnnotationInjected], warned.asked.Load())
			if wrong == nil {
				return verdict, nil
			}
			outcome = wrong
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
			"labels":       map[string]any{policy.LabelInject: "enabled", policy.LabelServiceHost: meaningless},
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
