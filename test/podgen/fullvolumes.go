package podgen

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxName is the API's limit for most names.
const maxName = 253

// fillVolumes adds volumes of all kinds that there are.
func (g *gen) fillVolumes(pod *corev1.Pod) {
	for i := range pick(g, 0, 1, 2, g.between(3, 6)) {
		name := fmt.Sprintf("full-%d", i)
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: g.anySource(pod, name)})
	}
}

func (g *gen) anySource(pod *corev1.Pod, name string) corev1.VolumeSource {
	switch g.IntN(3) {
	case 0:
		return g.networkSource()
	case 1:
		return g.diskSource()
	default:
		return g.fileSource(pod, name)
	}
}

func (g *gen) secretRef() *corev1.LocalObjectReference {
	return pick(g, nil, &corev1.LocalObjectReference{Name: "credentials"})
}

// networkSource draws a volume on servers elsewhere. Most of these kinds work only through CSI by now, and all are
// still valid.
func (g *gen) networkSource() corev1.VolumeSource {
	readOnly := g.flip()
	switch g.IntN(10) {
	case 0:
		return corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "nfs.example.com", Path: "/srv", ReadOnly: readOnly}}
	case 1:
		return corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{
			TargetPortal: "10.0.0.1:3260", IQN: "iqn.2001-04.com.example:storage.disk1", Lun: int32(g.IntN(256)), ISCSIInterface: "default",
			FSType: "ext4", ReadOnly: readOnly, Portals: []string{"10.0.0.2"}, DiscoveryCHAPAuth: true, SessionCHAPAuth: g.flip(),
			SecretRef: &corev1.LocalObjectReference{Name: "chap"}, InitiatorName: pick(g, nil, new("iqn.2001-04.com.example:node")),
		}}
	case 2:
		return corev1.VolumeSource{Glusterfs: &corev1.GlusterfsVolumeSource{EndpointsName: "gluster", Path: "vol", ReadOnly: readOnly}}
	case 3:
		return corev1.VolumeSource{RBD: &corev1.RBDVolumeSource{
			CephMonitors: []string{"10.0.0.1:6789"}, RBDImage: "image", FSType: "xfs", RBDPool: "pool", RadosUser: "user", Keyring: "/etc/ceph/keyring",
			SecretRef: g.secretRef(), ReadOnly: readOnly,
		}}
	case 4:
		return corev1.VolumeSource{FlexVolume: &corev1.FlexVolumeSource{
			Driver: "example.com/driver", FSType: "ext4", SecretRef: g.secretRef(), ReadOnly: readOnly, Options: map[string]string{"a/b~c": ""},
		}}
	case 5:
		return corev1.VolumeSource{CephFS: &corev1.CephFSVolumeSource{
			Monitors: []string{"10.0.0.1"}, Path: "/srv", User: "admin", SecretFile: "/etc/ceph/secret", SecretRef: g.secretRef(), ReadOnly: readOnly,
		}}
	case 6:
		flocker := &corev1.FlockerVolumeSource{DatasetName: "data"}
		if g.flip() {
			flocker = &corev1.FlockerVolumeSource{DatasetUUID: "6f0d2b1c-0000-4000-8000-000000000000"}
		}
		return corev1.VolumeSource{Flocker: flocker}
	case 7:
		return corev1.VolumeSource{Quobyte: &corev1.QuobyteVolumeSource{
			Registry: "quobyte.example.com:7861", Volume: "vol", ReadOnly: readOnly, User: "root", Group: "nfsnobody", Tenant: "tenant",
		}}
	case 8:
		return corev1.VolumeSource{StorageOS: &corev1.StorageOSVolumeSource{
			VolumeName: "vol", VolumeNamespace: "shop", FSType: "ext4", ReadOnly: readOnly, SecretRef: g.secretRef(),
		}}
	default:
		return corev1.VolumeSource{ScaleIO: &corev1.ScaleIOVolumeSource{
			Gateway: "https://gateway.example.com", System: "system", SecretRef: &corev1.LocalObjectReference{Name: "sio"}, SSLEnabled: g.flip(),
			ProtectionDomain: "pd", StoragePool: "pool", StorageMode: "ThinProvisioned", VolumeName: "vol", FSType: "xfs", ReadOnly: readOnly,
		}}
	}
}

// diskSource draws a disk.
func (g *gen) diskSource() corev1.VolumeSource {
	readOnly := g.flip()
	switch g.IntN(9) {
	case 0:
		return corev1.VolumeSource{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{PDName: "disk", FSType: "ext4", Partition: 1, ReadOnly: readOnly}}
	case 1:
		return corev1.VolumeSource{AWSElasticBlockStore: &corev1.AWSElasticBlockStoreVolumeSource{VolumeID: "vol-1", FSType: "ext4", Partition: 1, ReadOnly: readOnly}}
	case 2:
		return corev1.VolumeSource{Cinder: &corev1.CinderVolumeSource{VolumeID: "vol-1", FSType: "ext4", ReadOnly: readOnly, SecretRef: g.secretRef()}}
	case 3:
		return corev1.VolumeSource{AzureFile: &corev1.AzureFileVolumeSource{SecretName: "azure", ShareName: "share", ReadOnly: readOnly}}
	case 4:
		return corev1.VolumeSource{AzureDisk: &corev1.AzureDiskVolumeSource{
			DiskName: "disk", DataDiskURI: "https://example.blob.core.windows.net/disks/disk.vhd", FSType: new("ext4"), ReadOnly: new(readOnly),
			CachingMode: pick(g, nil, new(corev1.AzureDataDiskCachingReadOnly)), Kind: pick(g, nil, new(corev1.AzureDedicatedBlobDisk)),
		}}
	case 5:
		return corev1.VolumeSource{VsphereVolume: &corev1.VsphereVirtualDiskVolumeSource{
			VolumePath: "[store] disk.vmdk", FSType: "ext4", StoragePolicyName: "gold", StoragePolicyID: "policy-1",
		}}
	case 6:
		return corev1.VolumeSource{PhotonPersistentDisk: &corev1.PhotonPersistentDiskVolumeSource{PdID: "disk", FSType: "ext4"}}
	case 7:
		return corev1.VolumeSource{PortworxVolume: &corev1.PortworxVolumeSource{VolumeID: "vol-1", FSType: "ext4", ReadOnly: readOnly}}
	default:
		fc := &corev1.FCVolumeSource{TargetWWNs: []string{"50060e801049cfd1"}, Lun: new(int32(g.IntN(256))), FSType: "ext4", ReadOnly: readOnly}
		if g.flip() {
			fc = &corev1.FCVolumeSource{WWIDs: []string{"3600508b400105e210000900000490000"}}
		}
		return corev1.VolumeSource{FC: fc}
	}
}

func (g *gen) mode() *int32 { return pick(g, nil, new(int32(0o440))) }

func (g *gen) user() *int64 { return pick(g, nil, new(int64(1000)), new(int64(0))) }

func (g *gen) items(dir string) []corev1.KeyToPath {
	return []corev1.KeyToPath{{Key: "a.b_c", Path: dir + "/a", Mode: g.mode(), User: g.user()}}
}

func (g *gen) files(pod *corev1.Pod, dir string) []corev1.DownwardAPIVolumeFile {
	return []corev1.DownwardAPIVolumeFile{
		{Path: dir + "/labels", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.labels"}, Mode: g.mode(), User: g.user()},
		{Path: dir + "/limit", ResourceFieldRef: &corev1.ResourceFieldSelector{
			ContainerName: pod.Spec.Containers[0].Name, Resource: "limits.memory", Divisor: resource.MustParse("1Mi"),
		}},
	}
}

// fileSource draws files and directories that Kubernetes makes.
func (g *gen) fileSource(pod *corev1.Pod, name string) corev1.VolumeSource {
	switch g.IntN(10) {
	case 0:
		return corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{
			Medium: corev1.StorageMediumMemory, SizeLimit: new(resource.MustParse("1Gi")), Mode: pick(g, nil, new(int32(0o1777))),
		}}
	case 1:
		return corev1.VolumeSource{GitRepo: &corev1.GitRepoVolumeSource{Repository: "https://git.example.com/app.git", Revision: "main", Directory: "app"}}
	case 2:
		return corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{
			SecretName: "secret", Items: g.items("x"), DefaultMode: g.mode(), Optional: g.optional(), DefaultUser: g.user(),
		}}
	case 3:
		return corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "config"}, Items: g.items("x"), DefaultMode: g.mode(), Optional: g.optional(), DefaultUser: g.user(),
		}}
	case 4:
		return corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: g.files(pod, "x"), DefaultMode: g.mode(), DefaultUser: g.user()}}
	case 5:
		return corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{
			Driver: "csi.example.com", ReadOnly: new(g.flip()), FSType: new("ext4"), VolumeAttributes: map[string]string{"a": "b"}, NodePublishSecretRef: g.secretRef(),
		}}
	case 6:
		return corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "example.com/data:v1", PullPolicy: pick(g, "", corev1.PullIfNotPresent)}}
	case 7:
		if len(pvcName(pod, name)) <= maxName {
			return corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: g.claimTemplate()}}
		}
		return corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}
	default:
		return corev1.VolumeSource{Projected: g.projected(pod)}
	}
}

func (g *gen) projected(pod *corev1.Pod) *corev1.ProjectedVolumeSource {
	projected := &corev1.ProjectedVolumeSource{DefaultMode: g.mode(), DefaultUser: g.user()}
	add := func(projection corev1.VolumeProjection) {
		if g.flip() {
			projected.Sources = append(projected.Sources, projection)
		}
	}
	add(corev1.VolumeProjection{Secret: &corev1.SecretProjection{
		LocalObjectReference: corev1.LocalObjectReference{Name: "secret"}, Items: g.items("secret"), Optional: g.optional(),
	}})
	add(corev1.VolumeProjection{ConfigMap: &corev1.ConfigMapProjection{
		LocalObjectReference: corev1.LocalObjectReference{Name: "config"}, Items: g.items("config"), Optional: g.optional(),
	}})
	add(corev1.VolumeProjection{DownwardAPI: &corev1.DownwardAPIProjection{Items: g.files(pod, "downward")}})
	if pod.Spec.ServiceAccountName != "" {
		add(corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{
			Audience: "api.example.com", ExpirationSeconds: new(int64(3600)), Path: "token", User: g.user(),
		}})
	}
	add(corev1.VolumeProjection{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{
		Name: new("example-bundle"), Optional: g.optional(), Path: "bundle.pem", User: g.user(),
	}})
	add(corev1.VolumeProjection{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{
		SignerName: new("example.com/signer"), LabelSelector: fullSelector(), Path: "signer.pem",
	}})
	add(corev1.VolumeProjection{PodCertificate: &corev1.PodCertificateProjection{
		SignerName: "example.com/signer", KeyType: "ED25519", MaxExpirationSeconds: new(int32(86_400)),
		CredentialBundlePath: "credentials.pem", KeyPath: "key.pem", CertificateChainPath: "chain.pem",
		UserAnnotations: map[string]string{"example.com/purpose": "serving"}, User: g.user(),
	}})
	return projected
}

func (g *gen) claimTemplate() *corev1.PersistentVolumeClaimTemplate {
	t := &corev1.PersistentVolumeClaimTemplate{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}, Annotations: map[string]string{"shorthop.dev/ndots": "1"}},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
				Limits:   corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("2Gi")},
			},
		},
	}
	if g.flip() {
		t.Spec.Selector = fullSelector()
		t.Spec.VolumeName = "pv-1"
	}
	t.Spec.StorageClassName = pick(g, nil, new(""), new("fast"))
	t.Spec.VolumeMode = pick(g, nil, new(corev1.PersistentVolumeFilesystem))
	t.Spec.VolumeAttributesClassName = pick(g, nil, new("gold"))
	const group = "snapshot.storage.k8s.io"
	switch g.IntN(3) {
	case 0: // both, and then the same
		t.Spec.DataSource = &corev1.TypedLocalObjectReference{APIGroup: new(group), Kind: "VolumeSnapshot", Name: "backup"}
		t.Spec.DataSourceRef = &corev1.TypedObjectReference{APIGroup: new(group), Kind: "VolumeSnapshot", Name: "backup"}
	case 1:
		t.Spec.DataSourceRef = &corev1.TypedObjectReference{APIGroup: new(group), Kind: "VolumeSnapshot", Name: "backup", Namespace: new("backups")}
	}
	return t
}
