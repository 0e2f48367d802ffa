// Command sbom prints the bill of materials of a Go binary, as the toolchain has recorded it in the binary itself, in the
// format of CycloneDX.
//
//	go run . BINARY VERSION >sbom.json
//
// The same binary gives the same bytes: there is neither a time nor a serial number in it.
package main

import (
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: sbom BINARY VERSION")
		os.Exit(1)
	}
	if err := run(os.Args[1], os.Args[2], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(2)
	}
}

func run(path, version string, out io.Writer) error {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading what the toolchain has recorded in %s: %w", path, err)
	}
	if len(info.Deps) == 0 {
		return errors.New(path + " has no record of its modules: it was built without module support")
	}
	main := component(&debug.Module{Path: info.Main.Path, Version: version})
	main.Type, main.Name = cdx.ComponentTypeApplication, filepath.Base(path)
	components := []cdx.Component{component(&debug.Module{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")})}
	refs := []string{components[0].BOMRef}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		c := component(module)
		if c.Hashes, err = hashes(module.Sum); err != nil {
			return fmt.Errorf("module %s: %w", module.Path, err)
		}
		components = append(components, c)
		refs = append(refs, c.BOMRef)
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &main}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: main.BOMRef, Dependencies: &refs}}
	encoder := cdx.NewBOMEncoder(out, cdx.BOMFileFormatJSON)
	encoder.SetPretty(true)
	if err := encoder.Encode(bom); err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	return nil
}

// component names a module by its package URL (https://github.com/package-url/purl-spec).
func component(module *debug.Module) cdx.Component {
	url := "pkg:golang/" + module.Path + "@" + module.Version
	return cdx.Component{BOMRef: url, Type: cdx.ComponentTypeLibrary, Name: module.Path, Version: module.Version, PackageURL: url}
}

// hashes converts a line of go.sum: "h1:" and the SHA-256 of the module's file list in base64.
func hashes(sum string) (*[]cdx.Hash, error) {
	encoded, found := strings.CutPrefix(sum, "h1:")
	if !found {
		return nil, fmt.Errorf("its checksum %q is not of the kind h1", sum)
	}
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, fmt.Errorf("its checksum %q: %w", sum, err)
	}
	return &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(decoded)}}, nil
}
