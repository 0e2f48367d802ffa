package podgen

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func (g *gen) addVolumes(spec *corev1.PodSpec) {
	for i := range pick(g, 0, 0, 1, 2, g.between(3, 10)) {
		name := fmt.Sprintf("vol-%d", i)
		g.volumes = append(g.volumes, name)
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: name, VolumeSource: g.volumeSource(spec)})
	}
}

func (g *gen) volumeSource(spec *corev1.PodSpec) corev1.VolumeSource {
	downward := []corev1.DownwardAPIVolumeFile{{
		Path:     "annotations",
		FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations"},
	}}
	switch g.IntN(9) {
	case 0:
		return corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	case 1:
		return corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
			Medium: corev1.StorageMediumMemory, SizeLimit: new(resource.MustParse(pick(g, "0", "64Mi"))),
		}}
	case 2:
		return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "resolv-conf"}, Optional: g.optional(),
			Items: []corev1.KeyToPath{{Key: "resolv.conf", Path: "etc/resolv.conf", Mode: new(int32(0o400))}},
		}}
	case 3:
		return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: g.word(), Optional: g.optional()}}
	case 4:
		projected := &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{DownwardAPI: &corev1.DownwardAPIProjection{Items: downward}}}}
		if spec.ServiceAccountName != "" {
			projected.Sources = append(projected.Sources, corev1.VolumeProjection{
				ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "api.example.com", Path: "token"},
			})
		}
		return corev1.VolumeSource{Projected: projected}
	case 5:
		return corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: downward}}
	case 6:
		return corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/etc/resolv.conf", Type: pick(g, nil, new(corev1.HostPathFile))}}
	case 7:
		return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data-0", ReadOnly: g.flip()}}
	default:
		return corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "csi.example.com", VolumeAttributes: map[string]string{"a/b~c": ""}}}
	}
}

// mounts draws mounts of the pod's volumes, of one volume more than once too.
func (g *gen) mounts() []corev1.VolumeMount {
	if len(g.volumes) == 0 {
		return nil
	}
	var mounts []corev1.VolumeMount
	for i := range g.IntN(4) {
		m := corev1.VolumeMount{Name: pick(g, g.volumes...), MountPath: fmt.Sprintf("/mnt/%d", i), ReadOnly: g.oneIn(3)}
		switch g.IntN(8) {
		case 0:
			m.SubPath = "a/b~1c"
		case 1:
			m.SubPathExpr = "$(POD_NAME)/logs"
		case 2:
			m.MountPath = fmt.Sprintf("/etc/resolv.conf%d", i)
		}
		mounts = append(mounts, m)
	}
	return mounts
}
