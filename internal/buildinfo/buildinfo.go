// Package buildinfo says which version of Shorthop this binary is.
package buildinfo

import "runtime/debug"

// Version is the release, or `git describe` of the commit, that the binary was built from. `make build` sets it with
// -ldflags "-X github.com/shorthop/shorthop/internal/buildinfo.Version=...". A binary that was built in another way, such
// as `go install`, takes what the Go toolchain recorded: the module's version, else the commit; and "dev" when there is
// neither.
var Version string

func init() {
	if Version == "" {
		info, _ := debug.ReadBuildInfo()
		Version = fromBuildInfo(info)
	}
}

// fromBuildInfo returns the best name that the toolchain's record has for the version. A nil info has none.
func fromBuildInfo(info *debug.BuildInfo) string {
	const unknown = "dev"
	if info == nil {
		return unknown
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	var revision, dirty string
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			revision = setting.Value
		case "vcs.modified":
			if setting.Value == "true" {
				dirty = "-dirty"
			}
		}
	}
	if revision == "" {
		return unknown
	}
	return revision + dirty
}
