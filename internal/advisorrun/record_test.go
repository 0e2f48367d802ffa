package advisorrun_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/internal/advisorrun"
)

// TestRunsTakeTurns has every node read, one run after the other, whatever nodes come and go.
func TestRunsTakeTurns(t *testing.T) {
	t.Parallel()
	pods := func(nodes ...string) (list []corev1.Pod) {
		for _, node := range nodes {
			var p corev1.Pod
			p.Name, p.Spec.NodeName = "cache-"+node, node
			list = append(list, p)
		}
		return list
	}
	behind := ""
	for i, run := range []struct {
		nodes string
		want  string
	}{
		{"c a b", "a b, behind b"},
		{"a b c", "c a, behind a"},
		{"a b c d", "b c, behind c"},
		{"a b d", "d a, behind a"}, // c is gone
		{"a b b", "a b, behind "},  // two pods of a node; all are read
		{"a", "a, behind "},
		{"a b c", "a b, behind b"},
	} {
		var chosen []corev1.Pod
		chosen, behind = advisorrun.Choose(pods(strings.Fields(run.nodes)...), 2, behind)
		var names []string
		for _, p := range chosen {
			if len(names) == 0 || names[len(names)-1] != p.Spec.NodeName {
				names = append(names, p.Spec.NodeName)
			}
		}
		if got := fmt.Sprintf("%s, behind %s", strings.Join(names, " "), behind); got != run.want {
			t.Errorf("run %d: %s, want %s", i, got, run.want)
		}
	}
}
