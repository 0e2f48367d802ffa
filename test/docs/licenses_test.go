package docs

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestLicensesAreThoseOfTheBinaries compares THIRD_PARTY_LICENSES.md with the modules that the two binaries are built
// from. A module may be listed by folders of its own, where these have licences of their own.
func TestLicensesAreThoseOfTheBinaries(t *testing.T) {
	t.Parallel()
	listing := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{with .Module}}{{.Path}} {{.Version}}{{end}}", "../../cmd/webhook", "../../cmd/kubectl-shorthop")
	listing.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	output, err := listing.Output()
	if err != nil {
		t.Fatal(err)
	}
	linked := map[string]string{} // module to version
	for line := range strings.Lines(string(output)) {
		if path, version, found := strings.Cut(strings.TrimSpace(line), " "); found && version != "" {
			linked[path] = strings.TrimSuffix(version, "+incompatible") // the tag, as the list has it
		}
	}
	permissive := map[string]bool{"Apache-2.0": true, "BSD-2-Clause": true, "BSD-3-Clause": true, "ISC": true, "MIT": true}
	listed := map[string]bool{}
	for line := range strings.Lines(read(t, repository+"/THIRD_PARTY_LICENSES.md")) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) != 3 || cells[1] == "version" {
			continue
		}
		path, version, license := strings.TrimPrefix(cells[0], "| "), cells[1], strings.TrimSuffix(cells[2], " |")
		module := path
		for linked[module] == "" && strings.Contains(module, "/") {
			module = module[:strings.LastIndex(module, "/")]
		}
		switch {
		case linked[module] == "":
			t.Errorf("%s is listed and not linked", path)
		case linked[module] != version:
			t.Errorf("%s is listed with version %s, linked is %s", path, version, linked[module])
		}
		if !permissive[license] {
			t.Errorf("%s has the licence %q", path, license)
		}
		listed[module] = true
	}
	for module, version := range linked {
		if !listed[module] {
			t.Errorf("%s %s is linked and not listed", module, version)
		}
	}
	if t.Failed() {
		t.Log("make licenses writes the list")
	}
}
