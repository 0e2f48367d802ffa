package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/shorthop/shorthop/internal/cli"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/testfile"
)

// A folder of the file system: other files, links and pipes are in it too.
func TestExplainReadsFolders(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	write := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		testfile.Write(t, filepath.Join(folder, name), text)
	}
	pod := func(name string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec: {containers: [{name: web}]}\n"
	}
	write("b.yml", pod("b"))
	write("a.yaml", pod("a"))
	write("README.md", "not a manifest: [")
	write("values.yaml.orig", pod("no"))
	write("below/c.json", `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "c"}, "spec": {"containers": [{"name": "web"}]}}`)
	write("below/far/d.yaml", pod("d"))
	write("empty/README.md", "")
	write("parent/child/e.yaml", pod("e"))
	if err := os.Symlink("a.yaml", filepath.Join(folder, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(".", filepath.Join(folder, "below", "loop")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(folder, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}

	explain := func(args ...string) (pods []string, stderr string, code int) {
		var out, errs bytes.Buffer
		code = cli.Main(append([]string{"explain", "-o", "json"}, args...), cli.Streams{Out: &out, Err: &errs, Open: cli.System().Open})
		var document struct {
			Pod   string
			Items []struct{ Pod string }
		}
		if out.Len() > 0 {
			jsontest.Unmarshal(t, out.Bytes(), &document)
		}
		if document.Pod != "" {
			pods = append(pods, document.Pod)
		}
		for _, item := range document.Items {
			pods = append(pods, item.Pod)
		}
		return pods, errs.String(), code
	}

	if pods, stderr, code := explain("-f", folder); code != 0 || !slices.Equal(pods, []string{"a", "b", "a"}) {
		t.Errorf("the folder: exit code %d, pods %v, %s", code, pods, stderr)
	}
	if pods, stderr, code := explain("-R", "-f", folder); code != 0 || !slices.Equal(pods, []string{"a", "b", "c", "d", "a", "e"}) {
		t.Errorf("-R: exit code %d, pods %v, %s", code, pods, stderr)
	}
	if _, stderr, code := explain("-f", filepath.Join(folder, "empty")); code != 2 || !strings.Contains(stderr, "no files that end in .yaml, .yml, .json") {
		t.Errorf("a folder without manifests: exit code %d, %s", code, stderr)
	}
	if _, stderr, code := explain("-f", filepath.Join(folder, "parent")); code != 2 || !strings.Contains(stderr, "-R reads the folders below it") {
		t.Errorf("a folder of folders: exit code %d, %s", code, stderr)
	}
	if err := os.Symlink("nowhere", filepath.Join(folder, "z.yaml")); err != nil {
		t.Fatal(err)
	}
	if pods, stderr, code := explain("-f", folder); code != 1 || len(pods) != 3 || !strings.Contains(stderr, "z.yaml: cannot be read: no such file") {
		t.Errorf("with a file that cannot be read: exit code %d, pods %v, %s", code, pods, stderr)
	}
}
