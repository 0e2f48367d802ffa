package doctor

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestNamespacesNamedLikeTopLevelDomains(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"dev": true, "com": true, "shop": true, "prod": true, "io": true, "app": true,
		"default": false, "kube-system": false, "web": false, "local": false, "production": false, "github": false,
	} {
		got := topLevel([]corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: name}}})
		if (len(got) == 1) != want {
			t.Errorf("%s: %t, want %t", name, !want, want)
		}
	}
}
