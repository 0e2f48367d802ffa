package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// The test's own binary is as good as any: it depends on the CycloneDX library.
func TestRun(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	for _, out := range []*bytes.Buffer{&first, &second} {
		if err := run(binary, "1.2.3", out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two bills of the same binary differ")
	}
	bom := cdx.NewBOM()
	if err := cdx.NewBOMDecoder(&first, cdx.BOMFileFormatJSON).Decode(bom); err != nil {
		t.Fatal(err)
	}
	if got := bom.Metadata.Component.PackageURL; got != "pkg:golang/github.com/shorthop/shorthop/hack/sbom@1.2.3" {
		t.Errorf("it is about %s", got)
	}
	found := false
	for _, component := range *bom.Components {
		found = found || component.Name == "github.com/CycloneDX/cyclonedx-go" && strings.HasPrefix(component.Version, "v") && len((*component.Hashes)[0].Value) == 64
	}
	if !found {
		t.Errorf("a module that is in the binary is not in the bill: %+v", *bom.Components)
	}
}

func TestRunRefusesWhatIsNoGoBinary(t *testing.T) {
	if err := run("main.go", "1.2.3", &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "main.go") {
		t.Errorf("the error is %v", err)
	}
}
