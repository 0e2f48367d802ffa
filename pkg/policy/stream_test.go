package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/reviewtest"
)

const documentHead = "apiVersion: shorthop.dev/v1alpha1\nkind: InjectionPolicy\n"

// What a policy file may be beside one YAML document in UTF-8; testdata/invalid
// has what it may not be.
func TestParseTakesOneDocumentHoweverItIsWritten(t *testing.T) {
	t.Parallel()
	const document = documentHead + "spec: {dns: {ndots: 2}}\n"
	var inUTF16 []byte
	for _, unit := range utf16.Encode([]rune("\ufeff" + document)) {
		inUTF16 = append(inUTF16, byte(unit), byte(unit>>8))
	}
	for name, data := range map[string]string{
		"as it is":                          document,
		"with markers":                      "---\n" + document + "...\n",
		"with markers that have comments":   "--- # begin\n" + document + "... # end\n# done\n",
		"behind empty documents":            "# Source: a chart\n---\n---\n# nothing\n---\n" + document + "---\n",
		"with a directive":                  "%YAML 1.1\n---\n" + document,
		"with a byte order mark":            "\ufeff" + document,
		"in UTF-16":                         string(inUTF16),
		"with carriage returns, line feeds": strings.ReplaceAll(document, "\n", "\r\n"),
		"as a flow mapping":                 "--- {apiVersion: shorthop.dev/v1alpha1, kind: InjectionPolicy, spec: {dns: {ndots: 2}}}\n",
		"as JSON":                           `{"apiVersion": "shorthop.dev/v1alpha1", "kind": "InjectionPolicy", "spec": {"dns": {"ndots": 2}}}`,
		"as JSON with YAML's invalid marks": "{\n\t\"apiVersion\": \"shorthop.dev\\/v1alpha1\",\n\t\"kind\": \"InjectionPolicy\",\n\t\"spec\": {\"dns\": {\"ndots\": 2}}\n}\n",
		"with metadata that has null":       "metadata: {name: default, creationTimestamp: null}\n" + document,
		"of exactly the size that is taken": document + strings.Repeat("#", policy.MaxSize-len(document)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parsed := reviewtest.Parse(t, data)
			if *parsed.Spec.DNS.Ndots != 2 {
				t.Errorf("ndots %d, want 2", *parsed.Spec.DNS.Ndots)
			}
			if len(policy.Lint([]byte(data))) != 1 {
				t.Errorf("warnings %v, want the one about ndots", policy.Lint([]byte(data)))
			}
		})
	}
}

func TestParseRefusesWhatNoFileCanShow(t *testing.T) {
	t.Parallel()
	const inJSON = `{"apiVersion": "shorthop.dev/v1alpha1", "kind": "InjectionPolicy", "spec": {}}`
	for name, test := range map[string]struct{ data, want string }{
		"nothing":               {"", "empty: a policy file holds one InjectionPolicy of shorthop.dev/v1alpha1"},
		"two documents in JSON": {inJSON + "\n" + inJSON, "more than one document (on lines 1 and 2): a policy file holds exactly one InjectionPolicy"},
		"JSON back to back":     {inJSON + inJSON, "more than one document (on lines 1 and 1): a policy file holds exactly one InjectionPolicy"},
		"a key twice in JSON":   {`{"apiVersion": "shorthop.dev/v1alpha1", "kind": "InjectionPolicy", "spec": {"dns": {}, "dns": {}}}`, `spec.dns: there twice`},
		"a key twice in JSON, and more": {`{"apiVersion": "shorthop.dev/v1alpha1", "kind": "InjectionPolicy", "spec": {"dns": {"ndots": "5", "ndots": 99}}}`,
			"spec.dns.ndots: there twice"},
		"null in JSON": {`{"apiVersion": "shorthop.dev/v1alpha1", "kind": "InjectionPolicy", "spec": null}`, "spec: Invalid value: null: must be an object; {} is a policy that injects nothing"},
		"one byte too many": {strings.Repeat("#", policy.MaxSize+1),
			fmt.Sprintf("too large: a policy file has at most %d bytes", policy.MaxSize)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := policy.Parse([]byte(test.data)); err == nil || err.Error() != test.want {
				t.Errorf("got %v\nwant %s", err, test.want)
			}
			if warnings := policy.Lint([]byte(test.data)); len(warnings) > 0 && name != "null in JSON" {
				t.Errorf("warnings about what cannot be read: %v", warnings)
			}
		})
	}
}

// A rule without conditions is for every pod, if that is what its author wrote.
func TestAnEmptyMatchIsForEveryPod(t *testing.T) {
	t.Parallel()
	for _, match := range []string{"", ", match: {}", `, match: {namespaces: ["*"]}`} {
		compiled := compile(t, documentHead+"spec: {dns: {}, rules: [{name: all"+match+", dns: {ndots: 1}}]}\n")
		if got := compiled.Decide(ordinaryRequest()).Rule; got != "all" {
			t.Errorf("with %q the rule is %q", match, got)
		}
	}
}
