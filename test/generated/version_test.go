package generated_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/test/podgen"
)

// The versions whose validation the generator follows. What it draws beyond that, an older server may refuse with us and
// without us.
const oldestOfGenerator, newestOfAPI = 36, 37

// gates are the feature gates of kube-apiserver that are off by default and without which it drops fields of pods, by
// minor version.
var gates = map[int][]string{
	36: {
		"ClusterTrustBundle", "ClusterTrustBundleProjection", "ContainerStopSignals", "CrossNamespaceVolumeDataSource", "GenericWorkload",
		"PodCertificateRequest",
	},
	37: {
		"AtomicWriteVolumeUserFields", "ContainerStopSignals", "CrossNamespaceVolumeDataSource", "EmptyDirVolumeMode", "EvictionRequestAPI",
		"GenericWorkload", "GRPCContainerProbeTLS", "H2CContainerProbe", "VolumeBindMountOptions",
	},
}

func gateFlags(minor int) map[string][]string {
	var on []string
	for _, gate := range gates[minor] {
		on = append(on, gate+"=true")
	}
	if len(on) == 0 {
		return nil
	}
	return map[string][]string{"feature-gates": on}
}

// minorVersion asks the kube-apiserver in a folder.
func minorVersion(ctx context.Context, dir string) (int, error) {
	output, err := exec.CommandContext(ctx, filepath.Join(dir, "kube-apiserver"), "--version").Output()
	if err != nil {
		return 0, fmt.Errorf("asking kube-apiserver for its version (run make control-plane first): %w", err)
	}
	var minor, patch int
	if _, err := fmt.Sscanf(string(output), "Kubernetes v1.%d.%d", &minor, &patch); err != nil {
		return 0, fmt.Errorf("reading kube-apiserver's version %q: %w", output, err)
	}
	return minor, nil
}

// prepare creates what full pods need.
func prepare(ctx context.Context) error {
	runtime, priority := podgen.Classes()
	if _, err := shared.Client.NodeV1().RuntimeClasses().Create(ctx, runtime, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the RuntimeClass: %w", err)
	}
	if _, err := shared.Client.SchedulingV1().PriorityClasses().Create(ctx, priority, metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("creating the PriorityClass: %w", err)
	}
	return nil
}

// coverage counts the fields of pods that were sent and of those that the API server made of them.
type coverage struct {
	mu             sync.Mutex
	sent, admitted map[string]int
}

func newCoverage() *coverage { return &coverage{sent: map[string]int{}, admitted: map[string]int{}} }

// count counts the fields below a path of a pod that was sent and of the JSON that was admitted.
func (c *coverage) count(sent *corev1.Pod, admitted []byte, below string) error {
	var pod corev1.Pod
	if err := json.Unmarshal(admitted, &pod); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	countBelow(c.sent, sent, below)
	countBelow(c.admitted, &pod, below)
	return nil
}

func countBelow(counts map[string]int, pod *corev1.Pod, path string) {
	all := map[string]int{}
	podgen.CountFields(pod, all)
	for field, n := range all {
		if path == "" || podgen.Below(field, path) {
			counts[field] += n
		}
	}
}

// dropped returns the fields that were sent and that no admitted pod has.
func (c *coverage) dropped() []string {
	var dropped []string
	for _, field := range slices.Sorted(maps.Keys(c.sent)) {
		if c.admitted[field] == 0 {
			dropped = append(dropped, field)
		}
	}
	return dropped
}

func (c *coverage) String() string {
	all, unsettable := podgen.Fields(), podgen.Unsettable()
	settable := 0
	for _, field := range all {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(unsettable)), func(path string) bool { return podgen.Below(field, path) }) {
			settable++
		}
	}
	admitted := 0
	for field := range c.sent {
		if c.admitted[field] > 0 {
			admitted++
		}
	}
	return fmt.Sprintf("of %d fields that the API types have, authors can set %d; the pods set %d of them, %d in pods that the API server admitted",
		len(all), settable, len(c.sent), admitted)
}
