package doctor

import (
	"fmt"
	"strings"
	"time"

	"github.com/shorthop/shorthop/internal/advicefile"
	"github.com/shorthop/shorthop/internal/health"
	"github.com/shorthop/shorthop/pkg/policy"
)

const (
	// oldEvidence: a document changes once a week at least, when what it has seen is
	// dated anew.
	oldEvidence = 14 * 24 * time.Hour
	// oldRun and longIncomplete are those of the alerts.
	oldRun         = 26 * time.Hour
	longIncomplete = 7 * 24 * time.Hour
)

// judgeAdvice says what the advice that pods get rests on: how old the evidence is, and
// how much of the cluster it covers.
func judgeAdvice(f *Facts, known *knownPolicy) *judgement {
	switch {
	case known == nil:
		return unknown(f.noPolicy())
	case !appliesAdvice(known.document):
		return passed("not needed: dns.advice is Apply nowhere")
	case f.replicas.err != nil:
		return unknown(f.replicas.err)
	}
	j := passed("")
	var newest *health.AdviceDocument
	var run *advicefile.Run
	for i := range f.replicas.value {
		r := &f.replicas.value[i]
		debug := r.debug.value
		switch {
		case debug == nil:
			continue
		case debug.Advice == nil:
			j.warn("let the advisor run (advisor.enabled of the chart), or give the replicas a DNSAdvice (--advice)",
				"%s has no advice: pods get the policy's own numbers", r)
			continue
		}
		if newest == nil || debug.Advice.Status.To.After(newest.Status.To.Time) {
			newest = debug.Advice
		}
		if debug.AdvisorRun != nil && (run == nil || debug.AdvisorRun.Ended.After(run.Ended)) {
			run = debug.AdvisorRun
		}
	}
	if newest == nil {
		return j
	}
	var covers []string
	if s := &newest.Status; !s.To.IsZero() {
		age := f.now.Sub(s.To.Time)
		covers = append(covers, fmt.Sprintf("the last query that changed it is %s old", days(age)))
		if age > oldEvidence {
			j.warn("look whether the advisor runs, and whether the caches log", "the evidence is %s old", days(age))
		}
		if s.Workloads > 0 && run == nil {
			covers = append(covers, fmt.Sprintf("that run told of %d of %d workloads", s.Observed, s.Workloads))
		}
	}
	if run != nil {
		covers = append(covers, fmt.Sprintf("the last run ended %s ago, and told of %d of %d workloads, from %d of %d logs",
			f.now.Sub(run.Ended).Round(time.Minute), run.Observed, run.Workloads, run.Logs, run.Of))
		j.judgeRun(f.now, run)
	}
	found := plural(newest.Workloads, "workload", "workloads") + " known"
	if len(covers) > 0 {
		found += ": " + strings.Join(covers, "; ")
	}
	if j.status == Pass {
		j.found = found
	} else {
		j.tell("%s", found)
	}
	return j
}

// judgeRun says what is wrong with the advisor.
func (j *judgement) judgeRun(now time.Time, run *advicefile.Run) {
	const look = "look at the Events and the log of its last Job"
	switch {
	case run.Error != "":
		j.warn(look, "the last run of the advisor failed: %s", oneLine(run.Error))
	case now.Sub(run.Succeeded) > oldRun:
		j.warn(look, "no run of the advisor has ended well for %s", days(now.Sub(run.Succeeded)))
	}
	if now.Sub(run.Complete) > longIncomplete {
		j.warn("let every server block of the caches log, without a class", "the advisor's evidence has lacked something for %s: %s",
			days(now.Sub(run.Complete)), oneLine(strings.Join(run.Incomplete, "; ")))
	}
}

// days is a time that is told in days, or in hours where it is less than two.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return plural(int(d/time.Hour), "hour", "hours")
	}
	return plural(int(d/(24*time.Hour)), "day", "days")
}

// appliesAdvice reports whether some pods get what advice says.
func appliesAdvice(document *policy.InjectionPolicy) bool {
	for e := range document.Spec.Effective() {
		if e.DNS != nil && e.DNS.Advice == policy.AdviceApply {
			return true
		}
	}
	return false
}
