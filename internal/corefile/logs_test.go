package corefile_test

import (
	"strings"
	"testing"

	"github.com/shorthop/shorthop/internal/corefile"
)

func TestLogs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		inside string
		want   string
	}{
		"nothing":                               {"errors", ""},
		"the plugin alone":                      {"log", "all"},
		"the root":                              {"log .", "all"},
		"a format":                              {"log {combined}", "all"},
		"a format of several words":             {`log . "{remote} {name} {type}"`, "all"},
		"every class":                           {"log {\n class all\n}", "all"},
		"all that is answered":                  {"log {\n class success denial\n}", "all"},
		"classes on lines of their own":         {"log {\n class success\n class denial error\n}", "all"},
		"OpenShift's, MicroK8s's":               {"log . {\n class error\n}", "answers of class error"},
		"OpenShift's at level Debug":            {"log . {\n class denial error\n}", "answers of class denial and error"},
		"names":                                 {"log example.org Example.COM. {combined}", "names in example.com, names in example.org"},
		"several uses, of which one is for all": {"log . {\n class error\n}\nlog", "all"},
		"a snippet":                             {"import logged", "all"},
		"a word of another plugin":              {"errors {\n log\n}", ""},
	} {
		blocks, err := corefile.Read([]corefile.File{{From: "test", Text: "(logged) {\n log\n}\n.:53 {\n" + test.inside + "\n cache 30\n}\n"}})
		if err != nil || len(blocks) != 1 {
			t.Fatalf("%s: %d blocks, error %v", name, len(blocks), err)
		}
		all, only := blocks[0].Logs()
		got := strings.Join(only, ", ")
		if all {
			got = "all" + got
		}
		if got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
