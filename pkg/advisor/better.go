package advisor

import "fmt"

// ResolverUnknown is what [Recommendation.Because] says where the resolver is not known.
// Tables leave it out: they have a column for the resolver.
const ResolverUnknown = "the resolver is not known: safe for all of them"

// better says what would make the advice better, what helps most first.
//
//	what is missing                           what helps
//	a gap of the logs                         what its code says, below
//	no start of a pod seen, of workloads      a log in which they start
//	less than a day covered, of all           a longer log
//	the resolver, of workloads                kubectl shorthop resolvers
func better(r *Report) []string {
	steps := []string{}
	told := map[GapCode]bool{}
	for i := range r.Source.Gaps {
		code := r.Source.Gaps[i].Code
		if step := betterOf[code]; step != "" && !told[code] {
			told[code] = true
			steps = append(steps, step)
		}
	}
	var advised, started, unknown int
	var covered int64
	for i := range r.Workloads {
		w := &r.Workloads[i]
		if w.Recommendation == nil || w.Completeness == nil {
			continue
		}
		advised++
		covered = max(covered, w.Completeness.CoveredSeconds)
		if w.Completeness.Starts > 0 {
			started++
		}
		if w.Resolver.Name == "" {
			unknown++
		}
	}
	if advised == 0 {
		return steps
	}
	if missing := advised - started; missing > 0 {
		steps = append(steps, fmt.Sprintf("A log in which pods start, as after a rollout or over a night of jobs: of %d of %d workloads no start was seen, and names are looked up then that are never looked up again.", missing, advised))
	}
	if covered < secondsOfADay {
		steps = append(steps, "A longer log: less than a day is covered, and what is done daily may not be in it.")
	}
	if unknown > 0 {
		steps = append(steps, fmt.Sprintf("The resolver of %d of %d workloads is not known, so only what is safe for all of them is recommended: kubectl shorthop resolvers -A -o policy reads it from their images.", unknown, advised))
	}
	return steps
}

const secondsOfADay = 24 * 60 * 60

// betterOf is what helps where the logs lack something. Those that are told and do not
// matter have none.
var betterOf = map[GapCode]string{
	GapUnreadLog:        "All logs: those that could not be read may have the names that decide.",
	GapBreaksOff:        "Whole logs: read those that break off again, or a shorter time of all of them.",
	GapUnreadLines:      "The lines as the DNS server wrote them: --log-format says how they are to be read where its format is one of your own.",
	GapNoAnswers:        "A log of all classes: the option class of the log plugin leaves out answers.",
	GapNoNXDomain:       "A log of all classes: the option class of the log plugin leaves out NXDOMAIN.",
	GapNoClusterNames:   "The log plugin in every server block of the Corefile, the one of the cluster's domain among them.",
	GapNoServices:       "A log that has the names of Services too: one that was searched for some names does not show which others there are.",
	GapReadTwice:        "Each log once.",
	GapPeriodic:         "Logs without regular holes: a collector or a loop that reads a part of each minute leaves out what comes at other times.",
	GapNamespaceMissing: "The lines of all namespaces, and the logs of all nodes.",
	GapUntimed:          "Timestamps on all lines (kubectl logs --timestamps).",
	GapSourceLacks:      "The log of CoreDNS or of the node-local cache itself has what these sources leave out.",
	GapClusterDomain:    "The logs of one cluster, and its domain (--cluster-domain).",
}
