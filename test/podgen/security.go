package podgen

import (
	corev1 "k8s.io/api/core/v1"
)

// security draws the security context of a container.
func (g *gen) security() *corev1.SecurityContext {
	if g.flip() {
		return nil
	}
	sc := &corev1.SecurityContext{}
	if g.oneIn(3) {
		sc.RunAsNonRoot = new(g.flip())
	}
	if g.windows {
		if g.flip() {
			sc.WindowsOptions = &corev1.WindowsSecurityContextOptions{RunAsUserName: new("ContainerUser")}
		}
		return sc
	}
	if g.oneIn(3) {
		sc.RunAsUser = new(pick[int64](g, 0, 1000, 1<<31-1))
	}
	if g.oneIn(3) {
		sc.ReadOnlyRootFilesystem = new(g.flip())
	}
	if g.oneIn(3) {
		sc.Capabilities = &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"NET_BIND_SERVICE"}}
	}
	if g.oneIn(10) {
		sc.Privileged = new(true)
	} else if g.oneIn(3) {
		sc.AllowPrivilegeEscalation = new(false)
	}
	if g.oneIn(6) {
		sc.SeccompProfile = &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}
	}
	if g.oneIn(12) {
		sc.AppArmorProfile = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: new("shop")}
	}
	return sc
}

// podSecurity draws the security context of the pod and the namespaces that it shares with its node.
func (g *gen) podSecurity(spec *corev1.PodSpec) {
	if g.windows {
		if g.oneIn(3) {
			spec.SecurityContext = &corev1.PodSecurityContext{
				RunAsNonRoot:   new(true),
				WindowsOptions: &corev1.WindowsSecurityContextOptions{RunAsUserName: new(`DOMAIN\user`)},
			}
		}
		return
	}
	spec.HostPID = g.oneIn(15)
	spec.HostIPC = g.oneIn(15)
	if g.oneIn(8) {
		spec.ShareProcessNamespace = new(!spec.HostPID && g.flip())
	}
	if g.oneIn(15) {
		spec.HostUsers = new(spec.HostPID || spec.HostIPC || g.hostNetwork)
	}
	switch g.IntN(4) {
	case 0:
		spec.SecurityContext = &corev1.PodSecurityContext{}
	case 1:
		spec.SecurityContext = &corev1.PodSecurityContext{
			RunAsUser:          new(pick[int64](g, 0, 1000)),
			FSGroup:            new(int64(2000)),
			SupplementalGroups: []int64{1, 1, 4000},
			SeccompProfile:     &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined},
		}
		if !g.hostNetwork {
			spec.SecurityContext.Sysctls = []corev1.Sysctl{{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0"}}
		}
	}
}
