package chart_test

import (
	"bytes"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/policy"
)

// platform is what a preset must say, because the platform is like that. The sources are the platforms' own defaults.
type platform struct {
	// Cache is where the node-local cache listens; none means that there is none for pods.
	Cache string
	// Gate is the DaemonSet of the cache where it is not the default, or namespace and labels of several.
	Gate string
	// Port of the API servers where it is not the Service's.
	Port int32
	// Mode that pods need.
	Mode policy.DNSMode
}

var platforms = map[string]platform{
	"ack-cce":          {Cache: policy.DefaultNodeLocalServer, Mode: policy.DNSModeNodeLocal},
	"aks":              {Cache: policy.DefaultNodeLocalServer, Mode: policy.DNSModeOptions},
	"digitalocean":     {Cache: "169.254.0.5", Mode: policy.DNSModeNodeLocal},
	"eks":              {Cache: policy.DefaultNodeLocalServer, Mode: policy.DNSModeOptions},
	"gardener-shoot":   {Cache: policy.DefaultNodeLocalServer, Gate: "kube-system/k8s-app=node-local-dns", Mode: policy.DNSModeOptions},
	"gke":              {Cache: policy.DefaultNodeLocalServer, Mode: policy.DNSModeOptions},
	"k3s-rke2":         {Cache: policy.DefaultNodeLocalServer, Port: 6443, Mode: policy.DNSModeOptions},
	"kubeadm-iptables": {Cache: policy.DefaultNodeLocalServer, Port: 6443, Mode: policy.DNSModeOptions},
	"kubeadm-ipvs":     {Cache: policy.DefaultNodeLocalServer, Port: 6443, Mode: policy.DNSModeNodeLocal},
	"kubespray":        {Cache: "169.254.25.10", Gate: "kube-system/nodelocaldns", Port: 6443, Mode: policy.DNSModeOptions},
	"openshift":        {Port: 6443, Mode: policy.DNSModeOptions},
	"talos":            {Port: 6443, Mode: policy.DNSModeOptions},
}

// Every preset is a policy without errors that says what its platform is like, in words and in values, and is listed.
func TestPresets(t *testing.T) {
	t.Parallel()
	readme := string(read(t, chartDir+"/README.md"))
	var names []string
	for _, file := range presets(t) {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		names = append(names, name)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			content := read(t, file)
			if !strings.Contains(readme, "["+name+"](presets/"+name+".yaml)") {
				t.Error("README.md does not list it")
			}
			var values struct {
				Policy       policy.Spec
				Certificates struct{ Mode string }
			}
			if err := sigsyaml.UnmarshalStrict(content, &values); err != nil {
				t.Fatal(err)
			}
			document := &policy.InjectionPolicy{Spec: values.Policy}
			policy.SetDefaults(document)
			if errs := policy.Validate(document); len(errs) > 0 {
				t.Error(errs.ToAggregate())
			}
			got := platformOf(values.Policy)
			if diff := cmp.Diff(platforms[name], got); diff != "" {
				t.Errorf("the platform (-known +preset):\n%s", diff)
			}
			needed := map[policy.DNSMode]string{policy.DNSModeOptions: "Not needed: mode NodeLocal", policy.DNSModeNodeLocal: "# Needed: mode NodeLocal"}
			for _, words := range []string{"Assumes: ", "\n# Fill in: for the service host", "policy.serviceHost.host=", needed[got.Mode]} {
				if comment, _, _ := bytes.Cut(content, []byte("\npolicy:\n")); !bytes.HasPrefix(comment, []byte("# ")) || !bytes.Contains(comment, []byte(words)) {
					t.Errorf("the comment that it begins with lacks %q", words)
				}
			}
			// Where nothing says that there is a cache, or it is reached without it, an annotation must not pin a pod to it.
			byAnnotation := slices.Contains(document.Spec.PodOverrides.Allowed, policy.OverrideMode)
			if byAnnotation != (got.Mode == policy.DNSModeNodeLocal) {
				t.Errorf("mode is %s, and pods may choose it by annotation: %t", got.Mode, byAnnotation)
			}
		})
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(platforms)), slices.Sorted(slices.Values(names))); diff != "" {
		t.Errorf("presets (-known +there):\n%s", diff)
	}
}

func platformOf(spec policy.Spec) (p platform) {
	if spec.ServiceHost != nil && spec.ServiceHost.Port != nil {
		p.Port = *spec.ServiceHost.Port
	}
	if spec.DNS == nil {
		return p
	}
	cache := spec.DNS.NodeLocal
	p.Mode, p.Cache = spec.DNS.Mode, strings.Join(cache.Servers, ",")
	if d := cache.DaemonSet; d != nil && *d != "kube-system/node-local-dns" {
		p.Gate = *d
	}
	if s := cache.DaemonSetSelector; s != nil {
		p.Gate = s.Namespace + "/"
		for _, key := range slices.Sorted(maps.Keys(s.MatchLabels)) {
			p.Gate += key + "=" + s.MatchLabels[key]
		}
	}
	return p
}

// Where operators bring the network themselves, what it may stand on is excluded: all namespaces that the page names.
func TestPresetsExcludeTheNetwork(t *testing.T) {
	t.Parallel()
	page := string(read(t, root+"/docs/when-not-to-use.md"))
	_, list, found := strings.Cut(page, "for operators that are neither:")
	list, _, ended := strings.Cut(list, "as far as")
	var named []string
	for _, match := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(list, -1) {
		named = append(named, match[1])
	}
	if !found || !ended || len(named) < 5 {
		t.Fatalf("docs/when-not-to-use.md names %q: this test has lost its subject", named)
	}
	for _, name := range []string{"kubeadm-iptables", "kubeadm-ipvs"} {
		var values struct{ Policy policy.Spec }
		if err := sigsyaml.UnmarshalStrict(read(t, chartDir+"/presets/"+name+".yaml"), &values); err != nil {
			t.Fatal(err)
		}
		for _, namespace := range named {
			if !slices.Contains(values.Policy.ExcludedNamespaces, namespace) {
				t.Errorf("%s does not exclude %s", name, namespace)
			}
		}
	}
}

func presets(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(chartDir + "/presets/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no presets (%v)", err)
	}
	return files
}
