package cli_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/internal/manifest"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/podgen"
	"github.com/shorthop/shorthop/test/testfile"
)

// examplePods lists the pods that the demo and the documentation use.
func examplePods(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository, "examples", "pods", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples (%v)", err)
	}
	for i := range files {
		files[i] = "examples/pods/" + filepath.Base(files[i])
	}
	return files
}

func TestEveryExampleSaysWhatItShowsAndHasACase(t *testing.T) {
	t.Parallel()
	var commands strings.Builder
	for _, file := range caseFiles(t) {
		commands.Write(testfile.ReadCase(t, file).Comment)
	}
	for _, file := range examplePods(t) {
		text := testfile.Read(t, filepath.Join(repository, file))
		if !strings.HasPrefix(string(text), "# ") {
			t.Errorf("%s does not begin with a comment that says what it shows", file)
		}
		if !strings.Contains(commands.String(), file+" ") {
			t.Errorf("%s has no case", file)
		}
	}
}

func TestEveryKindHasACase(t *testing.T) {
	t.Parallel()
	covered := make(map[string]bool)
	kinds := regexp.MustCompile(`(?m)^kind: (\w+)$`)
	for _, file := range caseFiles(t) {
		c := parseCase(t, file)
		if len(c.args) == 0 || c.args[0] != "explain" || string(c.Section("exit")) != "0\n" {
			continue
		}
		for _, input := range c.inputs {
			for _, match := range kinds.FindAllSubmatch(input.Data, -1) {
				covered[string(match[1])] = true
			}
		}
	}
	_, stderr, _ := run(t, []byte("apiVersion: v1\nkind: Nothing\n"), "explain", "-f", "-")
	for _, kind := range manifest.KindNames() {
		if !strings.Contains(stderr, kind) {
			t.Errorf("%q does not name %s", stderr, kind)
		}
		if !covered[kind] {
			t.Errorf("no case for kind %s", kind)
		}
	}
}

// What explain -o yaml prints is a manifest, and explaining that changes
// nothing more.
func TestAdmittedPodsStayAsTheyAre(t *testing.T) {
	t.Parallel()
	for _, file := range examplePods(t) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			admitted, stderr, code := run(t, nil, "explain", "-f", file, "--policy", "examples/policy.yaml", "-o", "yaml")
			if code != 0 {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			again, stderr, code := run(t, []byte(admitted), "explain", "-f", "-", "--policy", "examples/policy.yaml", "-o", "json")
			if code != 0 {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			var explanation struct {
				Patch      []any
				ResolvConf struct{ Before, After any }
			}
			jsontest.Unmarshal(t, []byte(again), &explanation)
			if len(explanation.Patch) > 0 {
				t.Errorf("a second patch: %v", explanation.Patch)
			}
			text, _, _ := run(t, []byte(admitted), "explain", "-f", "-", "--policy", "examples/policy.yaml")
			if !strings.Contains(text, "the pod has all of it already") {
				t.Errorf("the text does not say so:\n%s", text)
			}
		})
	}
}

// Whatever a pod looks like, explain explains it, in every format.
func TestEveryPodCanBeExplained(t *testing.T) {
	t.Parallel()
	pods := 100
	if testing.Short() {
		pods /= 10
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range pods {
		pod := podgen.Pod(rng, "shop")
		if pod.Name == "" && pod.GenerateName == "" {
			pod.Name = fmt.Sprintf("pod-%d", i)
		}
		pod.APIVersion, pod.Kind = "v1", "Pod"
		manifest := podgen.JSON(rng, pod)
		for _, format := range []string{"text", "json", "yaml"} {
			stdout, stderr, code := run(t, manifest, "explain", "-f", "-", "--policy", "examples/policy.yaml", "-o", format)
			if code != 0 {
				t.Fatalf("pod %d as %s: exit code %d: %s\n%s", i, format, code, stderr, manifest)
			}
			if format == "json" && !json.Valid([]byte(stdout)) {
				t.Fatalf("pod %d: not JSON: %s", i, stdout)
			}
		}
	}
}

// Lines longer than the terminal occur only where a single word is longer.
func TestTextFitsTheTerminal(t *testing.T) {
	t.Parallel()
	for _, file := range examplePods(t) {
		text, _, _ := run(t, nil, "explain", "-f", file, "--policy", "examples/policy.yaml")
		for line := range strings.Lines(text) {
			if line = strings.TrimSuffix(line, "\n"); len(line) > 100 {
				t.Errorf("%s: %d columns: %s", file, len(line), line)
			}
			if strings.TrimRight(line, " ") != line {
				t.Errorf("%s: trailing space: %q", file, line)
			}
		}
	}
}

// A record that does not fit is left out, and explain says so.
func TestNoRoomForTheRecord(t *testing.T) {
	t.Parallel()
	pod := fmt.Sprintf(`{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "annotations": {"padding": %q}},
		"spec": {"containers": [{"name": "web", "image": "nginx:1.27"}]}}`, strings.Repeat("p", 256<<10-64))
	stdout, stderr, code := run(t, []byte(pod), "explain", "-f", "-", "--policy", "examples/policy.yaml", "-o", "json")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	var explanation struct{ Record map[string]any }
	jsontest.Unmarshal(t, []byte(stdout), &explanation)
	if explanation.Record["reason"] != "annotation_budget" || explanation.Record["value"] != nil {
		t.Errorf("got %v", explanation.Record)
	}
	text, _, _ := run(t, []byte(pod), "explain", "-f", "-", "--policy", "examples/policy.yaml")
	if !strings.Contains(text, "left out    annotation_budget") {
		t.Errorf("the text does not say so:\n%s", text)
	}
}

// The version is of the build and so in no case file.
func TestVersion(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := run(t, nil, "version")
	if words := strings.Fields(stdout); code != 0 || stderr != "" || len(words) != 4 || words[0] != "kubectl-shorthop" {
		t.Errorf("got exit code %d, %q and %q", code, stdout, stderr)
	}
}

// Completion scripts can be made for every shell that cobra knows.
func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		stdout, stderr, code := run(t, nil, "completion", shell)
		if code != 0 || stderr != "" || !slices.Contains(strings.Fields(stdout), "kubectl-shorthop") {
			t.Errorf("%s: exit code %d, %q", shell, code, stderr)
		}
	}
}
