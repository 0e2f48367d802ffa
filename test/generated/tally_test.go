package generated_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
)

// outcome is what became of a pod. Those that are wrong must not occur.
type outcome string

const (
	created      outcome = "pods"
	patched      outcome = "patched"
	unrecorded   outcome = "no room for the record"
	refusedAlike outcome = "refused alike"

	refusedByUs  outcome = "rejected because of us"
	allowedByUs  outcome = "accepted because of us"
	valueChanged outcome = "user values changed"
	notAgain     outcome = "not idempotent"
	notUndone    outcome = "Undo is not the pod"
	notAsked     outcome = "no answer"
)

var (
	columns = []outcome{created, patched, unrecorded, refusedAlike, refusedByUs, allowedByUs, valueChanged, notAgain, notUndone, notAsked}
	wrong   = columns[4:]
)

// tally counts outcomes by policy.
type tally struct {
	t *testing.T

	mu     sync.Mutex
	counts map[string]map[outcome]int
	shown  int
}

func newTally(t *testing.T) *tally { return &tally{t: t, counts: map[string]map[outcome]int{}} }

// add counts an outcome. One that is wrong fails the test, and the first ones are shown in full.
func (c *tally) add(s *setting, what outcome, pod int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts[s.name] == nil {
		c.counts[s.name] = map[outcome]int{}
	}
	c.counts[s.name][what]++
	if !slices.Contains(wrong, what) {
		return
	}
	const most = 5
	if c.shown++; c.shown <= most {
		c.t.Errorf("pod %d, seed %d, policy %s: %s: %.6000s", pod, *podSeed, s.name, what, err)
	} else {
		c.t.Fail()
	}
}

func (c *tally) total(of ...outcome) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, counts := range c.counts {
		for _, what := range of {
			n += counts[what]
		}
	}
	return n
}

// String is a table with a row for each policy.
func (c *tally) String() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "policy\t")
	for _, column := range columns {
		fmt.Fprintf(w, "%s\t", column)
	}
	fmt.Fprintln(w)
	for i := range settings {
		fmt.Fprintf(w, "%s\t", settings[i].name)
		for _, column := range columns {
			fmt.Fprintf(w, "%d\t", c.counts[settings[i].name][column])
		}
		fmt.Fprintln(w)
	}
	fmt.Fprint(w, "all\t")
	for _, column := range columns {
		fmt.Fprintf(w, "%d\t", c.total(column))
	}
	fmt.Fprintln(w)
	_ = w.Flush() // to memory
	return "\n" + b.String()
}

// checkMeaning fails a test that has tested nothing.
func (c *tally) checkMeaning() {
	c.t.Helper()
	c.t.Log(c)
	const enough = 100
	all, refused := c.total(created), c.total(refusedAlike)
	if all < enough {
		return
	}
	if refused > all*2/3 {
		c.t.Errorf("the API server refuses %d of %d pods in any case, want at most two thirds", refused, all)
	}
	if n := c.total(patched); n < (all-refused)/8 {
		c.t.Errorf("%d of %d pods were patched, want at least an eighth", n, all-refused)
	}
}
