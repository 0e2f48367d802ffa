package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// checkApplied compares what the patch is meant to give with what the API server would store.
func checkApplied(patched, stored []byte) error {
	want, err := partsOf(patched)
	if err != nil {
		return err
	}
	got, err := partsOf(stored)
	if err != nil {
		return err
	}
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("the API server made something else of the patch (-patched +stored):\n%s", diff)
	}
	return nil
}

// partsOf returns what of a pod's JSON can be compared: the rest of its metadata is the server's.
func partsOf(pod []byte) (map[string]any, error) {
	var object struct {
		Metadata struct{ Labels, Annotations map[string]string }
		Spec     map[string]any
	}
	if err := json.Unmarshal(pod, &object); err != nil {
		return nil, err
	}
	dropMergedSelectors(object.Spec)
	for _, m := range []*map[string]string{&object.Metadata.Labels, &object.Metadata.Annotations} {
		if len(*m) == 0 {
			*m = nil // the API server does not store an empty one
		}
	}
	return map[string]any{"labels": object.Metadata.Labels, "annotations": object.Metadata.Annotations, "spec": object.Spec}, nil
}

// dropMergedSelectors takes out the label selectors into which the API server, after admission, merges the pod's labels
// that matchLabelKeys and mismatchLabelKeys name.
func dropMergedSelectors(value any) {
	switch value := value.(type) {
	case map[string]any:
		if value["matchLabelKeys"] != nil || value["mismatchLabelKeys"] != nil {
			delete(value, "labelSelector")
		}
		for _, element := range value {
			dropMergedSelectors(element)
		}
	case []any:
		for _, element := range value {
			dropMergedSelectors(element)
		}
	}
}

// checkUserValues takes out of the patched pod what we may have added, and wants the reviewed pod to be left. It knows
// only the promise, not the code.
func checkUserValues(reviewed, patched []byte) error {
	before, err := decodeAs[corev1.Pod](reviewed)
	if err != nil {
		return err
	}
	after, err := decodeAs[corev1.Pod](patched)
	if err != nil {
		return err
	}
	for _, pod := range []*corev1.Pod{before, after} {
		delete(pod.Annotations, policy.AnnotationInjected)
		delete(pod.Labels, policy.LabelPinned)
	}
	if diff := cmp.Diff(before.Labels, after.Labels, cmpopts.EquateEmpty()); diff != "" {
		return fmt.Errorf("labels (-before +after):\n%s", diff)
	}
	if diff := cmp.Diff(before.Annotations, after.Annotations, cmpopts.EquateEmpty()); diff != "" {
		return fmt.Errorf("annotations (-before +after):\n%s", diff)
	}
	if err := takeEnv(before.Spec.InitContainers, after.Spec.InitContainers); err != nil {
		return err
	}
	if err := takeEnv(before.Spec.Containers, after.Spec.Containers); err != nil {
		return err
	}
	if err := takeDNS(&before.Spec, &after.Spec); err != nil {
		return err
	}
	if !equality.Semantic.DeepEqual(before.Spec, after.Spec) {
		return fmt.Errorf("a value of the user's is changed or gone (-before +after):\n%s", cmp.Diff(before.Spec, after.Spec))
	}
	return nil
}

// takeEnv takes KUBERNETES_SERVICE_HOST, and the port that may follow it, from the front of containers that did not have
// them.
func takeEnv(before, after []corev1.Container) error {
	for i := range min(len(before), len(after)) {
		b, a := &before[i], &after[i]
		added := len(a.Env) - len(b.Env)
		if added == 0 {
			continue
		}
		names := []string{policy.EnvServiceHost, policy.EnvServicePort}
		if added < 0 || added > len(names) {
			return fmt.Errorf("container %s has %d more environment variables", b.Name, added)
		}
		for j := range added {
			if a.Env[j].Name != names[j] {
				return fmt.Errorf("container %s begins with %s, want %s", b.Name, a.Env[j].Name, names[j])
			}
		}
		if slices.ContainsFunc(b.Env, func(v corev1.EnvVar) bool { return slices.Contains(names, v.Name) }) {
			return fmt.Errorf("container %s chooses its API server itself", b.Name)
		}
		a.Env = a.Env[added:]
	}
	return nil
}

// takeDNS takes nameservers and searches from the front, options from the end, and turns None back.
func takeDNS(before, after *corev1.PodSpec) error {
	if equality.Semantic.DeepEqual(before.DNSConfig, after.DNSConfig) && before.DNSPolicy == after.DNSPolicy {
		return nil
	}
	windows := before.OS != nil && before.OS.Name == corev1.Windows || before.NodeSelector[corev1.LabelOSStable] == "windows"
	ownDNS := before.DNSPolicy == corev1.DNSNone || before.DNSPolicy == corev1.DNSDefault
	if windows || ownDNS || before.HostNetwork && before.DNSPolicy == corev1.DNSClusterFirst {
		return errors.New("DNS is changed where the API server accepts it and kubelet must not get it")
	}
	if before.DNSPolicy != after.DNSPolicy {
		if after.DNSPolicy != corev1.DNSNone {
			return fmt.Errorf("dnsPolicy %s became %s", before.DNSPolicy, after.DNSPolicy)
		}
		after.DNSPolicy = before.DNSPolicy
	}
	if after.DNSConfig == nil {
		return errors.New("dnsConfig is gone")
	}
	user := before.DNSConfig
	if user == nil {
		user = &corev1.PodDNSConfig{}
	}
	config := after.DNSConfig
	for _, list := range []struct {
		name string
		user []string
		all  *[]string
	}{{"nameservers", user.Nameservers, &config.Nameservers}, {"searches", user.Searches, &config.Searches}} {
		added := len(*list.all) - len(list.user)
		if added < 0 {
			return fmt.Errorf("%s are gone", list.name)
		}
		*list.all = (*list.all)[added:]
	}
	if len(config.Options) < len(user.Options) {
		return errors.New("options are gone")
	}
	for _, added := range config.Options[len(user.Options):] {
		if slices.ContainsFunc(user.Options, func(o corev1.PodDNSConfigOption) bool { return o.Name == added.Name }) {
			return fmt.Errorf("option %s is the user's", added.Name)
		}
	}
	config.Options = config.Options[:len(user.Options)]
	if before.DNSConfig == nil {
		if len(config.Nameservers)+len(config.Searches)+len(config.Options) > 0 {
			return errors.New("dnsConfig has more than what was added")
		}
		after.DNSConfig = nil
	}
	return nil
}

// checkUndo wants Undo of the stored pod to be what the user sent.
func checkUndo(reviewed, stored []byte) error {
	before, err := decodeAs[policy.Pod](reviewed)
	if err != nil {
		return err
	}
	after, err := decodeAs[policy.Pod](stored)
	if err != nil {
		return err
	}
	if _, recorded := after.Metadata.Annotations[policy.AnnotationInjected]; !recorded {
		return nil // there was no room for it, or nothing to record
	}
	delete(before.Metadata.Annotations, policy.AnnotationInjected)
	delete(before.Metadata.Labels, policy.LabelPinned)
	undone := mutate.Undo(after)
	undone.Metadata.Name, undone.Metadata.Namespace = before.Metadata.Name, before.Metadata.Namespace // the server's
	if diff := cmp.Diff(before, undone, cmpopts.EquateEmpty()); diff != "" {
		return fmt.Errorf("Undo is not the pod (-pod +undone):\n%s", diff)
	}
	return nil
}

func decodeAs[T any](text []byte) (*T, error) {
	decoded := new(T)
	if err := json.Unmarshal(text, decoded); err != nil {
		return nil, err
	}
	return decoded, nil
}
