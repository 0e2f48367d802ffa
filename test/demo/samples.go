package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/policy"
)

// namespaceLabels are the labels of the samples' namespaces. A namespace that is not listed has none.
var namespaceLabels = map[string]map[string]string{
	"quiet": {policy.LabelInject: "disabled"},
}

// closed reports whether a namespace opts out by its label.
func closed(namespace string) bool {
	return namespaceLabels[namespace][policy.LabelInject] == "disabled"
}

// untouched are the samples that must come out as they were written under the example policy. All others must be
// patched.
var untouched = map[string]bool{
	"in-opted-out-namespace": true,
}

// sample is a pod of examples/pods.
type sample struct {
	File string
	Pod  *corev1.Pod // its namespace is set
}

// loadSamples reads the manifests of a folder, one pod each, in the order of their names.
func loadSamples(dir string) ([]sample, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, fmt.Errorf("finding the samples: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no samples in %s: the demo runs in the repository's root", dir)
	}
	samples := make([]sample, 0, len(files))
	for _, file := range files {
		pod, err := loadPod(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		samples = append(samples, sample{File: file, Pod: pod})
	}
	return samples, nil
}

func loadPod(file string) (*corev1.Pod, error) {
	data, err := os.ReadFile(filepath.Clean(file))
	if err != nil {
		return nil, err
	}
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(data, pod); err != nil {
		return nil, err
	}
	if pod.APIVersion != "v1" || pod.Kind != "Pod" {
		return nil, errors.New("not a Pod of v1")
	}
	if pod.Namespace == "" {
		pod.Namespace = metav1.NamespaceDefault
	}
	return pod, nil
}
