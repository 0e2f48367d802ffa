package advisor

// Reason says why there is no recommendation, or none to apply. The codes are API.
type Reason string

const (
	// ReasonHostNetwork means: the address is a node's, and belongs to all its pods of
	// the host network.
	ReasonHostNetwork Reason = "host_network"
	// ReasonWindows means: Windows has no ndots.
	ReasonWindows Reason = "windows"
	// ReasonOwnDNS means: dnsPolicy Default or None, which is never touched.
	ReasonOwnDNS Reason = "own_dns"
	// ReasonUnknownAddress means: no pod had the address at that time.
	ReasonUnknownAddress Reason = "unknown_address"
	// ReasonUnknownPod means: the record names a pod that is not in the list.
	ReasonUnknownPod Reason = "unknown_pod"
	// ReasonReusedAddress means: several pods had the address, and the log does not
	// tell when.
	ReasonReusedAddress Reason = "reused_address"
	// ReasonAutopath means: the server answers for the whole search list, so the log
	// does not tell which names were looked up.
	ReasonAutopath Reason = "autopath"
	// ReasonNoSafeNdots means: no value is known to keep the answers of all names and
	// to let those of Services be found.
	ReasonNoSafeNdots Reason = "no_safe_ndots"

	// ReasonUsersNdots means: the pods set ndots themselves.
	ReasonUsersNdots Reason = "users_ndots"
	// ReasonExcludedNamespace means: the policy never touches the namespace.
	ReasonExcludedNamespace Reason = "excluded_namespace"
	// ReasonDNSCapture means: a mesh answers the names of Services itself, so that the
	// log has names from outside only.
	ReasonDNSCapture Reason = "dns_capture"
	// ReasonLowConfidence means: the confidence is low, or below the least that is
	// wanted.
	ReasonLowConfidence Reason = "low_confidence"
	// ReasonNothingSaved means: what is in force is the best already.
	ReasonNothingSaved Reason = "nothing_saved"
)

// Sentence says the same to a human.
func (r Reason) Sentence() string {
	switch r {
	case ReasonHostNetwork:
		return "The client is a node: all pods of its host network, and whatever asks on their behalf, have the same address."
	case ReasonWindows:
		return "Windows does not know ndots."
	case ReasonOwnDNS:
		return "The pod has dnsPolicy Default or None, which Shorthop leaves alone."
	case ReasonUnknownAddress:
		return "No pod in the list had this address at the time of the query."
	case ReasonUnknownPod:
		return "The record names a pod that is not in the list: list the pods while they are there, and give every list with --pods."
	case ReasonReusedAddress:
		return "Several pods had this address, and the log does not say which one asked."
	case ReasonAutopath:
		return "External names are answered at the first search domain, as CoreDNS's autopath does: the names that applications look up cannot be seen."
	case ReasonNoSafeNdots:
		return "No ndots is known to keep the answers of all names: pods have different settings, or names that look like those of Services have no answer under the ndots in force, and a higher one would ask for names that the log does not have."
	case ReasonUsersNdots:
		return "The pods set ndots themselves, which Shorthop never changes."
	case ReasonExcludedNamespace:
		return "The policy excludes the namespace."
	case ReasonDNSCapture:
		return "A mesh captures DNS and answers the names of Services itself: the log has names from outside only, and what else is looked up cannot be seen."
	case ReasonLowConfidence:
		return "The confidence is low, or below what is wanted: it is not applied."
	case ReasonNothingSaved:
		return "No value saves queries."
	}
	return ""
}
