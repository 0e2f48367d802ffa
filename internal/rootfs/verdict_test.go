package rootfs

import (
	"regexp"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/test/testfile"
)

// A resolver without a strictness would count as the least strict, and no cache would
// keep it.
func TestEveryResolverHasAStrictness(t *testing.T) {
	t.Parallel()
	found, ranks := 0, map[int]Resolver{}
	for _, match := range regexp.MustCompile(`(?m)^\t\w+ +Resolver = "([\w.-]*)"`).FindAllSubmatch(testfile.Read(t, "verdict.go"), -1) {
		found++
		resolver := Resolver(match[1])
		if v := (Verdict{Resolver: resolver}); !v.Valid() {
			t.Errorf("%q has no strictness: say in verdict.go what it allows", resolver)
		}
		if other, twice := ranks[strictness[resolver]]; twice {
			t.Errorf("%q and %q have the same strictness: which of two verdicts counts would depend on their order", resolver, other)
		}
		ranks[strictness[resolver]] = resolver
	}
	if found != len(strictness) {
		t.Errorf("verdict.go has %d resolvers, and a strictness for %d", found, len(strictness))
	}
}

// A trait that the table in doc.go lacks is one that nobody can look up, and one that
// tally.add passes over has no file to show.
func TestEveryTraitIsInTheTable(t *testing.T) {
	t.Parallel()
	table, _, _ := strings.Cut(string(testfile.Read(t, "doc.go")), "// The verdict")
	traits := regexp.MustCompile(`(?m)^\ttrait([A-Z]\w*)( trait = .*)?$`).FindAllSubmatch(testfile.Read(t, "judge.go"), -1)
	if len(traits) == 0 {
		t.Fatal("judge.go has no traits")
	}
	for i, match := range traits {
		word := strings.ToLower(string(match[1]))
		if !regexp.MustCompile(`(?m)^//\t.*[ ,]` + word + `[ ,]`).MatchString(strings.ReplaceAll(table, "net-dns", "netdns")) {
			t.Errorf("trait%s is in no row of the table in doc.go", match[1])
		}
		var one tally
		one.add("bin/app", finding{traits: 1 << i, why: "it says so"})
		if one.examples[1<<i].file != "bin/app" {
			t.Errorf("tally.add keeps no file for trait%s: add it to the list there", match[1])
		}
	}
}
