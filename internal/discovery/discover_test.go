package discovery_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/pkg/policy"
)

var update = flag.Bool("update", false, "rewrite what the case files expect")

// Case files: testdata/<the cluster, in words>.txtar. The text before the first
// section says what the case is about. The sections:
//
//	resolv.conf     of our pod; left out: none that is of this cluster
//	services.yaml   a list of Services, as kubectl shows them
//	cluster.yaml    spec.cluster of the policy; left out: empty
//	result.yaml     expected
//
// `go test ./internal/discovery -update` rewrites what is expected.
func TestCases(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no case files (error %v)", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if len(bytes.TrimSpace(archive.Comment)) == 0 {
				t.Error("no comment says what the case is about")
			}
			var facts discovery.Facts
			var want []byte
			expected := -1
			for i, section := range archive.Files {
				switch section.Name {
				case "resolv.conf":
					facts.ResolvConf = string(section.Data)
				case "services.yaml":
					facts.Services = readServices(t, section.Data)
				case "cluster.yaml":
					var cluster policy.Cluster
					if err := yaml.UnmarshalStrict(section.Data, &cluster); err != nil {
						t.Fatal(err)
					}
					facts.Configured = cluster
				case "result.yaml":
					want, expected = section.Data, i
				default:
					t.Errorf("unknown section %s", section.Name)
				}
			}
			got, err := yaml.Marshal(discovery.Discover(facts))
			if err != nil {
				t.Fatal(err)
			}
			if *update {
				if expected < 0 {
					archive.Files = append(archive.Files, txtar.File{Name: "result.yaml"})
					expected = len(archive.Files) - 1
				}
				archive.Files[expected].Data = got
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func readServices(t *testing.T, text []byte) []discovery.Service {
	t.Helper()
	encoded, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatal(err)
	}
	// A client decodes into the same: whole numbers are integers.
	var list unstructured.UnstructuredList
	if err := list.UnmarshalJSON(append(append([]byte(`{"apiVersion":"v1","kind":"ServiceList","items":`), encoded...), '}')); err != nil {
		t.Fatal(err)
	}
	var services []discovery.Service
	for i := range list.Items {
		services = append(services, discovery.Read(&list.Items[i]))
	}
	return services
}
