package mutate

import (
	"encoding/json"
	"hash/fnv"
	"slices"
	"strconv"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Record is the value of the annotation policy.AnnotationInjected: what was
// done to the pod, by which rule, and what is needed to undo it.
type Record struct {
	// Rule is the rule's name, or policy.DefaultRule.
	Rule string `json:"rule"`
	// Policy is the short hash of the policy that decided.
	Policy string `json:"policy"`
	// ServiceHost is the injected host, HostFromNodeIP, or empty.
	ServiceHost string `json:"serviceHost,omitempty"`
	// DNS is the mode in which DNS was patched, or empty.
	DNS   policy.DNSMode `json:"dns,omitempty"`
	Added Added          `json:"added"`
}

// HostFromNodeIP is the record's ServiceHost where containers take the node's
// address through the downward API. It is not a valid host.
const HostFromNodeIP = string(policy.HostFromNodeIP)

// Added lists what a patch added. Counts are of entries at the front of the
// pod's lists, where we put ours; options are found by name.
type Added struct {
	// Containers that got KUBERNETES_SERVICE_HOST, in the pod's order.
	Containers []string `json:"containers,omitempty"`
	// Port is the injected KUBERNETES_SERVICE_PORT.
	Port string `json:"port,omitempty"`
	// Options are the names of the dnsConfig options that were added.
	Options     []string `json:"options,omitempty"`
	Nameservers int      `json:"nameservers,omitempty"`
	Searches    int      `json:"searches,omitempty"`
	// DNSPolicy is the dnsPolicy before it became None; nil where it was left
	// alone, "" where the pod named none.
	DNSPolicy *string `json:"dnsPolicy,omitempty"`
	// DNSConfig is true where the pod had no dnsConfig.
	DNSConfig bool `json:"dnsConfig,omitempty"`
	// Sum is a checksum of everything above and of the values it points at. It
	// tells our record from one that was damaged, edited or copied to another
	// pod, so that a user's own value is never taken for ours. It is not a
	// signature: whoever can create the pod can forge it, and harms only
	// that pod.
	Sum string `json:"sum"`
}

// annotationLimit is the API server's limit for the keys and values of all
// annotations of an object together (TotalAnnotationSizeLimitB).
const annotationLimit = 256 << 10

// ReadRecord returns the pod's record if it is ours and describes the pod as
// it is.
func ReadRecord(pod *policy.Pod) (Record, bool) {
	text, ok := pod.Metadata.Annotations[policy.AnnotationInjected]
	if !ok {
		return Record{}, false
	}
	var r Record
	if json.Unmarshal([]byte(text), &r) != nil || !r.describes(pod) {
		return Record{}, false
	}
	return r, true
}

// describes reports whether everything the record claims is on the pod, with
// the values it had when the record was written.
func (r *Record) describes(pod *policy.Pod) bool {
	a := &r.Added
	config := pod.Spec.DNSConfig
	if config == nil {
		config = &policy.DNSConfig{}
	}
	if a.Nameservers < 0 || a.Nameservers > len(config.Nameservers) ||
		a.Searches < 0 || a.Searches > len(config.Searches) {
		return false
	}
	for _, name := range a.Options {
		if optionIndex(config.Options, name) < 0 {
			return false
		}
	}
	return a.Sum == r.sum(config)
}

// seal completes the record of a pod that ends up with dnsConfig config, which
// may be nil.
func (r *Record) seal(config *policy.DNSConfig) {
	if config == nil {
		config = &policy.DNSConfig{}
	}
	r.Added.Sum = r.sum(config)
}

// keepServiceHost takes over what an earlier record says of the service host.
func (r *Record) keepServiceHost(earlier *Record) {
	r.ServiceHost = earlier.ServiceHost
	r.Added.Containers, r.Added.Port = earlier.Added.Containers, earlier.Added.Port
}

// keepDNS takes over what an earlier record says of DNS.
func (r *Record) keepDNS(earlier *Record) {
	r.DNS = earlier.DNS
	a, e := &r.Added, &earlier.Added
	a.Options, a.Nameservers, a.Searches = e.Options, e.Nameservers, e.Searches
	a.DNSPolicy, a.DNSConfig = e.DNSPolicy, e.DNSConfig
}

// sum hashes the record's claims and the dnsConfig values they point at.
// Values of containers are compared when they are taken out: another webhook
// may have changed one container and left the others.
func (r *Record) sum(config *policy.DNSConfig) string {
	a := &r.Added
	h := fnv.New64a()
	write := func(parts ...string) {
		for _, part := range parts {
			_, _ = h.Write([]byte(strconv.Itoa(len(part)))) // never fails
			_, _ = h.Write([]byte{':'})
			_, _ = h.Write([]byte(part))
		}
	}
	write(r.ServiceHost, a.Port, string(r.DNS), strconv.FormatBool(a.DNSConfig))
	write(a.Containers...)
	if a.DNSPolicy != nil {
		write("dnsPolicy", *a.DNSPolicy)
	}
	write("nameservers")
	write(config.Nameservers[:a.Nameservers]...)
	write("searches")
	write(config.Searches[:a.Searches]...)
	write("options")
	for _, name := range a.Options {
		i := optionIndex(config.Options, name)
		write(name)
		if value := config.Options[i].Value; value != nil {
			write(*value)
		}
	}
	return strconv.FormatUint(h.Sum64(), 16)
}

func optionIndex(options []policy.DNSOption, name string) int {
	return slices.IndexFunc(options, func(o policy.DNSOption) bool { return o.Name == name })
}

// text is the annotation's value.
func (r *Record) text() string {
	// Strings, integers and booleans: encoding cannot fail.
	encoded, _ := json.Marshal(r)
	return string(encoded)
}

// fits reports whether the record keeps the pod within the API server's limit
// for annotations.
func fits(annotations map[string]string, record string) bool {
	size := len(policy.AnnotationInjected) + len(record)
	for key, value := range annotations {
		if key != policy.AnnotationInjected {
			size += len(key) + len(value)
		}
	}
	return size <= annotationLimit
}
