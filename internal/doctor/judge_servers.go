package doctor

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/shorthop/shorthop/pkg/policy"
)

// judgeServingCertificate verifies what every replica serves as the API server
// does: with the caBundle of each entry, and the name it calls.
func judgeServingCertificate(f *Facts, _ *knownPolicy) *judgement {
	config, err := f.configuration()
	if err != nil {
		return unknown(err)
	}
	type server struct {
		name  string
		chain fact[[]*x509.Certificate]
	}
	var servers []server
	outside := calledByURL(config)
	switch {
	case outside != "":
		servers = append(servers, server{outside, f.outside})
	case f.replicas.err != nil:
		return unknown(f.replicas.err)
	default:
		for i := range f.replicas.value {
			if r := &f.replicas.value[i]; r.ready {
				servers = append(servers, server{r.String(), r.served})
			}
		}
	}
	if len(servers) == 0 {
		return unknown(errors.New("no replica is ready, so there is nothing to verify"))
	}
	j := passed("")
	var earliest time.Time
	for i := range config.Webhooks {
		entry := &config.Webhooks[i]
		if len(entry.ClientConfig.CABundle) == 0 {
			j.fail("find out why nobody fills in the caBundle: cert-manager's cainjector, or the server's own with --cert-source=self-managed",
				"%s: caBundle is empty: the API server cannot verify any replica", entry.Name)
			continue
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(entry.ClientConfig.CABundle) {
			j.fail("put the CA's certificate into caBundle, in PEM", "%s: caBundle holds no certificate", entry.Name)
			continue
		}
		name := ""
		if service := entry.ClientConfig.Service; service != nil {
			name = service.Name + "." + service.Namespace + ".svc"
		} else if u, err := url.Parse(valueOf(entry.ClientConfig.URL)); err == nil {
			name = u.Hostname()
		}
		for _, s := range servers {
			if s.chain.err != nil {
				j.lacks(fmt.Errorf("%s: %w", s.name, s.chain.err))
				continue
			}
			expiry, err := verify(s.chain.value, roots, name, f.now)
			if err != nil {
				j.fail("renew the certificate or the caBundle, whichever is behind; pods are created unpatched meanwhile",
					"%s: caBundle does not verify what %s serves: %v", entry.Name, s.name, err)
				continue
			}
			if late := lateRenewal(expiry, f.now); late != "" {
				j.warn("find out why it was not renewed (cert-manager's Certificate, or the server's log)", "%s serves a certificate that %s", s.name, late)
			}
			if earliest.IsZero() || expiry.NotAfter.Before(earliest) {
				earliest = expiry.NotAfter
			}
		}
	}
	if j.status == Pass {
		j.found = fmt.Sprintf("caBundle verifies %s; valid until %s", counted(len(servers), "server"), earliest.UTC().Format(time.RFC3339))
	}
	return j
}

// verify returns the certificate of the chain that expires first.
func verify(served []*x509.Certificate, roots *x509.CertPool, name string, now time.Time) (*x509.Certificate, error) {
	if len(served) == 0 {
		return nil, errors.New("no certificate was served")
	}
	intermediates := x509.NewCertPool()
	for _, c := range served[1:] {
		intermediates.AddCert(c)
	}
	chains, err := served[0].Verify(x509.VerifyOptions{
		DNSName: strings.TrimSuffix(name, "."), Roots: roots, Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return nil, err
	}
	first := func(chain []*x509.Certificate) *x509.Certificate {
		return slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
	}
	best := first(chains[0])
	for _, chain := range chains[1:] {
		if c := first(chain); c.NotAfter.After(best.NotAfter) {
			best = c
		}
	}
	return best, nil
}

// lateRenewal says how long a certificate is still valid where that is less
// than 14 days and less than a quarter of its life: those who renew do so
// when a third is left.
func lateRenewal(c *x509.Certificate, now time.Time) string {
	left, life := c.NotAfter.Sub(now), c.NotAfter.Sub(c.NotBefore)
	if left >= min(14*24*time.Hour, life/4) {
		return ""
	}
	return fmt.Sprintf("expires in %s, at %s", left.Round(time.Minute), c.NotAfter.UTC().Format(time.RFC3339))
}

var errOutside = errors.New("the webhook is called by URL: replicas outside the cluster cannot be asked, but for one whose health address --health-url names")

// judgeReplicas counts.
func judgeReplicas(f *Facts, _ *knownPolicy) *judgement {
	if config := f.webhook.value; config != nil && calledByURL(config) != "" {
		if f.outside.err != nil {
			return unknown(f.outside.err)
		}
		return passed("called by URL; %s answers, and how many replicas are behind it is not seen from here", calledByURL(config))
	}
	if f.replicas.err != nil {
		return unknown(f.replicas.err)
	}
	if i := slices.IndexFunc(f.replicas.value, func(r replica) bool { return r.outside }); i >= 0 {
		return unknown(fmt.Errorf("whether the webhook calls the server at %s is not known: %w", f.replicas.value[i].name, f.webhook.err))
	}
	var ready, nodes, behind []string
	for i := range f.replicas.value {
		r := &f.replicas.value[i]
		if !r.ready {
			behind = append(behind, r.name)
			continue
		}
		ready = append(ready, r.name)
		if !slices.Contains(nodes, r.node) {
			nodes = append(nodes, r.node)
		}
	}
	j := passed("%d ready on %s", len(ready), counted(len(nodes), "node"))
	switch {
	case len(ready) == 0:
		j.fail(fmt.Sprintf("look at the Deployment and its pods: kubectl -n %s get deployments,pods; kubectl describe shows why a pod is not ready", f.ownNamespace),
			"no replica is ready: pods are created unpatched")
	case len(ready) == 1:
		j.warn("run two replicas or more", "only %s is ready: pods are created unpatched while it is replaced", ready[0])
	case len(nodes) == 1:
		j.warn("spread the replicas over nodes", "all %d ready replicas are on node %s", len(ready), nodes[0])
	}
	if len(behind) > 0 && len(ready) > 0 {
		j.warn(fmt.Sprintf("kubectl -n %s describe pod %s", f.ownNamespace, behind[0]), "%s not ready: %s", counted(len(behind), "replica"), some(behind))
	}
	judgeNotCreated(j, f, len(ready))
	return j
}

// maxWhy bounds, in bytes, what is shown of a reason: whoever rejects a pod
// writes it.
const maxWhy = 300

// judgeNotCreated says what keeps replicas from being created. Without a single
// replica that is the fault; beside others it keeps an update or a spare back.
func judgeNotCreated(j *judgement, f *Facts, ready int) {
	if f.notCreated.err != nil && len(f.replicas.value) == 0 {
		j.lacks(f.notCreated.err)
	}
	for _, n := range f.notCreated.value {
		status, do := Warn, fmt.Sprintf("kubectl -n %s describe replicaset %s", f.ownNamespace, n.replicaSet)
		if ready == 0 {
			status = Fail
		}
		if strings.Contains(n.why, "insufficient quota to match these scopes") {
			do = "take another priorityClassName, or none: this cluster admits the system's only where a ResourceQuota names them"
		}
		if len(n.why) > maxWhy {
			n.why = strings.ToValidUTF8(n.why[:maxWhy], "") + "..."
		}
		j.add(status, do, "ReplicaSet %s cannot create pods: %s", n.replicaSet, oneLine(n.why))
	}
}

// judgePolicy compares what the replicas have loaded, with each other and with
// what they should have loaded.
func judgePolicy(f *Facts, known *knownPolicy) *judgement {
	j := passed("")
	hashes := map[string][]string{}
	var order []string
	asked := 0
	for i := range f.replicas.value {
		r := &f.replicas.value[i]
		if !r.ready {
			continue
		}
		asked++
		if r.debug.err != nil {
			j.lacks(fmt.Errorf("%s: %w", r, r.debug.err))
			continue
		}
		hash := r.debug.value.Hash
		if hashes[hash] == nil {
			order = append(order, hash)
		}
		hashes[hash] = append(hashes[hash], r.name)
	}
	const doLog = "look at shorthop_policy_last_reload_successful and the log of the replica that is behind; a replica follows its file within seconds, kubelet updates that within about a minute"
	if len(order) > 1 {
		var each []string
		for _, hash := range order {
			each = append(each, fmt.Sprintf("%s on %s", hash, some(hashes[hash])))
		}
		j.fail(doLog, "replicas have different policies: %s", strings.Join(each, ", "))
	}
	switch {
	case asked == 0 && f.replicas.err != nil:
		j.lacks(f.replicas.err)
	case asked == 0:
		if config, err := f.configuration(); err == nil && calledByURL(config) != "" {
			j.lacks(errOutside)
		} else {
			j.lacks(errors.New("no replica is ready, so none can be asked"))
		}
	}
	if len(order) > 0 && (known == nil || !known.ofReplica) {
		j.lacks(errors.New("the replicas run a version whose policy this version cannot read"))
	}
	judgeConfigMap(j, f, known, len(order) > 0)
	if f.given != nil && known != nil {
		if given := f.know("--policy", f.given); given != nil && given.compiled.Hash() != known.compiled.Hash() {
			j.warn("install the policy, or name the one that is meant", "the policy of %s has hash %s, that of --policy %s",
				known.from, known.compiled.Hash(), given.compiled.Hash())
		}
	}
	if j.status == Pass {
		j.found = fmt.Sprintf("%s, hash %s, mode %s, the same on %s", known.compiled.Name(), known.compiled.Hash(),
			known.document.Spec.Mode, counted(asked, "replica"))
		if known.document.Spec.Mode != policy.ModeEnforce {
			j.found += ": no pod is changed"
		}
	}
	return j
}

func judgeConfigMap(j *judgement, f *Facts, known *knownPolicy, loaded bool) {
	if f.configMap.err != nil {
		j.lacks(f.configMap.err)
	}
	if several := f.severalConfigMaps(); several != "" {
		j.warn("take the label "+appLabel+" off those that are not the policy, or delete them", "%s", several)
	}
	stored, err := f.stored()
	if err != nil {
		j.fail("mend the policy; `kubectl shorthop lint` lists its errors with fields", "%v", err)
		return
	}
	if stored != nil && known != nil && loaded && stored.compiled.Hash() != known.compiled.Hash() {
		j.warn("wait a minute and look again: kubelet and the server follow changes; then look at the servers' log",
			"%s holds the policy %s, the replicas have loaded %s", stored.from, stored.compiled.Hash(), known.compiled.Hash())
	}
}

// severalConfigMaps says which of several ConfigMaps is taken for the policy's, ""
// where there is one or none.
func (f *Facts) severalConfigMaps() string {
	if len(f.otherConfigMaps) == 0 {
		return ""
	}
	var others []string
	for i := range f.otherConfigMaps {
		others = append(others, f.otherConfigMaps[i].String())
	}
	return fmt.Sprintf("%s of ConfigMaps with the label %s=shorthop look like a policy: %s is used, and %s not",
		plural(len(others)+1, "key", "keys"), appLabel, f.configMap.value, strings.Join(others, " and "))
}

// judgeGates repeats what the replicas say about their health gates.
func judgeGates(f *Facts, _ *knownPolicy) *judgement {
	if f.replicas.err != nil {
		return unknown(f.replicas.err)
	}
	j := passed("")
	asked, gates := 0, map[string]bool{}
	for i := range f.replicas.value {
		r := &f.replicas.value[i]
		if r.debug.value == nil {
			if r.debug.err != nil {
				j.lacks(fmt.Errorf("%s: %w", r, r.debug.err))
			}
			continue
		}
		asked++
		for _, gate := range r.debug.value.Gates {
			name := string(gate.Gate) + " " + gate.Target
			gates[name] = true
			if gate.Open || gate.Gate == upstreamGate { // judgeUpstreamDNS
				continue
			}
			why := gate.LastError
			if why == "" {
				why = "nothing is known yet"
			}
			j.fail("mend what it says; new pods are created without that feature meanwhile, the rest of them as usual",
				"%s: gate %s is closed: %s", r, name, why)
		}
	}
	if asked == 0 && j.status == Pass {
		if config, err := f.configuration(); err == nil && calledByURL(config) != "" {
			return unknown(errOutside)
		}
		return unknown(errors.New("no replica is ready, so none can be asked"))
	}
	if j.status == Pass {
		j.found = "the replicas report no health gates"
		if len(gates) > 0 {
			j.found = fmt.Sprintf("%s open on %s", counted(len(gates), "gate"), counted(asked, "replica"))
		}
	}
	return j
}

// judgeAPIHost verifies what answers at the hosts that pods get.
func judgeAPIHost(f *Facts, known *knownPolicy) *judgement {
	if known == nil {
		return unknown(f.noPolicy())
	}
	if len(f.apiHosts) == 0 {
		for e := range known.document.Spec.Effective() {
			if e.ServiceHost != nil && e.ServiceHost.Host != "" {
				return unknown(fmt.Errorf("the policy has %s probed by nobody (serviceHost.probe.enabled: false)", e.ServiceHost.Host))
			}
		}
		return passed("the policy names no API host")
	}
	j := passed("")
	var hosts []string
	for i := range f.apiHosts {
		h := &f.apiHosts[i]
		if h.served.err != nil {
			j.warn("check the name and the port; the servers' own gate decides, as they connect from inside the cluster", "%s is not reachable from here: %v", h, h.served.err)
			continue
		}
		if f.clusterCA.err != nil {
			j.lacks(f.clusterCA.err)
			continue
		}
		if _, err := verify(h.served.value, f.clusterCA.value.roots, h.host, f.now); err != nil {
			do := "point serviceHost.host at the API server"
			if _, wrongName := errors.AsType[x509.HostnameError](err); wrongName {
				do = "add the name to the API server's certificate, or use one that is in it"
			}
			j.fail(do, "%s does not prove to be the API server (checked with %s): %v", h, f.clusterCA.value.from, err)
			continue
		}
		hosts = append(hosts, h.String())
	}
	if j.status == Pass {
		j.found = fmt.Sprintf("%s answers with a certificate for that name (checked with %s)", strings.Join(hosts, ", "), f.clusterCA.value.from)
	}
	return j
}

// parsePool takes the certificates out of PEM data: nil where there is none.
func parsePool(from string, data []byte) *trust {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(data) {
		return nil
	}
	return &trust{from, roots}
}
