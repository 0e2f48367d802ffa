package test_test

import (
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// truths are what only some files of the product may know. Each had copies
// elsewhere once, which had drifted: what the others need, they ask for. A
// pattern is matched against code without comments and spaces.
var truths = []struct {
	what    string
	pattern string
	// known are files, or folders with all that is below them.
	known []string
	// instead is where others ask.
	instead string
}{
	{
		"what a rule makes of the policy's own fields",
		`[sS]pec\.(DNS|ServiceHost|Rollout)\b|\bRules\[\w+\]\.(DNS|ServiceHost|Rollout|Mode)\b`,
		[]string{"pkg/policy"}, "policy.Spec.Effective",
	},
	{
		"on how many nodes a cache may be unavailable",
		`\bGetScaledValueFromIntOrPercent\b`,
		[]string{"pkg/policy/gate.go"}, "policy.Cache.Open and Allowed",
	},
	{
		"which pods are for Windows",
		`"(beta\.)?kubernetes\.io/os"|\bLabelOSStable\b`,
		[]string{"pkg/policy/pod.go"}, "policy.Pod.IsWindows",
	},
	{
		"which values of a label enable and disable",
		`"(enable|disable)"`,
		[]string{"pkg/policy/optout.go"}, "policy.EnablingValues and DisablingValues",
	},
	{
		"which Service is the cluster DNS",
		`"kube-dns-upstream"|HasPrefix\([\w.]+,"rke2-coredns`,
		[]string{"internal/discovery/discover.go"}, "discovery.DNSServices",
	},
	{
		"which pods serve DNS",
		`"nodelocaldns"|"dns\.operator\.openshift\.io/|"k8s-app[= ]`,
		[]string{"pkg/policy/dnspods.go"}, "policy.DNSPodLabels, discovery.DNSPodSelectors",
	},
	{
		"whether the API server filters by a policy",
		`\bFilterHash\(`,
		[]string{"internal/webhookconfig"}, "webhookconfig.FilterHashes and CompareFilters",
	},
	{
		"what /debug/policy shows",
		`json:"(excludedNamespaces|lastError|contradictions)"`,
		[]string{"internal/health/health.go", "internal/gates/gates.go", "internal/discovery/discover.go"}, "health.PolicyDocument",
	},
	{
		"how a list goes on that has expired",
		`\bIsResourceExpired\b`,
		[]string{"internal/clusterread/clusterread.go"}, "clusterread.Pages, or clusterread.ContinueAfterExpiry",
	},
	{
		"what is decided for a pod",
		`\.Decide\b`,
		[]string{"pkg/mutate/review.go", "pkg/policy/besides.go", "internal/explain"}, "mutate.Review, and policy.Compiled.Besides for the reasons behind the first",
	},
	{
		"how reviews are served",
		`\bhttp\.Server\{|\bhttp\.(ListenAnd)?Serve(TLS)?\(|\btls\.(Listen|NewListener)\(|\.ServeTLS\(|\bwebhook\.NewServer\(`,
		[]string{"internal/reviewserver/reviewserver.go", "internal/app/serve.go"}, "reviewserver.Server; app's serveHTTP has no TLS and serves probes and metrics",
	},
	{
		"the containers of a pod, with images",
		`json:"initContainers|\bInitContainers,Containers\b`,
		[]string{"pkg/policy/pod.go", "pkg/advisor/pod.go"}, "policy.Pod and PodImages",
	},
}

func TestEveryTruthHasOnePlace(t *testing.T) {
	t.Parallel()
	found := make([]bool, len(truths))
	for _, root := range []string{"cmd", "internal", "pkg"} {
		err := filepath.WalkDir(filepath.Join("..", root), func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			code, file := withoutComments(source), strings.TrimPrefix(filepath.ToSlash(path), "../")
			for i, truth := range truths {
				match := regexp.MustCompile(truth.pattern).FindString(code)
				if match == "" {
					continue
				}
				if slices.ContainsFunc(truth.known, func(known string) bool { return inside(file, known) }) {
					found[i] = true
				} else {
					t.Errorf("%s has %s: %s is known in %v alone, ask %s", file, match, truth.what, truth.known, truth.instead)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i, truth := range truths {
		if !found[i] {
			t.Errorf("nobody knows %s: the pattern %s finds nothing in %v", truth.what, truth.pattern, truth.known)
		}
	}
}

// withoutComments is code without comments and without spaces, but for one
// between words.
func withoutComments(source []byte) string {
	var s scanner.Scanner
	files := token.NewFileSet()
	s.Init(files.AddFile("", files.Base(), len(source)), source, nil, 0)
	var code strings.Builder
	word := false
	for {
		_, kind, text := s.Scan()
		switch {
		case kind == token.EOF:
			return code.String()
		case text == "":
			text = kind.String()
		}
		isWord := kind.IsKeyword() || kind.IsLiteral()
		if word && isWord {
			code.WriteByte(' ')
		}
		code.WriteString(text)
		word = isWord
	}
}
