package advisor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
)

// Gap is something that the logs seem not to have. It bounds the confidence of all
// recommendations.
type Gap struct {
	Code GapCode `json:"code"`
	Text string  `json:"text"`
	// Confidence is the most that a recommendation can have.
	Confidence Confidence `json:"confidence"`
	// Logs are those that it is about, where it is not all of them.
	Logs []string `json:"logs,omitzero"`
	// namespaces are those that it is about.
	namespaces []string
}

// GapCode names a gap. The codes are API.
type GapCode string

// Gaps.
const (
	// GapUnreadLog means: a log of which no query could be read.
	GapUnreadLog GapCode = "unread_log"
	// GapBreaksOff means: a log that has less than there was.
	GapBreaksOff GapCode = "breaks_off"
	// GapUnreadLines means: queries among the lines that cannot be read.
	GapUnreadLines GapCode = "unread_lines"
	// GapNoAnswers means: hardly any query has an answer, as with class denial or error.
	GapNoAnswers GapCode = "no_answers"
	// GapNoNXDomain means: no query was answered by NXDOMAIN, as with class success.
	GapNoNXDomain GapCode = "no_nxdomain"
	// GapNoClusterNames means: there is nothing of the cluster's domain, as with log in
	// another server block only.
	GapNoClusterNames GapCode = "no_cluster_names"
	// GapNoServices means: no name of the cluster has an answer.
	GapNoServices GapCode = "no_services"
	// GapReadTwice means: the same lines were read more than once.
	GapReadTwice GapCode = "read_twice"
	// GapUntimed means: some lines have a timestamp, and others have none.
	GapUntimed GapCode = "untimed"
	// GapPeriodic means: there is no line in some part of each minute, or each hour.
	GapPeriodic GapCode = "periodic"
	// GapNamespaceMissing means: of a namespace there is nothing, though its pods look up
	// names or many of them run.
	GapNamespaceMissing GapCode = "namespace_missing"
	// GapSourceLacks means: a source does not have all that a log of CoreDNS has.
	GapSourceLacks GapCode = "source_lacks"
	// GapClusterDomain means: the log shows another cluster domain than was said.
	GapClusterDomain GapCode = "cluster_domain"
)

// Limits of what is taken for a gap.
const (
	// fewQueries are not enough to tell what a log lacks.
	fewQueries = 50
	// noneShare: fewer than one in so many is as good as none.
	noneShare = 50
	// lowShare and mediumShare of lines or logs, one in so many, that are not there.
	lowShare    = 10
	mediumShare = 100
)

// gaps finds what the logs lack.
//
//	gap                                                          at most
//	a log without a readable query, or one that breaks off       low; medium if fewer than one in ten
//	lines with queries that cannot be read, one in ten           low; medium from one in a hundred on, low below 4 with musl
//	fewer than one answer for 50 NXDOMAIN (class denial, error)  low
//	no NXDOMAIN at all (class success)                           low
//	nothing in the cluster's domain (log in one server block)    low
//	another cluster domain than was said, or a second one        low
//	one line in a hundred that was read twice                    none: it counts once; low if there are too many to tell
//	a source without what a log of CoreDNS has                   none: it is told
//	no Service has an answer                                     medium; low below 4 with musl, and at 1 if a workload is
//	                                                             silent and a namespace called like a domain of the Internet
//	nothing of a namespace whose pods walk their search lists    low
//	nothing of a namespace all of whose pods are silent          medium; low below 4 with musl, and below 3 if it is called
//	                                                             like a domain of the Internet
//	no line in a part of each minute; of each hour               low, medium if fewer than one log in ten; medium
//	one line in a hundred without a timestamp, where others have one  medium
//
// A log that has names of the cluster's domain only is no gap here. It shows in lookups
// that do not end, which confidence.go judges for each workload.
func (c *Collector) gaps(domain string, domainFound bool) (gaps []Gap) {
	add := func(code GapCode, most Confidence, logs []string, format string, args ...any) {
		gaps = append(gaps, Gap{Code: code, Text: fmt.Sprintf(format, args...), Confidence: most, Logs: logs})
	}
	var unread, brokenOff []string
	for i := range c.logs {
		l := &c.logs[i]
		switch {
		case l.Unread():
			unread = append(unread, l.Name)
		case l.BreaksOff != "":
			brokenOff = append(brokenOff, l.Name)
		}
	}
	part := func(n int) Confidence {
		if n*lowShare >= len(c.logs) {
			return ConfidenceLow
		}
		return ConfidenceMedium
	}
	if n := len(unread); n > 0 {
		add(GapUnreadLog, part(n), unread, "%d of %s could not be read, or has no query that can be", n, amount(len(c.logs), "log"))
	}
	if n := len(brokenOff); n > 0 {
		add(GapBreaksOff, part(n), brokenOff, "%d of %s breaks off: there was more", n, amount(len(c.logs), "log"))
	}
	for i := range c.logs {
		l := &c.logs[i]
		logs := []string{l.Name}
		if bad := l.Skipped.Malformed; bad > 0 && l.Queries > 0 && (bad+l.Queries) <= bad*mediumShare {
			most := ConfidenceMedium
			if bad+l.Queries <= bad*lowShare {
				most = ConfidenceLow
			}
			add(GapUnreadLines, most, logs, "%s that cannot be read as queries, beside %d that can", amount(bad, "line"), l.Queries)
		}
		if l.Queries < fewQueries {
			continue
		}
		lacking := false
		for _, t := range []querylog.Type{querylog.A, querylog.AAAA} {
			// With class denial, one of the two may have answers: those without an
			// address.
			ok, not := l.kinds[t][querylog.OK], l.kinds[t][querylog.NXDomain]+l.kinds[t][querylog.Failed]
			if !lacking && ok+not >= fewQueries/2 && ok*noneShare < not {
				lacking = true
				add(GapNoAnswers, ConfidenceLow, logs, "hardly any answer: %d for %d queries without one; log with class denial or error leaves out the others", ok, not)
			}
		}
		if l.Results.NXDomain == 0 {
			add(GapNoNXDomain, ConfidenceLow, logs, "no NXDOMAIN at all: log with class success leaves out the search lists")
		}
		if !domainFound && l.inCluster == 0 {
			add(GapNoClusterNames, ConfidenceLow, logs, "no name in %s: log must be in every server block", domain)
		}
	}
	gaps = append(gaps, c.periodicGaps(part)...)
	if twice := c.tally.sample.twice(); twice >= 1 {
		if slices.ContainsFunc(c.shards[:], func(s *shard) bool { return s.lines.forgot() }) {
			add(GapReadTwice, ConfidenceLow, nil, "%.0f %% of the queries had been read before, and are too many to tell which: what was looked up once counts as more", twice)
		} else {
			add(GapReadTwice, ConfidenceHigh, nil, "%.0f %% of the queries had been read before, and count once", twice)
		}
	}
	for _, f := range formCounts(&c.tally.forms) {
		if f.Lacks != "" {
			add(GapSourceLacks, ConfidenceHigh, nil, "%d of %d queries are from %s: %s", f.Queries, c.tally.queries, f.Form, f.Lacks)
		}
	}
	if n := c.tally.untimed; n < c.tally.queries && n*mediumShare >= c.tally.queries && n > 0 {
		add(GapUntimed, ConfidenceMedium, nil, "%d of %d queries have no timestamp", n, c.tally.queries)
	}
	return gaps
}

// noServices tells whether no name of the cluster's domain has an answer.
func (c *Collector) noServices(domain string) bool {
	suffix := "." + domain
	for _, s := range c.shards {
		for n := range s.n {
			counter := &s.counters[n/slabSize][n%slabSize]
			if counter.answers() && strings.HasSuffix(string(s.text(&s.names[counter.name])), suffix) {
				return false
			}
		}
	}
	return true
}

// kinds counts queries by type and result.
type kinds [querylog.Types][querylog.Results]int64

func (k *kinds) results() (r Results) {
	for t := range k {
		r.NoError += k[t][querylog.OK]
		r.NXDomain += k[t][querylog.NXDomain]
		r.Other += k[t][querylog.Failed]
	}
	return r
}

func (k *kinds) add(other *kinds) {
	for t := range k {
		for r := range k[t] {
			k[t][r] += other[t][r]
		}
	}
}
