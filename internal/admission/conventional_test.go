package admission_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	ctrladmission "sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// conventional is what most pod webhooks do, with the outcome that the policy
// of the benchmarks asks of Shorthop: decode the typed pod, change it, encode
// it, and let the framework compare the two. It skips nothing, validates
// nothing and opts nobody out.
type conventional struct {
	decoder ctrladmission.Decoder
}

func (c conventional) Handle(_ context.Context, req ctrladmission.Request) ctrladmission.Response {
	var pod corev1.Pod
	if err := c.decoder.Decode(req, &pod); err != nil {
		return ctrladmission.Errored(http.StatusBadRequest, err)
	}
	setConventionally(&pod, req.Namespace)
	encoded, err := json.Marshal(&pod)
	if err != nil {
		return ctrladmission.Errored(http.StatusInternalServerError, err)
	}
	return ctrladmission.PatchResponseFromRaw(req.Object.Raw, encoded)
}

func setConventionally(pod *corev1.Pod, namespace string) {
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			env := &containers[i].Env
			if !slices.ContainsFunc(*env, func(v corev1.EnvVar) bool { return v.Name == "KUBERNETES_SERVICE_HOST" }) {
				*env = append([]corev1.EnvVar{{Name: "KUBERNETES_SERVICE_HOST", Value: "api.example.com"}}, *env...)
			}
		}
	}
	if pod.Spec.DNSPolicy == corev1.DNSClusterFirst && pod.Spec.DNSConfig == nil {
		pod.Spec.DNSPolicy = corev1.DNSNone
		pod.Spec.DNSConfig = &corev1.PodDNSConfig{
			Nameservers: []string{"169.254.20.10", "10.0.0.10"},
			Searches:    []string{namespace + ".svc.cluster.local", "svc.cluster.local", "cluster.local"},
			Options: []corev1.PodDNSConfigOption{
				{Name: "ndots", Value: new("3")},
				{Name: "timeout", Value: new("1")},
				{Name: "attempts", Value: new("2")},
			},
		}
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Labels["shorthop.dev/pinned"] = "node-local"
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	pod.Annotations["shorthop.dev/injected"] = "true"
}
