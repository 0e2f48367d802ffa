package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/nodeprobe"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/testfile"
)

// Case files: testdata/checks/<check>/<what is in the cluster, in words>.txtar, and testdata/paths. All start from healthyFacts.
// The sections:
//
//	policy.yaml    loaded everywhere, in place of testPolicy
//	registered.yaml, webhook.patch.yaml
//	               the policy by which the webhook configuration is made, in place of testPolicy, and a JSON Patch of it
//	says.yaml      what /debug/policy of the first replica says besides, of the second, and so on
//	policies.yaml  policies of the cluster that restrict egress
//	facts.yaml     facts by their names in places, each in place of the healthy one
//	comes to       expected: the check with all that it says, and which others do not pass
//	paths          expected in testdata/paths, in its place
//
// `go test ./internal/doctor -run 'Judge|Paths' -update` rewrites what is expected.
func checkCases(t *testing.T) map[Check][]*testfile.Case {
	t.Helper()
	cases := map[Check][]*testfile.Case{}
	folders, err := os.ReadDir("testdata/checks")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		cases[Check(folder.Name())] = testfile.ReadCases(t, "testdata/checks/"+folder.Name())
	}
	return cases
}

// factsOf are those of a case, which expects a section.
func factsOf(t *testing.T, c *testfile.Case, expects string) *Facts {
	t.Helper()
	c.OnlyHas(t, "policy.yaml", "registered.yaml", "webhook.patch.yaml", "says.yaml", "policies.yaml", "facts.yaml", expects)
	f := healthyFacts(t, newIssuer(t))
	if text := c.Section("policy.yaml"); text != nil {
		f.loadPolicy(t, string(text))
	}
	if text := c.Section("registered.yaml"); text != nil {
		f.register(t, string(text))
	}
	if text := c.Section("webhook.patch.yaml"); text != nil {
		var patch jsonpatch.Patch
		read(t, text, &patch)
		patched, err := patch.Apply(jsontest.Marshal(t, f.webhook.value))
		if err != nil {
			t.Fatal(err)
		}
		f.webhook.value = new(admissionv1.MutatingWebhookConfiguration)
		jsontest.Unmarshal(t, patched, f.webhook.value)
	}
	var says []jsontext.Value
	read(t, c.Section("says.yaml"), &says)
	for i, text := range says {
		f.say(t, i, string(text))
	}
	f.egress.value = readEgressPolicies(t, c.Section("policies.yaml"))
	f.change(t, c.Section("facts.yaml"))
	return f
}

func read(t *testing.T, text []byte, into any) {
	t.Helper()
	text, err := yaml.YAMLToJSONStrict(text)
	if err == nil {
		err = json.Unmarshal(text, into, strict)
	}
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
}

// strict takes the fields that there are, by any spelling of their Go names.
var strict = json.JoinOptions(json.RejectUnknownMembers(true), json.MatchCaseInsensitiveNames(true))

// change reads facts of a case.
func (f *Facts) change(t *testing.T, text []byte) {
	t.Helper()
	var facts map[string]jsontext.Value
	read(t, text, &facts)
	var answers fact[map[string]fact[[]nodeprobe.Answer]] // by node
	places := map[string]any{
		"apiHosts": &f.apiHosts, "bootstrap": &f.bootstrap, "caSecret": &f.caSecret, "cachesThere": &f.cachesThere, "configMap": &f.configMap,
		"cutOff": &f.cutOff, "daemonSets": &f.daemonSets, "dnsOnNodes": &f.dnsOnNodes, "dnsServices": &f.dnsServices, "egress": &f.egress,
		"endpoints": &f.endpoints, "failOpen": &f.failOpen, "failedCreates": &f.failedCreates, "idleServices": &f.idleServices,
		"lease": &f.lease, "namespaces": &f.namespaces, "nodes": &f.nodes, "notCreated": &f.notCreated, "now": &f.now,
		"otherCaches": &f.otherCaches, "pinned": &f.pinned, "probed": &answers, "proxy": &f.proxy, "redirects": &f.redirects,
		"replicas": &f.replicas, "selected": &f.selected,
		// Parts of a fact.
		"cache.args": &f.cache().args, "cache.corefiles": &f.cache().corefiles, "cache.readsStubDomains": &f.cache().readsStubDomains,
		"clusterDNS.corefiles": &f.clusterDNS.value.corefiles, "clusterDNS.stubDomains": &f.clusterDNS.value.stubDomains,
		"flags.detects": &f.flags.detects, "flags.selfManaged": &f.flags.selfManaged, "served": &f.apiHosts[0].served,
		"webhook": &f.webhook,
	}
	for name, fact := range facts {
		place, known := places[name]
		if !known {
			t.Fatalf("no fact is called %q", name)
		}
		reflect.ValueOf(place).Elem().SetZero()
		if err := json.Unmarshal(fact, place, strict); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	config := f.cacheConfig // of every cache that there is
	f.cacheConfig = nil
	for name := range f.daemonSets {
		setFact(&f.cacheConfig, name, config["kube-system/node-local-dns"])
	}
	if f.probed.err = answers.err; answers.value != nil {
		f.probed.value = &probed{left: 3}
	}
	for _, node := range slices.Sorted(maps.Keys(answers.value)) {
		f.probed.value.nodes = append(f.probed.value.nodes, nodeAnswers{node, answers.value[node].value, answers.value[node].err})
	}
}

// UnmarshalJSON reads a fact of a case: its value, or {error: why it could not be had}.
func (f *fact[T]) UnmarshalJSON(text []byte) error {
	var none struct{ Error string }
	if json.Unmarshal(text, &none, strict) == nil && none.Error != "" {
		f.err = errors.New(none.Error)
		return nil
	}
	return json.Unmarshal(text, &f.value, strict)
}

// UnmarshalJSON reads [all, ready].
func (b *behind) UnmarshalJSON(text []byte) error {
	var counts [2]int
	err := json.Unmarshal(text, &counts)
	*b = behind{counts[0], counts[1]}
	return err
}

// UnmarshalJSON reads the fields by their names.
func (c *failedCreate) UnmarshalJSON(text []byte) error {
	var fields struct {
		Namespace, Workload, Message string
		Last                         time.Time
	}
	err := json.Unmarshal(text, &fields, strict)
	*c = failedCreate{fields.Namespace, fields.Workload, fields.Message, fields.Last}
	return err
}

// comesTo is all that a check says, and which others do not pass.
func comesTo(report *Report, check Check) string {
	var its, others strings.Builder
	for i := range report.Checks {
		switch r := &report.Checks[i]; {
		case r.Check == check:
			its.WriteString(lines(string(r.Status)+": "+r.Found, r.Items...))
			if r.Do != "" {
				fmt.Fprintf(&its, "do: %s\n", r.Do)
			}
		case r.Status != Pass:
			fmt.Fprintf(&others, "besides %s: %s\n", r.Check, r.Status)
		}
	}
	return its.String() + others.String()
}

// expectedStatus is the status that a case expects of its check.
func expectedStatus(c *testfile.Case) Status {
	status, _, _ := strings.Cut(string(c.Section("comes to")), ":")
	return Status(cmp.Or(status, "none"))
}
