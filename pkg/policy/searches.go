package policy

import "slices"

// fitSearches returns the extra searches that follow the pod's own in mode
// Options, none of which the pod has itself: as many as there is room for in
// dnsConfig, by the API's limits, and in resolv.conf, where by the same limits
// kubelet puts the three of the cluster in front and writes each search once.
// What it takes over from the node's resolv.conf is not known here: where that
// is too much, it leaves out the last, which are these.
func (c *Compiled) fitSearches(r *Request, dns *dnsSettings) []string {
	if len(dns.searches) == 0 {
		return nil
	}
	domain := c.cluster.DomainWith(r.Discovered)
	var user []string
	if config := r.Pod.Spec.DNSConfig; config != nil {
		user = config.Searches
	}
	written := room{maxSearches, maxSearchesChars}
	resolved := room{maxSearches - 3, maxSearchesChars - (3*len(domain) + len(r.Namespace) + len(".svc.") + len("svc.") + 3)}
	for _, search := range user {
		written.take(search)
		if clusterSearch(search, r.Namespace, domain) < 0 {
			resolved.take(search)
		}
	}
	return extraSearches(dns.searches, user, r.Namespace, domain, func(search string) bool {
		return written.take(search) && resolved.take(search)
	})
}

// extraSearches returns those of the searches that neither the user names, whose
// own keep their place and order, nor the cluster has, up to the first that does
// not fit. domain may be unknown.
func extraSearches(searches, user []string, namespace, domain string, fits func(search string) bool) []string {
	known := func(search string) bool {
		return slices.Contains(user, search) || domain != "" && clusterSearch(search, namespace, domain) >= 0
	}
	if !slices.ContainsFunc(searches, known) { // as it usually is
		n := 0
		for n < len(searches) && fits(searches[n]) {
			n++
		}
		return searches[:n]
	}
	var extra []string
	for _, search := range searches {
		if known(search) {
			continue
		}
		if !fits(search) {
			break
		}
		extra = append(extra, search)
	}
	return extra
}

// room is what is left of the limits for searches.
type room struct{ searches, chars int }

// take reports whether there was room for one more, with a space behind it.
func (r *room) take(search string) bool {
	r.searches, r.chars = r.searches-1, r.chars-len(search)-1
	return r.searches >= 0 && r.chars >= -1 // behind the last there is none
}
