package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/bench/contender"
	"github.com/shorthop/shorthop/test/cluster"
)

// samples are the pods whose reviews are captured.
func samples() map[string]*corev1.Pod {
	small := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "small"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}}},
	}
	optedOut := small.DeepCopy()
	optedOut.Labels = map[string]string{policy.LabelInject: "disabled"}

	typical := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "web-7c97fff775-",
			Labels: map[string]string{
				"app": "web", "app.kubernetes.io/name": "web", "app.kubernetes.io/version": "1.2.3", "pod-template-hash": "7c97fff775",
			},
			Annotations: map[string]string{"prometheus.io/port": "8080", "prometheus.io/scrape": "true"},
		},
		Spec: corev1.PodSpec{
			InitContainers: []corev1.Container{{
				Name: "init", Image: "busybox:1.36", Command: []string{"sh", "-c", "echo"}, Env: []corev1.EnvVar{{Name: "A", Value: "b"}},
			}},
			Containers: []corev1.Container{webContainer("web", 80), {Name: "sidecar", Image: "envoyproxy/envoy:v1.30"}},
			Volumes:    []corev1.Volume{{Name: "cfg", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
		},
	}

	many := typical.DeepCopy()
	many.Spec.Containers = nil
	for i := range 30 {
		many.Spec.Containers = append(many.Spec.Containers, webContainer(fmt.Sprintf("web-%d", i), int32(8000+i)))
	}

	// What operators that keep their state on pods make of one: most of it is annotations.
	large := typical.DeepCopy()
	for i := range 20 {
		large.Annotations[fmt.Sprintf("state.example.com/part-%d", i)] = strings.Repeat(`{"key":"value, and more"},`, 400)
	}
	return map[string]*corev1.Pod{
		"small": small, "typical": typical, "30-containers": many, "200-KiB": large, "opted-out": optedOut,
	}
}

func webContainer(name string, port int32) corev1.Container {
	return corev1.Container{
		Name: name, Image: "nginx:1.25",
		Ports: []corev1.ContainerPort{{ContainerPort: port}},
		Env: []corev1.EnvVar{
			{Name: "DB_HOST", Value: "db.prod.svc"},
			{Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
		},
		Resources: corev1.ResourceRequirements{
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("256Mi")},
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("128Mi")},
		},
		VolumeMounts: []corev1.VolumeMount{{Name: "cfg", MountPath: "/etc/cfg"}},
		ReadinessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromInt32(port)},
		}},
	}
}

func podJSON(pod *corev1.Pod) ([]byte, error) {
	pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	text, err := json.Marshal(pod)
	if err != nil {
		return nil, fmt.Errorf("encoding a pod: %w", err)
	}
	return text, nil
}

// capture writes the bodies that the API server sends to a webhook that allows everything.
func (b *bench) capture(ctx context.Context) error {
	bodies := make(chan []byte, 1)
	answer := contender.Constant(nil)
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		bodies <- body
		req.Body = io.NopCloser(strings.NewReader(string(body)))
		answer.ServeHTTP(w, req)
	})}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }() // with nobody left to be served
	go func() {
		_ = server.ServeTLS(listener, filepath.Join(b.certDir, "tls.crt"), filepath.Join(b.certDir, "tls.key")) // until Close
	}()
	url := fmt.Sprintf("https://%s%s", listener.Addr(), webhookconfig.Path)
	if err := cluster.RegisterWebhook(ctx, b.cluster.Client, plainWebhook(metav1.NamespaceDefault, url, b.caBundle)); err != nil {
		return err
	}
	if err := os.MkdirAll(reviewsDir, 0o755); err != nil {
		return err
	}
	for name, pod := range samples() {
		if b.pod, err = podJSON(pod); err != nil {
			return err
		}
		var review []byte
		if err := cluster.WaitEffective(ctx, func(ctx context.Context) (bool, error) {
			if _, err := b.createPod(ctx, metav1.NamespaceDefault); err != nil {
				return false, err
			}
			select {
			case review = <-bodies:
				return true, nil
			default:
				return false, nil
			}
		}); err != nil {
			return fmt.Errorf("capturing %s: %w", name, err)
		}
		b.step("%s: %d bytes", name, len(review))
		if err := os.WriteFile(filepath.Join(reviewsDir, name+".json"), review, 0o644); err != nil {
			return err
		}
	}
	return nil
}
