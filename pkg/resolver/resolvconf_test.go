package resolver_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/resolver"
)

func TestParseResolvConf(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text string
		want resolver.ResolvConf
	}{
		"an empty file has nothing": {
			text: "",
			want: resolver.ResolvConf{},
		},
		"every keyword is read": {
			text: "search corp.example.com\nnameserver 10.9.9.9\nnameserver 10.9.9.8\noptions edns0 trust-ad\n",
			want: resolver.ResolvConf{
				Nameservers: []string{"10.9.9.9", "10.9.9.8"},
				Searches:    []string{"corp.example.com"},
				Options:     []string{"edns0", "trust-ad"},
			},
		},
		"a last line without a newline counts": {
			text: "nameserver 10.9.9.9",
			want: resolver.ResolvConf{Nameservers: []string{"10.9.9.9"}},
		},
		"spaces, tabs and carriage returns separate words": {
			text: " \tsearch\ta  b \r\n\tnameserver \t 10.9.9.9\r\n",
			want: resolver.ResolvConf{Nameservers: []string{"10.9.9.9"}, Searches: []string{"a", "b"}},
		},
		"nameservers are kept twice and unchecked, and only the first word of a line": {
			text: "nameserver 10.9.9.9 10.9.9.8\nnameserver 10.9.9.9\nnameserver nonsense\n",
			want: resolver.ResolvConf{Nameservers: []string{"10.9.9.9", "10.9.9.9", "nonsense"}},
		},
		"the last search line wins": {
			text: "search a b\nsearch c\n",
			want: resolver.ResolvConf{Searches: []string{"c"}},
		},
		"an empty search line removes the search domains": {
			text: "search a b\nsearch\n",
			want: resolver.ResolvConf{},
		},
		"a search domain of a single dot is left out": {
			text: "search . a .\n",
			want: resolver.ResolvConf{Searches: []string{"a"}},
		},
		"a search line of a single dot has no search domains": {
			text: "search .\n",
			want: resolver.ResolvConf{},
		},
		"one trailing dot of a search domain is cut": {
			text: "search a. b.. c a\n",
			want: resolver.ResolvConf{Searches: []string{"a", "b.", "c", "a"}},
		},
		"options lines add up": {
			text: "options edns0\noptions trust-ad\n",
			want: resolver.ResolvConf{Options: []string{"edns0", "trust-ad"}},
		},
		"the last of options with the same name wins in the place of the first": {
			text: "options ndots:1 edns0 ndots:2\noptions timeout:1 ndots timeout:2\n",
			want: resolver.ResolvConf{Options: []string{"ndots", "edns0", "timeout:2"}},
		},
		"an option's name ends at the first colon": {
			text: "options a:b:c a:d\n",
			want: resolver.ResolvConf{Options: []string{"a:d"}},
		},
		"a line that starts with a hash is a comment": {
			text: "# search a\n  #nameserver 10.9.9.9\n",
			want: resolver.ResolvConf{},
		},
		"a hash later in a line is a word like others": {
			text: "search a # b\nnameserver 10.9.9.9 # c\noptions # d\n",
			want: resolver.ResolvConf{
				Nameservers: []string{"10.9.9.9"},
				Searches:    []string{"a", "#", "b"},
				Options:     []string{"#", "d"},
			},
		},
		"unknown keywords are ignored": {
			text: "domain corp.example.com\nsortlist 10.0.0.0\n;search a\nSEARCH a\noption edns0\nnameservers 10.9.9.9\n",
			want: resolver.ResolvConf{},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := resolver.ParseResolvConf(test.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("ParseResolvConf(%q) (-want +got):\n%s", test.text, diff)
			}
		})
	}
}

func TestParseResolvConfErrors(t *testing.T) {
	t.Parallel()
	const limit = 10 << 20
	tests := map[string]struct {
		text string
		want string
	}{
		"every nameserver line without an address is reported": {
			text: "nameserver\nnameserver 10.9.9.9\n nameserver \n",
			want: "parse resolv.conf: line 1: nameserver without an address\n" +
				"parse resolv.conf: line 3: nameserver without an address",
		},
		"a file of 10 MiB is too large": {
			text: strings.Repeat("#", limit),
			want: "parse resolv.conf: 10485760 bytes, kubelet reads less than 10485760",
		},
		"a file of one byte less is not": {
			text: strings.Repeat("#", limit-1),
			want: "",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conf, err := resolver.ParseResolvConf(test.text)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if got != test.want {
				t.Errorf("error %q, want %q", got, test.want)
			}
			if diff := cmp.Diff(resolver.ResolvConf{}, conf); diff != "" {
				t.Errorf("content beside an error (-want +got):\n%s", diff)
			}
		})
	}
}

func TestResolvConfString(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		conf resolver.ResolvConf
		want string
	}{
		"nothing is an empty text": {
			conf: resolver.ResolvConf{},
			want: "",
		},
		"search comes first, options last, one line for each nameserver": {
			conf: resolver.ResolvConf{
				Nameservers: []string{"10.9.9.9", "fd00::a"},
				Searches:    []string{"a", "b"},
				Options:     []string{"ndots:5", "edns0"},
			},
			want: "search a b\nnameserver 10.9.9.9\nnameserver fd00::a\noptions ndots:5 edns0\n",
		},
		"empty keywords have no line": {
			conf: resolver.ResolvConf{Nameservers: []string{"10.9.9.9"}, Searches: []string{}},
			want: "nameserver 10.9.9.9\n",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(test.want, test.conf.String()); diff != "" {
				t.Errorf("String() (-want +got):\n%s", diff)
			}
		})
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
