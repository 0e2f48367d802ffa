package doctor

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/objectserver"
	"github.com/shorthop/shorthop/test/testfile"
)

// Flavours of clusters: those of discovery (internal/discovery/testdata/flavours) and of detect (internal/detect/testdata/others),
// with the values installed that detect prints for them, unchanged: the section detect.yaml. The section doctor.txt is expected:
// the paths, and every check that does not pass. `go test ./internal/doctor -run Flavours -update` rewrites it.
func TestFlavours(t *testing.T) {
	t.Parallel()
	for _, folder := range []string{"../discovery/testdata/flavours", "../detect/testdata/others"} {
		testfile.Each(t, folder, func(t *testing.T, c *testfile.Case) {
			report := Judge(flavourFacts(t, c))
			fails := 0
			if c.Name() == "endpoints-that-are-not-ready" { // the cluster DNS is broken, whatever the values
				fails = 1
			}
			if strings.Contains(folder, "/flavours") && report.Count(Fail) != fails { // others may contradict themselves
				t.Errorf("the values that detect prints do not pass:\n%s", toldOf(report))
			}
			c.Expect(t, "doctor.txt", []byte(toldOf(report)))
		})
	}
}

// flavourFacts are those of an installation in which every check passes, and what is collected of the objects of a flavour.
func flavourFacts(t *testing.T, c *testfile.Case) *Facts {
	t.Helper()
	objects := slices.Concat(objectserver.Parse(t, c.Section("objects.yaml")), objectserver.Parse(t, c.Section("detect.objects.yaml")))
	var values struct{ Policy policy.Spec }
	if err := yaml.Unmarshal(c.Section("detect.yaml"), &values); err != nil {
		t.Fatal(err)
	}
	nodes := int64(0)
	for i := range objects {
		if objects[i].GetKind() == "Node" {
			nodes++
		}
	}
	if nodes == 0 {
		objects, nodes = append(objects, objectserver.Parse(t, []byte("[{apiVersion: v1, kind: Node, metadata: {name: a}}]"))...), 1
	}
	for i := range objects { // those without a status are where they should be
		if _, has := objects[i].Object["status"]; objects[i].GetKind() == "DaemonSet" && !has {
			objects[i].Object["status"] = map[string]any{"desiredNumberScheduled": nodes, "numberAvailable": nodes}
		}
	}

	ca := newIssuer(t)
	f := healthyFacts(t, ca)
	f.hasPolicy(t, ca, values.Policy)
	f.daemonSets, f.cacheConfig, f.nodes.value, f.dnsServices.value, f.clusterDNS.value = nil, nil, 0, nil, nil
	config := objectserver.Start(t, objects)
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	read := &collector{config: config, client: client, Options: Options{Progress: func(string) {}}, facts: f}
	read.nodeLocal(t.Context())
	read.countNodes(t.Context())
	read.clusterDNS(t.Context())
	facts := discovery.Facts{ResolvConf: string(c.Section("resolv.conf")), Services: slices.Concat(f.dnsServices.value, f.idleServices), Caches: f.caches()}
	for i := range f.replicas.value {
		f.replicas.value[i].debug.value.Discovered = new(discovery.Discover(facts))
	}
	return f
}

// hasPolicy has a policy loaded, registered and in the ConfigMap, and its hosts answer.
func (f *Facts) hasPolicy(t *testing.T, ca *issuer, spec policy.Spec) {
	t.Helper()
	document := &policy.InjectionPolicy{Spec: spec}
	document.APIVersion, document.Kind, document.Metadata.Name = policy.APIVersion, policy.Kind, "detected"
	text := jsontest.YAML(t, document)
	f.loadPolicy(t, string(text))
	f.register(t, string(text))
	f.apiHosts = nil
	for _, probe := range f.inForce().compiled.HostProbes() {
		f.apiHosts = append(f.apiHosts, apiHost{host: probe.Host, port: probe.Port, served: ca.serve(t, probe.Host, -24*time.Hour, 365*24*time.Hour)})
	}
}

// toldOf is what an operator reads of a report, without what passes.
func toldOf(report *Report) string {
	var b strings.Builder
	for i := range report.Paths {
		path := &report.Paths[i]
		fmt.Fprintf(&b, "%s: %s\n", path.Of, path.String())
		for _, note := range path.Notes {
			fmt.Fprintf(&b, "    %s\n", note)
		}
	}
	for i := range report.Checks {
		r := &report.Checks[i]
		if r.Status == Pass {
			continue
		}
		fmt.Fprintf(&b, "%s %s: %s\n", r.Status, r.Check, r.Found)
		for _, item := range r.Items {
			fmt.Fprintf(&b, "    %s\n", item)
		}
		if r.Do != "" {
			fmt.Fprintf(&b, "    do: %s\n", r.Do)
		}
	}
	return b.String()
}

// reportFile is a report as `-o json` prints it, of which internal/cli draws what an operator sees.
const reportFile = "testdata/report.json"

// A cluster with a cache at an address of its own and kube-proxy in mode IPVS, the detected values installed, and two nodes of seven without
// a cache. `go test ./internal/doctor -run ReportOfAnInstallation -update` rewrites the file.
func TestReportOfAnInstallation(t *testing.T) {
	t.Parallel()
	f := flavourFacts(t, testfile.ReadCase(t, "../discovery/testdata/flavours/cce-turbo.txtar"))
	f.nodes.value = 7
	for _, set := range f.daemonSets {
		set.value.Status.DesiredNumberScheduled, set.value.Status.NumberAvailable = 5, 5
	}
	report := Judge(f)
	if report.Count(Warn) != 1 || report.Count(Fail) > 0 {
		t.Errorf("want the warning of the nodes alone:\n%s", toldOf(report))
	}
	got, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	testfile.Expect(t, reportFile, append(got, '\n'))
}
