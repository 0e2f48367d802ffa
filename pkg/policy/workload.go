package policy

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Workload is the thing an operator restarts: what rules, rollout and reports
// mean by the owner of a pod. It is derived from the pod alone. The API server
// checks neither the group, nor the kind, nor the name of an owner reference. See
// IsValid.
type Workload struct {
	// Group is the API group of Kind: a StatefulSet of apps.kruise.io is not one
	// of apps. It is empty for kinds of the core API, such as Pod.
	Group string `json:"group,omitzero"`
	Kind  string `json:"kind"`
	Name  string `json:"name"`
}

// maxKind bounds a kind: it is the singular of a DNS label.
const maxKind = 63

// IsValid reports whether kind and name can be those of an object: no spaces,
// no patterns, nothing that a shell or a terminal takes for more than a name.
// That there is such an object is not said.
func (w Workload) IsValid() bool {
	return len(w.Kind) <= maxKind && kindSyntax.MatchString(w.Kind) && len(validation.IsDNS1123Subdomain(w.Name)) == 0
}

// QualifiedKind is the kind for people: with its group, as kubectl takes it, where
// it is of another project.
func (w Workload) QualifiedKind() string {
	if strings.Contains(w.Group, ".") && w.Group != ownGroup {
		return w.Kind + "." + w.Group
	}
	return w.Kind
}

const (
	kindPod = "Pod"
	// kindWorkload is what LabelWorkload makes of its pods. There is no such
	// object, so it is for reports and rules, never for a command.
	kindWorkload = "Workload"
	// ownGroup is the API group of this project.
	ownGroup = "shorthop.dev"
)

// Labels by which controllers of controllers know their pods.
const (
	// labelPodTemplateHash is what the Deployment controller puts on the pods of
	// a ReplicaSet and at the end of its name.
	labelPodTemplateHash = "pod-template-hash"
	// labelRolloutHash is the same of Argo Rollouts.
	labelRolloutHash = "rollouts-pod-template-hash"
	// labelDeploymentConfig is OpenShift's, with the name of the
	// DeploymentConfig. Its ReplicationControllers are called by that name and
	// the number of the revision.
	labelDeploymentConfig = "deploymentconfig"
)

// The CronJob controller ends a Job's name in the minutes since 1970. Above
// this number (in July 2017) eight digits are such minutes: dates like
// 20260101 are below.
const (
	cronJobDigits     = 8
	cronJobMinutesMin = "25000000"
)

// Owner returns the pod's controller. ok is false where it has none.
func (p *Pod) Owner() (owner Workload, ok bool) {
	if ref := p.controller(); ref != nil {
		return Workload{groupOf(ref.APIVersion), ref.Kind, ref.Name}, true
	}
	return Workload{}, false
}

// controller returns the reference to the pod's controller, nil if it has none.
func (p *Pod) controller() *OwnerReference {
	for i := range p.Metadata.OwnerReferences {
		if ref := &p.Metadata.OwnerReferences[i]; ref.Controller {
			return ref
		}
	}
	return nil
}

// groupOf is the API group of an apiVersion; empty for the core API.
func groupOf(apiVersion string) string {
	if slash := strings.LastIndexByte(apiVersion, '/'); slash >= 0 {
		return apiVersion[:slash]
	}
	return ""
}

// Workload returns the workload behind the pod. The first line that applies
// wins:
//
//	pod                                                        workload
//	label shorthop.dev/workload: x                             Workload x (shorthop.dev)
//	ReplicaSet "x-<label pod-template-hash>"                   Deployment x (apps)
//	ReplicaSet "x-<label rollouts-pod-template-hash>"          Rollout x (argoproj.io)
//	ReplicationController "x-<digits>", label deploymentconfig: x   DeploymentConfig x (apps.openshift.io)
//	Job "x-" and 8 digits above 25000000                       CronJob x (batch)
//	any other controller                                       the controller itself, with its group
//	no controller                                              Pod, by generateName or name
//
// ReplicaSets and the others stand for what is behind them only if they are
// Kubernetes' own: Volcano has Jobs too, and no CronJobs. A reference without
// an apiVersion, which the API server does not accept, is taken for one.
func (p *Pod) Workload() Workload {
	if w, ok := p.labelled(); ok {
		return w
	}
	return p.derived()
}

// labelled is the workload that the pod's author names.
func (p *Pod) labelled() (w Workload, ok bool) {
	name := p.Metadata.Labels[LabelWorkload]
	return Workload{ownGroup, kindWorkload, name}, name != ""
}

// derived is the workload without regard to the label.
func (p *Pod) derived() Workload {
	owner := p.controller()
	if owner == nil {
		name := p.Metadata.GenerateName
		if name == "" {
			name = p.Metadata.Name
		}
		return Workload{Kind: kindPod, Name: name}
	}
	labels := p.Metadata.Labels
	switch {
	case owner.is("apps", "ReplicaSet"):
		if name, found := cutHash(owner.Name, labels[labelPodTemplateHash]); found {
			return Workload{"apps", "Deployment", name}
		}
		if name, found := cutHash(owner.Name, labels[labelRolloutHash]); found {
			return Workload{"argoproj.io", "Rollout", name}
		}
	case owner.is("", "ReplicationController"):
		config := labels[labelDeploymentConfig]
		if revision, found := strings.CutPrefix(owner.Name, config); found && config != "" {
			if revision, found = strings.CutPrefix(revision, "-"); found && isDigits(revision) {
				return Workload{"apps.openshift.io", "DeploymentConfig", config}
			}
		}
	case owner.is("batch", "Job"):
		if cut := len(owner.Name) - cronJobDigits; cut > 1 && owner.Name[cut-1] == '-' {
			if minutes := owner.Name[cut:]; isDigits(minutes) && minutes > cronJobMinutesMin {
				return Workload{"batch", "CronJob", owner.Name[:cut-1]}
			}
		}
	}
	return Workload{groupOf(owner.APIVersion), owner.Kind, owner.Name}
}

// is reports whether the reference is to a kind of Kubernetes' own group.
func (r *OwnerReference) is(group, kind string) bool {
	return r.Kind == kind && (r.APIVersion == "" || groupOf(r.APIVersion) == group)
}

// cutHash cuts a controller's hash, and the dash before it, from a name.
func cutHash(name, hash string) (rest string, found bool) {
	if rest, found = strings.CutSuffix(name, hash); !found || hash == "" {
		return "", false
	}
	rest, found = strings.CutSuffix(rest, "-")
	return rest, found && rest != ""
}

// workloads are all that a rule's owners may mean: the workload, the same
// without regard to the label, and the direct controller. So nobody leaves a
// rule by putting a label on the pod. Some may be there twice.
func (p *Pod) workloads() (all [3]Workload, n int) {
	if w, ok := p.labelled(); ok {
		all[n] = w
		n++
	}
	all[n] = p.derived()
	n++
	if owner, ok := p.Owner(); ok {
		all[n] = owner
		n++
	}
	return all, n
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}
