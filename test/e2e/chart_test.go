//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/e2e/images"
)

const (
	release          = "shorthop"
	releaseNamespace = "shorthop-system"
)

// chart is an installation by the real Helm: two replicas as real pods, from the image that the Dockerfile makes.
type chart struct {
	kubeconfig, values string
	// before are the objects of the cluster before the installation.
	before []string
}

// install installs the chart with the policy of the tests, and returns once a pod comes out injected. The namespace
// accepts only pods of the restricted Pod Security Standard.
func (e *environment) install(ctx context.Context) error {
	start := time.Now()
	e.chart = &chart{kubeconfig: suite.node.Kubeconfig, values: filepath.Join(e.dir, "values.yaml")}
	if err := e.createNamespace(ctx, releaseNamespace, map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}); err != nil {
		return err
	}
	var err error
	if e.chart.before, err = e.inventory(ctx); err != nil {
		return err
	}
	if err := writeValues(policyFile, e.chart.values); err != nil {
		return err
	}
	if output, err := e.helm(ctx, append([]string{"install", release, chartFolder}, e.flags()...)...); err != nil {
		return fmt.Errorf("%w\n%s%s", err, output, e.webhookLogs(ctx))
	}
	installed := time.Since(start)
	if err := cluster.WaitEffective(ctx, e.injectedDryRun); err != nil {
		return fmt.Errorf("%w\n%s", err, e.webhookLogs(ctx))
	}
	fmt.Printf("e2e: helm install to ready replicas took %s, to the first mutated pod %s\n",
		installed.Round(100*time.Millisecond), time.Since(start).Round(100*time.Millisecond))

	// Explain must predict what the installed policy does.
	installedPolicy, err := e.client.CoreV1().ConfigMaps(releaseNamespace).Get(ctx, release, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading the policy: %w", err)
	}
	policyFile = filepath.Join(e.dir, "policy.yaml")
	if err := os.WriteFile(policyFile, []byte(installedPolicy.Data["policy.yaml"]), 0o600); err != nil {
		return fmt.Errorf("writing the policy: %w", err)
	}
	return nil
}

const chartFolder = repository + "/charts/shorthop"

// flags of both install and upgrade.
func (e *environment) flags() []string { return e.flagsWith(e.chart.values) }

func (e *environment) flagsWith(values string) []string {
	return []string{
		"--values", values, "--wait", "--timeout", "3m",
		"--set", "image.pullPolicy=Never", // there is no registry
		"--set", "certificates.mode=self-managed",
		"--set", "test.namespace=options-2",
		// The longest that the API allows. Most tests are about what a review answers: with the default of 2 s, a machine that
		// compiles something else meanwhile fails open now and then, and the pod is not as explained. How long reviews take,
		// reviewMetrics tells, and also whether one was missed all the same.
		"--set", "timeoutSeconds=30",
	}
}

// writeValues makes values of the chart from a policy.
func writeValues(policyFile, values string) error {
	document, err := os.ReadFile(policyFile)
	if err != nil {
		return fmt.Errorf("reading the policy: %w", err)
	}
	var content struct {
		Spec map[string]any `json:"spec"`
	}
	if err := yaml.Unmarshal(document, &content); err != nil {
		return fmt.Errorf("%s: %w", policyFile, err)
	}
	text, err := yaml.Marshal(map[string]any{"policy": content.Spec})
	if err != nil {
		return fmt.Errorf("encoding the values: %w", err)
	}
	if err := os.WriteFile(values, text, 0o600); err != nil {
		return fmt.Errorf("writing the values: %w", err)
	}
	return nil
}

// helm runs Helm on the release's namespace and returns what it has printed.
func (e *environment) helm(ctx context.Context, args ...string) (string, error) {
	binary := os.Getenv("HELM")
	if binary == "" {
		return "", fmt.Errorf("HELM is not set: run the tests with `make e2e`")
	}
	args = append(args, "--namespace", releaseNamespace, "--kubeconfig", e.chart.kubeconfig)
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+e.dir, "HELM_CONFIG_HOME="+e.dir, "HELM_DATA_HOME="+e.dir)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return output.String(), fmt.Errorf("helm %s: %w", args[0], err)
	}
	return output.String(), nil
}

// injectedDryRun asks the API server for a pod, as a dry run, and tells whether it comes back injected.
func (e *environment) injectedDryRun(ctx context.Context) (bool, error) {
	pod, err := e.client.CoreV1().Pods("options-2").Create(ctx, e.pod("options-2", images.Musl, "pause"),
		metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		return false, err
	}
	return pod.Annotations[policy.AnnotationInjected] != "", nil
}

// webhookLogs returns the state and the logs of the replicas, for a failure.
func (e *environment) webhookLogs(ctx context.Context) string {
	var text strings.Builder
	pods, err := e.client.CoreV1().Pods(releaseNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err.Error()
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		fmt.Fprintf(&text, "pod %s: %s %+v\n", pod.Name, pod.Status.Phase, pod.Status.ContainerStatuses)
		log, err := e.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{}).DoRaw(ctx)
		if err != nil {
			fmt.Fprintln(&text, err)
		}
		text.Write(log)
	}
	return text.String()
}

// inventory lists the cluster, without what the other tests create: all of it is in their own namespaces, but for the
// IPAddresses that the API server makes for their Services.
func (e *environment) inventory(ctx context.Context) ([]string, error) {
	objects, err := cluster.Inventory(ctx, e.config)
	return slices.DeleteFunc(objects, func(object string) bool {
		parts := strings.Split(object, "/")
		_, ours := namespaces[parts[1]]
		return ours || parts[0] == "ipaddresses.networking.k8s.io"
	}), err
}
