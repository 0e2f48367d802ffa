package buildinfo

import (
	"runtime/debug"
	"testing"
)

func TestFromBuildInfo(t *testing.T) {
	t.Parallel()
	commit := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abc"}, {Key: "vcs.modified", Value: "false"}}
	dirty := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abc"}, {Key: "vcs.modified", Value: "true"}}
	for name, test := range map[string]struct {
		info *debug.BuildInfo
		want string
	}{
		"no record at all":                {nil, "dev"},
		"neither version nor commit":      {&debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, "dev"},
		"installed as a module":           {&debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "v1.2.3"},
		"the module's version goes first": {&debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: commit}, "v1.2.3"},
		"built in a checkout":             {&debug.BuildInfo{Settings: commit}, "0123abc"},
		"built in a changed checkout":     {&debug.BuildInfo{Settings: dirty}, "0123abc-dirty"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := fromBuildInfo(test.info); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
