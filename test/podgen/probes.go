package podgen

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// hooks adds what only containers that keep running may have.
func (g *gen) hooks(c *corev1.Container) {
	if g.oneIn(4) {
		c.LivenessProbe = g.probe()
	}
	if g.oneIn(4) {
		c.ReadinessProbe = g.probe()
		c.ReadinessProbe.TerminationGracePeriodSeconds = nil
		c.ReadinessProbe.SuccessThreshold = pick[int32](g, 0, 1, 3)
	}
	if g.oneIn(8) {
		c.StartupProbe = g.probe()
	}
	if g.oneIn(8) {
		c.Lifecycle = &corev1.Lifecycle{}
		if g.flip() {
			c.Lifecycle.PreStop = g.hook()
		}
		if g.flip() {
			c.Lifecycle.PostStart = g.hook()
		}
	}
}

func (g *gen) probe() *corev1.Probe {
	p := &corev1.Probe{
		InitialDelaySeconds: int32(g.IntN(3)),
		TimeoutSeconds:      int32(g.IntN(3)),
		PeriodSeconds:       int32(g.IntN(3)),
		FailureThreshold:    int32(g.IntN(3)),
		SuccessThreshold:    int32(g.IntN(2)),
	}
	if g.oneIn(4) {
		p.TerminationGracePeriodSeconds = new(pick[int64](g, 1, 60))
	}
	switch g.IntN(4) {
	case 0:
		p.Exec = &corev1.ExecAction{Command: []string{"cat", "/ready"}}
	case 1:
		p.HTTPGet = g.httpGet()
	case 2:
		p.TCPSocket = &corev1.TCPSocketAction{Port: g.port()}
	default:
		p.GRPC = &corev1.GRPCAction{Port: 9000, Service: pick(g, nil, new(""), new("health"))}
	}
	return p
}

func (g *gen) hook() *corev1.LifecycleHandler {
	switch g.IntN(3) {
	case 0:
		return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sleep", "1"}}}
	case 1:
		return &corev1.LifecycleHandler{HTTPGet: g.httpGet()}
	default:
		return &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: g.gracePeriod / 2}}
	}
}

func (g *gen) httpGet() *corev1.HTTPGetAction {
	get := &corev1.HTTPGetAction{
		Path:   pick(g, "", "/", "/healthz?verbose=1&a=%20"),
		Port:   g.port(),
		Host:   pick(g, "", "127.0.0.1"),
		Scheme: pick(g, "", corev1.URISchemeHTTP, corev1.URISchemeHTTPS),
	}
	if g.oneIn(3) {
		get.HTTPHeaders = []corev1.HTTPHeader{{Name: "X-Probe", Value: "yes"}, {Name: "X-Probe", Value: ""}}
	}
	return get
}

func (g *gen) port() intstr.IntOrString {
	return pick(g, intstr.FromInt32(8080), intstr.FromInt32(65535), intstr.FromString("http"))
}
