package advisor

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/pkg/policy"
)

// A document of advice is made of an earlier one and of what a run has observed. The
// same two give the same, byte for byte, and the same run again changes nothing.
//
//	what a run observes                        what it does
//	a name that needs more, whatever the       raises what is needed, at once; it is kept
//	  confidence                               for the memory, from when it was seen last
//	time with medium or high confidence        adds to the days that are covered
//	a whole start of a pod, with such          its images and commands may have the value
//	nothing for longer than the memory         takes away what is as old
//
// A value is there while the days within the memory have enough: 24 hours on seven
// days. It is never below what is needed. Days and weeks are those of UTC, and what is
// seen is dated to the end of its week, so that a document does not change every day.
const (
	// maxKept is how many images and commands are kept of a workload, the newest.
	maxKept = 24
	// maxChanges of a run are told one by one.
	maxChanges = 100
	// worthwhile is the share of queries that another value of fallthrough must save to
	// take the place of one that does.
	worthwhile = 0.05
)

// LeastMemory is the shortest memory: months have 31 days, and what runs monthly must
// have been seen.
const LeastMemory = 35 * 24 * time.Hour

// AdviceOptions are what a document depends on besides.
type AdviceOptions struct {
	// Memory is LeastMemory at least.
	Memory time.Duration
	// MinConfidence is the least with which a value is in the document.
	MinConfidence Confidence
	// Floor, 1 to 5, is the lowest ndots that pods get of advice (spec.advice.floor).
	// Which value of fallthrough is the cheapest is asked from there on: what a pod gets
	// in place of a lower one may cost more than the policy's.
	Floor int
	// At is when the run was: the last query, or now where that is not known.
	At time.Time
	// Workloads is how many there are.
	Workloads int
}

// Advise makes a document. Old may be nil. changed is false where the advice is what it
// was; then the document is the old one.
func Advise(old *policy.DNSAdvice, r *Report, o AdviceOptions) (document *policy.DNSAdvice, changed bool) {
	m := adviceMerger{AdviceOptions: o, week: weekOf(o.At), oldest: dateOf(o.At.Add(-o.Memory))}
	observed := map[WorkloadKey]*Observation{}
	known := map[WorkloadKey]policy.AdvisedWorkload{}
	for i := range r.Workloads {
		if w := &r.Workloads[i]; w.Observation != nil {
			observed[w.WorkloadKey] = w.Observation
			known[w.WorkloadKey] = policy.AdvisedWorkload{Namespace: w.Namespace, Kind: w.Kind, Name: w.Name}
		}
	}
	document = &policy.DNSAdvice{Spec: policy.AdviceSpec{Workloads: []policy.AdvisedWorkload{}}}
	document.APIVersion, document.Kind, document.Metadata.Name = policy.APIVersion, policy.KindAdvice, "default"
	before := map[WorkloadKey]*policy.AdvisedWorkload{}
	if old != nil {
		document.Metadata = old.Metadata
		for i := range old.Spec.Workloads {
			w := &old.Spec.Workloads[i]
			key := WorkloadKey{w.Namespace, w.Kind, w.Name}
			before[key], known[key] = w, *w
		}
	}
	for _, key := range slices.SortedFunc(maps.Keys(known), WorkloadKey.compare) {
		w := known[key]
		m.merge(&w, observed[key])
		w.Needed, w.FallthroughNeeded, w.Covered = orNil(w.Needed), orNil(w.FallthroughNeeded), orNil(w.Covered)
		m.tell(before[key], &w, observed[key])
		if len(w.Needed)+len(w.FallthroughNeeded)+len(w.References)+len(w.Covered) > 0 {
			document.Spec.Workloads = append(document.Spec.Workloads, w)
		}
	}
	if old != nil && sameWorkloads(old, document) {
		return old, false
	}
	document.Status = m.status(r, len(observed))
	return document, true
}

// orNil leaves an empty map out of the document.
func orNil[K comparable, V any](m map[K]V) map[K]V {
	if len(m) == 0 {
		return nil
	}
	return m
}

func sameWorkloads(a, b *policy.DNSAdvice) bool {
	x, errX := json.Marshal(a.Spec.Workloads)
	y, errY := json.Marshal(b.Spec.Workloads)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

type adviceMerger struct {
	AdviceOptions
	week, oldest policy.Date
	changes      []policy.AdviceChange
}

func dateOf(t time.Time) policy.Date { return policy.Date(t.UTC().Format(time.DateOnly)) }

// weekOf is the last day, a Sunday, of a time's week.
func weekOf(t time.Time) policy.Date {
	t = t.UTC()
	return dateOf(t.AddDate(0, 0, (7-int(t.Weekday()))%7))
}

// merge adds what was observed, nil for nothing, and takes away what is too old. w
// shares nothing with the old document afterwards.
func (m *adviceMerger) merge(w *policy.AdvisedWorkload, o *Observation) {
	w.Needed, w.FallthroughNeeded = m.kept(w.Needed), m.kept(w.FallthroughNeeded)
	w.References = slices.DeleteFunc(slices.Clone(w.References), func(r policy.AdviceReference) bool { return r.Seen < m.oldest })
	covered := map[policy.Confidence]map[policy.Date]int32{}
	for confidence, days := range w.Covered {
		if days = m.newer(days); len(days) > 0 {
			covered[confidence] = days
		}
	}
	w.Covered = covered
	if o != nil {
		m.note(w.Needed, o.Ndots)
		m.note(w.FallthroughNeeded, o.Fallthrough)
		if o.Confidence != ConfidenceLow {
			m.cover(w, o)
			for _, r := range o.Started {
				r.Seen = m.week
				if i := slices.IndexFunc(w.References, func(k policy.AdviceReference) bool { return k.Image == r.Image && k.Command == r.Command }); i >= 0 {
					w.References[i].Seen = max(w.References[i].Seen, r.Seen)
				} else {
					w.References = append(w.References, r)
				}
			}
		}
	}
	slices.SortFunc(w.References, func(x, y policy.AdviceReference) int {
		return cmp.Or(cmp.Compare(y.Seen, x.Seen), compareReferences(x, y))
	})
	w.References = w.References[:min(len(w.References), maxKept)]
	m.settle(w, o)
}

func compareReferences(x, y policy.AdviceReference) int {
	return cmp.Or(strings.Compare(x.Image, y.Image), strings.Compare(x.Command, y.Command))
}

// kept are the needs within the memory.
func (m *adviceMerger) kept(needed map[string]policy.Date) map[string]policy.Date {
	kept := map[string]policy.Date{}
	for n, day := range needed {
		if day >= m.oldest {
			kept[n] = day
		}
	}
	return kept
}

func (m *adviceMerger) newer(days map[policy.Date]int32) map[policy.Date]int32 {
	kept := map[policy.Date]int32{}
	for day, minutes := range days {
		if day >= m.oldest {
			kept[day] = minutes
		}
	}
	return kept
}

// note dates a need. From 2 on: 1 is none.
func (m *adviceMerger) note(needed map[string]policy.Date, ndots int) {
	if key := strconv.Itoa(ndots); ndots >= 2 {
		needed[key] = max(needed[key], m.week)
	}
}

// cover adds the time that was covered to its days, but nothing before what has been
// added, and nothing while the newer half of the memory has enough of that confidence.
func (m *adviceMerger) cover(w *policy.AdvisedWorkload, o *Observation) {
	confidence := policy.Confidence(o.Confidence)
	total := o.To.Sub(o.From)
	if enough(w.Covered[confidence], dateOf(m.At.Add(-m.Memory/2))) || total <= 0 || o.Covered <= 0 {
		return
	}
	share := min(1, float64(o.Covered)/float64(total))
	from := o.From
	if until := w.CoveredUntil.Time; until.After(from) {
		from = until
	}
	if !from.Before(o.To) {
		return
	}
	w.CoveredUntil = metav1.NewTime(o.To.UTC())
	days := w.Covered[confidence]
	if days == nil {
		days = map[policy.Date]int32{}
		w.Covered[confidence] = days
	}
	for from.Before(o.To) {
		day := dateOf(from)
		next := from.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
		if next.After(o.To) {
			next = o.To
		}
		minutes := int32(math.Round(share * next.Sub(from).Minutes()))
		if minutes = min(days[day]+minutes, 24*60); minutes > 0 && day >= m.oldest {
			days[day] = minutes
		}
		from = next
	}
	if len(days) == 0 {
		delete(w.Covered, confidence)
	}
}

// enough tells whether days from one on have as much as a value needs.
func enough(days map[policy.Date]int32, from policy.Date) bool {
	minutes, n := 0, 0
	for day, m := range days {
		if day >= from {
			minutes, n = minutes+int(m), n+1
		}
	}
	return minutes >= enoughMinutes && n >= enoughDays
}

// settle sets the values, or takes them away.
func (m *adviceMerger) settle(w *policy.AdvisedWorkload, o *Observation) {
	both := maps.Clone(w.Covered[policy.ConfidenceMedium])
	if both == nil {
		both = map[policy.Date]int32{}
	}
	for day, minutes := range w.Covered[policy.ConfidenceHigh] {
		both[day] += minutes
	}
	switch {
	case enough(w.Covered[policy.ConfidenceHigh], m.oldest):
		w.Confidence = policy.ConfidenceHigh
	case enough(both, m.oldest) && m.MinConfidence != ConfidenceHigh:
		w.Confidence = policy.ConfidenceMedium
	default:
		w.Ndots, w.Fallthrough, w.Confidence = nil, nil, ""
		return
	}
	w.Ndots = new(int32(max(1, highestOf(w.Needed))))
	least := max(m.Floor, 1, highestOf(w.FallthroughNeeded))
	switch {
	case o != nil:
		w.Fallthrough = new(int32(cheapest(w.Fallthrough, least, o.Queries)))
	case w.Fallthrough != nil:
		w.Fallthrough = new(max(*w.Fallthrough, int32(least)))
	}
}

// cheapest is the value with the fewest queries from the least on, the lowest of
// equals. The one that is in force stays where another saves little.
func cheapest(now *int32, least int, queries [maxNdots]int64) int {
	best := least
	for n := least + 1; n <= maxNdots; n++ {
		if queries[n-1] < queries[best-1] {
			best = n
		}
	}
	if now != nil && int(*now) >= least && int(*now) <= maxNdots {
		if saves := queries[*now-1] - queries[best-1]; float64(saves) <= worthwhile*float64(queries[*now-1]) {
			return int(*now)
		}
	}
	return best
}

func highestOf(needed map[string]policy.Date) int {
	most := 0
	for key := range needed {
		if n, err := strconv.Atoi(key); err == nil {
			most = max(most, n)
		}
	}
	return most
}

// tell notes what changes for a workload.
func (m *adviceMerger) tell(before, after *policy.AdvisedWorkload, o *Observation) {
	var was policy.AdvisedWorkload
	if before != nil {
		was = *before
	}
	change := policy.AdviceChange{Namespace: after.Namespace, Kind: after.Kind, Name: after.Name}
	var words []string
	compare := func(what string, was, is *int32, needed, needs int) {
		switch {
		case was != nil && is != nil && *was != *is:
			words = append(words, fmt.Sprintf("%s %d -> %d", what, *was, *is))
			change.Raised = change.Raised || *is > *was
		case was == nil && is != nil:
			words = append(words, fmt.Sprintf("%s %d", what, *is))
		case was != nil && is == nil:
			words = append(words, fmt.Sprintf("no %s: too little was seen of late", what))
		case needs > needed:
			words = append(words, fmt.Sprintf("%s needs %d", what, needs))
			change.Raised = change.Raised || before != nil
		}
	}
	compare("ndots", was.Ndots, after.Ndots, highestOf(was.Needed), highestOf(after.Needed))
	compare("fallthrough", was.Fallthrough, after.Fallthrough, highestOf(was.FallthroughNeeded), highestOf(after.FallthroughNeeded))
	if len(words) == 0 {
		return
	}
	change.Change = strings.Join(words, ", ")
	if o != nil {
		change.Why = o.Why
	}
	m.changes = append(m.changes, change)
}

// status says what the document rests on.
func (m *adviceMerger) status(r *Report, observed int) policy.AdviceStatus {
	s := policy.AdviceStatus{Observed: int32(observed), Workloads: int32(m.Workloads)}
	if !r.Source.From.IsZero() {
		s.From, s.To = metav1.NewTime(r.Source.From.UTC()), metav1.NewTime(r.Source.To.UTC())
		s.CoveredSeconds = r.Source.CoveredSeconds
	}
	for i := range r.Source.Gaps {
		s.Incomplete = append(s.Incomplete, r.Source.Gaps[i].Text)
	}
	// Raises first: they are what somebody has to know.
	slices.SortStableFunc(m.changes, func(x, y policy.AdviceChange) int {
		return cmp.Compare(fmt.Sprint(y.Raised), fmt.Sprint(x.Raised))
	})
	s.Changes = m.changes[:min(len(m.changes), maxChanges)]
	s.MoreChanges = int32(len(m.changes) - len(s.Changes))
	return s
}

// WriteAdvice encodes a document as JSON, which is YAML too, with a line for each
// workload, so that differences are read by workload.
func WriteAdvice(b *bytes.Buffer, document *policy.DNSAdvice) error {
	envelope := *document
	envelope.Spec.Workloads = []policy.AdvisedWorkload{}
	text, err := json.Marshal(&envelope)
	if err != nil {
		return err
	}
	before, after, _ := bytes.Cut(text, []byte(`"workloads":[]`))
	b.Write(before)
	b.WriteString(`"workloads":[`)
	for i := range document.Spec.Workloads {
		line, err := json.Marshal(&document.Spec.Workloads[i])
		if err != nil {
			return err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
		b.Write(line)
	}
	b.WriteString("\n]")
	b.Write(after)
	b.WriteByte('\n')
	return nil
}
