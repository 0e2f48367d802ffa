// Package doctor checks an installation of Shorthop from outside, with an
// operator's rights.
//
// Collect asks the cluster and the replicas and gathers Facts; Judge turns
// facts into findings and does no I/O. A fact that could not be had makes the
// checks that need it unknown, and no others.
//
//	check                    pass                                      warn                                        fail
//	webhook-configuration    the entries as webhook-config prints      long timeout, no reinvocation, an entry     missing; an entry missing; not failurePolicy
//	                         them                                      or a rule that is not ours or is missing    Ignore; sideEffects; not called for new pods
//	webhook-filter           selectors and conditions are those of     they differ from what the policy wants,     own or excluded namespaces are selected; made
//	                         the policy in force                       the hash agrees                             for other aliases or namespaces than the policy's
//	serving-certificate      caBundle verifies what each replica       a certificate is not renewed in time        caBundle empty or does not verify
//	                         serves
//	replicas                 at least two, on more than one node       one; all on one node; some not ready        none ready
//	policy                   the same on every replica, and the one    ConfigMap or --policy holds another         replicas differ; none loaded; ConfigMap not valid
//	                         of the ConfigMap
//	gates                    all open, or none reported                                                            one is closed
//	api-host                 answers with a certificate for that name  not reachable from here                     wrong name, or signed by somebody else
//	node-local-cache         DaemonSet rolled out within               nodes without it; its addresses not found   missing; more than maxUnavailable; listens
//	                         maxUnavailable, on the policy's addresses in its settings                             on other addresses
//	cluster-dns              addresses are those of the DNS Services   a fallback that ends with the cache, or is  no DNS Service has a server of the policy
//	                                                                   no DNS Service
//	cluster-domain           the zone of the cluster DNS               no zone to compare with                     another zone
//	namespaces-opted-out     always: lists them
//	namespace-names          none is a public top-level domain         some are
//	egress-policies          they admit the node-local cache           they would cut pods off that are created    pods that are pinned to the cache are cut off
//	                                                                   again
//	custom-zones             the cache knows those of the cluster DNS  it would ask the upstream resolvers
//	unpatched-pods           the API server got every answer           some pods were created unpatched
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

// Check names a check. The names are API: they are never reworded.
type Check string

// The checks, in the order in which they are reported.
const (
	CheckWebhookConfiguration Check = "webhook-configuration"
	CheckWebhookFilter        Check = "webhook-filter"
	CheckServingCertificate   Check = "serving-certificate"
	CheckReplicas             Check = "replicas"
	CheckPolicy               Check = "policy"
	CheckGates                Check = "gates"
	CheckAPIHost              Check = "api-host"
	CheckNodeLocalCache       Check = "node-local-cache"
	CheckClusterDNS           Check = "cluster-dns"
	CheckClusterDomain        Check = "cluster-domain"
	CheckNamespacesOptedOut   Check = "namespaces-opted-out"
	CheckNamespaceNames       Check = "namespace-names"
	CheckEgressPolicies       Check = "egress-policies"
	CheckCustomZones          Check = "custom-zones"
	CheckUnpatchedPods        Check = "unpatched-pods"
)

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
}

// Report is what all checks came to.
type Report struct {
	// Policy is the policy that the checks went by, nil where none was found.
	Policy *PolicyReference `json:"policy"`
	Checks []Result         `json:"checks"`
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

// Judge makes the report. Every check is in it, whatever is known.
func Judge(f *Facts) *Report {
	inForce := f.inForce()
	report := &Report{}
	if inForce != nil {
		report.Policy = &PolicyReference{inForce.compiled.Name(), inForce.compiled.Hash(), inForce.from}
	}
	for _, c := range []struct {
		name  Check
		judge func(*Facts, *knownPolicy) *judgement
	}{
		{CheckWebhookConfiguration, judgeWebhookConfiguration},
		{CheckWebhookFilter, judgeWebhookFilter},
		{CheckServingCertificate, judgeServingCertificate},
		{CheckReplicas, judgeReplicas},
		{CheckPolicy, judgePolicy},
		{CheckGates, judgeGates},
		{CheckAPIHost, judgeAPIHost},
		{CheckNodeLocalCache, judgeNodeLocalCache},
		{CheckClusterDNS, judgeClusterDNS},
		{CheckClusterDomain, judgeClusterDomain},
		{CheckNamespacesOptedOut, judgeNamespacesOptedOut},
		{CheckNamespaceNames, judgeNamespaceNames},
		{CheckEgressPolicies, judgeEgressPolicies},
		{CheckCustomZones, judgeCustomZones},
		{CheckUnpatchedPods, judgeUnpatchedPods},
	} {
		report.Checks = append(report.Checks, c.judge(f, inForce).result(c.name))
	}
	return report
}

// judgement is a check that is being made. It starts as a pass; each finding
// can only make it worse.
type judgement struct {
	status Status
	found  string
	items  []string
	do     []string
}

// passed begins with what is found where nothing is wrong.
func passed(format string, args ...any) *judgement {
	return &judgement{status: Pass, found: fmt.Sprintf(format, args...)}
}

// unknown is a check that cannot be made.
func unknown(why error) *judgement { return &judgement{status: Unknown, found: why.Error()} }

// add adds a finding. What is found first of the worst status is what the
// report's line says, the rest follows it as items.
func (j *judgement) add(status Status, do, format string, args ...any) {
	found := fmt.Sprintf(format, args...)
	switch {
	case found == j.found || slices.Contains(j.items, found): // of two entries
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

func (j *judgement) warn(do, format string, args ...any) { j.add(Warn, do, format, args...) }
func (j *judgement) fail(do, format string, args ...any) { j.add(Fail, do, format, args...) }

// lacks says that a part of the check could not be made.
func (j *judgement) lacks(why error) { j.add(Unknown, "", "%v", why) }

func (j *judgement) result(check Check) Result {
	r := Result{Check: check, Status: j.status, Found: oneLine(j.found)}
	for _, item := range j.items {
		r.Items = append(r.Items, oneLine(item))
	}
	r.Do = oneLine(joinSentences(j.do))
	return r
}

func rank(s Status) int { return slices.Index(Statuses(), s) }
