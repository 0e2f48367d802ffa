package resolver_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/testfile"
)

// Case files: testdata/resolvconf/<what is read, in words>.txtar. The sections:
//
//	resolv.conf           what is read
//	parsed.yaml, written  expected: what is read of it, and how that is written
//	error                 expected where it cannot be read
//
// `go test ./pkg/resolver -run TestParseResolvConf -update` rewrites what is expected.
func TestParseResolvConf(t *testing.T) {
	t.Parallel()
	testfile.Each(t, "testdata/resolvconf", func(t *testing.T, c *testfile.Case) {
		c.OnlyHas(t, "resolv.conf", "parsed.yaml", "written", "error")
		conf, err := resolver.ParseResolvConf(string(c.Section("resolv.conf")))
		parsed := make(map[string][]string)
		for key, entries := range map[string][]string{"nameservers": conf.Nameservers, "searches": conf.Searches, "options": conf.Options} {
			if entries != nil {
				parsed[key] = entries
			}
		}
		c.Expect(t, "parsed.yaml", jsontest.YAML(t, parsed))
		c.Expect(t, "written", []byte(conf.String()))
		var message []byte
		if err != nil {
			message = fmt.Appendln(nil, err)
		}
		c.Expect(t, "error", message)
	})
}

// What editors hide or mend, and what is too large for a case file.
func TestParseOddResolvConf(t *testing.T) {
	t.Parallel()
	const limit = 10 << 20
	for name, test := range map[string]struct {
		text, err string
		want      resolver.ResolvConf
	}{
		"a last line without a newline counts": {text: "nameserver 10.9.9.9", want: resolver.ResolvConf{Nameservers: []string{"10.9.9.9"}}},
		"spaces, tabs and carriage returns separate words": {
			text: " \tsearch\ta  b \r\n\tnameserver \t 10.9.9.9\r\n",
			want: resolver.ResolvConf{Nameservers: []string{"10.9.9.9"}, Searches: []string{"a", "b"}},
		},
		"a file of 10 MiB is too large":  {text: strings.Repeat("#", limit), err: "parse resolv.conf: 10485760 bytes, kubelet reads less than 10485760"},
		"a file of one byte less is not": {text: strings.Repeat("#", limit-1)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := resolver.ParseResolvConf(test.text)
			if err == nil && test.err != "" || err != nil && err.Error() != test.err {
				t.Errorf("error %v, want %q", err, test.err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestEmptyEntriesHaveNoLine(t *testing.T) {
	t.Parallel()
	conf := resolver.ResolvConf{Nameservers: []string{"10.9.9.9"}, Searches: []string{}}
	if diff := cmp.Diff("nameserver 10.9.9.9\n", conf.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestResolvConfJSON(t *testing.T) {
	t.Parallel()
	conf := resolver.ResolvConf{
		Nameservers: []string{"10.9.9.9"},
		Searches:    []string{"a"},
		Options:     []string{"ndots:5"},
	}
	got, err := json.Marshal([]resolver.ResolvConf{conf, {}})
	if err != nil {
		t.Fatal(err)
	}
	want := `[{"nameservers":["10.9.9.9"],"searches":["a"],"options":["ndots:5"]},{}]`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

// FuzzParseResolvConf checks that parsing never panics, that it gives clean
// words, and that a parsed file survives being printed and parsed again.
func FuzzParseResolvConf(f *testing.F) {
	for _, seed := range []string{
		"",
		"search corp.example.com\nnameserver 10.9.9.9\noptions edns0 trust-ad\n",
		"search a. b.. . c\nsearch\n",
		"options ndots:1 ndots ndots: : a:b:c\n",
		"nameserver\nnameserver ::1 x\r\n# c\n;d\n",
		"search \u00a0a\u2003b\x85\x00\noptions \xff\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		conf, err := resolver.ParseResolvConf(text)
		if err != nil {
			return
		}
		names := make(map[string]bool, len(conf.Options))
		for _, option := range conf.Options {
			name, _, _ := strings.Cut(option, ":")
			if names[name] {
				t.Errorf("option %q twice in %q", name, conf.Options)
			}
			names[name] = true
		}
		dotted := false
		for _, domain := range conf.Searches {
			dotted = dotted || strings.HasSuffix(domain, ".")
		}
		printed := conf.String()
		if len(strings.Fields(printed)) != len(conf.Nameservers)*2+keyword(conf.Searches)+keyword(conf.Options) {
			t.Errorf("an entry is empty or has white space: %+v", conf)
		}
		again, err := resolver.ParseResolvConf(printed)
		if err != nil {
			t.Fatalf("parse what was printed: %v", err)
		}
		if dotted { // of two trailing dots, every pass cuts one
			again.Searches = conf.Searches
		}
		if diff := cmp.Diff(conf, again); diff != "" {
			t.Errorf("printed and parsed again (-first +second):\n%s", diff)
		}
	})
}

// keyword is the number of words of a line with these entries.
func keyword(entries []string) int {
	if len(entries) == 0 {
		return 0
	}
	return 1 + len(entries)
}
