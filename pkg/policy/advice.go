package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Advice gives the pods of a workload what query logs have shown of the names
// that they look up, where dns.advice is Apply. The first that applies:
//
//	DNS is skipped for the pod, whatever for             skip    DNS's own reason
//	dns.advice is Ignore                                 skip    not_configured
//	the pod's dnsConfig, an annotation or the rule       skip    ndots_set
//	  names ndots
//	the pod's dnsConfig names searches                   skip    own_searches
//	the workload is named by a label, and podOverrides   skip    advice_none
//	  does not allow ndots; or nothing is known of it
//	neither of its two numbers counts (below)            skip    advice_low
//	ndots counts, or the pod's images and commands       inject  advised
//	  were seen
//	only fallthrough counts, and a container gets it     inject  advised_fallthrough
//	only fallthrough counts, and no container gets it    skip    advised_fallthrough
//
// Of the two numbers, ndots goes into resolv.conf, which every resolver reads, and
// fallthrough takes the place of dns.fallthrough's. Whether a number counts:
//
//	what a name needs (needed) is above the policy's     at once, whatever the confidence,
//	                                                     images and commands
//	it is below or equal, of minConfidence               yes; ndots only for images and
//	                                                     commands that were seen
//	it is below, of less than minConfidence              no
//
// Where the rule that matches names dns.fallthrough.ndots, that stays. Neither number
// goes below spec.advice.floor. All gates and conditions of fall-through hold as they
// do for the policy's own number.

// AdviceDecision says what advice comes to.
type AdviceDecision struct {
	Outcome
	// Ndots is the resolv.conf's, and Fallthrough the number in the place of the
	// policy's, where advice gives them.
	Ndots       int32 `json:"ndots,omitzero"`
	Fallthrough int32 `json:"fallthrough,omitzero"`
}

// Advice is a document of advice that is ready to be looked up. It is immutable
// and safe for concurrent use.
type Advice struct {
	name, hash string
	workloads  map[adviceKey]advised
	status     AdviceStatus
}

type adviceKey struct{ namespace, kind, name string }

func (k adviceKey) String() string { return k.namespace + "/" + k.kind + "/" + k.name }

func (w *AdvisedWorkload) key() adviceKey { return adviceKey{w.Namespace, w.Kind, w.Name} }

// advised is an AdvisedWorkload as far as it decides. 0 stands for no value.
type advised struct {
	ndots, through        int8
	needed, neededThrough int8
	high                  bool
	references            []reference
}

type reference struct {
	image   string
	command Digest
}

// CompileAdvice prepares documents that ParseAdvice has accepted: one, or all
// parts of one. The error joins everything that is wrong.
func CompileAdvice(parts ...*DNSAdvice) (*Advice, error) {
	if err := checkParts(parts); err != nil {
		return nil, err
	}
	n := 0
	for _, part := range parts {
		n += len(part.Spec.Workloads)
	}
	a := &Advice{workloads: make(map[adviceKey]advised, n)}
	sum := sha256.New()
	texts := map[string]string{}
	same := func(text string) string { // images and kinds are few
		if known, ok := texts[text]; ok {
			return known
		}
		text = strings.Clone(text)
		texts[text] = text
		return text
	}
	f := &faults{}
	slices.SortFunc(parts, func(x, y *DNSAdvice) int { return int(x.Spec.Part.Number - y.Spec.Part.Number) })
	for _, part := range parts {
		if part.Spec.Part.Number <= 1 {
			a.name, a.status = part.Metadata.Name, part.Status
		}
		sum.Write(part.sum[:])
		for i := range part.Spec.Workloads {
			w := &part.Spec.Workloads[i]
			key := adviceKey{same(w.Namespace), same(w.Kind), strings.Clone(w.Name)}
			if _, twice := a.workloads[key]; twice {
				f.add("", fmt.Errorf("%s is in more than one part", key))
			}
			a.workloads[key] = w.compile(same)
		}
	}
	a.hash = hex.EncodeToString(sum.Sum(nil))[:hashLength]
	return a, f.join()
}

// checkParts wants one document, or all parts of one.
func checkParts(parts []*DNSAdvice) error {
	if len(parts) == 0 {
		return fmt.Errorf("no document of kind %s", KindAdvice)
	}
	f := &faults{}
	first := parts[0].Spec.Part
	seen := map[int32]bool{}
	for _, p := range parts {
		part := p.Spec.Part
		switch {
		case len(parts) > 1 && part == (AdvicePart{}):
			f.add("", fmt.Errorf("%d documents, and one of them is no part: there is one document, or its parts", len(parts)))
		case part.Document != first.Document || part.Of != first.Of:
			f.add("", fmt.Errorf("parts of different documents: %d of %d of %q, and %d of %d of %q", first.Number, first.Of, first.Document, part.Number, part.Of, part.Document))
		case seen[part.Number]:
			f.add("", fmt.Errorf("part %d is there twice", part.Number))
		}
		seen[part.Number] = true
	}
	for n := int32(1); n <= first.Of && len(f.errs) == 0; n++ {
		if !seen[n] {
			f.add("", fmt.Errorf("part %d of %d is missing", n, first.Of))
		}
	}
	return f.join()
}

func (w *AdvisedWorkload) compile(same func(string) string) advised {
	compiled := advised{
		ndots: int8(*orEmpty(w.Ndots)), through: int8(*orEmpty(w.Fallthrough)),
		needed: int8(highest(w.Needed)), neededThrough: int8(highest(w.FallthroughNeeded)),
		high: w.Confidence == ConfidenceHigh,
	}
	if len(w.References) > 0 {
		compiled.references = make([]reference, len(w.References))
	}
	for i := range w.References {
		command, _ := strconv.ParseUint(w.References[i].Command, 16, 64) // empty: none
		compiled.references[i] = reference{same(w.References[i].Image), Digest(command)}
	}
	return compiled
}

// TextHash is a short hash of a text, by which parts of a document are known.
func TextHash(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])[:hashLength]
}

// Name is the document's metadata.name.
func (a *Advice) Name() string { return a.name }

// Hash is a short hash of the document's text.
func (a *Advice) Hash() string { return a.hash }

// Len is the number of workloads.
func (a *Advice) Len() int { return len(a.workloads) }

// Status is what the document says of itself. The caller must not change it.
func (a *Advice) Status() *AdviceStatus { return &a.status }

// of returns what is known of a workload. a may be nil.
func (a *Advice) of(namespace string, w Workload) (known advised, ok bool) {
	if a == nil {
		return advised{}, false
	}
	known, ok = a.workloads[adviceKey{namespace, w.Kind, w.Name}]
	return known, ok
}

// saw reports whether all containers of a pod have images and commands that were
// seen.
func (a *advised) saw(pod *Pod, match AdviceMatch) bool {
	if len(pod.Spec.Containers) == 0 {
		return false
	}
	for _, list := range [...][]Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if !a.sawContainer(&list[i], match) {
				return false
			}
		}
	}
	return true
}

func (a *advised) sawContainer(c *Container, match AdviceMatch) bool {
	command := commandLine(c.Command, c.Args)
	for i := range a.references {
		if r := &a.references[i]; r.command == command &&
			(r.image == c.Image || match == AdviceMatchRepository && Repository(r.image) == Repository(c.Image)) {
			return true
		}
	}
	return false
}

// Repository is an image without its tag and digest.
func Repository(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if colon := strings.LastIndexByte(image, ':'); colon > strings.LastIndexByte(image, '/') {
		return image[:colon]
	}
	return image
}

// adviceSettings is what applies to a pod once its rule is known.
type adviceSettings struct {
	apply bool
	high  bool // minConfidence
	// throughNamed: the rule names the number of fallthrough, which then stays.
	throughNamed bool
}

// advise answers what advice comes to for a pod whose DNS is patched, and puts it
// into dns. Whether fallthrough is used is known later: see afterFallthrough.
func (c *Compiled) advise(r *Request, dns *dnsSettings) AdviceDecision {
	skip := func(reason Reason) AdviceDecision { return AdviceDecision{Outcome: Outcome{ActionSkip, reason}} }
	switch {
	case !dns.advice.apply:
		return skip(ReasonNotConfigured)
	case dns.ndotsNamed || r.Pod.HasOption("ndots"):
		return skip(ReasonNdotsSet)
	case r.Pod.hasSearches():
		return skip(ReasonOwnSearches)
	}
	if _, labelled := r.Pod.labelled(); labelled && !c.overrides.ndots {
		return skip(ReasonAdviceNone)
	}
	known, ok := r.Advice.of(r.Namespace, r.Pod.Workload())
	if !ok {
		return skip(ReasonAdviceNone)
	}
	trusted := known.high || !dns.advice.high
	saw := known.saw(r.Pod, c.advice.match)
	ndots, usesNdots := c.advised(known.ndots, known.needed, dns.ndots(), trusted && saw)
	through, usesThrough := c.advised(known.through, known.neededThrough, dns.through.ndots, trusted)
	usesThrough = usesThrough && !dns.advice.throughNamed
	d := AdviceDecision{Outcome: Outcome{ActionInject, ReasonAdvised}}
	if usesNdots {
		d.Ndots = ndots
		if ndots != dns.ndots() {
			dns.options = dns.optionsWith(ndots)
		}
	}
	if usesThrough {
		d.Fallthrough, dns.through.ndots = through, through
	}
	switch {
	case usesNdots:
	case usesThrough && !saw:
		d.Reason = ReasonAdvisedFallthrough
	case usesThrough:
	default:
		return skip(ReasonAdviceLow)
	}
	return d
}

// advised returns one number of advice, and whether it counts in the place of the
// policy's. A trusted value counts where advice has one; it may be above what is needed,
// since the cheapest value is not always the lowest. Without one, what is needed counts
// where the policy's number is too low for it.
func (c *Compiled) advised(value, needed int8, policys int32, trusted bool) (n int32, counts bool) {
	n = max(int32(needed), c.advice.floor)
	if trusted && value > 0 {
		return max(n, int32(value)), true
	}
	return n, int32(needed) > policys
}

// afterFallthrough turns an injection into a skip where advice was to be used for
// fallthrough only, and no container gets that.
func (d *AdviceDecision) afterFallthrough(through *FallthroughDecision) {
	if d.Reason == ReasonAdvisedFallthrough && !through.Injects() {
		d.Action, d.Fallthrough = ActionSkip, 0
	}
}
