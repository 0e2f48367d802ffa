package integration_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/cli"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/testfile"
)

// TestAdviceIsWrittenToConfigMaps keeps advice in ConfigMaps of a real API server:
// only those that are there, only where it changes, and never over what cannot be
// read.
func TestAdviceIsWrittenToConfigMaps(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	namespace := s.namespace("advice", nil)
	dir := t.TempDir()
	pods := filepath.Join(dir, "pods.json")
	writeTo(t, pods, `{"kind": "List", "items": [{"metadata": {"namespace": "shop", "name": "web-0", "creationTimestamp": "2026-01-01T00:00:00Z",
		"ownerReferences": [{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "controller": true}]},
		"spec": {"containers": [{"name": "c", "image": "shop/web:1"}]}, "status": {"phase": "Running", "podIP": "10.244.0.1", "hostIP": "192.168.0.1"}}]}`)
	// A name with one dot that is found through the search list, and one with two.
	logOf := func(name string, searches ...string) string {
		var b strings.Builder
		for i := range 20 {
			for _, search := range searches {
				for k, kind := range []string{"A", "AAAA"} {
					code := "NXDOMAIN"
					if search == searches[len(searches)-1] {
						code = "NOERROR"
					}
					fmt.Fprintf(&b, "2026-01-05T10:%02d:0%d.000000000Z [INFO] 10.244.0.1:40000 - %d \"%s IN %s.%s. udp 60 false 512\" %s qr,aa,rd 100 0.0001s\n", i, k, 100*i+k, kind, name, search, code)
				}
			}
		}
		file := filepath.Join(dir, name+".log")
		writeTo(t, file, b.String())
		return file
	}
	short := logOf("db.data", "shop.svc.cluster.local", "svc.cluster.local")
	long := logOf("db.data.svc", "shop.svc.cluster.local", "svc.cluster.local", "cluster.local")
	kubeconfig := shared.Kubeconfig()
	advise := func(want int, log string) string {
		t.Helper()
		var out, errs bytes.Buffer
		streams := cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs, Open: func(name string) (io.ReadCloser, error) { return os.Open(name) }}
		if got := cli.Main([]string{"advise", "--kubeconfig", kubeconfig, "--pods", pods, "--write", namespace + "/advice", log}, streams); got != want {
			t.Errorf("exit code %d, want %d: %s%s", got, want, out.String(), errs.String())
		}
		return errs.String()
	}
	maps := shared.Client.CoreV1().ConfigMaps(namespace)
	get := func() *corev1.ConfigMap {
		t.Helper()
		found, err := maps.Get(t.Context(), "advice", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}

	if said := advise(2, short); !strings.Contains(said, `configmaps "advice" not found`) {
		t.Errorf("without a ConfigMap: %s", said)
	}
	if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "advice"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	advise(0, short)
	first := get()
	needs := func(found *corev1.ConfigMap) string {
		t.Helper()
		unzip, err := gzip.NewReader(bytes.NewReader(found.BinaryData["advice.json.gz"]))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(unzip)
		if err != nil {
			t.Fatal(err)
		}
		document, err := policy.ParseAdvice(text)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(document.Spec.Workloads[0].Needed)
	}
	if got := needs(first); got != "map[2:2026-01-11]" {
		t.Errorf("needed is %s", got)
	}
	if said := advise(0, short); !strings.Contains(said, "is unchanged") || get().ResourceVersion != first.ResourceVersion {
		t.Errorf("the same log is written again: %s", said)
	}
	advise(0, long)
	raised := get()
	if got := needs(raised); got != "map[2:2026-01-11 3:2026-01-11]" {
		t.Errorf("needed is %s", got)
	}
	raised.BinaryData["advice.json.gz"] = []byte("no advice")
	broken, err := maps.Update(t.Context(), raised, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if said := advise(2, long); !strings.Contains(said, "cannot read the advice that is there") || get().ResourceVersion != broken.ResourceVersion {
		t.Errorf("what cannot be read: %s", said)
	}
}

func writeTo(t *testing.T, file, text string) {
	t.Helper()
	testfile.Write(t, file, text)
}
