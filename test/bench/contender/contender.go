// Package contender holds the webhooks that Shorthop is measured against. All of them are http.Handlers that answer reviews
// of pods.
package contender

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/shorthop/shorthop/pkg/policy"
)

// Null is controller-runtime's own cost: it answers "allowed" without a look at the pod.
func Null() http.Handler {
	return &admission.Webhook{Handler: admission.HandlerFunc(func(context.Context, admission.Request) admission.Response {
		return admission.Allowed("")
	})}
}

// Constant answers every review with the same patch, without one if it is empty. Of the review it looks for nothing but the
// UID, as text: no webhook that gives the same answer can do less.
func Constant(patch []byte) http.Handler {
	before, after := []byte(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","response":{"uid":"`), []byte(`","allowed":true`)
	if len(patch) > 0 {
		after = append(after, `,"patchType":"JSONPatch","patch":"`...)
		after = base64.StdEncoding.AppendEncode(after, patch)
		after = append(after, '"')
	}
	after = append(after, "}}"...)
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err == nil && !bytes.Contains(body, uidKey) {
			err = errors.New("the body has no UID")
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, uid, _ := bytes.Cut(body, uidKey)
		uid, _, _ = bytes.Cut(uid, []byte{'"'})
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(slices.Concat(before, uid, after)) // a client that left needs no answer
	})
}

var uidKey = []byte(`"uid":"`)

// Settings say what a conventional webhook is to do.
type Settings struct {
	// Host and Port of the API server; no Host leaves the environment alone, no Port only that variable.
	Host, Port string
	// Options are added to a pod's resolver options; without any, DNS is left alone.
	Options []corev1.PodDNSConfigOption
	// NodeLocal replaces the pod's nameservers by these, and the search domains by the cluster's.
	NodeLocal []string
}

// Conventional is what most pod webhooks do: decode the typed pod, change it, encode it, and let the framework compare the
// two. It validates nothing, and of all opt-outs it knows the label of the pod.
func Conventional(s Settings) http.Handler {
	return &admission.Webhook{Handler: conventional{admission.NewDecoder(clientgoscheme.Scheme), s}}
}

type conventional struct {
	decoder  admission.Decoder
	settings Settings
}

func (c conventional) Handle(_ context.Context, req admission.Request) admission.Response {
	var pod corev1.Pod
	if err := c.decoder.Decode(req, &pod); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if pod.Labels[policy.LabelInject] == "disabled" {
		return admission.Allowed("")
	}
	c.settings.apply(&pod, req.Namespace)
	encoded, err := json.Marshal(&pod)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, err)
	}
	return admission.PatchResponseFromRaw(req.Object.Raw, encoded)
}

func (s *Settings) apply(pod *corev1.Pod, namespace string) {
	if s.Host != "" {
		for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for i := range containers {
				containers[i].Env = s.withHost(containers[i].Env)
			}
		}
	}
	if len(s.Options) > 0 && pod.Spec.DNSPolicy == corev1.DNSClusterFirst && pod.Spec.DNSConfig == nil {
		pod.Spec.DNSConfig = &corev1.PodDNSConfig{Options: s.Options}
		if len(s.NodeLocal) > 0 {
			pod.Spec.DNSPolicy = corev1.DNSNone
			pod.Spec.DNSConfig.Nameservers = s.NodeLocal
			pod.Spec.DNSConfig.Searches = []string{namespace + ".svc.cluster.local", "svc.cluster.local", "cluster.local"}
			setKey(&pod.Labels, policy.LabelPinned, policy.PinnedNodeLocal)
		}
	}
	setKey(&pod.Annotations, policy.AnnotationInjected, "true")
}

func (s *Settings) withHost(env []corev1.EnvVar) []corev1.EnvVar {
	if slices.ContainsFunc(env, func(v corev1.EnvVar) bool { return v.Name == policy.EnvServiceHost }) {
		return env
	}
	added := []corev1.EnvVar{{Name: policy.EnvServiceHost, Value: s.Host}}
	if s.Port != "" {
		added = append(added, corev1.EnvVar{Name: policy.EnvServicePort, Value: s.Port})
	}
	return append(added, env...)
}

func setKey(in *map[string]string, key, value string) {
	if *in == nil {
		*in = map[string]string{}
	}
	(*in)[key] = value
}
