package docs

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/cli"
	"github.com/shorthop/shorthop/test/testfile"
)

// TestTheREADMEsPolicyDoesWhatItShows gives the pod before to explain, with the policy that the README shows, and compares what
// comes out with the pod after.
func TestTheREADMEsPolicyDoesWhatItShows(t *testing.T) {
	t.Parallel()
	readme := read(t, repository+"/README.md")
	fenced := func(language string) string {
		match := regexp.MustCompile("(?s)\n```" + language + "\n(.*?)```\n").FindStringSubmatch(readme)
		if match == nil {
			t.Fatalf("README.md has no block %s", language)
		}
		return match[1]
	}
	var before, after strings.Builder
	for line := range strings.Lines(fenced("diff")) {
		switch line[0] {
		case ' ':
			before.WriteString(line[1:])
			after.WriteString(line[1:])
		case '+':
			after.WriteString(line[1:])
		default:
			t.Fatalf("a line of the diff is neither kept nor added: %q", line)
		}
	}
	dir := t.TempDir()
	files := map[string]string{"policy.yaml": fenced("yaml"), "pod.yaml": "apiVersion: v1\nkind: Pod\n" + before.String()}
	files["pod.yaml"] = strings.Replace(files["pod.yaml"], "\nmetadata:\n", "\nmetadata:\n  name: web\n", 1)
	for name, content := range files {
		testfile.Write(t, filepath.Join(dir, name), content)
	}
	var out, stderr bytes.Buffer
	arguments := []string{"explain", "-f", filepath.Join(dir, "pod.yaml"), "--policy", filepath.Join(dir, "policy.yaml"), "-n", "shop", "-o", "yaml"}
	open := func(name string) (io.ReadCloser, error) { return os.Open(name) }
	if code := cli.Main(arguments, cli.Streams{In: strings.NewReader(""), Out: &out, Err: &stderr, Open: open}); code != 0 {
		t.Fatalf("explain ends with %d: %s", code, stderr.String())
	}
	var shown, got corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(after.String()), &shown); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(shown.Spec, got.Spec); diff != "" {
		t.Errorf("the pod (-README.md +explain):\n%s", diff)
	}
	// The record is cut: what is shown of it must be there, from its beginning.
	const record = "shorthop.dev/injected"
	for i, part := range strings.Split(shown.Annotations[record], "…") {
		part = strings.Trim(part, `",}`)
		if !strings.Contains(got.Annotations[record], part) || i == 0 && !strings.HasPrefix(got.Annotations[record], part) {
			t.Errorf("the record is %s, and README.md shows %q", got.Annotations[record], part)
		}
	}
}
