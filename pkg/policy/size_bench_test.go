package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/reviewtest"
)

// rulesDocument has rules for one namespace each, as they come from a
// repository with a file for each team.
func rulesDocument(rules int) []byte {
	var b strings.Builder
	b.WriteString(documentHead + "spec:\n  cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}\n  dns: {}\n  rules:\n")
	for i := range rules {
		fmt.Fprintf(&b, "  - name: team-%d\n    match: {namespaces: [team-%d], owners: [{kind: Deployment, name: \"web-*\"}], podSelector: {matchLabels: {app: web}}}\n    dns: {ndots: 5}\n", i, i)
	}
	return []byte(b.String())
}

// resolversDocument has a hint for each image, and some with wildcards.
func resolversDocument(images int) []byte {
	var b strings.Builder
	b.WriteString(documentHead + "spec:\n  dns: {}\n  resolvers:\n")
	for i := range images {
		image := fmt.Sprintf("registry.example.com/team-%d/service:1.%d.0", i%40, i)
		switch i % 10 {
		case 8:
			image = fmt.Sprintf("*/service-%d:*", i)
		case 9:
			image = fmt.Sprintf("*/other-%d:1.*", i)
		}
		fmt.Fprintf(&b, "  - {images: [%q], resolver: glibc}\n", image)
	}
	return []byte(b.String())
}

// BenchmarkSize reads, compiles and lints policies of several sizes: the time
// for each must grow as the size does.
func BenchmarkSize(b *testing.B) {
	for _, kind := range []struct {
		name     string
		document func(int) []byte
	}{{"rules", rulesDocument}, {"resolvers", resolversDocument}} {
		for _, n := range []int{1000, 2000, 4000} {
			document := kind.document(n)
			parsed := reviewtest.Parse(b, document)
			for _, step := range []struct {
				name string
				run  func()
			}{
				{"parse", func() { _, _ = policy.Parse(document) }},
				{"validate", func() { policy.Validate(parsed) }},
				{"compile", func() { _, _ = policy.Compile(parsed, "") }},
				{"lint", func() { policy.Lint(document) }},
			} {
				b.Run(fmt.Sprintf("%s/%s/%d", step.name, kind.name, n), func(b *testing.B) {
					for b.Loop() {
						step.run()
					}
				})
			}
		}
	}
}
