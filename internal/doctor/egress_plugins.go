package doctor

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// pluginKind is a kind of policy of a network plugin, and how it is read.
type pluginKind struct {
	resource schema.GroupVersionResource
	kind     string
	read     func(kind string, object *unstructured.Unstructured) []egressPolicy
}

// pluginKinds are read where the cluster has them. Of Calico it is what its own
// API server stores.
var pluginKinds = []pluginKind{
	{schema.GroupVersionResource{Group: "cilium.io", Version: "v2", Resource: "ciliumnetworkpolicies"}, "CiliumNetworkPolicy", ofCilium},
	{schema.GroupVersionResource{Group: "cilium.io", Version: "v2", Resource: "ciliumclusterwidenetworkpolicies"}, "CiliumClusterwideNetworkPolicy", ofCilium},
	{schema.GroupVersionResource{Group: "crd.projectcalico.org", Version: "v1", Resource: "networkpolicies"}, "Calico NetworkPolicy", ofCalico},
	{schema.GroupVersionResource{Group: "crd.projectcalico.org", Version: "v1", Resource: "globalnetworkpolicies"}, "Calico GlobalNetworkPolicy", ofCalico},
}

func listOf(object map[string]any, fields ...string) []any {
	found, _, _ := unstructured.NestedSlice(object, fields...)
	return found
}

func mapsOf(object map[string]any, fields ...string) (all []map[string]any) {
	for _, item := range listOf(object, fields...) {
		if fields, isMap := item.(map[string]any); isMap {
			all = append(all, fields)
		}
	}
	return all
}

func textsOf(object map[string]any, fields ...string) (all []string) {
	for _, item := range listOf(object, fields...) {
		all = append(all, fmt.Sprint(item))
	}
	return all
}

// ofCilium reads spec and specs. A rule of egressDeny overrules all others.
func ofCilium(kind string, object *unstructured.Unstructured) (policies []egressPolicy) {
	specs := mapsOf(object.Object, "specs")
	if spec, found, _ := unstructured.NestedMap(object.Object, "spec"); found {
		specs = append(specs, spec)
	}
	for _, spec := range specs {
		allows, denies := mapsOf(spec, "egress"), mapsOf(spec, "egressDeny")
		isolates, named, _ := unstructured.NestedBool(spec, "enableDefaultDeny", "egress")
		if len(allows)+len(denies) == 0 || named && !isolates && len(denies) == 0 {
			continue
		}
		_, ofPods, _ := unstructured.NestedMap(spec, "endpointSelector")
		if !ofPods {
			continue // it selects nodes
		}
		p := egressPolicy{kind: kind, namespace: object.GetNamespace(), name: object.GetName(), order: orderOfKubernetes}
		p.selects, p.unclear = ciliumSelector(spec)
		denials := p
		denials.order = orderOfDenials
		for _, rule := range denies {
			denials.rules = append(denials.rules, egressRule{deny: true, matches: ciliumRule(rule)})
		}
		for _, rule := range allows {
			p.rules = append(p.rules, egressRule{matches: ciliumRule(rule)})
		}
		if named && !isolates { // the pods may send all else
			p.rules = append(p.rules, egressRule{matches: func(*destination, netip.Addr) bool { return true }})
		}
		if len(denies) > 0 {
			policies = append(policies, denials)
		}
		policies = append(policies, p)
	}
	return policies
}

const ciliumNamespaceLabel = "io.kubernetes.pod.namespace"

// ciliumSelector is a LabelSelector whose keys name the source of a label: k8s, any
// or nothing.
func ciliumSelector(spec map[string]any) (selects func(string, labels.Set) bool, unclear string) {
	source := func(key string) string {
		return strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(key, "k8s:"), "any:"), "k8s.")
	}
	selector := metav1.LabelSelector{MatchLabels: map[string]string{}}
	matchLabels, _, _ := unstructured.NestedStringMap(spec, "endpointSelector", "matchLabels")
	for key, value := range matchLabels {
		selector.MatchLabels[source(key)] = value
	}
	for _, e := range mapsOf(spec, "endpointSelector", "matchExpressions") {
		selector.MatchExpressions = append(selector.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: source(fmt.Sprint(e["key"])), Operator: metav1.LabelSelectorOperator(fmt.Sprint(e["operator"])), Values: textsOf(e, "values"),
		})
	}
	parsed, err := metav1.LabelSelectorAsSelector(&selector)
	if err != nil {
		return func(string, labels.Set) bool { return true }, "its endpointSelector is not understood"
	}
	return func(namespace string, pod labels.Set) bool {
		return parsed.Matches(labels.Merge(pod, labels.Set{ciliumNamespaceLabel: namespace}))
	}, ""
}

// ciliumRule says what a rule of egress matches. Whether Cilium takes the address
// of a cache on the node for the entity host, or for an address like others,
// depends on which of the two started first (cilium/cilium#18644), so that
// either admits it.
//
//	toEntities          the cache          an API host
//	all                 yes                yes
//	host                yes                no
//	cluster             yes                yes, as nobody knows here whether it is a node
//	world               no                 yes, unless it is an address behind the Service kubernetes
//	kube-apiserver      no                 yes, where it is one
//
// What selects by what is not known here (toServices, toGroups, toNodes) matches, so
// that nothing is said without need; pods (toEndpoints) are no destination, but
// for a cache that its own node redirects to.
func ciliumRule(rule map[string]any) func(*destination, netip.Addr) bool {
	ports := mapsOf(rule, "toPorts")
	return func(d *destination, address netip.Addr) bool {
		if len(ports) > 0 && !slices.ContainsFunc(ports, func(p map[string]any) bool { return ciliumPorts(mapsOf(p, "ports"), d) }) {
			return false
		}
		peers := 0
		for key, value := range rule {
			if !strings.HasPrefix(key, "to") || key == "toPorts" || value == nil {
				continue
			}
			peers++
			if ciliumPeer(key, rule, d, address) {
				return true
			}
		}
		return peers == 0
	}
}

func ciliumPeer(key string, rule map[string]any, d *destination, address netip.Addr) bool {
	isAPIServer := slices.Contains(d.apiServers, address)
	switch key {
	case "toEntities":
		return slices.ContainsFunc(textsOf(rule, key), func(entity string) bool {
			switch entity {
			case "all", "cluster":
				return true
			case "host":
				return d.onNode
			case "world":
				return !d.onNode && !isAPIServer
			case "kube-apiserver":
				return isAPIServer
			}
			return false
		})
	case "toCIDR":
		return slices.ContainsFunc(textsOf(rule, key), func(cidr string) bool {
			return cidr == address.String() || inBlock(cidr, nil, address)
		})
	case "toCIDRSet":
		return slices.ContainsFunc(mapsOf(rule, key), func(set map[string]any) bool {
			return inBlock(fmt.Sprint(set["cidr"]), textsOf(set, "except"), address)
		})
	case "toFQDNs":
		return slices.ContainsFunc(mapsOf(rule, key), func(name map[string]any) bool {
			exact, _ := name["matchName"].(string)
			pattern, _ := name["matchPattern"].(string)
			return d.host != "" && (strings.EqualFold(strings.TrimSuffix(exact, "."), d.host) || matchesPattern(pattern, d.host))
		})
	case "toEndpoints":
		return false
	}
	return true
}

// matchesPattern is Cilium's: * stands for characters of one label.
func matchesPattern(pattern, host string) bool {
	if pattern == "" {
		return false
	}
	if pattern == "*" {
		return true
	}
	expression := strings.ReplaceAll(regexp.QuoteMeta(strings.ToLower(strings.TrimSuffix(pattern, "."))), `\*`, `[-a-z0-9_]*`)
	matched, err := regexp.MatchString("^"+expression+"$", strings.ToLower(host))
	return err == nil && matched
}

func ciliumPorts(ports []map[string]any, d *destination) bool {
	return len(ports) == 0 || slices.ContainsFunc(ports, func(p map[string]any) bool {
		protocol := fmt.Sprint(p["protocol"])
		if p["protocol"] != nil && protocol != "ANY" && protocol != "" && protocol != string(d.protocol) {
			return false
		}
		first, err := strconv.Atoi(fmt.Sprint(p["port"]))
		last, errLast := strconv.Atoi(fmt.Sprint(p["endPort"]))
		return err == nil && (first == 0 || first == int(d.port) || errLast == nil && first <= int(d.port) && int(d.port) <= last)
	})
}

// ofCalico reads a policy of the tier default; of another tier nothing is known
// here.
func ofCalico(kind string, object *unstructured.Unstructured) []egressPolicy {
	spec, _, _ := unstructured.NestedMap(object.Object, "spec")
	rules, types := mapsOf(spec, "egress"), textsOf(spec, "types")
	if !slices.Contains(types, "Egress") && (len(types) > 0 || len(rules) == 0) {
		return nil
	}
	p := egressPolicy{kind: kind, namespace: object.GetNamespace(), name: strings.TrimPrefix(object.GetName(), "default."), order: orderOfTheLast}
	switch order := spec["order"].(type) {
	case int64:
		p.order = float64(order)
	case float64:
		p.order = order
	}
	text, _ := spec["selector"].(string)
	selector, err := calicoSelector(text)
	p.selects = func(namespace string, pod labels.Set) bool {
		return selector.Matches(labels.Merge(pod, labels.Set{"projectcalico.org/namespace": namespace, "projectcalico.org/orchestrator": "k8s"}))
	}
	tier, _ := spec["tier"].(string)
	_, ofNamespaces := spec["namespaceSelector"]
	_, ofAccounts := spec["serviceAccountSelector"]
	switch {
	case err != nil:
		p.unclear = fmt.Sprintf("its selector %q is not understood", text)
		p.selects = func(string, labels.Set) bool { return true }
	case cmp.Or(tier, "default") != "default":
		p.unclear = fmt.Sprintf("it is of the tier %q, and what the tiers come to is not known here", tier)
	case ofNamespaces || ofAccounts:
		p.unclear = "its namespaceSelector or serviceAccountSelector is not looked at"
	}
	for _, rule := range rules {
		action, _ := rule["action"].(string)
		if action == "Log" {
			continue
		}
		p.rules = append(p.rules, egressRule{deny: action == "Deny", matches: calicoRule(rule)})
	}
	return []egressPolicy{p}
}

func calicoRule(rule map[string]any) func(*destination, netip.Addr) bool {
	to, _, _ := unstructured.NestedMap(rule, "destination")
	return func(d *destination, address netip.Addr) bool {
		if protocol := rule["protocol"]; protocol != nil && !calicoProtocol(fmt.Sprint(protocol), d.protocol) {
			return false
		}
		inNet := func(cidr string) bool { return inBlock(cidr, nil, address) }
		if nets := textsOf(to, "nets"); len(nets) > 0 && !slices.ContainsFunc(nets, inNet) || slices.ContainsFunc(textsOf(to, "notNets"), inNet) {
			return false
		}
		if ports := textsOf(to, "ports"); len(ports) > 0 && !calicoPorts(ports, d.port) || calicoPorts(textsOf(to, "notPorts"), d.port) {
			return false
		}
		// Pods and sets of addresses by label are no destination of ours; a name is.
		if domains := textsOf(to, "domains"); len(domains) > 0 {
			return slices.ContainsFunc(domains, func(domain string) bool { return d.host != "" && matchesPattern(domain, d.host) })
		}
		return to["selector"] == nil && to["namespaceSelector"] == nil && to["serviceAccounts"] == nil && to["services"] == nil
	}
}

func calicoProtocol(text string, wanted corev1.Protocol) bool {
	numbers := map[string]corev1.Protocol{"6": corev1.ProtocolTCP, "17": corev1.ProtocolUDP}
	return strings.EqualFold(text, string(wanted)) || numbers[text] == wanted
}

// calicoPorts are numbers and ranges, first:last; names are of pods.
func calicoPorts(ports []string, port int32) bool {
	return slices.ContainsFunc(ports, func(text string) bool {
		first, last, isRange := strings.Cut(text, ":")
		if !isRange {
			last = first
		}
		from, err := strconv.Atoi(first)
		to, errTo := strconv.Atoi(last)
		return err == nil && errTo == nil && from <= int(port) && int(port) <= to
	})
}

// calicoTerm is one of what Calico's selectors are made of, as far as they are
// read: terms that all hold.
var calicoTerm = regexp.MustCompile(`^(?:all\(\)|(!?)has\(([^()\s]+)\)|(\S+)\s*(==|!=)\s*(?:"([^"]*)"|'([^']*)')|(\S+)\s+(in|not in)\s*\{([^{}]*)\})$`)

// calicoSelector reads a selector of Calico as one of Kubernetes.
func calicoSelector(text string) (labels.Selector, error) {
	selector := metav1.LabelSelector{}
	for term := range strings.SplitSeq(text, "&&") {
		if term = strings.TrimSpace(term); term == "" || term == "all()" {
			continue
		}
		m := calicoTerm.FindStringSubmatch(term)
		r := metav1.LabelSelectorRequirement{}
		switch {
		case m == nil:
			return nil, fmt.Errorf("%q is not understood", term)
		case m[2] != "" && m[1] == "!":
			r.Key, r.Operator = m[2], metav1.LabelSelectorOpDoesNotExist
		case m[2] != "":
			r.Key, r.Operator = m[2], metav1.LabelSelectorOpExists
		case m[3] != "":
			r.Key, r.Operator, r.Values = m[3], metav1.LabelSelectorOpIn, []string{m[5] + m[6]}
			if m[4] == "!=" {
				r.Operator = metav1.LabelSelectorOpNotIn
			}
		default:
			r.Key, r.Operator = m[7], metav1.LabelSelectorOpIn
			if m[8] == "not in" {
				r.Operator = metav1.LabelSelectorOpNotIn
			}
			for value := range strings.SplitSeq(m[9], ",") {
				r.Values = append(r.Values, strings.Trim(strings.TrimSpace(value), `"'`))
			}
		}
		selector.MatchExpressions = append(selector.MatchExpressions, r)
	}
	return metav1.LabelSelectorAsSelector(&selector)
}
