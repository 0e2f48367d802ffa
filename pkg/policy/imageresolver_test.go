package policy

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

func TestTheFirstImagePatternThatMatchesWins(t *testing.T) {
	t.Parallel()
	p := baseSpec()
	p.Spec.Resolvers = []ImageResolver{
		{Images: []string{"*/alpine:3.17*", "alpine:3.17*"}, Resolver: ResolverMuslBefore124},
		{Images: []string{"alpine", "alpine:*", "*/alpine:*"}, Resolver: ResolverMusl},
		{Images: []string{"*distroless/static?nonroot"}, Resolver: ResolverGo},
		{Images: []string{"registry.example.com:5000/*"}, Resolver: ResolverGlibc},
	}
	compiled, err := Compile(p, "")
	if err != nil {
		t.Fatal(err)
	}
	type hint struct {
		resolver Resolver
		pattern  string
	}
	for image, want := range map[string]hint{
		"alpine":        {ResolverMusl, "alpine"},
		"alpine:3.17.1": {ResolverMuslBefore124, "alpine:3.17*"},
		"alpine:3.22":   {ResolverMusl, "alpine:*"},
		"registry.example.com/library/alpine:3.22":                   {ResolverMusl, "*/alpine:*"},
		"registry.example.com/library/alpine":                        {},
		"myalpine:1":                                                 {},
		"gcr.io/distroless/static:nonroot":                           {ResolverGo, "*distroless/static?nonroot"},
		"gcr.io/distroless/static/nonroot":                           {ResolverGo, "*distroless/static?nonroot"},
		"gcr.io/distroless/static-debian:nonroot":                    {},
		"registry.example.com:5000/team/app@sha256:0123456789abcdef": {ResolverGlibc, "registry.example.com:5000/*"},
		"registry.example.com/team/app":                              {},
		"":                                                           {},
	} {
		found, pattern := compiled.ResolverOf(image)
		if got := (hint{orEmpty(found).Resolver, pattern}); got != want {
			t.Errorf("%q: %+v, want %+v", image, got, want)
		}
	}
}

// TestCovers compares with what the patterns match, for all of them that are
// short.
func TestCovers(t *testing.T) {
	t.Parallel()
	spell := func(alphabet string, length int) []string {
		all, last := []string{""}, []string{""}
		for range length {
			var next []string
			for _, word := range last {
				for _, letter := range alphabet {
					next = append(next, word+string(letter))
				}
			}
			all, last = append(all, next...), next
		}
		return all
	}
	images := spell("a/b", 6)
	patterns := spell("a/*?", 3)[1:]
	matches := make([][]bool, len(patterns))
	for i, pattern := range patterns {
		meaning := regexp.MustCompile("^" + strings.NewReplacer("*", ".*", "?", ".").Replace(pattern) + "$")
		for _, image := range images {
			matches[i] = append(matches[i], meaning.MatchString(image))
		}
	}
	covered := 0
	for i, pattern := range patterns {
		for j, other := range patterns {
			want := true
			for k := range images {
				want = want && (matches[i][k] || !matches[j][k])
			}
			var x imageIndex
			x.add(pattern, "")
			if got := x.covering(other) != nil; got != want {
				t.Errorf("%s covers %s: %t, want %t", pattern, other, got, want)
			}
			if want {
				covered++
			}
		}
	}
	if covered <= len(patterns) {
		t.Error("no pattern covers another one")
	}
}

// Patterns that are alike in what they are filed under, and long to compare, do
// not take longer than the bound: this test does not end without it.
func TestCoveringPatternsEnd(t *testing.T) {
	t.Parallel()
	var images []string
	for i := range 1500 {
		images = append(images, fmt.Sprintf(`"%s%d*"`, strings.Repeat("*a", 150)+strings.Repeat("?", 150), i))
	}
	document := "apiVersion: shorthop.dev/v1alpha1\nkind: InjectionPolicy\nspec: {dns: {ndots: 5}, resolvers: [{resolver: musl, images: [" + strings.Join(images, ", ") + "]}]}\n"
	if _, err := Parse([]byte(document)); err != nil {
		t.Fatal(err)
	}
	Lint([]byte(document))
}
