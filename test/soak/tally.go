package main

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"
)

// late is the timeoutSeconds of our webhook configuration. The senders wait longer, so that a machine that is busy with
// something else is not taken for a loss; but how often it was exceeded is shown.
const late = 2 * time.Second

// tally counts reviews, or pods.
type tally struct {
	mu sync.Mutex
	// sent are those that have an outcome: each is in one of the others.
	sent int
	// expected came back with the patch, or the pod with the changes, that the policy in force asks for.
	expected int
	// unpatched came back as they were, other with another patch.
	unpatched, other int
	// failed were not answered, or with an error; of pods: they were not created.
	failed int
	// late are calls that took longer than late.
	late int
	// latencies in ms, of those that are expected.
	latencies []float64
	// problems are what was not expected, with how often it happened.
	problems map[string]int
}

// outcome is how one ended.
type outcome int

const (
	expected outcome = iota
	unpatched
	other
	failed
)

// add counts one. Its latency is from when it was due; its call may have begun later.
func (t *tally) add(o outcome, due, called time.Time, problem string) {
	now := time.Now()

	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent++
	if now.Sub(called) > late {
		t.late++
	}
	switch o {
	case expected:
		t.expected++
		t.latencies = append(t.latencies, float64(now.Sub(due))/float64(time.Millisecond))
		return
	case unpatched:
		t.unpatched++
	case other:
		t.other++
	case failed:
		t.failed++
	}
	if t.problems == nil {
		t.problems = map[string]int{}
	}
	if len(t.problems) < 100 {
		t.problems[problem]++
	}
}

// lost is everything but what is expected.
func (t *tally) lost() int { return t.sent - t.expected }

// missed are pods that were created without what the policy asks for.
func (t *tally) missed() int { return t.unpatched + t.other }

// examples are the most frequent problems.
func (t *tally) examples() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	texts := slices.SortedFunc(maps.Keys(t.problems), func(a, b string) int { return t.problems[b] - t.problems[a] })
	var examples []string
	for _, text := range texts[:min(len(texts), 3)] {
		examples = append(examples, fmt.Sprintf("%d times: %s", t.problems[text], text))
	}
	return examples
}

func (t *tally) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Sprintf("%d sent, %d as expected, %d unpatched, %d otherwise, %d failed", t.sent, t.expected, t.unpatched, t.other, t.failed)
}

// quantile returns the value that a share q of the values does not exceed, by the nearest rank; NaN of none.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}
