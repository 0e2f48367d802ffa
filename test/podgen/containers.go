package podgen

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// manyContainers is far more than people use, once in 50 pods.
const manyContainers = 60

// addContainers draws the containers and init containers of the pod.
func (g *gen) addContainers(spec *corev1.PodSpec) {
	containers := pick(g, 1, 1, 1, 2, 2, 3, g.between(4, 12))
	inits := pick(g, 0, 0, 0, 1, 1, 2, g.between(3, 12))
	switch g.IntN(100) {
	case 0:
		containers = manyContainers
	case 1:
		inits = manyContainers
	}

	oddNames := g.oneIn(6)
	name := func(kind string, i int) string {
		if oddNames {
			return pick(g, g.label(50), g.word()) + fmt.Sprintf("-%s%d", kind, i)
		}
		return fmt.Sprintf("%s-%d", kind, i)
	}
	for i := range containers {
		c := g.container(name("app", i))
		if spec.RestartPolicy != corev1.RestartPolicyNever && g.oneIn(20) {
			c.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.RestartContainer}}
		}
		if g.oneIn(60) {
			c.RestartPolicy = new(pick(g, corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure))
		}
		g.hooks(&c)
		spec.Containers = append(spec.Containers, c)
	}
	for i := range inits {
		c := g.container(name("init", i))
		switch g.IntN(6) {
		case 0, 1: // a sidecar, the only init container that may have probes and hooks
			c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
			g.hooks(&c)
		case 2: // a restart policy that does not make it a sidecar
			if g.oneIn(4) {
				c.RestartPolicy = new(corev1.ContainerRestartPolicyNever)
			}
		}
		spec.InitContainers = append(spec.InitContainers, c)
	}
}

// container draws all that any container may have.
func (g *gen) container(name string) corev1.Container {
	c := corev1.Container{
		Name:            name,
		Image:           pick(g, "app", "example.com/team/app:v1.2.3", "example.com:5000/app@sha256:"+digest, "busybox:latest"),
		ImagePullPolicy: pick(g, "", "", corev1.PullAlways, corev1.PullNever, corev1.PullIfNotPresent),
		Env:             g.env(),
		EnvFrom:         g.envFrom(),
		Ports:           g.ports(),
		Resources:       g.resources(),
		VolumeMounts:    g.mounts(),
		SecurityContext: g.security(),
		Stdin:           g.oneIn(20),
		TTY:             g.oneIn(20),
	}
	if g.oneIn(3) {
		c.Command = pick(g, []string{"sh", "-c", "curl https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)/version"},
			[]string{"/app"}, []string{""}, []string{"/usr/bin/env"})
	}
	if g.oneIn(3) {
		c.Args = pick(g, []string{"--api=$(KUBERNETES_SERVICE_HOST)", "--raw=$$(KUBERNETES_SERVICE_HOST)", "$(UNKNOWN)"},
			[]string{"--quote=\"'\\", "--unicode=ünïcödé\u2028", "--html=<&>"}, []string{""})
	}
	if g.oneIn(10) {
		c.WorkingDir = pick(g, "/", "/srv/$(HOME)", `C:\app`)
	}
	if g.oneIn(10) {
		c.TerminationMessagePath = "/dev/log~1"
		c.TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
	}
	return c
}

const digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

func (g *gen) ports() []corev1.ContainerPort {
	var ports []corev1.ContainerPort
	for range g.rarely(3, 3) {
		g.nextPort++
		p := corev1.ContainerPort{
			ContainerPort: g.nextPort,
			Protocol:      pick(g, "", corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP),
		}
		if g.flip() {
			p.Name = fmt.Sprintf("p-%d", g.nextPort)
		}
		if g.oneIn(4) { // where the pod is in the host's network, it must be the same, and is by default
			p.HostPort = p.ContainerPort
			p.HostIP = pick(g, "", "127.0.0.1", "fd00::1")
		}
		ports = append(ports, p)
	}
	return ports
}

func (g *gen) resources() corev1.ResourceRequirements {
	var r corev1.ResourceRequirements
	if g.flip() {
		return r
	}
	if g.flip() {
		r.Requests = corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse(pick(g, "0", "100m", "0.25", "1")),
			corev1.ResourceMemory: resource.MustParse(pick(g, "0", "64Mi", "1e6", "1Gi", "1500000k")),
		}
	}
	if g.flip() {
		r.Limits = corev1.ResourceList{
			corev1.ResourceCPU:              resource.MustParse(pick(g, "1", "2.5", "32")),
			corev1.ResourceMemory:           resource.MustParse(pick(g, "2Gi", "0.1Ti")),
			corev1.ResourceEphemeralStorage: resource.MustParse("1Gi"),
		}
	}
	if g.oneIn(10) {
		if r.Limits == nil {
			r.Limits = corev1.ResourceList{}
		}
		r.Limits["example.com/gpu"] = resource.MustParse(pick(g, "1", "8"))
	}
	return r
}
