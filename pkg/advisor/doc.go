// Package advisor turns query logs of CoreDNS into evidence for each workload, and
// the evidence into the smallest ndots under which every name that was looked up
// keeps its answer.
//
// A [Collector] reads logs and counts, by workload, who asked for which name and
// what came back; [Collector.Report] rebuilds the names that applications looked up
// (reconstruct.go says how), lets the models of pkg/resolver look them up again
// under other options (recommend.go), and names the risks (risk.go). [Rules] turns
// a report into rules of a policy.
//
// Memory does not grow with the length of a log: names and counters have a limit,
// and what is beyond it is only taken to need the ndots that kept it working.
//
// The package is pure: what it reads comes from an io.Reader, and it has no clock.
package advisor
