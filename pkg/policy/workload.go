package policy

import "strings"

// Workload is the thing an operator restarts: what rules, rollout and reports
// mean by the owner of a pod. It is derived from the pod alone.
type Workload struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
}

// labelPodTemplateHash is what the Deployment controller puts on the pods of a
// ReplicaSet and at the end of its name.
const labelPodTemplateHash = "pod-template-hash"

// cronJobSuffix is the number of digits (minutes since the epoch) that the
// CronJob controller puts at the end of a Job's name.
const cronJobSuffix = 8

// Owner returns the pod's controller. ok is false where it has none.
func (p *Pod) Owner() (owner Workload, ok bool) {
	for i := range p.Metadata.OwnerReferences {
		if ref := &p.Metadata.OwnerReferences[i]; ref.Controller {
			return Workload{Kind: ref.Kind, Name: ref.Name}, true
		}
	}
	return Workload{}, false
}

// Workload returns the workload behind the pod:
//
//	controller                                       workload
//	ReplicaSet named "x-<pod-template-hash label>"   Deployment x
//	Job named "x-" and 8 digits                      CronJob x
//	anything else                                    the controller itself
//	none                                             Pod, by generateName or name
func (p *Pod) Workload() Workload {
	owner, ok := p.Owner()
	if !ok {
		name := p.Metadata.GenerateName
		if name == "" {
			name = p.Metadata.Name
		}
		return Workload{Kind: "Pod", Name: name}
	}
	switch owner.Kind {
	case "ReplicaSet":
		hash := p.Metadata.Labels[labelPodTemplateHash]
		if name, found := strings.CutSuffix(owner.Name, hash); found && hash != "" {
			if name, found = strings.CutSuffix(name, "-"); found && name != "" {
				return Workload{Kind: "Deployment", Name: name}
			}
		}
	case "Job":
		if cut := len(owner.Name) - cronJobSuffix; cut > 1 && owner.Name[cut-1] == '-' && isDigits(owner.Name[cut:]) {
			return Workload{Kind: "CronJob", Name: owner.Name[:cut-1]}
		}
	}
	return owner
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
