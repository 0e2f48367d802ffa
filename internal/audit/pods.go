package audit

import (
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Pod is the part of a running pod that is read.
type Pod struct {
	policy.Pod
	Metadata Metadata `json:"metadata"`
	Status   Status   `json:"status"`
	// Size is that of the pod in bytes of JSON.
	Size int `json:"-"`
}

// Metadata is the part of a running pod's metadata that is read.
type Metadata struct {
	policy.PodMetadata
	CreationTimestamp time.Time  `json:"creationTimestamp"`
	DeletionTimestamp *time.Time `json:"deletionTimestamp"`
}

// Status is the part of a pod's status that is read.
type Status struct {
	Phase corev1.PodPhase `json:"phase"`
}

// UnmarshalJSONFrom decodes a pod of a list in one pass.
func (p *Pod) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	type fields Pod // without this method
	start := decoder.InputOffset()
	if err := json.UnmarshalDecode(decoder, (*fields)(p)); err != nil {
		return err
	}
	p.Size = int(decoder.InputOffset() - start)
	p.Pod.Metadata = p.Metadata.PodMetadata
	return nil
}

// LeftOut is why a pod is not classified. The names are API.
type LeftOut string

// Pods that are left out.
const (
	// LeftOutFinished has Succeeded or Failed: nothing runs in it any more.
	LeftOutFinished LeftOut = "finished"
	// LeftOutDeleting is about to go.
	LeftOutDeleting LeftOut = "deleting"
	// LeftOutMirror mirrors a static pod, which no webhook can reach.
	LeftOutMirror LeftOut = "mirror"
)

// LeftOut returns why the pod is not classified, or "".
func (p *Pod) LeftOut() LeftOut {
	_, mirror := p.Metadata.Annotations[corev1.MirrorPodAnnotationKey]
	switch {
	case mirror:
		return LeftOutMirror
	case p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
		return LeftOutFinished
	case p.Metadata.DeletionTimestamp != nil:
		return LeftOutDeleting
	}
	return ""
}
