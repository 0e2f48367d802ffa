package doctor

// check is a row of the table of checks.
type check struct {
	// name is API: it is never reworded.
	name Check
	// about is what is looked at, as the help of `kubectl shorthop doctor` has it.
	about string
	// pass, warn and fail say what makes the check come to that; "" where it
	// never does.
	pass, warn, fail string
	judge            func(*Facts, *knownPolicy) *judgement
}

// checks are all there are, in the order in which they are reported. To add one
// is to add a row and its function, in the judge_*.go of what it looks at; what
// it needs to know that no collect_*.go reads yet is a field of Facts.
var checks = []check{
	{
		name: "webhook-configuration", judge: judgeWebhookConfiguration,
		about: "its entries are there and as they should be",
		pass:  "the entries are as `webhook-config` prints them",
		warn:  "long timeout; no reinvocation; an entry or a rule is not ours, or is missing",
		fail:  "it or an entry is missing; failurePolicy is not Ignore; sideEffects is not None; it is not called for new pods, or on another path",
	},
	{
		name: "webhook-filter", judge: judgeWebhookFilter,
		about: "the API server filters by what the policy says",
		pass:  "selectors and conditions are those of the policy in force, or leave out more besides, as platforms make them",
		warn:  "the hash agrees, and they lack something, or take only what has a label or meets a condition besides",
		fail:  "own or excluded namespaces are selected; made for other aliases or namespaces than the policy's; called for updates of pods",
	},
	{
		name: "serving-certificate", judge: judgeServingCertificate,
		about: "caBundle verifies what every replica serves",
		pass:  "caBundle verifies what each replica serves",
		warn:  "a certificate is not renewed in time",
		fail:  "caBundle is empty or does not verify what a replica serves",
	},
	{
		name: "ca-bundle-writers", judge: judgeCABundleWriters,
		about: "nobody else writes caBundle",
		pass:  "one writes caBundle",
		warn:  "somebody else does too",
	},
	{
		name: "ca-secret", judge: judgeCASecret,
		about: "there, where the server signs its own certificate",
		pass:  "the Secret is there, where the server signs its own certificate",
		fail:  "it is missing",
	},
	{
		name: "replicas", judge: judgeReplicas,
		about: "at least two, on more than one node",
		pass:  "at least two are ready, on more than one node",
		warn:  "one is ready; all are on one node; some are not ready, or cannot be created",
		fail:  "none is ready",
	},
	{
		name: "policy", judge: judgePolicy,
		about: "the same on every replica, and that of the ConfigMap",
		pass:  "every replica has the same, the one of the ConfigMap",
		warn:  "the ConfigMap or `--policy` holds another one; several ConfigMaps look like it",
		fail:  "replicas have different ones; the ConfigMap's is not valid",
	},
	{
		name: "detector", judge: judgeDetector,
		about: "somebody looks for missed pods",
		pass:  "somebody looks for missed pods, or it is switched off",
		warn:  "there is no Lease, or nobody holds or renews it",
	},
	{
		name: "other-installations", judge: judgeOtherInstallations,
		about: "no second one selects the same pods",
		pass:  "there is none, or it selects other namespaces, or none that is there",
		fail:  "another one of Shorthop's selects the same namespaces",
	},
	{
		name: "gates", judge: judgeGates,
		about: "what the replicas say about their health gates",
		pass:  "all are open, or there are none",
		fail:  "one is closed",
	},
	{
		name: "api-host", judge: judgeAPIHost,
		about: "answers, with a certificate for that name",
		pass:  "answers with a certificate for that name",
		warn:  "not reachable from here",
		fail:  "the certificate is for another name, or signed by somebody else",
	},
	{
		name: "node-local-cache", judge: judgeNodeLocalCache,
		about: "rolled out, on the addresses that the policy names",
		pass:  "the DaemonSet is rolled out within maxUnavailable, on the policy's addresses",
		warn:  "some nodes are without it; its addresses are not found in its settings; it is missing, and only annotations choose it",
		fail:  "missing; unavailable on more nodes than maxUnavailable; listens on other addresses",
	},
	{
		name: "cluster-dns", judge: judgeClusterDNS,
		about: "the policy's servers are the cluster's DNS Services",
		pass:  "the policy's servers are addresses of the DNS Services",
		warn:  "a fallback server ends with the cache, or is no DNS Service's; what the replicas found contradicts itself; nobody is ready behind a DNS Service that pods need not ask",
		fail:  "no DNS Service has a server of the policy; the one that pods ask has no endpoints, or none that is ready",
	},
	{
		name: "cluster-domain", judge: judgeClusterDomain,
		about: "the policy's domain is the cluster DNS's zone",
		pass:  "the domain is the zone of the cluster DNS",
		fail:  "the cluster DNS serves another zone",
	},
	{
		name: "upstream-dns", judge: judgeUpstreamDNS,
		about: "what DNS servers say of names outside the cluster",
		pass:  "the servers that pods ask say NXDOMAIN themselves about names that end in svc, or nothing rests on it",
		warn:  "they ask the outside, do not answer, or invent addresses; a namespace with a headless Service is a name outside",
	},
	{
		name: "advice", judge: judgeAdvice,
		about: "advice is there, and rests on evidence of late",
		pass:  "every replica has advice, from evidence of the last fortnight, and the advisor gets its work done; or dns.advice is Apply nowhere",
		warn:  "a replica has none; the evidence is older; the advisor's last run failed, or its evidence has lacked something for a week",
	},
	{
		name: "namespaces-opted-out", judge: judgeNamespacesOptedOut,
		about: "lists them",
		pass:  "always: to opt out is somebody's choice",
	},
	{
		name: "namespace-names", judge: judgeNamespaceNames,
		about: "none is named like a public top-level domain",
		pass:  "none is named like a public top-level domain",
		warn:  "some are",
	},
	{
		name: "egress-policies", judge: judgeEgressPolicies,
		about: "policies let pods reach the cache and the API host",
		pass:  "NetworkPolicies, of Cilium and Calico too, admit the node-local cache, and the API host where they admit the Service",
		warn:  "they would cut off pods that are created again",
		fail:  "they cut off pods that are pinned to the cache or have the host",
	},
	{
		name: "custom-zones", judge: judgeCustomZones,
		about: "the node-local cache knows those of the cluster DNS",
		pass:  "the cache knows those of the cluster DNS",
		warn:  "it asks the upstream resolvers for them",
	},
	{
		name: "bootstrap-pods", judge: judgeBootstrapPods,
		about: "what the network or DNS stand on needs no DNS",
		pass:  "no running pod that the network or DNS may stand on has a host by name from Shorthop",
		warn:  "one that asks the cluster DNS has the policy's host by name, without a record",
		fail:  "one has a host by name, and its record",
	},
	{
		name: "pinned-pods", judge: judgePinnedPods,
		about: "pods with dnsPolicy None have a nameserver",
		pass:  "every running pod that is pinned to a cache has a nameserver that somebody in the cluster has",
		warn:  "the first that a pod asks is nobody's",
		fail:  "a pod has none that is there",
	},
	{
		name: "failed-creates", judge: judgeFailedCreates,
		about: "the webhook kept no workload from its pods",
		pass:  "no event FailedCreate names an entry of the webhook",
		warn:  "one did, and is older than controllers wait",
		fail:  "one does",
	},
	{
		name: "node-probe", judge: judgeNodeProbe,
		about: "with --probe, what nodes say of cache, DNS and API",
		pass:  "with `--probe`, the cache, the cluster DNS and the API host answer on every node that was asked; without, always",
		warn:  "a cache that only annotations choose does not answer",
		fail:  "one of them does not answer on a node",
	},
	{
		name: "unpatched-pods", judge: judgeUnpatchedPods,
		about: "how often the API server got no answer",
		pass:  "the API server got every answer",
		warn:  "some pods were created unpatched",
	},
}

// Description is what a check looks at, and what makes it come to what, in
// words; "" where it never does.
type Description struct {
	Check                   Check
	About, Pass, Warn, Fail string
}

// Checks describes all checks, in the order in which they are reported.
func Checks() []Description {
	all := make([]Description, len(checks))
	for i := range checks {
		c := &checks[i]
		all[i] = Description{c.name, c.about, c.pass, c.warn, c.fail}
	}
	return all
}
