package doctor

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseCorefile(t *testing.T) {
	t.Parallel()
	block := func(zones string, plugins ...plugin) serverBlock {
		return serverBlock{strings.Fields(zones), plugins}
	}
	for name, c := range map[string]struct {
		corefile string
		want     []serverBlock
	}{
		"nothing": {"", nil},
		"kubeadm's": {
			".:53 {\n    errors\n    health {\n       lameduck 5s\n    }\n    kubernetes cluster.local in-addr.arpa ip6.arpa {\n       pods insecure\n    }\n    forward . /etc/resolv.conf {\n       max_concurrent 1000\n    }\n}\n",
			[]serverBlock{block(".", plugin{name: "errors"}, plugin{name: "health"},
				plugin{"kubernetes", []string{"cluster.local", "in-addr.arpa", "ip6.arpa"}}, plugin{"forward", []string{".", "/etc/resolv.conf"}})},
		},
		"several blocks, zones and comments": {
			"# stub zones\ncorp.example.com, Example.ORG.:5353 {\n  forward . 192.0.2.1 # head office\n}\ndns://other.test:53 {\n  cache 30\n}\n",
			[]serverBlock{
				block("corp.example.com example.org", plugin{"forward", []string{".", "192.0.2.1"}}),
				block("other.test", plugin{"cache", []string{"30"}}),
			},
		},
		"a snippet that is imported": {
			"(common) {\n  log\n  cache 5\n}\n. {\n  import common\n  import ../custom/*.override\n  whoami\n}\n",
			[]serverBlock{block(".", plugin{name: "log"}, plugin{"cache", []string{"5"}}, plugin{name: "whoami"})},
		},
		"a snippet that imports another": {
			"(a) {\n  log\n}\n(b) {\n  import a\n  import\n}\n. {\n  import b\n}\n",
			[]serverBlock{block(".", plugin{name: "log"})},
		},
		"quoted words": {
			". {\n  template IN A \"corp example\" {\n    answer \"{{ .Name }} 60 IN A 192.0.2.1\"\n  }\n}\n",
			[]serverBlock{block(".", plugin{"template", []string{"IN", "A", "corp example"}})},
		},
		"variables are words": {
			"{$ZONE} {\n  bind {%ADDRESS%}\n}\n",
			[]serverBlock{block("{$zone}", plugin{"bind", []string{"{%ADDRESS%}"}})},
		},
		"a block that breaks off": {
			"a.test {\n  cache 5\n",
			[]serverBlock{block("a.test", plugin{"cache", []string{"5"}})},
		},
		"braces too many":         {"}\n}\na.test {\n}\n}\n", []serverBlock{block("a.test")}},
		"no block at all":         {"forward . 192.0.2.1\n", nil},
		"a port alone":            {":1053 {\n}\n", []serverBlock{block(".")}},
		"an unknown scheme":       {"ftp://a.test {\n}\n", []serverBlock{{}}},
		"all on one line":         {"a.test { cache 5 }", []serverBlock{block("a.test", plugin{"cache", []string{"5"}})}},
		"a reverse zone":          {"10.0.0.0/8 {\n}\n", []serverBlock{block("10.0.0.0/8")}},
		"Windows line ends":       {"a.test {\r\n  cache 5\r\n}\r\n", []serverBlock{block("a.test", plugin{"cache", []string{"5"}})}},
		"a # within a word":       {"a.test {\n  hosts /etc/h#1\n}\n", []serverBlock{block("a.test", plugin{"hosts", []string{"/etc/h#1"}})}},
		"a quote that stays open": {"a.test {\n  file \"db.a\n}\n", []serverBlock{block("a.test", plugin{"file", []string{"db.a"}})}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, parseCorefile(c.corefile), cmp.AllowUnexported(serverBlock{}, plugin{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// FuzzParseCorefile: whatever is in a ConfigMap, what is made of it is well
// formed, and no more than was there.
func FuzzParseCorefile(f *testing.F) {
	for _, seed := range []string{"", ".:53 {\n forward . /etc/resolv.conf\n}\n", "(a) {\n log\n}\n.{\n import a\n}", "a { b { c", "\"", "{ { } }", "tls://x:853,y {\n}"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		blocks := parseCorefile(text)
		if len(blocks) > strings.Count(text, "{") {
			t.Errorf("%d blocks", len(blocks))
		}
		for i := range blocks {
			for _, zone := range blocks[i].zones {
				if zone == "" || zone != strings.ToLower(zone) {
					t.Errorf("zone %q", zone)
				}
			}
			for _, p := range blocks[i].plugins {
				if p.name == "import" {
					t.Errorf("an import stays: %q", p.arguments)
				}
			}
		}
		config := &clusterDNSConfig{corefiles: []namedCorefile{{text: text}, {snippet: true, text: text}}}
		cache := &cacheConfig{corefiles: config.corefiles, args: strings.Fields(text)}
		for zone := range config.customZones() {
			cache.bypasses(zone, cache.addresses())
		}
	})
}
