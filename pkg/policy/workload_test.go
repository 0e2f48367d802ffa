package policy_test

import (
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
)

func TestWorkload(t *testing.T) {
	t.Parallel()
	owned := func(kind, name string) []policy.OwnerReference {
		return []policy.OwnerReference{{Kind: "Node", Name: "node-1"}, {Kind: kind, Name: name, Controller: true}}
	}
	hash := func(value string) map[string]string { return map[string]string{"pod-template-hash": value} }
	for name, test := range map[string]struct {
		metadata policy.PodMetadata
		want     policy.Workload
	}{
		"a ReplicaSet of a Deployment":              {policy.PodMetadata{OwnerReferences: owned("ReplicaSet", "web-5d4f8"), Labels: hash("5d4f8")}, policy.Workload{Kind: "Deployment", Name: "web"}},
		"a Deployment with dashes in its name":      {policy.PodMetadata{OwnerReferences: owned("ReplicaSet", "web-eu-1-5d4f8"), Labels: hash("5d4f8")}, policy.Workload{Kind: "Deployment", Name: "web-eu-1"}},
		"a ReplicaSet without the label":            {policy.PodMetadata{OwnerReferences: owned("ReplicaSet", "web-5d4f8")}, policy.Workload{Kind: "ReplicaSet", Name: "web-5d4f8"}},
		"a ReplicaSet with an empty label":          {policy.PodMetadata{OwnerReferences: owned("ReplicaSet", "web-"), Labels: hash("")}, policy.Workload{Kind: "ReplicaSet", Name: "web-"}},
		"a ReplicaSet with another label":           {policy.PodMetadata{OwnerReferences: owned("ReplicaSet", "web-5d4f8"), Labels: hash("7c6d9")}, policy.Workload{Kind: "ReplicaSet", Name: "web-5d4f8"}},
		"a ReplicaSet without a dash":               {policy.PodMetadata{OwnerReferences: owned("ReplicaSet", "web5d4f8"), Labels: hash("5d4f8")}, policy.Workload{Kind: "ReplicaSet", Name: "web5d4f8"}},
		"a ReplicaSet that is nothing but the hash": {policy.PodMetadata{OwnerReferences: owned("ReplicaSet", "-5d4f8"), Labels: hash("5d4f8")}, policy.Workload{Kind: "ReplicaSet", Name: "-5d4f8"}},
		"a Job of a CronJob":                        {policy.PodMetadata{OwnerReferences: owned("Job", "fetch-28812345")}, policy.Workload{Kind: "CronJob", Name: "fetch"}},
		"a CronJob of one letter":                   {policy.PodMetadata{OwnerReferences: owned("Job", "f-28812345")}, policy.Workload{Kind: "CronJob", Name: "f"}},
		"a Job with seven digits":                   {policy.PodMetadata{OwnerReferences: owned("Job", "fetch-2881234")}, policy.Workload{Kind: "Job", Name: "fetch-2881234"}},
		"a Job with nine digits":                    {policy.PodMetadata{OwnerReferences: owned("Job", "fetch-288123456")}, policy.Workload{Kind: "Job", Name: "fetch-288123456"}},
		"a Job with a letter among the digits":      {policy.PodMetadata{OwnerReferences: owned("Job", "fetch-2881234x")}, policy.Workload{Kind: "Job", Name: "fetch-2881234x"}},
		"a Job that is nothing but the digits":      {policy.PodMetadata{OwnerReferences: owned("Job", "-28812345")}, policy.Workload{Kind: "Job", Name: "-28812345"}},
		"a Job with a short name":                   {policy.PodMetadata{OwnerReferences: owned("Job", "1")}, policy.Workload{Kind: "Job", Name: "1"}},
		"a StatefulSet":                             {policy.PodMetadata{Name: "db-0", OwnerReferences: owned("StatefulSet", "db")}, policy.Workload{Kind: "StatefulSet", Name: "db"}},
		"no controller among the owners":            {policy.PodMetadata{Name: "web-1", OwnerReferences: []policy.OwnerReference{{Kind: "ReplicaSet", Name: "web"}}}, policy.Workload{Kind: "Pod", Name: "web-1"}},
		"no owner, a generated name":                {policy.PodMetadata{GenerateName: "run-", Name: "run-x7f"}, policy.Workload{Kind: "Pod", Name: "run-"}},
		"no owner":                                  {policy.PodMetadata{Name: "run"}, policy.Workload{Kind: "Pod", Name: "run"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod := policy.Pod{Metadata: test.metadata}
			if got := pod.Workload(); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}
