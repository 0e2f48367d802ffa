package policy_test

import (
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
)

func TestWorkload(t *testing.T) {
	t.Parallel()
	owned := func(apiVersion, kind, name string) []policy.OwnerReference {
		return []policy.OwnerReference{
			{APIVersion: "v1", Kind: "Node", Name: "node-1"},
			{APIVersion: apiVersion, Kind: kind, Name: name, Controller: true},
		}
	}
	hash := func(value string) map[string]string { return map[string]string{"pod-template-hash": value} }
	rollout := func(value string) map[string]string {
		return map[string]string{"rollouts-pod-template-hash": value}
	}
	config := func(value string) map[string]string { return map[string]string{"deploymentconfig": value} }
	named := func(value string) map[string]string {
		return map[string]string{"shorthop.dev/workload": value, "pod-template-hash": "5d4f8"}
	}
	replicaSet := func(name string) []policy.OwnerReference { return owned("apps/v1", "ReplicaSet", name) }
	job := func(name string) []policy.OwnerReference { return owned("batch/v1", "Job", name) }
	controller := func(name string) []policy.OwnerReference { return owned("v1", "ReplicationController", name) }
	for name, test := range map[string]struct {
		metadata policy.PodMetadata
		want     policy.Workload
	}{
		"a ReplicaSet of a Deployment":              {policy.PodMetadata{OwnerReferences: replicaSet("web-5d4f8"), Labels: hash("5d4f8")}, policy.Workload{Group: "apps", Kind: "Deployment", Name: "web"}},
		"a Deployment with dashes in its name":      {policy.PodMetadata{OwnerReferences: replicaSet("web-eu-1-5d4f8"), Labels: hash("5d4f8")}, policy.Workload{Group: "apps", Kind: "Deployment", Name: "web-eu-1"}},
		"a reference without an apiVersion":         {policy.PodMetadata{OwnerReferences: owned("", "ReplicaSet", "web-5d4f8"), Labels: hash("5d4f8")}, policy.Workload{Group: "apps", Kind: "Deployment", Name: "web"}},
		"a ReplicaSet without the label":            {policy.PodMetadata{OwnerReferences: replicaSet("web-5d4f8")}, policy.Workload{Group: "apps", Kind: "ReplicaSet", Name: "web-5d4f8"}},
		"a ReplicaSet with an empty label":          {policy.PodMetadata{OwnerReferences: replicaSet("web-"), Labels: hash("")}, policy.Workload{Group: "apps", Kind: "ReplicaSet", Name: "web-"}},
		"a ReplicaSet with another label":           {policy.PodMetadata{OwnerReferences: replicaSet("web-5d4f8"), Labels: hash("7c6d9")}, policy.Workload{Group: "apps", Kind: "ReplicaSet", Name: "web-5d4f8"}},
		"a ReplicaSet without a dash":               {policy.PodMetadata{OwnerReferences: replicaSet("web5d4f8"), Labels: hash("5d4f8")}, policy.Workload{Group: "apps", Kind: "ReplicaSet", Name: "web5d4f8"}},
		"a ReplicaSet that is nothing but the hash": {policy.PodMetadata{OwnerReferences: replicaSet("-5d4f8"), Labels: hash("5d4f8")}, policy.Workload{Group: "apps", Kind: "ReplicaSet", Name: "-5d4f8"}},
		"a ReplicaSet of another group":             {policy.PodMetadata{OwnerReferences: owned("example.com/v1", "ReplicaSet", "web-5d4f8"), Labels: hash("5d4f8")}, policy.Workload{Group: "example.com", Kind: "ReplicaSet", Name: "web-5d4f8"}},
		"a ReplicaSet of an Argo Rollout":           {policy.PodMetadata{OwnerReferences: replicaSet("web-6f8d9c7b4"), Labels: rollout("6f8d9c7b4")}, policy.Workload{Group: "argoproj.io", Kind: "Rollout", Name: "web"}},
		"a ReplicaSet with another Rollout's label": {policy.PodMetadata{OwnerReferences: replicaSet("web-6f8d9c7b4"), Labels: rollout("5d4f8")}, policy.Workload{Group: "apps", Kind: "ReplicaSet", Name: "web-6f8d9c7b4"}},
		"a revision of a DeploymentConfig":          {policy.PodMetadata{OwnerReferences: controller("web-12"), Labels: config("web")}, policy.Workload{Group: "apps.openshift.io", Kind: "DeploymentConfig", Name: "web"}},
		"a ReplicationController by hand":           {policy.PodMetadata{OwnerReferences: controller("web-12")}, policy.Workload{Kind: "ReplicationController", Name: "web-12"}},
		"one with a DeploymentConfig's label":       {policy.PodMetadata{OwnerReferences: controller("web-blue"), Labels: config("web")}, policy.Workload{Kind: "ReplicationController", Name: "web-blue"}},
		"one with an empty label":                   {policy.PodMetadata{OwnerReferences: controller("-12"), Labels: config("")}, policy.Workload{Kind: "ReplicationController", Name: "-12"}},
		"a Job of a CronJob":                        {policy.PodMetadata{OwnerReferences: job("fetch-28812345")}, policy.Workload{Group: "batch", Kind: "CronJob", Name: "fetch"}},
		"a CronJob of one letter":                   {policy.PodMetadata{OwnerReferences: job("f-28812345")}, policy.Workload{Group: "batch", Kind: "CronJob", Name: "f"}},
		"the last minute that is none":              {policy.PodMetadata{OwnerReferences: job("fetch-25000000")}, policy.Workload{Group: "batch", Kind: "Job", Name: "fetch-25000000"}},
		"the first minute":                          {policy.PodMetadata{OwnerReferences: job("fetch-25000001")}, policy.Workload{Group: "batch", Kind: "CronJob", Name: "fetch"}},
		"a Job named by a date":                     {policy.PodMetadata{OwnerReferences: job("migrate-20260101")}, policy.Workload{Group: "batch", Kind: "Job", Name: "migrate-20260101"}},
		"a Job with seven digits":                   {policy.PodMetadata{OwnerReferences: job("fetch-2881234")}, policy.Workload{Group: "batch", Kind: "Job", Name: "fetch-2881234"}},
		"a Job with nine digits":                    {policy.PodMetadata{OwnerReferences: job("fetch-288123456")}, policy.Workload{Group: "batch", Kind: "Job", Name: "fetch-288123456"}},
		"a Job with a letter among the digits":      {policy.PodMetadata{OwnerReferences: job("fetch-2881234x")}, policy.Workload{Group: "batch", Kind: "Job", Name: "fetch-2881234x"}},
		"a Job that is nothing but the digits":      {policy.PodMetadata{OwnerReferences: job("-28812345")}, policy.Workload{Group: "batch", Kind: "Job", Name: "-28812345"}},
		"a Job with a short name":                   {policy.PodMetadata{OwnerReferences: job("1")}, policy.Workload{Group: "batch", Kind: "Job", Name: "1"}},
		"a Job of Volcano":                          {policy.PodMetadata{OwnerReferences: owned("batch.volcano.sh/v1alpha1", "Job", "train-28812345")}, policy.Workload{Group: "batch.volcano.sh", Kind: "Job", Name: "train-28812345"}},
		"a StatefulSet":                             {policy.PodMetadata{Name: "db-0", OwnerReferences: owned("apps/v1", "StatefulSet", "db")}, policy.Workload{Group: "apps", Kind: "StatefulSet", Name: "db"}},
		"a StatefulSet of OpenKruise":               {policy.PodMetadata{Name: "db-0", OwnerReferences: owned("apps.kruise.io/v1beta1", "StatefulSet", "db")}, policy.Workload{Group: "apps.kruise.io", Kind: "StatefulSet", Name: "db"}},
		"a group with a slash":                      {policy.PodMetadata{OwnerReferences: owned("a/b/v1", "Thing", "x")}, policy.Workload{Group: "a/b", Kind: "Thing", Name: "x"}},
		"a node, of a mirror pod":                   {policy.PodMetadata{OwnerReferences: owned("v1", "Node", "node-1")}, policy.Workload{Kind: "Node", Name: "node-1"}},
		"a label beside a controller":               {policy.PodMetadata{OwnerReferences: replicaSet("hello-00001-deployment-5d4f8"), Labels: named("hello")}, policy.Workload{Group: "shorthop.dev", Kind: "Workload", Name: "hello"}},
		"a label and no controller":                 {policy.PodMetadata{Name: "run-1", Labels: named("run")}, policy.Workload{Group: "shorthop.dev", Kind: "Workload", Name: "run"}},
		"a ReplicaSet of the core API":              {policy.PodMetadata{OwnerReferences: owned("v1", "ReplicaSet", "web-5d4f8"), Labels: hash("5d4f8")}, policy.Workload{Kind: "ReplicaSet", Name: "web-5d4f8"}},
		"an empty label":                            {policy.PodMetadata{Name: "run-1", Labels: named("")}, policy.Workload{Kind: "Pod", Name: "run-1"}},
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

// A rule that names any of what a pod belongs to holds for it: a label adds a
// name, and takes none away.
func TestOwnersOfAPod(t *testing.T) {
	t.Parallel()
	owned := func(apiVersion, kind, name string, labels map[string]string) *policy.Request {
		request := ordinaryRequest()
		request.Pod.Metadata = policy.PodMetadata{
			Name: "x", Labels: labels,
			OwnerReferences: []policy.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name, Controller: true}},
		}
		return request
	}
	deployment := func(labels map[string]string) *policy.Request {
		labels["pod-template-hash"] = "5d4f8"
		return owned("apps/v1", "ReplicaSet", "web-5d4f8", labels)
	}
	for name, test := range map[string]struct {
		request *policy.Request
		owners  []string // in the notation of YAML
		strange []string
	}{
		"a Deployment's": {
			deployment(map[string]string{}),
			[]string{"kind: Deployment, name: web", "kind: ReplicaSet, name: web-*", "kind: Deployment", "name: web"},
			[]string{"kind: Workload", "kind: Pod", "kind: Rollout"},
		},
		"a labelled pod of a Deployment": {
			deployment(map[string]string{"shorthop.dev/workload": "shop"}),
			[]string{"kind: Deployment, name: web", "kind: ReplicaSet, name: web-*", "kind: Workload, name: shop", "name: shop", "name: web"},
			[]string{"kind: Deployment, name: shop", "kind: Workload, name: web"},
		},
		"a Rollout's": {
			owned("apps/v1", "ReplicaSet", "web-6f8d9c7b4", map[string]string{"rollouts-pod-template-hash": "6f8d9c7b4"}),
			[]string{"kind: Rollout, name: web", "kind: ReplicaSet"},
			[]string{"kind: Deployment"},
		},
		"a CronJob's, labelled": {
			owned("batch/v1", "Job", "fetch-29000001", map[string]string{"shorthop.dev/workload": "fetchers"}),
			[]string{"kind: CronJob, name: fetch", "kind: Job, name: fetch-29000001", "kind: Workload, name: fetch*"},
			[]string{"kind: Job, name: fetch"},
		},
		"a StatefulSet's of another group": {
			owned("apps.kruise.io/v1beta1", "StatefulSet", "db", nil),
			[]string{"kind: StatefulSet, name: db"},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			decide := func(owner string) string {
				return compile(t, header+"  dns: {}\n  rules: [{name: matched, match: {owners: [{"+owner+"}]}}]\n").Decide(test.request).Rule
			}
			for _, owner := range test.owners {
				if got := decide(owner); got != "matched" {
					t.Errorf("{%s} does not match", owner)
				}
			}
			for _, owner := range test.strange {
				if got := decide(owner); got != policy.DefaultRule {
					t.Errorf("{%s} matches", owner)
				}
			}
		})
	}
}

func TestWorkloadsThatCannotBe(t *testing.T) {
	t.Parallel()
	for w, want := range map[policy.Workload]bool{
		{Kind: "Deployment", Name: "web"}: true, {Kind: strings.Repeat("K", 63), Name: "web"}: true, {Kind: strings.Repeat("K", 64), Name: "web"}: false,
		{Kind: "x; curl", Name: "web"}: false, {Kind: "Deployment", Name: "web*"}: false, {Kind: "Deployment"}: false, {Name: "web"}: false,
	} {
		if w.IsValid() != want {
			t.Errorf("%+v: %t", w, w.IsValid())
		}
	}
}
