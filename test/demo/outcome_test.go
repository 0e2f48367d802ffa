package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

func TestFindings(t *testing.T) {
	var (
		inject  = policy.Outcome{Action: policy.ActionInject, Reason: policy.ReasonEnabledByPolicy}
		dryRun  = policy.Outcome{Action: policy.ActionDryRun, Reason: policy.ReasonEnabledByPolicy}
		skip    = policy.Outcome{Action: policy.ActionSkip, Reason: policy.ReasonDisabledByPolicy}
		tooBig  = policy.Outcome{Action: policy.ActionSkip, Reason: policy.ReasonAnnotationBudget}
		record  = &mutate.Record{}
		patched = &review{ServiceHost: inject, DNS: skip}
	)
	tests := map[string]struct {
		pod     string
		review  *review
		record  *mutate.Record
		example bool
		want    string // part of the finding; empty: none
	}{
		"patched":                                 {"plain", patched, record, true, ""},
		"filtered":                                {"in-opted-out-namespace", nil, nil, true, ""},
		"skipped under another policy":            {"plain", &review{ServiceHost: skip, DNS: skip}, nil, false, ""},
		"skipped under the example policy":        {"plain", &review{ServiceHost: skip, DNS: skip}, nil, true, "was not patched"},
		"filtered under another policy":           {"plain", nil, nil, false, ""},
		"filtered under the example policy":       {"plain", nil, nil, true, "was not patched"},
		"dry run":                                 {"plain", &review{ServiceHost: dryRun, DNS: dryRun}, nil, false, ""},
		"opted out and patched":                   {"in-opted-out-namespace", patched, record, true, "is opted out"},
		"filtered with a record":                  {"plain", nil, record, false, "no review"},
		"patched without a record":                {"plain", patched, nil, false, "no record"},
		"patched, the record left out on purpose": {"plain", &review{ServiceHost: inject, DNS: skip, Record: &tooBig}, nil, false, ""},
		"left alone with a record":                {"plain", &review{ServiceHost: skip, DNS: skip}, record, false, "left alone"},
		"the call failed":                         {"plain", &review{Failed: true}, nil, false, "call of the webhook failed"},
		"the webhook gave up":                     {"plain", &review{Error: "panic"}, nil, false, "stage panic"},
		"a review without reasons":                {"plain", &review{Entry: "open.pods.shorthop.dev"}, nil, false, "no reasons"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var findings findingsError
			findings.add(&outcome{Pod: test.pod, Namespace: "ns", Review: test.review, Record: test.record}, test.example)
			got := strings.Join(findings.problems, "\n")
			if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
				t.Errorf("got %q, want %q in it", got, test.want)
			}
		})
	}
}

// audit is what kube-apiserver v1.36.3 writes, shortened.
const audit = `{"auditID":"a","stage":"ResponseComplete","annotations":{` +
	`"mutation.webhook.admission.k8s.io/round_0_index_1":"{\"configuration\":\"shorthop\",\"webhook\":\"closed.pods.shorthop.dev\",\"mutated\":true}",` +
	`"closed.pods.shorthop.dev/rule":"default",` +
	`"closed.pods.shorthop.dev/service_host":"inject enabled_by_pod_label",` +
	`"closed.pods.shorthop.dev/dns":"skip host_network"}}
{"auditID":"b","stage":"ResponseComplete","annotations":{` +
	`"mutation.webhook.admission.k8s.io/round_0_index_0":"{\"configuration\":\"other\",\"webhook\":\"other.example.com\",\"mutated\":true}",` +
	`"failed-open.mutation.webhook.admission.k8s.io/round_0_index_1":"other.example.com"}}
{"auditID":"c","stage":"ResponseComplete","annotations":{` +
	`"mutation.webhook.admission.k8s.io/round_0_index_0":"{\"configuration\":\"shorthop\",\"webhook\":\"open.pods.shorthop.dev\",\"mutated\":false}",` +
	`"failed-open.mutation.webhook.admission.k8s.io/round_0_index_0":"open.pods.shorthop.dev"}}
{"auditID":"d","stage":"ResponseComp`

func TestReviewsInTheAuditLog(t *testing.T) {
	tests := map[string]struct {
		found bool
		want  *review
	}{
		"a": {true, &review{
			Entry: "closed.pods.shorthop.dev", Rule: "default",
			ServiceHost: policy.Outcome{Action: policy.ActionInject, Reason: policy.ReasonEnabledByPodLabel},
			DNS:         policy.Outcome{Action: policy.ActionSkip, Reason: policy.ReasonHostNetwork},
		}},
		"b": {true, nil},
		"c": {true, &review{Entry: "open.pods.shorthop.dev", Failed: true}},
		"d": {false, nil},
		"e": {false, nil},
	}
	for id, test := range tests {
		annotations, found, err := findEvent([]byte(audit), id)
		if err != nil {
			t.Fatal(err)
		}
		if found != test.found {
			t.Errorf("%s: found is %t, want %t", id, found, test.found)
		}
		got, err := reviewFrom(annotations)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %+v, want %+v", id, got, test.want)
		}
	}
}

func TestDiffLines(t *testing.T) {
	tests := map[string]struct{ before, after, want []string }{
		"nothing":  {},
		"the same": {[]string{"a", "b"}, []string{"a", "b"}, []string{"  a", "  b"}},
		"added":    {[]string{"a", "c"}, []string{"a", "b", "c"}, []string{"  a", "+ b", "  c"}},
		"removed":  {[]string{"a", "b", "c"}, []string{"a", "c"}, []string{"  a", "- b", "  c"}},
		"all new":  {nil, []string{"a", "b"}, []string{"+ a", "+ b"}},
		"all gone": {[]string{"a", "b"}, nil, []string{"- a", "- b"}},
		"another value stands beside the one before": {
			[]string{"- name: web", "dnsPolicy: ClusterFirst"},
			[]string{"- name: web", "  env:", "dnsPolicy: None", "dnsConfig:"},
			[]string{"  - name: web", "+   env:", "- dnsPolicy: ClusterFirst", "+ dnsPolicy: None", "+ dnsConfig:"},
		},
		"an element in front": {
			[]string{"- name: LEVEL", "  value: 1"},
			[]string{"- name: HOST", "  value: a", "- name: LEVEL", "  value: 1"},
			[]string{"+ - name: HOST", "+   value: a", "  - name: LEVEL", "    value: 1"},
		},
	}
	for name, test := range tests {
		if got := diffLines(test.before, test.after); !slices.Equal(got, test.want) {
			t.Errorf("%s: got\n%s\nwant\n%s", name, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
}

// The samples are what the README promises; the names are those that this program knows.
func TestSamples(t *testing.T) {
	samples, err := loadSamples("../../" + samplesDir)
	if err != nil {
		t.Fatal(err)
	}
	known := func(name string) bool {
		return slices.ContainsFunc(samples, func(s sample) bool { return s.Pod.Name == name })
	}
	for _, name := range showcased {
		if !known(name) {
			t.Errorf("there is no sample %s", name)
		}
	}
	for name := range untouched {
		if !known(name) {
			t.Errorf("there is no sample %s", name)
		}
	}
	for _, s := range samples {
		if s.Pod.Name == "" {
			t.Errorf("%s has no name", s.File)
		}
	}
}
