package mutate

import (
	"encoding/json"
	"slices"

	"github.com/shorthop/shorthop/pkg/policy"
)

// recordVersion is the version of the records that are written. Records of the
// first edition name none. Fields are added without a new version where an
// edition that does not know them reads the others as they are meant: it would
// believe nothing of a version that it does not know, and leave dnsPolicy None
// behind for ever.
const recordVersion = 1

// Record is the value of the annotation policy.AnnotationInjected: what was
// done to the pod, by which rule, and what is needed to undo it.
type Record struct {
	// Version is recordVersion, or 0 for a record of the first edition.
	Version int `json:"v,omitempty"`
	// Rule and Policy say who did all features, but for one that names its own.
	// Rule is the rule's name, or policy.DefaultRule.
	Rule string `json:"rule"`
	// Policy is the short hash of the policy that decided.
	Policy string `json:"policy"`
	// ServiceHost is the injected host, HostFromNodeIP, or empty.
	ServiceHost string `json:"serviceHost,omitempty"`
	// DNS is the mode in which DNS was patched, or empty.
	DNS policy.DNSMode `json:"dns,omitempty"`
	// ResOptions is the injected RES_OPTIONS, or empty.
	ResOptions string `json:"resOptions,omitempty"`
	// Advice is policy.ReasonAdvised or policy.ReasonAdvisedFallthrough where DNS or
	// RES_OPTIONS has a number of advice in it.
	Advice policy.Reason `json:"advice,omitempty"`
	// ServiceHostBy, DNSBy and ResOptionsBy are there for a feature that an earlier review
	// did under another rule or policy, and that a later one left as it was.
	ServiceHostBy *Provenance `json:"serviceHostBy,omitempty"`
	DNSBy         *Provenance `json:"dnsBy,omitempty"`
	ResOptionsBy  *Provenance `json:"resOptionsBy,omitempty"`
	Added         Added       `json:"added"`
}

// Provenance says who did something to a pod, as Record does.
type Provenance struct {
	Rule   string `json:"rule"`
	Policy string `json:"policy"`
}

// HostFromNodeIP is the record's ServiceHost where containers take the node's
// address through the downward API. It is not a valid host.
const HostFromNodeIP = string(policy.HostFromNodeIP)

// Added lists what a patch added. Counts are of entries at the front of the
// pod's lists, where we put ours; options are found by name, variables by name
// and value.
type Added struct {
	// Containers that got KUBERNETES_SERVICE_HOST, in the pod's order.
	Containers []string `json:"containers,omitempty"`
	// Port is the injected KUBERNETES_SERVICE_PORT.
	Port string `json:"port,omitempty"`
	// PortHTTPS is the injected KUBERNETES_SERVICE_PORT_HTTPS, which the first
	// edition left alone.
	PortHTTPS string `json:"portHTTPS,omitempty"`
	// PairPort is what both ports became in PairContainers, where the policy names
	// none: containers with variables by envFrom.
	PairPort       string   `json:"pairPort,omitempty"`
	PairContainers []string `json:"pairContainers,omitempty"`
	// ResOptionsContainers got RES_OPTIONS.
	ResOptionsContainers []string `json:"resOptionsContainers,omitempty"`
	// Options are the names of the dnsConfig options that were added.
	Options     []string `json:"options,omitempty"`
	Nameservers int      `json:"nameservers,omitempty"`
	Searches    int      `json:"searches,omitempty"`
	// ExtraSearches are those that were appended in mode Options, none of which
	// the user had named.
	ExtraSearches []string `json:"extraSearches,omitempty"`
	// UserNameservers and UserSearches are the counted entries that the user
	// had named too, so that they stay when ours are taken out.
	UserNameservers []Moved `json:"userNameservers,omitempty"`
	UserSearches    []Moved `json:"userSearches,omitempty"`
	// DNSPolicy is the dnsPolicy before it became None; nil where it was left
	// alone, "" where the pod named none.
	DNSPolicy *string `json:"dnsPolicy,omitempty"`
	// DNSConfig is true where the pod had no dnsConfig.
	DNSConfig bool `json:"dnsConfig,omitempty"`

	// The checksums are of a feature's claims above, and DNSSum also of the
	// values in dnsConfig that they point at. They tell our record from one
	// that was damaged, edited or copied to another pod, so that a user's own
	// value is never taken for ours. They are no signature: whoever can create
	// the pod can forge them, and harms only that pod.
	ServiceHostSum string `json:"serviceHostSum,omitempty"`
	DNSSum         string `json:"dnsSum,omitempty"`
	ResOptionsSum  string `json:"resOptionsSum,omitempty"`
	// Sum is the one checksum of both features in a record of the first edition.
	Sum string `json:"sum,omitempty"`
}

// Bounds of what a record can claim: no more than the API allows in a pod, and
// more names than there are options. They keep a forged record from being
// costly.
const (
	maxNameservers = 3
	maxSearches    = 32
	maxOptions     = 32
)

// Reading is a pod's record as far as it can be believed.
//
//	the annotation                          the reading
//	is missing, is no JSON object, or is    not Found, claims nothing
//	  of the first edition and its sum does
//	  not fit
//	has a version that is not known here    the same, and UnknownVersion has it
//	claims a feature that the pod is not    Found; the feature is lost: it is not in the
//	  described by                          record, and all of it counts as the user's
//	claims a feature as the pod has it      Found; the record has the feature
//
// A feature describes the pod where
//
//	service host   its sum fits; at least one container has one of the variables, by name and value; the
//	               others, and those whose name another container has, are left out of the record
//	RES_OPTIONS    the same
//	DNS            its sum fits, which covers the values in dnsConfig; a pod that is said to have been made
//	               dnsPolicy None has it still. Of a pod that has None and no nameserver any more, which
//	               the API server would refuse, None is ours, and nothing else
type Reading struct {
	Record
	Found bool
	// UnknownVersion is that of a record of which nothing is known here; 0 for any
	// other.
	UnknownVersion int
	// LostServiceHost, LostDNS and LostResOptions are features that the record
	// claims and that do not describe the pod.
	LostServiceHost, LostDNS, LostResOptions bool
}

// ReadRecord reads the pod's record.
func ReadRecord(pod *policy.Pod) Reading {
	text, ok := pod.Metadata.Annotations[policy.AnnotationInjected]
	if !ok {
		return Reading{}
	}
	var r Reading
	if json.Unmarshal([]byte(text), &r.Record) != nil {
		return Reading{}
	}
	if r.Version == 0 { // the first edition had none of these, and its sum covers none
		r.ServiceHostBy, r.DNSBy = nil, nil
		r.Added.PortHTTPS, r.Added.UserNameservers, r.Added.UserSearches = "", nil, nil
		r.Added.PairPort, r.Added.PairContainers, r.Added.ExtraSearches = "", nil, nil
		r.keepResOptions(&Record{})
	}
	inRange := r.Added.pointsInto(pod.Spec.DNSConfig)
	switch r.Version {
	case recordVersion:
	case 0:
		if !inRange || r.Added.Sum != r.firstEditionSum(pod.Spec.DNSConfig) {
			return Reading{}
		}
	default:
		return Reading{UnknownVersion: r.Version}
	}
	r.Found = true
	if r.ServiceHost != "" && !r.describesServiceHost(pod) {
		r.LostServiceHost = true
		r.keepServiceHost(&Record{})
	}
	if r.ResOptions != "" && !r.describesResOptions(pod) {
		r.LostResOptions = true
		r.keepResOptions(&Record{})
	}
	if r.DNS != "" && (!inRange || !r.describesDNS(pod)) {
		lost := Record{}
		if r.leftNone(pod) {
			lost.DNS, lost.Added.DNSPolicy = r.DNS, r.Added.DNSPolicy
		}
		r.keepDNS(&lost)
		r.LostDNS = r.DNS == ""
	}
	return r
}

// describesServiceHost leaves out the containers that have nothing of ours. The
// sum of the first edition has been compared.
func (r *Record) describesServiceHost(pod *policy.Pod) bool {
	if r.Version != 0 && r.Added.ServiceHostSum != r.serviceHostSum() {
		return false
	}
	r.Added.Containers = findContainers(pod, r.Added.Containers, func(c *policy.Container) bool {
		return len(ours(c.Env, r.variables(c.Name))) > 0
	})
	return len(r.Added.Containers) > 0
}

// describesResOptions does the same.
func (r *Record) describesResOptions(pod *policy.Pod) bool {
	if r.Added.ResOptionsSum != r.resOptionsSum() {
		return false
	}
	variable := resOptionsVariable(r.ResOptions)
	r.Added.ResOptionsContainers = findContainers(pod, r.Added.ResOptionsContainers, func(c *policy.Container) bool {
		return slices.Contains(c.Env, variable)
	})
	return len(r.Added.ResOptionsContainers) > 0
}

// describesDNS is for a record that points into the pod's dnsConfig.
func (r *Record) describesDNS(pod *policy.Pod) bool {
	return (r.Version == 0 || r.Added.DNSSum == r.dnsSum(pod.Spec.DNSConfig)) && r.isPolicyOf(pod)
}

// pointsInto reports whether everything that is counted or named is in the
// pod's dnsConfig, which may be nil.
func (a *Added) pointsInto(config *policy.DNSConfig) bool {
	if config == nil {
		config = &policy.DNSConfig{}
	}
	if len(a.Options) > maxOptions {
		return false
	}
	for _, name := range a.Options {
		if optionIndex(config.Options, name) < 0 {
			return false
		}
	}
	if len(a.ExtraSearches) > maxSearches {
		return false
	}
	for _, search := range a.ExtraSearches {
		if !slices.Contains(config.Searches, search) {
			return false
		}
	}
	// movedWithin refuses negative counts.
	return a.Nameservers <= min(len(config.Nameservers), maxNameservers) && a.Searches <= min(len(config.Searches), maxSearches) &&
		movedWithin(a.UserNameservers, a.Nameservers, len(config.Nameservers)) &&
		movedWithin(a.UserSearches, a.Searches, len(config.Searches))
}

// isPolicyOf reports whether the recorded dnsPolicy can have been the pod's
// before it became None, and the pod's is None.
func (r *Record) isPolicyOf(pod *policy.Pod) bool {
	before := r.Added.DNSPolicy
	switch r.DNS {
	case policy.DNSModeOptions:
		return before == nil
	case policy.DNSModeNodeLocal:
		return len(r.Added.ExtraSearches) == 0 && before != nil && pod.Spec.DNSPolicy == dnsNone &&
			(*before == "" || *before == "ClusterFirst" || *before == "ClusterFirstWithHostNet")
	}
	return false
}

// leftNone reports whether somebody has taken the nameservers from a pod that
// was made dnsPolicy None. The API server refuses None without one, so it is
// nobody's choice but what is left of ours.
func (r *Record) leftNone(pod *policy.Pod) bool {
	return r.isPolicyOf(pod) && r.DNS == policy.DNSModeNodeLocal &&
		(pod.Spec.DNSConfig == nil || len(pod.Spec.DNSConfig.Nameservers) == 0)
}

// findContainers returns those recorded containers that have something of ours,
// and a name of their own.
func findContainers(pod *policy.Pod, recorded []string, hasOurs func(*policy.Container) bool) []string {
	names := map[string]bool{}
	for _, name := range recorded {
		names[name] = true
	}
	for name := range ambiguous(pod) {
		delete(names, name)
	}
	var found []string
	for _, list := range [][]policy.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if names[list[i].Name] && hasOurs(&list[i]) {
				found = append(found, list[i].Name)
			}
		}
	}
	return found
}

// variables are what a recorded container got.
func (r *Record) variables(container string) []policy.EnvVar {
	switch {
	case r.ServiceHost == "":
		return nil
	case r.Added.PairPort != "" && slices.Contains(r.Added.PairContainers, container):
		return variablesFor(r.ServiceHost, r.Added.PairPort, r.Added.PairPort)
	}
	return variablesFor(r.ServiceHost, r.Added.Port, r.Added.PortHTTPS)
}

// By says who did a feature that the record has.
func (r *Record) By(f policy.Feature) Provenance {
	switch {
	case f == policy.FeatureServiceHost && r.ServiceHostBy != nil:
		return *r.ServiceHostBy
	case f == policy.FeatureDNS && r.DNSBy != nil:
		return *r.DNSBy
	case f == policy.FeatureFallthrough && r.ResOptionsBy != nil:
		return *r.ResOptionsBy
	}
	return Provenance{r.Rule, r.Policy}
}

// keepServiceHost takes over what an earlier record says of the service host,
// but for who did it.
func (r *Record) keepServiceHost(earlier *Record) {
	r.ServiceHost = earlier.ServiceHost
	a, e := &r.Added, &earlier.Added
	a.Containers, a.Port, a.PortHTTPS = e.Containers, e.Port, e.PortHTTPS
	a.PairPort, a.PairContainers = e.PairPort, e.PairContainers
}

// keepResOptions takes over what an earlier record says of RES_OPTIONS, but for
// who did it.
func (r *Record) keepResOptions(earlier *Record) {
	r.ResOptions, r.Added.ResOptionsContainers = earlier.ResOptions, earlier.Added.ResOptionsContainers
}

// keepDNS takes over what an earlier record says of DNS, but for who did it.
func (r *Record) keepDNS(earlier *Record) {
	r.DNS, r.Advice = earlier.DNS, earlier.Advice
	a, e := &r.Added, &earlier.Added
	a.Options, a.Nameservers, a.Searches, a.ExtraSearches = e.Options, e.Nameservers, e.Searches, e.ExtraSearches
	a.UserNameservers, a.UserSearches = e.UserNameservers, e.UserSearches
	a.DNSPolicy, a.DNSConfig = e.DNSPolicy, e.DNSConfig
}

// sign names who did what the record has: the review that writes it, and for a
// feature that is kept the one that did it. by is nil where the review that
// writes the record did nothing of it.
func (r *Record) sign(by *Provenance, earlier *Record, keptServiceHost, keptDNS, keptResOptions bool) {
	kept := func(f policy.Feature) *Provenance {
		provenance := earlier.By(f)
		if by == nil {
			by = &provenance
		}
		if provenance == *by {
			return nil
		}
		return &provenance
	}
	if keptServiceHost {
		r.ServiceHostBy = kept(policy.FeatureServiceHost)
	}
	if keptDNS {
		r.DNSBy = kept(policy.FeatureDNS)
	}
	if keptResOptions {
		r.ResOptionsBy = kept(policy.FeatureFallthrough)
	}
	if by != nil {
		r.Rule, r.Policy = by.Rule, by.Policy
	}
}

// seal completes the record of a pod that ends up with dnsConfig config, which
// may be nil.
func (r *Record) seal(config *policy.DNSConfig) {
	r.Version = recordVersion
	if r.ServiceHost != "" {
		r.Added.ServiceHostSum = r.serviceHostSum()
	}
	if r.DNS != "" {
		r.Added.DNSSum = r.dnsSum(config)
	}
	if r.ResOptions != "" {
		r.Added.ResOptionsSum = r.resOptionsSum()
	}
}

func optionIndex(options []policy.DNSOption, name string) int {
	return slices.IndexFunc(options, func(o policy.DNSOption) bool { return o.Name == name })
}

// text is the annotation's value.
func (r *Record) text() string {
	// Strings, integers and booleans: encoding cannot fail. Of a copy, as what is
	// encoded is on the heap, and r is a part of all that a review works with.
	encoded, _ := json.Marshal(*r)
	return string(encoded)
}
