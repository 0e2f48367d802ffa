package namespaces

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

func TestStrip(t *testing.T) {
	t.Parallel()
	full := &metav1.PartialObjectMetadata{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{
			Name: "shop", Labels: map[string]string{"team": "shop"}, UID: "1", ResourceVersion: "2",
			Annotations: map[string]string{"much": "text", "shorthop.dev/ndots": "2", "shorthop.dev/dns-options": strings.Repeat("x", 300)}, Finalizers: []string{"one"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
		},
	}
	want := &metav1.PartialObjectMetadata{
		ObjectMeta: metav1.ObjectMeta{
			Name: "shop", Labels: map[string]string{"team": "shop"}, UID: "1", ResourceVersion: "2",
			// One byte more than counts, so that it can be told.
			Annotations: map[string]string{"shorthop.dev/ndots": "2", "shorthop.dev/dns-options": strings.Repeat("x", 257)},
		},
	}
	got, err := strip(full)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	tombstone := cache.DeletedFinalStateUnknown{Key: "shop", Obj: want}
	if got, err := strip(tombstone); err != nil || got != any(tombstone) {
		t.Errorf("a tombstone becomes %v, %v", got, err)
	}
}
