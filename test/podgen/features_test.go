package podgen_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/test/podgen"
)

const drawnForFeatures = 5000

// TestFeaturesOccur fails when the generator stops covering something: every feature has a smallest number of pods out
// of 5,000 that must have it, about half of what is drawn today.
func TestFeaturesOccur(t *testing.T) {
	t.Parallel()

	features := map[string]struct {
		atLeast int
		has     func(*corev1.Pod) bool
	}{
		// containers
		"one container":                      {800, func(p *corev1.Pod) bool { return len(p.Spec.Containers) == 1 }},
		"12 containers":                      {30, func(p *corev1.Pod) bool { return len(p.Spec.Containers) == 12 }},
		"60 containers":                      {20, func(p *corev1.Pod) bool { return len(p.Spec.Containers) == 60 }},
		"no init containers":                 {1000, func(p *corev1.Pod) bool { return len(p.Spec.InitContainers) == 0 }},
		"12 init containers":                 {30, func(p *corev1.Pod) bool { return len(p.Spec.InitContainers) == 12 }},
		"60 init containers":                 {20, func(p *corev1.Pod) bool { return len(p.Spec.InitContainers) == 60 }},
		"sidecar":                            {800, initContainer(func(c corev1.Container) bool { return restarts(c, corev1.ContainerRestartPolicyAlways) })},
		"init container that never restarts": {100, initContainer(func(c corev1.Container) bool { return restarts(c, corev1.ContainerRestartPolicyNever) })},
		"container with restartPolicy":       {80, mainContainer(func(c corev1.Container) bool { return c.RestartPolicy != nil })},

		// environment
		"no env":                           {1000, anyContainer(func(c corev1.Container) bool { return len(c.Env) == 0 })},
		"env":                              {2000, anyContainer(func(c corev1.Container) bool { return len(c.Env) > 0 })},
		"host set in some containers only": {700, someButNotAll},
		"host set in an init container":    {500, initContainer(sets("KUBERNETES_SERVICE_HOST"))},
		"host by value":                    {500, env("KUBERNETES_SERVICE_HOST", func(v corev1.EnvVar) bool { return v.Value != "" })},
		"host by empty value":              {80, env("KUBERNETES_SERVICE_HOST", func(v corev1.EnvVar) bool { return v.Value == "" && v.ValueFrom == nil })},
		"host by fieldRef":                 {150, env("KUBERNETES_SERVICE_HOST", func(v corev1.EnvVar) bool { return v.ValueFrom != nil && v.ValueFrom.FieldRef != nil })},
		"host by configMapKeyRef":          {150, env("KUBERNETES_SERVICE_HOST", func(v corev1.EnvVar) bool { return v.ValueFrom != nil && v.ValueFrom.ConfigMapKeyRef != nil })},
		"host by secretKeyRef":             {150, env("KUBERNETES_SERVICE_HOST", func(v corev1.EnvVar) bool { return v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil })},
		"host by resourceFieldRef":         {150, env("KUBERNETES_SERVICE_HOST", func(v corev1.EnvVar) bool { return v.ValueFrom != nil && v.ValueFrom.ResourceFieldRef != nil })},
		"host set twice":                   {150, anyContainer(func(c corev1.Container) bool { return times(c, "KUBERNETES_SERVICE_HOST") > 1 })},
		"host set last": {300, anyContainer(func(c corev1.Container) bool {
			return len(c.Env) > 1 && c.Env[len(c.Env)-1].Name == "KUBERNETES_SERVICE_HOST"
		})},
		"host in another case": {150, env("kubernetes_service_host", always)},
		"host with a space":    {150, env("KUBERNETES_SERVICE_HOST ", always)},
		"port set without host": {200, anyContainer(func(c corev1.Container) bool {
			return times(c, "KUBERNETES_SERVICE_PORT") > 0 && times(c, "KUBERNETES_SERVICE_HOST") == 0
		})},
		"port and host set": {100, anyContainer(func(c corev1.Container) bool {
			return times(c, "KUBERNETES_SERVICE_PORT") > 0 && times(c, "KUBERNETES_SERVICE_HOST") > 0
		})},
		"reference to the host first": {200, anyContainer(func(c corev1.Container) bool {
			return len(c.Env) > 0 && strings.Contains(c.Env[0].Value, "$(KUBERNETES_SERVICE_HOST")
		})},
		"reference to the host in command": {500, anyContainer(func(c corev1.Container) bool {
			return strings.Contains(strings.Join(c.Command, " "), "$(KUBERNETES_SERVICE_HOST)")
		})},
		"any name twice": {500, anyContainer(func(c corev1.Container) bool {
			return slices.ContainsFunc(c.Env, func(v corev1.EnvVar) bool { return times(c, v.Name) > 1 })
		})},
		"envFrom": {500, anyContainer(func(c corev1.Container) bool { return len(c.EnvFrom) > 0 })},
		"envFrom with our prefix": {300, anyContainer(func(c corev1.Container) bool {
			return slices.ContainsFunc(c.EnvFrom, func(s corev1.EnvFromSource) bool { return s.Prefix == "KUBERNETES_SERVICE_" })
		})},

		// DNS
		"dnsPolicy unset":                   {600, func(p *corev1.Pod) bool { return p.Spec.DNSPolicy == "" }},
		"dnsPolicy ClusterFirst":            {600, func(p *corev1.Pod) bool { return p.Spec.DNSPolicy == corev1.DNSClusterFirst }},
		"dnsPolicy ClusterFirstWithHostNet": {300, func(p *corev1.Pod) bool { return p.Spec.DNSPolicy == corev1.DNSClusterFirstWithHostNet }},
		"dnsPolicy Default":                 {300, func(p *corev1.Pod) bool { return p.Spec.DNSPolicy == corev1.DNSDefault }},
		"dnsPolicy None":                    {300, func(p *corev1.Pod) bool { return p.Spec.DNSPolicy == corev1.DNSNone }},
		"hostNetwork, ClusterFirst or unset": {150, func(p *corev1.Pod) bool {
			return p.Spec.HostNetwork && !ownDNS(p) && p.Spec.DNSPolicy != corev1.DNSClusterFirstWithHostNet
		}},
		"hostNetwork, ClusterFirstWithHostNet": {150, func(p *corev1.Pod) bool {
			return p.Spec.HostNetwork && p.Spec.DNSPolicy == corev1.DNSClusterFirstWithHostNet
		}},
		"hostNetwork with host port":        {80, func(p *corev1.Pod) bool { return p.Spec.HostNetwork && mainContainer(hasHostPort)(p) }},
		"cluster DNS without dnsConfig":     {500, func(p *corev1.Pod) bool { return !ownDNS(p) && p.Spec.DNSConfig == nil }},
		"dnsConfig {}":                      {150, dns(func(c *corev1.PodDNSConfig) bool { return len(c.Nameservers)+len(c.Searches)+len(c.Options) == 0 })},
		"no nameserver":                     {500, dns(func(c *corev1.PodDNSConfig) bool { return len(c.Nameservers) == 0 })},
		"three nameservers, cluster DNS":    {100, clusterDNS(func(c *corev1.PodDNSConfig) bool { return len(c.Nameservers) == 3 })},
		"nameserver of IPv6":                {500, dns(func(c *corev1.PodDNSConfig) bool { return strings.Contains(strings.Join(c.Nameservers, ""), ":") })},
		"our nameserver":                    {150, dns(func(c *corev1.PodDNSConfig) bool { return slices.Contains(c.Nameservers, "169.254.20.10") })},
		"32 searches, cluster DNS":          {50, clusterDNS(func(c *corev1.PodDNSConfig) bool { return len(c.Searches) == 32 })},
		"29 searches":                       {30, dns(func(c *corev1.PodDNSConfig) bool { return len(c.Searches) == 29 })},
		"2048 characters of searches":       {50, dns(func(c *corev1.PodDNSConfig) bool { return len(strings.Join(c.Searches, " ")) == 2048 })},
		"over 1848 characters, cluster DNS": {100, clusterDNS(func(c *corev1.PodDNSConfig) bool { return len(strings.Join(c.Searches, " ")) > 1848 })},
		"search with a trailing dot":        {300, search(func(s string) bool { return len(s) > 1 && strings.HasSuffix(s, ".") })},
		"search .":                          {200, search(func(s string) bool { return s == "." })},
		"search with an underscore":         {300, search(func(s string) bool { return strings.Contains(s, "_") })},
		"search of the cluster":             {300, search(func(s string) bool { return s == "shop.svc.cluster.local" })},
		"ndots":                             {500, option("ndots", always)},
		"ndots banana":                      {30, option("ndots", func(o corev1.PodDNSConfigOption) bool { return o.Value != nil && *o.Value == "banana" })},
		"ndots without a value":             {150, option("ndots", func(o corev1.PodDNSConfigOption) bool { return o.Value == nil })},
		"ndots with an empty value":         {30, option("ndots", func(o corev1.PodDNSConfigOption) bool { return o.Value != nil && *o.Value == "" })},
		"ndots:2 as a name":                 {50, option("ndots:2", always)},
		"edns0 without a value":             {40, option("edns0", func(o corev1.PodDNSConfigOption) bool { return o.Value == nil })},
		"edns0 with an empty value":         {150, option("edns0", func(o corev1.PodDNSConfigOption) bool { return o.Value != nil && *o.Value == "" })},
		"garbage option":                    {50, option("garbage", always)},
		"an option twice":                   {300, dns(twice)},

		// labels and annotations
		"no labels":                      {100, func(p *corev1.Pod) bool { return len(p.Labels) == 0 }},
		"no annotations":                 {150, func(p *corev1.Pod) bool { return len(p.Annotations) == 0 }},
		"inject enabled":                 {40, label("shorthop.dev/inject", "enabled", "enable", "true")},
		"inject disabled":                {80, label("shorthop.dev/inject", "disabled", "disable", "false")},
		"inject invalid":                 {80, label("shorthop.dev/inject", "", "Enabled", "yes", "0", "NodeLocal")},
		"service-host enabled":           {80, label("shorthop.dev/service-host", "enabled", "enable", "true")},
		"service-host disabled":          {80, label("shorthop.dev/service-host", "disabled", "disable", "false")},
		"dns enabled":                    {80, label("shorthop.dev/dns", "enabled", "enable", "true")},
		"dns disabled":                   {80, label("shorthop.dev/dns", "disabled", "disable", "false")},
		"alias of gardener":              {25, label("apiserver-proxy.networking.gardener.cloud/inject", "disable")},
		"alias node-local-dns-injection": {40, label("node-local-dns-injection", "enabled")},
		"alias localdns-injector":        {40, label("localdns-injector", "disabled")},
		"aliases contradict": {20, func(p *corev1.Pod) bool {
			return p.Labels["node-local-dns-injection"] == "enabled" && p.Labels["localdns-injector"] == "disabled"
		}},
		"pinned by the user": {100, label("shorthop.dev/pinned", "node-local", "", "no")},
		"a key of two parts": {1000, func(p *corev1.Pod) bool {
			return strings.Contains(strings.Join(slices.Collect(maps.Keys(p.Annotations)), ""), "/")
		}},
		"annotation ndots 2":                     {30, annotation("shorthop.dev/ndots", func(v string) bool { return v == "2" })},
		"annotation ndots banana":                {30, annotation("shorthop.dev/ndots", func(v string) bool { return v == "banana" })},
		"annotation dns-mode NodeLocal":          {120, annotation("shorthop.dev/dns-mode", func(v string) bool { return v == "NodeLocal" })},
		"annotation dns-mode invalid":            {200, annotation("shorthop.dev/dns-mode", func(v string) bool { return v != "NodeLocal" && v != "Options" })},
		"annotation dns-options":                 {400, annotation("shorthop.dev/dns-options", func(v string) bool { return v != "" })},
		"forged record, JSON":                    {150, annotation("shorthop.dev/injected", func(v string) bool { return json.Valid([]byte(v)) })},
		"forged record, no JSON":                 {40, annotation("shorthop.dev/injected", func(v string) bool { return !json.Valid([]byte(v)) })},
		"forged record, huge":                    {20, annotation("shorthop.dev/injected", func(v string) bool { return len(v) > 20_000 })},
		"forged record that claims a user's own": {50, claimsUsersOwn},
		"annotations nearly too large":           {20, func(p *corev1.Pod) bool { return annotationBytes(p) > 256<<10-500 }},
		"annotations of exactly the limit":       {3, func(p *corev1.Pod) bool { return annotationBytes(p) == 256<<10 }},

		// owners
		"of a Deployment": {400, func(p *corev1.Pod) bool {
			return owned(p, "ReplicaSet", func(n string) bool {
				return p.Labels["pod-template-hash"] != "" && strings.HasSuffix(n, "-"+p.Labels["pod-template-hash"])
			})
		}},
		"of a lone ReplicaSet": {100, func(p *corev1.Pod) bool {
			return owned(p, "ReplicaSet", func(string) bool { return p.Labels["pod-template-hash"] == "" })
		}},
		"of another hash": {100, func(p *corev1.Pod) bool { return p.Labels["pod-template-hash"] == "other" }},
		"of a CronJob": {200, func(p *corev1.Pod) bool {
			return owned(p, "Job", func(n string) bool { return strings.HasPrefix(n, "fetch-") && len(n) == len("fetch-12345678") })
		}},
		"of a Job": {200, func(p *corev1.Pod) bool {
			return owned(p, "Job", func(n string) bool { return !strings.HasPrefix(n, "fetch-") })
		}},
		"of a StatefulSet":  {200, func(p *corev1.Pod) bool { return owned(p, "StatefulSet", func(string) bool { return true }) }},
		"of several":        {200, func(p *corev1.Pod) bool { return len(p.OwnerReferences) == 3 }},
		"of none in charge": {200, func(p *corev1.Pod) bool { return len(p.OwnerReferences) > 0 && controller(p) == nil }},
		"of nobody":         {400, func(p *corev1.Pod) bool { return len(p.OwnerReferences) == 0 }},
		"generateName":      {1000, func(p *corev1.Pod) bool { return p.Name == "" && p.GenerateName != "" }},
		"name":              {400, func(p *corev1.Pod) bool { return p.Name != "" && p.GenerateName == "" }},

		// platform and the rest of the pod
		"spec.os windows": {150, func(p *corev1.Pod) bool { return p.Spec.OS != nil && p.Spec.OS.Name == corev1.Windows }},
		"spec.os linux":   {150, func(p *corev1.Pod) bool { return p.Spec.OS != nil && p.Spec.OS.Name == corev1.Linux }},
		"selects windows, no os": {80, func(p *corev1.Pod) bool {
			return p.Spec.OS == nil && p.Spec.NodeSelector["kubernetes.io/os"] == "windows"
		}},
		"selects linux": {150, func(p *corev1.Pod) bool { return p.Spec.NodeSelector["kubernetes.io/os"] == "linux" }},
		"virtual by toleration": {100, func(p *corev1.Pod) bool {
			return slices.ContainsFunc(p.Spec.Tolerations, func(t corev1.Toleration) bool { return t.Key == "virtual-kubelet.io/provider" })
		}},
		"virtual by selector":  {60, func(p *corev1.Pod) bool { return p.Spec.NodeSelector["type"] == "virtual-kubelet" }},
		"virtual by label":     {40, func(p *corev1.Pod) bool { return p.Labels["eks.amazonaws.com/fargate-profile"] != "" }},
		"virtual by scheduler": {200, func(p *corev1.Pod) bool { return p.Spec.SchedulerName == "fargate-scheduler" }},
		"DNS pod":              {40, func(p *corev1.Pod) bool { return strings.Contains(p.Labels["k8s-app"], "dns") }},
		"volumes":              {1000, func(p *corev1.Pod) bool { return len(p.Spec.Volumes) > 0 }},
		"mounts":               {800, anyContainer(func(c corev1.Container) bool { return len(c.VolumeMounts) > 0 })},
		"probes":               {1500, mainContainer(func(c corev1.Container) bool { return c.LivenessProbe != nil })},
		"hooks":                {500, mainContainer(func(c corev1.Container) bool { return c.Lifecycle != nil })},
		"resources":            {1500, anyContainer(func(c corev1.Container) bool { return len(c.Resources.Limits) > 0 })},
		"security":             {1500, anyContainer(func(c corev1.Container) bool { return c.SecurityContext != nil })},
		"pod security":         {1000, func(p *corev1.Pod) bool { return p.Spec.SecurityContext != nil }},
		"pod resources":        {60, func(p *corev1.Pod) bool { return p.Spec.Resources != nil }},
		"spread":               {200, func(p *corev1.Pod) bool { return len(p.Spec.TopologySpreadConstraints) > 0 }},
		"affinity":             {200, func(p *corev1.Pod) bool { return p.Spec.Affinity != nil }},
		"readiness gates":      {100, func(p *corev1.Pod) bool { return len(p.Spec.ReadinessGates) > 0 }},
		"scheduling gates":     {100, func(p *corev1.Pod) bool { return len(p.Spec.SchedulingGates) > 0 }},
		"host aliases":         {300, func(p *corev1.Pod) bool { return len(p.Spec.HostAliases) > 0 }},
		"host name":            {300, func(p *corev1.Pod) bool { return p.Spec.Hostname != "" }},
		"host name as FQDN":    {100, func(p *corev1.Pod) bool { return p.Spec.SetHostnameAsFQDN != nil }},
		"shared processes":     {100, func(p *corev1.Pod) bool { return p.Spec.ShareProcessNamespace != nil && *p.Spec.ShareProcessNamespace }},
		"grace period":         {500, func(p *corev1.Pod) bool { return p.Spec.TerminationGracePeriodSeconds != nil }},
		"pull secrets":         {200, func(p *corev1.Pod) bool { return len(p.Spec.ImagePullSecrets) > 0 }},
		"service account":      {1000, func(p *corev1.Pod) bool { return p.Spec.ServiceAccountName == "default" }},
	}

	rng := source(1)
	count := map[string]int{}
	for range drawnForFeatures {
		pod := podgen.Pod(rng, "shop")
		for name, feature := range features {
			if feature.has(pod) {
				count[name]++
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(features)) {
		t.Logf("%5d  (at least %4d)  %s", count[name], features[name].atLeast, name)
		if count[name] < features[name].atLeast {
			t.Errorf("%s: in %d of %d pods, want at least %d", name, count[name], drawnForFeatures, features[name].atLeast)
		}
	}
}

func TestOddFeaturesOccur(t *testing.T) {
	t.Parallel()

	features := map[string]func(*corev1.Pod) bool{
		"~ in a key":            func(p *corev1.Pod) bool { return hasKey(p, "~") },
		"~1 in a key":           func(p *corev1.Pod) bool { return hasKey(p, "~1") },
		"empty key":             func(p *corev1.Pod) bool { return hasKey(p, "") },
		"unicode key":           func(p *corev1.Pod) bool { return hasKey(p, "ключ/ü") },
		"mirror pod":            func(p *corev1.Pod) bool { _, ok := p.Annotations["kubernetes.io/config.mirror"]; return ok },
		"annotations too large": func(p *corev1.Pod) bool { return annotationBytes(p) > 256<<10 },
		"runtime class":         func(p *corev1.Pod) bool { return p.Spec.RuntimeClassName != nil },
		"no containers":         func(p *corev1.Pod) bool { return len(p.Spec.Containers) == 0 },
		"500 containers":        func(p *corev1.Pod) bool { return len(p.Spec.Containers) >= 500 },
		"ephemeral containers":  func(p *corev1.Pod) bool { return len(p.Spec.EphemeralContainers) > 0 },
		"bogus dnsPolicy":       func(p *corev1.Pod) bool { return p.Spec.DNSPolicy == "Bogus" },
		"None without config":   func(p *corev1.Pod) bool { return p.Spec.DNSPolicy == corev1.DNSNone && p.Spec.DNSConfig == nil },
		"four nameservers":      dns(func(c *corev1.PodDNSConfig) bool { return len(c.Nameservers) > 3 }),
		"33 searches":           dns(func(c *corev1.PodDNSConfig) bool { return len(c.Searches) > 32 }),
		"nameless option":       option("", always),
		"nameless variable":     env("", always),
		"no namespace":          func(p *corev1.Pod) bool { return p.Namespace == "" },
		"no name":               func(p *corev1.Pod) bool { return p.Name == "" && p.GenerateName == "" },
	}
	const drawn, atLeast = 1000, 10
	rng := source(5)
	count := map[string]int{}
	for range drawn {
		pod := podgen.OddPod(rng)
		for name, has := range features {
			if has(pod) {
				count[name]++
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(features)) {
		if count[name] < atLeast {
			t.Errorf("%s: in %d of %d pods, want at least %d", name, count[name], drawn, atLeast)
		}
	}
}

func TestJSONHasWhatTypesHaveNot(t *testing.T) {
	t.Parallel()

	const drawn, atLeast = 1000, 30
	rng := source(6)
	count := map[string]int{}
	for range drawn {
		text := string(podgen.JSON(rng, podgen.Pod(rng, "shop")))
		for _, part := range []string{
			`"env":null`, `"env":[]`, `"initContainers":null`, `"initContainers":[]`, `"annotations":null`, `"annotations":{}`, `"labels":null`,
			`"dnsConfig":null`, `"options":null`, `"options":[]`, `"searches":null`, `"dnsPolicy":null`, `"futureField":`,
		} {
			if strings.Contains(text, part) {
				count[part]++
			} else {
				count[part] += 0
			}
		}
	}
	for part, n := range count {
		minimum := atLeast
		if strings.Contains(part, "annotations") || part == `"labels":null` { // few pods have none
			minimum = 8
		}
		if n < minimum {
			t.Errorf("%s: in %d of %d pods, want at least %d", part, n, drawn, minimum)
		}
	}
}

// What follows are the words that the tables are made of.

func always[T any](T) bool { return true }

func mainContainer(has func(corev1.Container) bool) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return slices.ContainsFunc(p.Spec.Containers, has) }
}

func initContainer(has func(corev1.Container) bool) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return slices.ContainsFunc(p.Spec.InitContainers, has) }
}

func anyContainer(has func(corev1.Container) bool) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return mainContainer(has)(p) || initContainer(has)(p) }
}

func restarts(c corev1.Container, policy corev1.ContainerRestartPolicy) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == policy
}

func hasHostPort(c corev1.Container) bool {
	return slices.ContainsFunc(c.Ports, func(p corev1.ContainerPort) bool { return p.HostPort != 0 })
}

func times(c corev1.Container, name string) int {
	n := 0
	for _, v := range c.Env {
		if v.Name == name {
			n++
		}
	}
	return n
}

func sets(name string) func(corev1.Container) bool {
	return func(c corev1.Container) bool { return times(c, name) > 0 }
}

func someButNotAll(p *corev1.Pod) bool {
	set := sets("KUBERNETES_SERVICE_HOST")
	return mainContainer(set)(p) && slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool { return !set(c) })
}

func env(name string, has func(corev1.EnvVar) bool) func(*corev1.Pod) bool {
	return anyContainer(func(c corev1.Container) bool {
		return slices.ContainsFunc(c.Env, func(v corev1.EnvVar) bool { return v.Name == name && has(v) })
	})
}

func ownDNS(p *corev1.Pod) bool {
	return p.Spec.DNSPolicy == corev1.DNSNone || p.Spec.DNSPolicy == corev1.DNSDefault
}

func dns(has func(*corev1.PodDNSConfig) bool) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return p.Spec.DNSConfig != nil && has(p.Spec.DNSConfig) }
}

func clusterDNS(has func(*corev1.PodDNSConfig) bool) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool { return !ownDNS(p) && dns(has)(p) }
}

func search(has func(string) bool) func(*corev1.Pod) bool {
	return dns(func(c *corev1.PodDNSConfig) bool { return slices.ContainsFunc(c.Searches, has) })
}

func option(name string, has func(corev1.PodDNSConfigOption) bool) func(*corev1.Pod) bool {
	return dns(func(c *corev1.PodDNSConfig) bool {
		return slices.ContainsFunc(c.Options, func(o corev1.PodDNSConfigOption) bool { return o.Name == name && has(o) })
	})
}

func twice(c *corev1.PodDNSConfig) bool {
	seen := map[string]bool{}
	for _, o := range c.Options {
		if seen[o.Name] {
			return true
		}
		seen[o.Name] = true
	}
	return false
}

func label(key string, values ...string) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		value, ok := p.Labels[key]
		return ok && slices.Contains(values, value)
	}
}

func annotation(key string, has func(string) bool) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		value, ok := p.Annotations[key]
		return ok && has(value)
	}
}

func annotationBytes(p *corev1.Pod) int {
	n := 0
	for key, value := range p.Annotations {
		n += len(key) + len(value)
	}
	return n
}

func hasKey(p *corev1.Pod, key string) bool {
	_, inLabels := p.Labels[key]
	_, inAnnotations := p.Annotations[key]
	return inLabels || inAnnotations
}

func controller(p *corev1.Pod) *string {
	for _, o := range p.OwnerReferences {
		if o.Controller != nil && *o.Controller {
			return &o.Kind
		}
	}
	return nil
}

func owned(p *corev1.Pod, kind string, name func(string) bool) bool {
	for _, o := range p.OwnerReferences {
		if o.Controller != nil && *o.Controller {
			return o.Kind == kind && name(o.Name)
		}
	}
	return false
}

// claimsUsersOwn says whether a well-formed record claims that Shorthop set the host in a container whose user did.
func claimsUsersOwn(p *corev1.Pod) bool {
	var record struct {
		Added struct{ Containers []string }
	}
	if json.Unmarshal([]byte(p.Annotations["shorthop.dev/injected"]), &record) != nil {
		return false
	}
	return anyContainer(func(c corev1.Container) bool {
		return sets("KUBERNETES_SERVICE_HOST")(c) && slices.Contains(record.Added.Containers, c.Name)
	})(p)
}

func ExamplePod() {
	pod := podgen.Pod(source(1), "shop")
	fmt.Println(pod.Namespace, len(pod.Spec.Containers) > 0)
	// Output: shop true
}
