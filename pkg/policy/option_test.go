package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/test/policytypes"
	"github.com/shorthop/shorthop/test/testfile"
)

// The comments of Option are what the page about the policy and the chart's
// schema say; the tables of option.go are what a policy may have.
func TestTheOptionsInTheCommentsAreThoseOfTheCode(t *testing.T) {
	t.Parallel()
	types, err := policytypes.Parse("types.go")
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	for _, field := range types.Structs["Option"].Fields {
		docs[field.Name] = field.Doc
	}
	_, list, found := strings.Cut(docs["Name"], ": ")
	if !found {
		t.Fatalf("the comment of Option.Name lists nothing: %q", docs["Name"])
	}
	documented := regexp.MustCompile(`, | or |\.$`).Split(list, -1)
	documented = slices.DeleteFunc(documented, func(name string) bool { return name == "" })
	allowed := slices.Sorted(slices.Values(OptionNames()))
	if diff := cmp.Diff(allowed, documented); diff != "" {
		t.Errorf("Option.Name: -allowed +in the comment, in the order of the alphabet:\n%s", diff)
	}

	inWords := regexp.MustCompile(`([a-z-]+) \((\d+) to (\d+)`).FindAllStringSubmatch(docs["Value"], -1)
	ranges := map[string]string{}
	for _, words := range inWords {
		ranges[words[1]] = words[2] + " to " + words[3]
	}
	want := map[string]string{}
	for name, bounds := range optionRanges {
		want[name] = fmt.Sprintf("%d to %d", bounds[0], bounds[1])
	}
	if diff := cmp.Diff(want, ranges); diff != "" {
		t.Errorf("Option.Value: -allowed +in the comment:\n%s", diff)
	}
}

// A policy may set what changes how names are asked for, so the models of
// pkg/resolver, by which explain and advise speak, must know it.
func TestTheModelsOfResolversAreTriedWithEveryOption(t *testing.T) {
	t.Parallel()
	// What is not tried, and why.
	untried := map[string]string{
		"debug":          "prints, in a C library that was built for it",
		"no-check-names": "is about names in answers",
	}
	const generator = "../../test/resolver/cases_test.go"
	source := testfile.Read(t, generator)
	for _, name := range OptionNames() {
		tried := regexp.MustCompile(`"` + name + `[":]`).Match(source)
		if tried == (untried[name] != "") {
			t.Errorf("%s: tried by %s: %t; not to be tried: %q", name, generator, tried, untried[name])
		}
	}
}
