package policy_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
)

// TestPatterns compares patterns with regular expressions that mean the same,
// for all of them that are short.
func TestPatterns(t *testing.T) {
	t.Parallel()
	names := words("ab-", 5)
	matched := 0
	for _, text := range words("ab*?", 4) {
		compiled := compile(t, header+fmt.Sprintf("  dns: {}\n  rules: [{name: matched, match: {namespaces: [%q]}}]\n", text))
		meaning := regexp.MustCompile("^" + strings.NewReplacer("*", ".*", "?", ".").Replace(text) + "$")
		for _, name := range names {
			request := ordinaryRequest()
			request.Namespace = name
			got, want := compiled.Decide(request).Rule == "matched", meaning.MatchString(name)
			if got != want {
				t.Fatalf("pattern %s, namespace %s: %t, want %t", text, name, got, want)
			}
			if got {
				matched++
			}
		}
	}
	if matched == 0 {
		t.Error("no pattern matched")
	}
}

// words are all words of 1 to n letters of an alphabet.
func words(alphabet string, n int) []string {
	all, last := []string{}, []string{""}
	for range n {
		var next []string
		for _, word := range last {
			for _, letter := range alphabet {
				next = append(next, word+string(letter))
			}
		}
		all = append(all, next...)
		last = next
	}
	return all
}

// A match holds if all its conditions do, and a list if one of its entries
// does.
func TestAllConditionsMustHold(t *testing.T) {
	t.Parallel()
	const document = header + `  dns: {}
  rules:
  - name: matched
    match:
      namespaces: [other, shop]
      namespaceSelector: {matchLabels: {team: checkout}}
      podSelector: {matchExpressions: [{key: app.kubernetes.io/name, operator: In, values: [api, web]}]}
      owners: [{kind: Job}, {kind: Deployment, name: "w*"}]
      serviceAccounts: [api, web]
`
	compiled := compile(t, document)
	for name, change := range map[string]func(*policy.Request){
		"":                      func(*policy.Request) {},
		"the namespace":         func(r *policy.Request) { r.Namespace = "shop2" },
		"the namespace's label": func(r *policy.Request) { r.NamespaceLabels["team"] = "search" },
		"no namespace labels":   func(r *policy.Request) { r.NamespaceLabels = nil },
		"the pod's label":       func(r *policy.Request) { r.Pod.Metadata.Labels["app.kubernetes.io/name"] = "db" },
		"the owner's name":      func(r *policy.Request) { r.Pod.Metadata.OwnerReferences[0].Name = "api-5d4f8c7b9" },
		"the owner's kind":      func(r *policy.Request) { r.Pod.Metadata.OwnerReferences[0].Kind = "StatefulSet" },
		"no owner":              func(r *policy.Request) { r.Pod.Metadata.OwnerReferences = nil },
		"the service account":   func(r *policy.Request) { r.Pod.Spec.ServiceAccountName = "" },
	} {
		request := ordinaryRequest()
		change(request)
		want := map[bool]string{true: "matched", false: policy.DefaultRule}[name == ""]
		if got := compiled.Decide(request).Rule; got != want {
			t.Errorf("with another value of %s: rule %s, want %s", name, got, want)
		}
	}
}
