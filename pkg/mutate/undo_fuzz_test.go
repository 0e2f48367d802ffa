package mutate_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// FuzzUndo puts any record on any pod, with the checksums that make it trusted
// where forge is true. Undo takes out nothing that the record does not claim,
// with its value.
func FuzzUndo(f *testing.F) {
	for _, file := range releasedRecords(f) {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		pod := archive.Files[0].Data
		record := []byte(decode(f, pod).Metadata.Annotations[policy.AnnotationInjected])
		f.Add(pod, record, false)
		for _, other := range []string{
			`{"v":1,"serviceHost":"NodeIP","dns":"Options","added":{"containers":["app"],"port":"6443","portHTTPS":"6443","options":["ndots","edns0"]}}`,
			`{"v":1,"dns":"NodeLocal","added":{"nameservers":2,"searches":3,"userNameservers":[[0,1]],"userSearches":[[2,0],[0,1]],"dnsPolicy":"","dnsConfig":true}}`,
			`{"v":2,"added":{"nameservers":-1}}`,
		} {
			f.Add(pod, []byte(other), true)
		}
	}
	f.Fuzz(func(t *testing.T, text, record []byte, forge bool) {
		document, ok := podDocument(t, text, false)
		if !ok {
			return
		}
		pod := decode(t, document)
		annotations := maps.Clone(pod.Metadata.Annotations)
		if annotations == nil {
			annotations = map[string]string{}
		}
		annotations[policy.AnnotationInjected] = string(record)
		pod.Metadata.Annotations = annotations
		if forge {
			if forged, ok := mutate.Reseal(pod); ok {
				annotations[policy.AnnotationInjected] = forged
			}
		}
		var claimed mutate.Record
		if err := json.Unmarshal([]byte(annotations[policy.AnnotationInjected]), &claimed); err != nil {
			claimed = mutate.Record{}
		}
		before := *pod
		undone := mutate.Undo(pod)
		if !reflect.DeepEqual(&before, pod) {
			t.Fatal("Undo changes the pod")
		}
		if err := onlyClaimedIsGone(pod, undone, &claimed); err != nil {
			t.Fatalf("%v\nrecord: %s\npod: %s", err, annotations[policy.AnnotationInjected], document)
		}
	})
}

// onlyClaimedIsGone compares a pod with Undo of it.
func onlyClaimedIsGone(pod, undone *policy.Pod, claimed *mutate.Record) error {
	was, is := *pod, *undone
	lists := [][2][]policy.Container{{was.Spec.InitContainers, is.Spec.InitContainers}, {was.Spec.Containers, is.Spec.Containers}}
	for _, list := range lists {
		for i := range list[0] {
			w, s := &list[0][i], &list[1][i]
			gone, ok := missingFrom(s.Env, w.Env, func(a, b policy.EnvVar) bool { return a == b })
			if !ok {
				return fmt.Errorf("container %s has variables that it had not: %v became %v", w.Name, w.Env, s.Env)
			}
			for _, v := range gone {
				want := map[string]string{
					"KUBERNETES_SERVICE_HOST": claimed.ServiceHost, "KUBERNETES_SERVICE_PORT": claimed.Added.Port, "KUBERNETES_SERVICE_PORT_HTTPS": claimed.Added.PortHTTPS,
				}[v.Name]
				nodeIP := want == "NodeIP" && v.ValueFrom.FieldRef.FieldPath == "status.hostIP" && v.Value == ""
				if !slices.Contains(claimed.Added.Containers, w.Name) || want == "" || v.Value != want && !nodeIP {
					return fmt.Errorf("container %s lost %v", w.Name, v)
				}
			}
			if len(gone) > 3 {
				return fmt.Errorf("container %s lost %v", w.Name, gone)
			}
		}
	}
	if was.Spec.DNSPolicy != is.Spec.DNSPolicy && (was.Spec.DNSPolicy != "None" || claimed.Added.DNSPolicy == nil || *claimed.Added.DNSPolicy != is.Spec.DNSPolicy) {
		return fmt.Errorf("dnsPolicy %s became %s", was.Spec.DNSPolicy, is.Spec.DNSPolicy)
	}
	var config, undoneConfig policy.DNSConfig
	if was.Spec.DNSConfig != nil {
		config = *was.Spec.DNSConfig
	}
	if is.Spec.DNSConfig != nil {
		undoneConfig = *is.Spec.DNSConfig
	}
	for _, list := range []struct {
		was, is []string
		count   int
	}{
		{config.Nameservers, undoneConfig.Nameservers, claimed.Added.Nameservers},
		{config.Searches, undoneConfig.Searches, claimed.Added.Searches},
	} {
		if behind := list.was[max(0, min(len(list.was), list.count)):]; len(list.is) < len(list.was) {
			if _, ok := missingFrom(behind, list.is, func(a, b string) bool { return a == b }); !ok {
				return fmt.Errorf("of %v, %d are claimed, and %v are left", list.was, list.count, list.is)
			}
		}
	}
	gone, ok := missingFrom(undoneConfig.Options, config.Options, func(a, b policy.DNSOption) bool { return reflect.DeepEqual(a, b) })
	if !ok || len(gone) > len(claimed.Added.Options) {
		return fmt.Errorf("options %v became %v", config.Options, undoneConfig.Options)
	}
	for _, option := range gone {
		if !slices.Contains(claimed.Added.Options, option.Name) {
			return fmt.Errorf("option %s is gone", option.Name)
		}
	}
	return nil
}

// missingFrom returns what of long is not in short. ok is false where long has
// not all of short, in order.
func missingFrom[T any](short, long []T, same func(a, b T) bool) (missing []T, ok bool) {
	for _, value := range long {
		if len(short) > 0 && same(short[0], value) {
			short = short[1:]
		} else {
			missing = append(missing, value)
		}
	}
	return missing, len(short) == 0
}
