package advisor_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/policy"
)

// day is the n-th day of the simulated time, which begins on a Monday.
func day(n int) time.Time { return time.Date(2026, 6, 1+n, 0, 0, 0, 0, time.UTC) }

// observation is a day's of a workload that needs ndots.
func observation(n, ndots int, confidence advisor.Confidence, covered time.Duration, images ...string) *advisor.Observation {
	o := &advisor.Observation{
		Ndots: ndots, Fallthrough: min(ndots, 2), Confidence: confidence,
		From: day(n), To: day(n).Add(24*time.Hour - time.Second), Covered: covered,
		Queries: [5]int64{100, 80, 90, 100, 110},
	}
	for _, image := range images {
		o.Started = append(o.Started, policy.AdviceReference{Image: image})
	}
	return o
}

var web = advisor.WorkloadKey{Namespace: "shop", Kind: "Deployment", Name: "web"}

// runOf merges one run's observation of the workload, nil for none.
func runOf(t *testing.T, old *policy.DNSAdvice, n int, o *advisor.Observation, wanted advisor.Confidence) (*policy.DNSAdvice, bool) {
	t.Helper()
	r := &advisor.Report{Source: advisor.Source{From: day(n), To: day(n).Add(24*time.Hour - time.Second)}}
	if o != nil {
		r.Workloads = []advisor.Workload{{WorkloadKey: web, Observation: o}}
	}
	document, changed := advisor.Advise(old, r, advisor.AdviceOptions{Memory: 70 * 24 * time.Hour, MinConfidence: wanted, Floor: policy.DefaultAdviceFloor, At: r.Source.To, Workloads: 1})
	return document, changed
}

// written is the document as it is written. Whatever is written is read.
func written(t *testing.T, document *policy.DNSAdvice) string {
	t.Helper()
	var b bytes.Buffer
	if err := advisor.WriteAdvice(&b, document); err != nil {
		t.Fatal(err)
	}
	parsed, err := policy.ParseAdvice(b.Bytes())
	if err != nil {
		t.Fatalf("what was written is not valid: %v\n%s", err, b.String())
	}
	var again bytes.Buffer
	if err := advisor.WriteAdvice(&again, parsed); err != nil || again.String() != b.String() {
		t.Fatalf("written again it is another (error %v):\n%s\n%s", err, b.String(), again.String())
	}
	return b.String()
}

// short is the value of ndots, what is needed, and how many references there are.
func short(document *policy.DNSAdvice) string {
	if len(document.Spec.Workloads) == 0 {
		return "nothing"
	}
	w := &document.Spec.Workloads[0]
	value := "no value"
	if w.Ndots != nil {
		value = fmt.Sprintf("ndots %d, fallthrough %d, %s", *w.Ndots, *w.Fallthrough, w.Confidence)
	}
	highest := 0
	for key := range maps.Keys(w.Needed) {
		n, _ := strconv.Atoi(key)
		highest = max(highest, n)
	}
	return fmt.Sprintf("%s, needs %d, %d references", value, highest, len(w.References))
}

// TestWhatRunsComeTo has one run a day. Of each case the document after the days that
// are named.
func TestWhatRunsComeTo(t *testing.T) {
	t.Parallel()
	const high, medium, low = advisor.ConfidenceHigh, advisor.ConfidenceMedium, advisor.ConfidenceLow
	half := 12 * time.Hour
	cases := map[string]struct {
		wanted advisor.Confidence
		// on returns what is observed on a day.
		on   func(n int) *advisor.Observation
		want map[int]string
	}{
		"a lower value needs seven days": {medium,
			func(n int) *advisor.Observation { return observation(n, 2, high, 24*time.Hour, "a:1") },
			map[int]string{0: "no value, needs 2, 1 references", 5: "no value, needs 2, 1 references", 6: "ndots 2, fallthrough 2, high, needs 2, 1 references"}},
		"and a whole day of them": {medium,
			func(n int) *advisor.Observation { return observation(n, 2, high, 2*time.Hour, "a:1") },
			map[int]string{10: "no value, needs 2, 1 references", 11: "ndots 2, fallthrough 2, high, needs 2, 1 references"}},
		"medium confidence does where it is wanted": {medium,
			func(n int) *advisor.Observation { return observation(n, 1, medium, half, "a:1") },
			map[int]string{6: "ndots 1, fallthrough 2, medium, needs 0, 1 references"}},
		"and does not where high is": {high,
			func(n int) *advisor.Observation { return observation(n, 1, medium, half, "a:1") },
			map[int]string{60: "no value, needs 0, 1 references"}},
		"what cannot be trusted lowers nothing": {medium,
			func(n int) *advisor.Observation { return observation(n, 2, low, 24*time.Hour, "a:1") },
			map[int]string{60: "no value, needs 2, 0 references"}},
		"and raises at once": {medium,
			func(n int) *advisor.Observation {
				if n == 20 {
					return observation(n, 4, low, time.Minute)
				}
				return observation(n, 2, high, 24*time.Hour, "a:1")
			},
			map[int]string{19: "ndots 2, fallthrough 2, high, needs 2, 1 references", 20: "ndots 4, fallthrough 2, high, needs 4, 1 references",
				// Day 20 is in the week that ends on day 20: 70 days later it is still remembered.
				90: "ndots 4, fallthrough 2, high, needs 4, 1 references", 91: "ndots 2, fallthrough 2, high, needs 2, 1 references"}},
		"what runs monthly is remembered": {medium,
			func(n int) *advisor.Observation {
				if n%31 == 3 {
					return observation(n, 3, high, half, "a:1")
				}
				return observation(n, 2, high, half, "a:1")
			},
			map[int]string{6: "ndots 3, fallthrough 2, high, needs 3, 1 references", 140: "ndots 3, fallthrough 2, high, needs 3, 1 references"}},
		"without evidence it withdraws": {medium,
			func(n int) *advisor.Observation {
				if n > 10 {
					return nil
				}
				return observation(n, 2, high, 24*time.Hour, "a:1")
			},
			map[int]string{60: "ndots 2, fallthrough 2, high, needs 2, 1 references", 79: "no value, needs 2, 1 references", 90: "nothing"}},
		"a new image has the value once a start of it was seen": {medium,
			func(n int) *advisor.Observation {
				switch {
				case n < 10:
					return observation(n, 2, high, 24*time.Hour, "a:1")
				case n < 12:
					return observation(n, 2, high, 24*time.Hour)
				}
				return observation(n, 2, high, 24*time.Hour, "a:2")
			},
			map[int]string{11: "ndots 2, fallthrough 2, high, needs 2, 1 references", 12: "ndots 2, fallthrough 2, high, needs 2, 2 references", 100: "ndots 2, fallthrough 2, high, needs 2, 1 references"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var document *policy.DNSAdvice
			for n := range 150 {
				document, _ = runOf(t, document, n, c.on(n), c.wanted)
				if want, asked := c.want[n]; asked && short(document) != want {
					t.Errorf("day %d: %s, want %s", n, short(document), want)
				}
			}
		})
	}
}

// A document changes where the advice does, and the same run again changes nothing.
func TestUnchangedAdviceStaysAsItIs(t *testing.T) {
	t.Parallel()
	var document *policy.DNSAdvice
	changes, last := 0, ""
	for n := range 60 {
		o := observation(n, 2, advisor.ConfidenceHigh, 24*time.Hour, "a:1", "b:1")
		next, changed := runOf(t, document, n, o, advisor.ConfidenceMedium)
		again, changedAgain := runOf(t, next, n, o, advisor.ConfidenceMedium)
		if changedAgain || written(t, again) != written(t, next) {
			t.Errorf("day %d: the same run again changes it (-once +twice):\n%s", n, cmp.Diff(written(t, next), written(t, again)))
		}
		if changed != (written(t, next) != last) {
			t.Errorf("day %d: changed is %t", n, changed)
		}
		if document, last = next, written(t, next); changed && n > 7 {
			changes++
		}
	}
	// Once a week, and while days are added in the middle of the memory.
	if changes > 20 {
		t.Errorf("%d of 52 days changed it", changes)
	}
}

// What a pod gets in place of a lower value may cost more than a higher one, and so the
// floor is known when the cheapest is picked.
func TestTheCheapestFallthroughIsPickedFromTheFloorOn(t *testing.T) {
	t.Parallel()
	for floor, want := range map[int]int32{1: 1, 2: 4, 3: 4, 5: 5} {
		o := observation(0, 1, advisor.ConfidenceHigh, 24*time.Hour, "a:1")
		o.Fallthrough, o.Queries = 1, [5]int64{60, 120, 110, 90, 100}
		var document *policy.DNSAdvice
		for n := range 7 {
			o.From, o.To = day(n), day(n).Add(24*time.Hour-time.Second)
			r := &advisor.Report{Source: advisor.Source{From: o.From, To: o.To}, Workloads: []advisor.Workload{{WorkloadKey: web, Observation: o}}}
			document, _ = advisor.Advise(document, r, advisor.AdviceOptions{Memory: 70 * 24 * time.Hour, MinConfidence: advisor.ConfidenceMedium, Floor: floor, At: o.To, Workloads: 1})
		}
		if got := document.Spec.Workloads[0].Fallthrough; got == nil || *got != want {
			t.Errorf("floor %d: fallthrough %v, want %d", floor, got, want)
		}
	}
}

// Whatever is observed in whatever order: a value is never below what the memory
// holds, and never there without enough to go by.
func TestNoValueIsBelowWhatTheMemoryHolds(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var document *policy.DNSAdvice
		seen := map[int]int{} // day: ndots
		for n := range 120 {
			var o *advisor.Observation
			if random.IntN(3) > 0 {
				confidence := []advisor.Confidence{advisor.ConfidenceLow, advisor.ConfidenceMedium, advisor.ConfidenceHigh}[random.IntN(3)]
				needs := 1 + random.IntN(2)
				if random.IntN(40) == 0 {
					needs = 5
				}
				o = observation(n, needs, confidence, time.Duration(random.IntN(25))*time.Hour, "a:1")
				seen[n] = needs
			}
			document, _ = runOf(t, document, n, o, advisor.ConfidenceMedium)
			if len(document.Spec.Workloads) == 0 || document.Spec.Workloads[0].Ndots == nil {
				continue
			}
			least := 0
			for before, needs := range seen {
				if before >= n-69 {
					least = max(least, needs)
				}
			}
			if got := int(*document.Spec.Workloads[0].Ndots); got < least {
				t.Fatalf("day %d: ndots %d, and %d was needed within the memory", n, got, least)
			}
			if days := len(seen); days < 7 {
				t.Fatalf("day %d: a value after %d days", n, days)
			}
		}
		written(t, document)
	}
}

// A status tells of raises first, and of all of them what they are for.
func TestTheStatusTellsWhatChanged(t *testing.T) {
	t.Parallel()
	var document *policy.DNSAdvice
	for n := range 10 {
		document, _ = runOf(t, document, n, observation(n, 2, advisor.ConfidenceHigh, 24*time.Hour, "a:1"), advisor.ConfidenceMedium)
	}
	o := observation(10, 4, advisor.ConfidenceLow, time.Minute)
	o.Why = "db-0.db.prod.svc: its answer is db-0.db.prod.svc.cluster.local"
	document, _ = runOf(t, document, 10, o, advisor.ConfidenceMedium)
	want := []policy.AdviceChange{{Namespace: "shop", Kind: "Deployment", Name: "web", Change: "ndots 2 -> 4", Raised: true, Why: o.Why}}
	if diff := cmp.Diff(want, document.Status.Changes); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
}
