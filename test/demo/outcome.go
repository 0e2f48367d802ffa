package main

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// outcome is what became of one sample.
type outcome struct {
	Pod       string `json:"pod"`
	Namespace string `json:"namespace"`
	File      string `json:"file"`
	// Review is nil where the API server did not ask the webhook; Filtered then says why.
	Review   *review        `json:"review"`
	Filtered string         `json:"filtered,omitzero"`
	Warnings []string       `json:"warnings,omitzero"`
	Record   *mutate.Record `json:"record"`
	Before   podView        `json:"before"`
	After    podView        `json:"after"`
}

func newOutcome(s sample, before *corev1.Pod, c creation, compiled *policy.Compiled) (outcome, error) {
	o := outcome{
		Pod: c.Pod.Name, Namespace: c.Pod.Namespace, File: s.File,
		Review: c.Review, Warnings: c.Warnings,
		Before: viewOf(before), After: viewOf(c.Pod),
	}
	if c.Review == nil {
		o.Filtered = whyFiltered(s, compiled)
	}
	if text, ok := c.Pod.Annotations[policy.AnnotationInjected]; ok {
		o.Record = &mutate.Record{}
		if err := json.Unmarshal([]byte(text), o.Record); err != nil {
			return outcome{}, fmt.Errorf("the record of %s/%s: %w", o.Namespace, o.Pod, err)
		}
	}
	return o, nil
}

// whyFiltered says in words why the API server's filter kept a pod from the webhook. The API server does not say it
// itself; webhookconfig has the filter.
func whyFiltered(s sample, compiled *policy.Compiled) string {
	namespace := s.Pod.Namespace
	switch {
	case compiled.Excludes(namespace):
		return "the policy excludes the namespace"
	case closed(namespace):
		return "opted out by label of the namespace"
	default:
		return "opted out by label of the pod"
	}
}

// problem says what is wrong with the outcome, and is empty where nothing is.
func (o *outcome) problem() string {
	r := o.Review
	recorded := o.Record != nil
	switch {
	case r == nil && recorded:
		return "carries a record although no review took place"
	case r == nil:
		return ""
	case r.Failed:
		return "was created without Shorthop because the call of the webhook failed"
	case r.Error != "":
		return "was not decided: error at stage " + r.Error
	case r.ServiceHost.Reason == "" || r.DNS.Reason == "":
		return "was reviewed, but the audit log has no reasons"
	case r.injects() && !recorded && r.Record == nil:
		return "was patched and carries no record of it"
	case !r.injects() && recorded:
		return "was left alone and carries a record"
	}
	return ""
}

// findingsError lists the pods that did not come out as they should.
type findingsError struct{ problems []string }

func (e *findingsError) Error() string {
	return "not as expected:\n  " + strings.Join(e.problems, "\n  ")
}

// add checks an outcome, under the example policy also against what the sample is there to show.
func (e *findingsError) add(o *outcome, example bool) {
	problem := o.problem()
	switch {
	case problem != "" || !example:
	case untouched[o.Pod] && o.Record != nil:
		problem = "is opted out and was patched"
	case !untouched[o.Pod] && o.Record == nil:
		problem = "was not patched"
	}
	if problem != "" {
		e.problems = append(e.problems, fmt.Sprintf("%s/%s %s", o.Namespace, o.Pod, problem))
	}
}

// podView is the part of a pod that Shorthop may change, and whose it is.
type podView struct {
	Metadata metadataView `json:"metadata,omitzero"`
	Spec     specView     `json:"spec"`
}

type metadataView struct {
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type specView struct {
	InitContainers []containerView      `json:"initContainers,omitempty"`
	Containers     []containerView      `json:"containers"`
	DNSPolicy      corev1.DNSPolicy     `json:"dnsPolicy,omitempty"`
	DNSConfig      *corev1.PodDNSConfig `json:"dnsConfig,omitempty"`
}

type containerView struct {
	Name string          `json:"name"`
	Env  []corev1.EnvVar `json:"env,omitempty"`
}

func viewOf(pod *corev1.Pod) podView {
	return podView{
		Metadata: metadataView{Labels: pod.Labels, Annotations: pod.Annotations},
		Spec: specView{
			InitContainers: containerViews(pod.Spec.InitContainers),
			Containers:     containerViews(pod.Spec.Containers),
			DNSPolicy:      pod.Spec.DNSPolicy,
			DNSConfig:      pod.Spec.DNSConfig,
		},
	}
}

func containerViews(containers []corev1.Container) []containerView {
	views := make([]containerView, 0, len(containers))
	for _, c := range containers {
		views = append(views, containerView{Name: c.Name, Env: c.Env})
	}
	return views
}
