package querylog_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
)

const plain = `10.244.0.7:40312 - 33243 "A IN api.example.com.default.svc.cluster.local. udp 56 false 512" NXDOMAIN qr,aa,rd 149 0.000102s`

// text is a record or verdict in one line.
func text(v querylog.Verdict, r *querylog.Record) string {
	switch v {
	case querylog.Other:
		return "other"
	case querylog.Malformed:
		return "malformed"
	case querylog.Request:
		return "request"
	case querylog.Query:
	}
	s := fmt.Sprintf("%s asks %s type %d: %d, source %d:%d", r.Client, r.Name, r.Type, r.Result, r.Source>>16, r.Source&0xffff)
	if r.Unix != 0 {
		s += ", " + time.Unix(r.Unix, 0).UTC().Format(time.RFC3339)
	}
	return s
}

func TestParse(t *testing.T) {
	t.Parallel()
	const query = "10.244.0.7 asks api.example.com.default.svc.cluster.local type 0: 1, source 40312:33243"
	for name, test := range map[string]struct{ format, line, want string }{
		"as CoreDNS writes it":              {"", "[INFO] " + plain, query},
		"without a level":                   {"", plain, query},
		"combined":                          {"", "[INFO] " + plain + ` "0"`, query},
		"kubectl logs --prefix":             {"", "[pod/coredns-5d/coredns] [INFO] " + plain, query},
		"kubectl logs --timestamps":         {"", "2026-01-02T03:04:05.123456789Z [INFO] " + plain, query + ", 2026-01-02T03:04:05Z"},
		"both, in a zone":                   {"", "[pod/a/b] 2026-01-02T03:04:05.1+02:00 [INFO] " + plain, query + ", 2026-01-02T01:04:05Z"},
		"a container runtime's file":        {"", "2024-02-29T23:59:59.9Z stdout F [INFO] " + plain, query + ", 2024-02-29T23:59:59Z"},
		"IPv6":                              {"", `[INFO] [fd00::1]:53 - 1 "AAAA IN a. tcp 17 true 4096" NOERROR qr 1 2s`, "fd00::1 asks a type 1: 0, source 53:1"},
		"the root":                          {"", `[INFO] 10.0.0.1:53 - 1 "NS IN . udp 17 false 512" NOERROR qr 1 2s`, "10.0.0.1 asks . type 2: 0, source 53:1"},
		"no answer":                         {"", `[INFO] 10.0.0.1:53 - 1 "A IN a. udp 17 false 512" - - 0 2s`, "10.0.0.1 asks a type 0: 2, source 53:1"},
		"a code by its number":              {"", `[INFO] 10.0.0.1:53 - 1 "A IN a. udp 17 false 512" 3841 qr 0 2s`, "10.0.0.1 asks a type 0: 2, source 53:1"},
		"upper case":                        {"", `[INFO] 10.0.0.1:53 - 1 "A IN A.Example. udp 17 false 512" SERVFAIL qr 0 2s`, "10.0.0.1 asks a.example type 0: 2, source 53:1"},
		"a quote in the name":               {"", `[INFO] 10.0.0.1:53 - 1 "A IN a\"b\032c. udp 17 false 512" NXDOMAIN qr 0 2s`, `10.0.0.1 asks a\"b\032c type 0: 1, source 53:1`},
		"another plugin":                    {"", "[INFO] plugin/reload: Running configuration SHA512 = 1b2", "other"},
		"an error with quotes":              {"", `[ERROR] plugin/errors: 2 a. A: read udp 1->2: "i/o timeout"`, "other"},
		"the banner":                        {"", "CoreDNS-1.15.0", "other"},
		"cut in the name":                   {"", `[INFO] 10.0.0.1:53 - 1 "A IN exam`, "malformed"},
		"cut before the code":               {"", `[INFO] 10.0.0.1:53 - 1 "A IN a. udp 17 false 512"`, "malformed"},
		"a name without a dot at its end":   {"", `[INFO] 10.0.0.1:53 - 1 "A IN a udp 17 false 512" NOERROR qr 1 2s`, "malformed"},
		"binary in the name":                {"", "[INFO] 10.0.0.1:53 - 1 \"A IN a\x00\xff. udp 17 false 512\" NOERROR qr 1 2s", "malformed"},
		"a port that is none":               {"", `[INFO] 10.0.0.1:99999 - 1 "A IN a. udp 17 false 512" NOERROR qr 1 2s`, "malformed"},
		"far too long":                      {"", `[INFO] 10.0.0.1:53 - 1 "A IN ` + strings.Repeat("a", 1<<20) + `. udp 17 false 512" NOERROR qr 1 2s`, "malformed"},
		"a format of its own":               {"{remote} {type} {name} {rcode}", "[INFO] 10.0.0.1 AAAA a.b. NXDOMAIN", "10.0.0.1 asks a.b type 1: 1, source 0:0"},
		"the same, with port and ID":        {"{name}|{type}|{rcode}|{remote}:{port}|{>id}", "2026-01-02T03:04:05Z [INFO] a.b.|A|NOERROR|[fd00::1]:7|9", "fd00::1 asks a.b type 0: 0, source 7:9, 2026-01-02T03:04:05Z"},
		"with the common format inside":     {"{common} {/kubernetes/namespace}", "[INFO] " + plain + " shop", query},
		"another plugin in a log of that":   {"{remote} {type} {name} {rcode}", "[INFO] plugin/reload: x", "other"},
		"a format's line that is cut":       {"{remote} {type} {name} {rcode}", "[INFO] 10.0.0.1 AAAA a.b.", "malformed"},
		"an unknown type":                   {"{remote} {type} {name} {rcode}", "10.0.0.1 TYPE65 a.b. NOERROR", "10.0.0.1 asks a.b type 2: 0, source 0:0"},
		"an empty client":                   {"", `[INFO] :53 - 1 "A IN a. udp 17 false 512" NOERROR qr 1 2s`, "malformed"},
		"nothing but a quote":               {"", `"`, "other"},
		"a date that is none":               {"", "2026-13-02T03:04:05.123456789Z [INFO] " + plain, query},
		"a tab before the client":           {"", "2026-01-02T03:04:05Z\t" + plain, query + ", 2026-01-02T03:04:05Z"},
		"a zone without a colon":            {"", "2026-01-02T03:04:05+0200 node coredns[7]: [INFO] " + plain, query + ", 2026-01-02T01:04:05Z"},
		"a zone of hours only":              {"", "2026-01-02T03:04:05-02 [INFO] " + plain, query + ", 2026-01-02T05:04:05Z"},
		"a space in the name":               {"", `[INFO] 10.0.0.1:53 - 1 "A IN my\ printer\\. udp 17 false 512" NXDOMAIN qr 0 2s`, `10.0.0.1 asks my\ printer\\ type 0: 1, source 53:1`},
		"an answer that never came":         {"", `[INFO] 10.0.0.1:53 - 1 "A IN a. udp 17 false 512" NOERROR - 0 2s`, "10.0.0.1 asks a type 0: 2, source 53:1"},
		"the same in a format of its own":   {"{remote} {type} {name} {rcode} {>rflags} {rsize}", "10.0.0.1 A a. NOERROR - 0", "10.0.0.1 asks a type 0: 2, source 0:0"},
		"a query that another format has":   {"{remote} {type} {name} {rcode}", "someone asks for a. and gets NXDOMAIN", "malformed"},
		"spaces only":                       {"", "      ", "other"},
		"the level of a log in JSON":        {"", `{"level":"info","msg":"` + strings.ReplaceAll(plain, `"`, `\"`) + `"}`, "malformed"},
		"a timestamp that is cut":           {"", "2026-01-02T03:04 [INFO] " + plain, query},
		"a name as long as one can be":      {"", `[INFO] 10.0.0.1:53 - 1 "A IN ` + strings.Repeat(`\255`, 252) + `. udp 17 false 512" NOERROR qr 1 2s`, "10.0.0.1 asks " + strings.Repeat(`\255`, 252) + " type 0: 0, source 53:1"},
		"a name that is longer than any is": {"", `[INFO] 10.0.0.1:53 - 1 "A IN ` + strings.Repeat(`\255`, 254) + `. udp 17 false 512" NOERROR qr 1 2s`, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			parser, err := querylog.New(test.format)
			if err != nil {
				t.Fatal(err)
			}
			var r querylog.Record
			if diff := cmp.Diff(test.want, text(parser.Parse([]byte(test.line), &r), &r)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestFormatsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]string{
		"{remote} {type} {name}":        `{rcode} is missing`,
		"{type}{name} {remote} {rcode}": `nothing between two placeholders before {name}`,
		"nothing":                       `{remote} is missing`,
	} {
		if _, err := querylog.New(format); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", format, err, want)
		}
	}
}

func TestParsingAllocatesNothing(t *testing.T) {
	line := []byte("[pod/a/b] 2026-01-02T03:04:05.1Z [INFO] " + plain)
	custom, err := querylog.New("{remote}:{port} - {>id} {type} {name} {rcode}")
	if err != nil {
		t.Fatal(err)
	}
	other := []byte("[INFO] 10.0.0.1:1 - 2 A a.b. NOERROR")
	var r querylog.Record
	if n := testing.AllocsPerRun(100, func() {
		if new(querylog.Parser).Parse(line, &r) != querylog.Query || custom.Parse(other, &r) != querylog.Query {
			t.Error("a line cannot be read")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzParse: whatever the line, nothing panics, and a record is made of parts of
// the line that are what they should be.
func FuzzParse(f *testing.F) {
	for _, line := range []string{plain, "[INFO] " + plain, "2026-01-02T03:04:05.1+02:00 x " + plain, "10.0.0.1 A a. NOERROR", `[::1]:1 - 2 "`, "\x00\xff"} {
		f.Add([]byte(line))
	}
	custom, err := querylog.New("{remote} {type} {name} {rcode}")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		for _, parser := range []*querylog.Parser{{}, custom} {
			var r querylog.Record
			if parser.Parse(bytes.Clone(line), &r) != querylog.Query {
				continue
			}
			if len(r.Client) == 0 || len(r.Name) == 0 || len(r.Name) > 1012 || r.Type >= querylog.Types || r.Result >= querylog.Results {
				t.Fatalf("%q: %+v", line, r)
			}
			for _, c := range r.Name {
				if c <= ' ' || c > '~' || c >= 'A' && c <= 'Z' {
					t.Fatalf("%q: name %q", line, r.Name)
				}
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	line := []byte("[INFO] " + plain)
	b.SetBytes(int64(len(line)))
	b.ReportAllocs()
	var parser querylog.Parser
	var r querylog.Record
	for b.Loop() {
		parser.Parse(line, &r)
	}
}
