package podgen

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	serviceHost = "KUBERNETES_SERVICE_HOST"
	servicePort = "KUBERNETES_SERVICE_PORT"
)

// env draws the environment of a container. About a quarter of the containers choose their API server themselves.
func (g *gen) env() []corev1.EnvVar {
	if g.oneIn(4) {
		return nil
	}
	var vars []corev1.EnvVar
	for range g.IntN(5) {
		vars = append(vars, g.otherVar())
	}
	insert := func(v corev1.EnvVar) {
		at := pick(g, 0, len(vars), g.IntN(len(vars)+1))
		vars = append(vars[:at], append([]corev1.EnvVar{v}, vars[at:]...)...)
	}
	if g.oneIn(3) {
		insert(g.addressVar(serviceHost, g.hostValue()))
		if g.oneIn(6) { // a second entry of that name, which wins
			insert(g.addressVar(serviceHost, g.hostValue()))
		}
	}
	if g.oneIn(10) {
		insert(g.addressVar(servicePort, pick(g, "443", "6443", "", "https", "$(API_PORT)")))
	}
	if g.oneIn(6) {
		insert(g.addressVar(pick(g, "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"),
			pick(g, "http://squid.corp.example:3128", "", "http://$(PROXY_HOST):3128", "socks5://10.0.0.9:1080")))
		if g.flip() {
			insert(g.addressVar(pick(g, "NO_PROXY", "no_proxy"),
				pick(g, "*", ".svc,.cluster.local,10.0.0.0/8", "$(KUBERNETES_SERVICE_HOST)", "localhost,.example.com", "")))
		}
	}
	if g.oneIn(4) {
		insert(corev1.EnvVar{Name: "API_URL", Value: pick(g,
			"https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)",
			"https://$$(KUBERNETES_SERVICE_HOST)",
			"$(KUBERNETES_SERVICE_HOST)$(KUBERNETES_SERVICE_HOST)",
			"$(KUBERNETES_SERVICE_HOST",
		)})
	}
	if g.oneIn(12) {
		insert(g.addressVar(pick(g, "RES_OPTIONS", "RES_OPTIONS", "LOCALDOMAIN"), pick(g, "ndots:2", "ndots:1 no-aaaa", "")))
	}
	if len(vars) > 0 && g.oneIn(8) {
		insert(pick(g, vars...))
	}
	return vars
}

func (g *gen) hostValue() string {
	return pick(g, "", "api.example.com", "api.example.com.", "10.0.0.1", "fd00::1", "[fd00::1]", "kubernetes.default.svc", "$(NODE_IP)", " ")
}

// addressVar gives an address by value, or by any of the other ways there are.
func (g *gen) addressVar(name, value string) corev1.EnvVar {
	if g.flip() {
		return corev1.EnvVar{Name: name, Value: value}
	}
	return corev1.EnvVar{Name: name, ValueFrom: g.valueFrom()}
}

func (g *gen) valueFrom() *corev1.EnvVarSource {
	switch g.IntN(4) {
	case 0:
		return &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{
			APIVersion: pick(g, "", "v1"),
			FieldPath: pick(g, "status.hostIP", "status.podIP", "status.hostIPs", "spec.nodeName", "metadata.name",
				"metadata.annotations['shorthop.dev/injected']", "metadata.labels['app.kubernetes.io/name']"),
		}}
	case 1:
		return &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "cluster-info"}, Key: pick(g, "host", "api.host_v1"), Optional: g.optional(),
		}}
	case 2:
		return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "api"}, Key: "host", Optional: g.optional(),
		}}
	default:
		ref := &corev1.ResourceFieldSelector{Resource: pick(g, "limits.cpu", "requests.cpu")}
		if g.flip() {
			ref.Divisor = resource.MustParse("1m")
		}
		return &corev1.EnvVarSource{ResourceFieldRef: ref}
	}
}

func (g *gen) optional() *bool {
	return pick(g, nil, new(true), new(false))
}

// otherVar draws a variable that is none of our business, though it may look like it.
func (g *gen) otherVar() corev1.EnvVar {
	if g.oneIn(5) {
		return corev1.EnvVar{Name: "FROM_" + g.text(3), ValueFrom: g.valueFrom()}
	}
	return corev1.EnvVar{
		Name: pick(g,
			"FOO", "PATH", fmt.Sprintf("VAR_%d", g.IntN(100)), "my.dotted-name", "with space", "~1/slash~0", "1digit",
			// looks like ours
			"kubernetes_service_host", "KUBERNETES_SERVICE_HOST ", "KUBERNETES_SERVICE_HOSTS", "KUBERNETES_SERVICE_PORT_HTTPS", "KUBERNETES_PORT_443_TCP_ADDR"),
		Value: pick(g, "", "bar", "$(FOO)", "$$", "quote\"back\\slash", "line\nbreak\ttab", "ünïcödé \U0001F680 \u2028", "<&>", "{\"json\":[1]}", g.text(500)),
	}
}

// envFrom draws sources whose keys nobody sees at admission. With the second prefix, a key HOST means the API server.
func (g *gen) envFrom() []corev1.EnvFromSource {
	var sources []corev1.EnvFromSource
	for range g.rarely(6, 2) {
		s := corev1.EnvFromSource{Prefix: pick(g, "", "KUBERNETES_SERVICE_", "a.b-")}
		ref := corev1.LocalObjectReference{Name: g.word()}
		if g.flip() {
			s.ConfigMapRef = &corev1.ConfigMapEnvSource{LocalObjectReference: ref, Optional: g.optional()}
		} else {
			s.SecretRef = &corev1.SecretEnvSource{LocalObjectReference: ref, Optional: g.optional()}
		}
		sources = append(sources, s)
	}
	return sources
}
