package cli

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
	"github.com/shorthop/shorthop/pkg/resolverhint"
)

// resolverCell says which resolver a workload has, and who says so.
func resolverCell(r *advisor.WorkloadResolver) string {
	switch {
	case r.From == advisor.ResolverFromPolicy:
		return printable.Name(r.Name)
	case r.Name != "":
		return fmt.Sprintf("%s (%s)", r.Name, count(int(r.Pairs), "pair"))
	}
	return "-"
}

// policyNdots is the policy's own ndots, the highest of its rules, for which a hint at the
// resolver is enough. 0 if it names none.
func policyNdots(document *policy.InjectionPolicy) (ndots int) {
	for e := range document.Spec.Effective() {
		if e.DNS != nil && e.DNS.Ndots != nil {
			ndots = max(ndots, int(*e.DNS.Ndots))
		}
	}
	return ndots
}

// localServers are all addresses at which the policy says that a node has a cache.
func localServers(document *policy.InjectionPolicy) []string {
	servers := []string{policy.DefaultNodeLocalServer}
	for e := range document.Spec.Effective() {
		if e.DNS == nil {
			continue
		}
		for _, server := range e.DNS.NodeLocal.Servers {
			if !slices.Contains(servers, server) {
				servers = append(servers, server)
			}
		}
	}
	return servers
}

// suggestions of spec.resolvers, by the name that queries suggest.
var suggestions = map[resolverhint.Name]policy.Resolver{
	resolverhint.Glibc: policy.ResolverGlibc,
	resolverhint.Musl:  policy.ResolverMusl,
	resolverhint.Go:    policy.ResolverGo,
	resolverhint.CAres: policy.ResolverCAres,
}

// hintedImage is an image with what the queries of its workloads suggest.
type hintedImage struct {
	image     string
	names     []resolverhint.Name
	workloads []string
	shared    bool // with other images in a pod
}

// writeResolvers writes what queries suggest for spec.resolvers, as comments: somebody has
// to look into the images before it becomes what judgement goes by.
func writeResolvers(b *bytes.Buffer, report *advisor.Report) {
	byImage := make(map[string]*hintedImage)
	var unknown []string
	for i := range report.Workloads {
		w := &report.Workloads[i]
		if w.Resolver.From != advisor.ResolverFromQueries {
			continue
		}
		name := fmt.Sprintf("%s/%s", printable.Name(w.Namespace), workloadCell(w.Kind, w.Name))
		if w.Resolver.Name == "" {
			unknown = append(unknown, fmt.Sprintf("%s: %s, %s", name, w.Resolver.Reason, count(int(w.Resolver.Pairs), "pair")))
		}
		for _, image := range w.Resolver.Images {
			h := byImage[image]
			if h == nil {
				h = &hintedImage{image: image}
				byImage[image] = h
			}
			if n := resolverhint.Name(w.Resolver.Name); !slices.Contains(h.names, n) {
				h.names = append(h.names, n)
			}
			h.shared = h.shared || len(w.Resolver.Images) > 1
			if w.Resolver.Name != "" {
				h.workloads = append(h.workloads, fmt.Sprintf("%s: %s, %s", name, w.Resolver.Name, count(int(w.Resolver.Pairs), "pair")))
			}
		}
	}
	images := make([]*hintedImage, 0, len(byImage))
	for _, h := range byImage {
		if len(h.workloads) > 0 {
			images = append(images, h)
		}
	}
	slices.SortFunc(images, func(x, y *hintedImage) int { return cmp.Compare(x.image, y.image) })
	line := func(format string, args ...any) {
		b.WriteString(strings.TrimRight("# "+fmt.Sprintf(format, args...), " ") + "\n")
	}
	line("What the queries of pods look like, for spec.resolvers of the policy. These are hints:")
	line("look into an image before you take the comment sign from its lines.")
	line("resolvers:")
	for _, h := range images {
		for _, workload := range h.workloads {
			line("  # %s", workload)
		}
		resolver, has := suggestions[h.names[0]]
		switch {
		case len(h.names) > 1:
			line("  # %s: its workloads differ, or are not all known", printable.Name(h.image))
			continue
		case strings.ContainsAny(h.image, "*?"):
			line("  # %s: would be a pattern", printable.Name(h.image))
			continue
		case !has:
			line("  # %s: spec.resolvers has no name for it", printable.Name(h.image))
			continue
		case h.shared:
			line("  # one of several images in the pods: the queries may be another's")
		}
		switch h.names[0] { //nolint:exhaustive // of the others there is nothing to say
		case resolverhint.Musl:
			line("  # glibc 2.26 to 2.29 looks the same, and musl before 1.2.4 is musl-1.2.3")
		case resolverhint.Go:
			line("  # dig, Perl's Net::DNS with EDNS 1232 (which stops at ndots) and others that ask for one type after the other look the same")
		}
		line("- images: [%s]", quotedYAML(h.image))
		line("  resolver: %s", resolver)
	}
	if len(unknown) > 0 {
		line("")
		line("Not known:")
		for _, workload := range unknown {
			line("  %s", workload)
		}
	}
}

// quotedYAML is a string in double quotes that is one line of ASCII.
func quotedYAML(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(printable.Line(s)) + `"`
}
