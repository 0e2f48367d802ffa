package podgen

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
)

// fillContainer adds values for the fields of a container that [gen.container] and [gen.hooks] leave out. isMain says
// that it is none of the init containers.
func (g *gen) fillContainer(pod *corev1.Pod, c *corev1.Container, isMain bool) {
	if g.flip() {
		return // as it is
	}
	c.StdinOnce = g.oneIn(4)
	g.fillEnv(&pod.Spec, c)
	g.fillStorage(&pod.Spec, c)
	g.fillSecurity(&pod.Spec, c)
	if len(pod.Spec.ResourceClaims) > 0 && g.flip() {
		c.Resources.Claims = []corev1.ResourceClaim{{Name: "own"}, {Name: "template", Request: "gpu"}}
	}
	if !isMain && g.oneIn(4) {
		c.ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.NotRequired}}
	}
	if isMain && g.oneIn(12) {
		c.RestartPolicy = new(pick(g, corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyNever))
	}
	if c.RestartPolicy != nil && (isMain || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways) && g.flip() {
		c.RestartPolicyRules = []corev1.ContainerRestartRule{{
			Action: corev1.ContainerRestartRuleActionRestart,
			ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{
				Operator: pick(g, corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn), Values: []int32{42, 137},
			},
		}}
	}
	g.fillHooks(pod.Spec.OS, c)
}

func (g *gen) fillEnv(spec *corev1.PodSpec, c *corev1.Container) {
	if g.oneIn(4) {
		c.Env = append(c.Env, corev1.EnvVar{Name: "LIMIT", ValueFrom: &corev1.EnvVarSource{
			ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: spec.Containers[0].Name, Resource: "limits.memory"},
		}})
	}
	for i := range spec.Volumes {
		if spec.Volumes[i].EmptyDir == nil || !g.oneIn(6) {
			continue
		}
		v := corev1.EnvVar{Name: pick(g, "FROM_FILE", serviceHost, servicePort), ValueFrom: &corev1.EnvVarSource{
			FileKeyRef: &corev1.FileKeySelector{VolumeName: spec.Volumes[i].Name, Path: "env/settings", Key: "API_HOST", Optional: g.optional()},
		}}
		if g.flip() {
			c.Env = append(c.Env, v)
		} else {
			c.Env = append([]corev1.EnvVar{v}, c.Env...)
		}
	}
}

// fillStorage adds mounts and devices. A volume is one or the other within a container, and a device only where users
// are those of the host.
func (g *gen) fillStorage(spec *corev1.PodSpec, c *corev1.Container) {
	mounted := map[string]bool{}
	for i := range c.VolumeMounts {
		mounted[c.VolumeMounts[i].Name] = true
	}
	for i := range spec.Volumes {
		v := &spec.Volumes[i]
		if !g.oneIn(3) {
			continue
		}
		if (v.PersistentVolumeClaim != nil || v.Ephemeral != nil) && hostUsers(spec) && !mounted[v.Name] && g.flip() {
			c.VolumeDevices = append(c.VolumeDevices, corev1.VolumeDevice{Name: v.Name, DevicePath: fmt.Sprintf("/dev/xvd%d", i)})
			continue
		}
		m := corev1.VolumeMount{Name: v.Name, MountPath: fmt.Sprintf("/full/%d", i), ReadOnly: g.flip()}
		switch {
		case m.ReadOnly && g.flip():
			m.RecursiveReadOnly = new(pick(g, corev1.RecursiveReadOnlyEnabled, corev1.RecursiveReadOnlyIfPossible))
		case c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged:
			m.MountPropagation = new(corev1.MountPropagationBidirectional)
		default:
			m.MountPropagation = pick(g, nil, new(corev1.MountPropagationHostToContainer))
		}
		if v.Image == nil && g.flip() {
			m.BindMountOptions = []string{string(corev1.BindMountOptionNoSUID), string(corev1.BindMountOptionNoDev)}
		}
		switch g.IntN(4) {
		case 0:
			m.SubPath = "sub"
		case 1:
			m.SubPathExpr = "$(POD_NAME)"
		}
		c.VolumeMounts = append(c.VolumeMounts, m)
	}
}

func (g *gen) fillSecurity(spec *corev1.PodSpec, c *corev1.Container) {
	if !g.oneIn(3) {
		return
	}
	if c.SecurityContext == nil {
		c.SecurityContext = &corev1.SecurityContext{}
	}
	sc := c.SecurityContext
	if g.windows {
		if pod := spec.SecurityContext; pod != nil && pod.WindowsOptions != nil {
			sc.WindowsOptions = windowsOptions(pod.WindowsOptions.HostProcess != nil && *pod.WindowsOptions.HostProcess)
		}
		return
	}
	sc.SELinuxOptions = pick(g, nil, seLinux())
	sc.RunAsGroup = pick(g, nil, new(int64(3000)))
	sc.ProcMount = pick(g, nil, new(corev1.DefaultProcMount))
	if !hostUsers(spec) {
		sc.ProcMount = new(corev1.UnmaskedProcMount)
	}
	sc.SeccompProfile = pick(g, nil, &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeLocalhost, LocalhostProfile: new("profiles/app.json")})
	sc.AppArmorProfile = pick(g, nil, &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: new("app")})
}

// fillHooks adds to the probes and hooks that the container has.
func (g *gen) fillHooks(os *corev1.PodOS, c *corev1.Container) {
	for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if probe == nil {
			continue
		}
		if probe.TCPSocket != nil && g.flip() {
			probe.TCPSocket.Host = "127.0.0.1"
		}
		if probe.GRPC != nil {
			probe.GRPC.Mode = pick(g, nil, new(corev1.GRPCProbeModeTLS), new(corev1.GRPCProbeModePlaintext))
		}
		g.fillGet(probe.HTTPGet)
	}
	if c.Lifecycle == nil {
		return
	}
	for _, hook := range []**corev1.LifecycleHandler{&c.Lifecycle.PostStart, &c.Lifecycle.PreStop} {
		if *hook != nil {
			if g.oneIn(3) {
				*hook = &corev1.LifecycleHandler{TCPSocket: &corev1.TCPSocketAction{Port: g.port(), Host: "127.0.0.1"}}
			}
			g.fillGet((*hook).HTTPGet)
		}
	}
	if os != nil {
		if os.Name == corev1.Windows {
			c.Lifecycle.StopSignal = pick(g, nil, new(corev1.SIGTERM), new(corev1.SIGKILL))
		} else {
			c.Lifecycle.StopSignal = pick(g, nil, new(corev1.SIGUSR1), new(corev1.SIGRTMIN))
		}
	}
}

func (g *gen) fillGet(get *corev1.HTTPGetAction) {
	switch {
	case get == nil || g.oneIn(3):
	case get.Host == "" && get.Scheme != corev1.URISchemeHTTPS:
		get.Protocol = new(pick(g, corev1.HTTPProtocolHTTP2, corev1.HTTPProtocolHTTP1))
	default:
		get.Protocol = new(corev1.HTTPProtocolHTTP1)
	}
}
