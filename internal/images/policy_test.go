package images_test

import (
	"regexp"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/internal/images"
	"github.com/shorthop/shorthop/internal/rootfs"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/reviewtest"
	"github.com/shorthop/shorthop/test/testfile"
)

// What a policy cannot name would be left out of it, as if it were not known.
func TestAPolicyCanNameWhateverAnImageIsJudgedToHave(t *testing.T) {
	t.Parallel()
	source := string(testfile.Read(t, "../rootfs/verdict.go"))
	tried := 0
	for _, kind := range []string{"Resolver", "Beside"} {
		for _, match := range regexp.MustCompile(`(?m)^\t\w+ +`+kind+` += "([\w.-]+)"`).FindAllStringSubmatch(source, -1) {
			verdict := rootfs.Verdict{Resolver: rootfs.Resolver(match[1])}
			if kind == "Beside" {
				verdict = rootfs.Verdict{Resolver: rootfs.Glibc, Beside: []rootfs.Beside{rootfs.Beside(match[1])}}
			}
			tried++
			if text, leftOut, err := images.Policy([]images.Result{{Image: images.Image{Reference: "a:1"}, Found: images.Found{Verdict: verdict}}}); leftOut > 0 || err != nil {
				t.Errorf("%s %s of verdict.go is left out of the policy (%v): add it to pkg/policy/types_resolvers.go and ImageResolver.Validate\n%s", kind, match[1], err, text)
			}
		}
	}
	if tried < 5 {
		t.Errorf("found no more than %d names in verdict.go", tried)
	}
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	result := func(reference string, resolver rootfs.Resolver, env map[string]string, beside ...rootfs.Beside) images.Result {
		return images.Result{Image: images.Image{Reference: reference}, Found: images.Found{Verdict: rootfs.Verdict{Resolver: resolver, Beside: beside}, Env: env}}
	}
	long := make([]byte, 300)
	text, leftOut, err := images.Policy([]images.Result{
		result("a:1", rootfs.Glibc, nil), result("b:1", rootfs.Musl, nil, rootfs.NetDNS), result("c:1", rootfs.Glibc, nil),
		result("d:1", rootfs.Unknown, nil, rootfs.GoCgo), result("e:1", rootfs.Go, map[string]string{"LOCALDOMAIN": ""}),
		result("f:1", rootfs.Glibc, map[string]string{"RES_OPTIONS": "ndots:2"}, rootfs.GoCgo, rootfs.NetDNS),
		result("g:1", rootfs.Glibc, map[string]string{"RES_OPTIONS": "a\x1b[2J"}), result("h:1", rootfs.Glibc, map[string]string{"RES_OPTIONS": string(long)}),
		result("i:1", rootfs.Musl, nil),
	})
	if err != nil || leftOut != 3 {
		t.Fatalf("%d are left out, %v; want 3: what is unknown, and two variables that the policy does not take", leftOut, err)
	}
	const want = `apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata:
  name: resolvers
spec:
  resolvers:
  - images:
    - a:1
    - c:1
    resolver: glibc
  - beside:
    - go-cgo
    - net-dns
    images:
    - f:1
    resOptions: ndots:2
    resolver: glibc
  - images:
    - e:1
    localDomain: ""
    resolver: go
  - images:
    - b:1
    - i:1
    resolver: musl
`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	parsed := reviewtest.Parse(t, text)
	entries := parsed.Spec.Resolvers
	if len(entries) != 4 || !slices.Equal(entries[1].Beside, []policy.ResolverBeside{policy.BesideGoCgo, policy.BesideNetDNS}) ||
		entries[1].ResOptions == nil || *entries[1].ResOptions != "ndots:2" || entries[2].LocalDomain == nil || *entries[2].LocalDomain != "" {
		t.Errorf("the policy reads %+v", entries)
	}
}

func TestPolicyTakesFullReferences(t *testing.T) {
	t.Parallel()
	const reference = "registry.example.com:5000/x/y_z:1.2-rc@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	text, leftOut, err := images.Policy([]images.Result{
		{Image: images.Image{Reference: reference}, Found: images.Found{Verdict: rootfs.Verdict{Resolver: rootfs.Go}}},
	})
	if err != nil || leftOut != 0 {
		t.Fatalf("%d are left out, %v", leftOut, err)
	}
	if parsed, err := policy.Parse(text); err != nil || len(parsed.Spec.Resolvers) != 1 || !slices.Equal(parsed.Spec.Resolvers[0].Images, []string{reference}) {
		t.Errorf("the policy reads %+v, %v, of\n%s", parsed, err, text)
	}
}

func TestPolicyOfNothing(t *testing.T) {
	t.Parallel()
	text, _, err := images.Policy(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policy.Parse(text); err != nil {
		t.Errorf("%v, of\n%s", err, text)
	}
}
