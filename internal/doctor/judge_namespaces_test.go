package doctor

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
)

// namespacesFaults are the cases of judge_namespaces.go.
func namespacesFaults() map[string]fault {
	return map[string]fault{
		"namespaces that opt out": {
			func(_ *testing.T, f *Facts) {
				f.namespaces.value[0].Labels = map[string]string{"shorthop.dev/inject": "false"}
				f.namespaces.value[1].Labels = map[string]string{"shorthop.dev/dns": "enabled"}
			},
			"namespaces-opted-out", Pass, "1 of 2 namespaces", nil,
		},
		"a namespace named like a top-level domain": {
			func(_ *testing.T, f *Facts) { f.namespaces.value[1].Name = "dev" },
			"namespace-names", Warn, "public top-level domain: dev", nil,
		},
		"reviews failed open": {
			func(_ *testing.T, f *Facts) { f.failOpen.value = map[string]float64{webhookconfig.OpenEntry: 12} },
			"unpatched-pods", Warn, "let 12 reviews fail open", nil,
		},
	}
}

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
