package policy

import "slices"

// Besides are the reasons that stand behind the one of a Decision, for each
// feature in the order of Decide's questions: those that would keep it from the
// pod, or make it less, if the reason before them did not apply.
type Besides struct {
	ServiceHost, DNS, Fallthrough []Reason
}

// Besides finds the reasons behind those of d, which is what Decide says of the
// request. It asks Decide again, without the reasons that are known by then, so
// that there is no second list of conditions. Nothing is found behind what leaves
// the rest of the questions without an answer (endsQuestions).
func (c *Compiled) Besides(r *Request, d *Decision) Besides {
	return Besides{
		ServiceHost: c.besides(r, d.ServiceHost.Reason, func(d *Decision) Reason { return d.ServiceHost.Reason }),
		DNS:         c.besides(r, d.DNS.Reason, func(d *Decision) Reason { return d.DNS.Reason }),
		Fallthrough: c.besides(r, d.Fallthrough.Reason, func(d *Decision) Reason { return d.Fallthrough.Reason }),
	}
}

func (c *Compiled) besides(request *Request, first Reason, reasonOf func(*Decision) Reason) (behind []Reason) {
	r := *request
	r.waived = nil
	for reason := first; !reason.enables() && !reason.endsQuestions(); {
		r.waived = append(r.waived, reason)
		d := c.Decide(&r)
		if reason = reasonOf(&d); reason.enables() {
			break
		}
		behind = append(behind, reason)
		if !r.heeds(reason) { // a condition does not ask heeds: tests find it twice
			break
		}
	}
	return behind
}

// heeds reports whether a reason counts for the request. All do but in Besides.
func (r *Request) heeds(reason Reason) bool { return !slices.Contains(r.waived, reason) }

// enables reports whether a feature is on, and nothing makes it less.
func (r Reason) enables() bool {
	return r == ReasonEnabledByPolicy || r == ReasonEnabledByRule || r == ReasonEnabledByPodLabel || r == ReasonEnabledByNamespaceLabel
}

// endsQuestions reports whether, behind a reason, there is nothing to ask about:
// the request brings nothing, it is not known what the pod would get, or not
// what its namespace says.
func (r Reason) endsQuestions() bool {
	return r == ReasonOperation || r == ReasonNoNewContainer || r == ReasonEphemeralContainer || r == ReasonNotConfigured || r == ReasonNamespaceUnknown
}
