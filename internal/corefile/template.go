package corefile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/policy"
)

// TemplateBlock makes a DNS server answer names that end in "svc." itself, with
// the marker that the gate looks for. It belongs into the server block of ".".
func TemplateBlock() []string {
	return []string{
		"template ANY ANY svc {",
		"    rcode NXDOMAIN",
		fmt.Sprintf("    authority \"svc. 60 IN SOA %s hostmaster.shorthop.dev. 1 3600 600 86400 60\"", policy.UpstreamMarker),
		"}",
	}
}

// TemplatePlace says where the block belongs: into the cluster DNS, or into a
// cache on the node.
func TemplatePlace(cache bool) string {
	if cache {
		return "put this block into the server block of .:53 in the Corefile of the node-local cache (ConfigMap kube-system/node-local-dns), which asks the outside itself"
	}
	return "put this block into the server block of . in CoreDNS's Corefile (ConfigMap kube-system/coredns), or where CoreDNS imports ConfigMap kube-system/coredns-custom, under a key that ends in .override"
}

// HasTemplate reports whether the block is there, in a snippet too.
func (b *Block) HasTemplate() bool { return b.hasTemplate(map[*Block]bool{}) }

func (b *Block) hasTemplate(seen map[*Block]bool) bool {
	if seen[b] {
		return false
	}
	seen[b] = true
	for _, token := range b.plugins["template"] {
		if strings.Contains(strings.ToLower(unmark(token.Text)), policy.UpstreamMarker) {
			return true
		}
	}
	return slices.ContainsFunc(argumentsOf(b.plugins[markedImport]), func(imported []string) bool {
		snippet := b.snippets[strings.Join(imported, " ")]
		return snippet != nil && snippet.hasTemplate(seen)
	})
}
