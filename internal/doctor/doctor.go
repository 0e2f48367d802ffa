// Package doctor checks an installation of Shorthop from outside, with an
// operator's rights.
//
// Collect asks the cluster and the replicas and gathers Facts; Judge turns
// facts into findings and does no I/O. A fact that could not be had makes the
// checks that need it unknown, and no others.
//
// To read the package, begin with the table of checks (checks.go). collect*.go ask
// for facts, and facts.go keeps them. judge_*.go judge them: Corefiles with the help
// of internal/corefile and zones.go, the policy with that of nodelocal.go, policies of
// the network with that of egress.go and egress_plugins.go. words.go has what their
// sentences share. path.go draws the way of a new pod to DNS and the API server.
// inforce.go finds out what decides about new pods, for other commands as well.
package doctor

import (
	"fmt"
	"slices"
)

// Status is what a check came to.
type Status string

// The statuses. A warning is something to look at, a failure something to act
// on.
const (
	Pass Status = "pass"
	Warn Status = "warn"
	Fail Status = "fail"
	// Unknown: a permission, or something that the check needs, is missing.
	Unknown Status = "unknown"
)

// Statuses lists them, best first.
func Statuses() []Status { return []Status{Pass, Unknown, Warn, Fail} }

// Check names a check. Checks lists them.
type Check string

// Result is the finding of one check.
type Result struct {
	Check  Check  `json:"check"`
	Status Status `json:"status"`
	// Found is what the cluster looks like, on one line.
	Found string `json:"found"`
	// Items are what Found counts or sums up, one line each.
	Items []string `json:"items,omitempty"`
	// Do says how to mend it. Set where Status is warn or fail.
	Do string `json:"do,omitzero"`
	// Block is what is to be put into a file, line by line.
	Block []string `json:"block,omitzero"`
}

// Report is what all checks came to.
type Report struct {
	// Policy is the policy that the checks went by, nil where none was found.
	Policy *PolicyReference `json:"policy"`
	// Paths are the ways of new pods to DNS and the API server.
	Paths  []Path   `json:"paths"`
	Checks []Result `json:"checks"`
}

// PolicyReference says which policy it is.
type PolicyReference struct {
	Name string `json:"name"`
	Hash string `json:"hash"`
	// From says where it was found.
	From string `json:"from"`
}

// Count returns how many checks came to a status.
func (r *Report) Count(status Status) int {
	n := 0
	for i := range r.Checks {
		if r.Checks[i].Status == status {
			n++
		}
	}
	return n
}

// Judge makes the report. It has every check, however little is known.
func Judge(f *Facts) *Report {
	inForce := f.inForce()
	report := &Report{Paths: f.paths(inForce)}
	if inForce != nil {
		report.Policy = &PolicyReference{inForce.compiled.Name(), inForce.compiled.Hash(), inForce.from}
	}
	for i := range checks {
		report.Checks = append(report.Checks, checks[i].judge(f, inForce).result(checks[i].name))
	}
	return report
}

// judgement is the result of a check while it is being worked out. It usually starts
// as a pass; each finding can only make it worse.
type judgement struct {
	status Status
	found  string
	items  []string
	do     []string
	block  []string
}

// passed starts a judgement with the sentence that holds if nothing turns out to be
// wrong.
func passed(format string, args ...any) *judgement {
	return &judgement{status: Pass, found: fmt.Sprintf(format, args...)}
}

// unknown is the judgement of a check that cannot be made.
func unknown(why error) *judgement { return &judgement{status: Unknown, found: why.Error()} }

// add adds a finding. The report's line is the first finding of the worst status;
// all other findings become items below it. The sentence of passed is dropped with
// the first finding. A finding that is there already is not added again, as for two
// entries of a webhook configuration with the same fault.
func (j *judgement) add(status Status, do, format string, args ...any) {
	found := fmt.Sprintf(format, args...)
	switch {
	case found == j.found || slices.Contains(j.items, found): // is there already
	case j.status == Pass:
		j.found = found
	case rank(status) > rank(j.status):
		j.items = append(j.items, j.found)
		j.found = found
	default:
		j.items = append(j.items, found)
	}
	if rank(status) > rank(j.status) {
		j.status = status
	}
	if do != "" && !slices.Contains(j.do, do) {
		j.do = append(j.do, do)
	}
}

// tell adds an item that is worth knowing, and leaves the status as it is.
func (j *judgement) tell(format string, args ...any) {
	if item := fmt.Sprintf(format, args...); !slices.Contains(j.items, item) {
		j.items = append(j.items, item)
	}
}

func (j *judgement) warn(do, format string, args ...any) { j.add(Warn, do, format, args...) }
func (j *judgement) fail(do, format string, args ...any) { j.add(Fail, do, format, args...) }

// lacks says that a part of the check could not be made.
func (j *judgement) lacks(why error) { j.add(Unknown, "", "%v", why) }

func (j *judgement) result(check Check) Result {
	r := Result{Check: check, Status: j.status, Found: oneLine(j.found)}
	for _, item := range j.items {
		r.Items = append(r.Items, oneLine(item))
	}
	r.Do, r.Block = oneLine(joinSentences(j.do)), j.block
	return r
}

func rank(s Status) int { return slices.Index(Statuses(), s) }
