package podgen

import "math/rand/v2"

// NamespaceLabels returns labels for a namespace: opt-in and opt-out labels in all spellings, odd values, labels of
// others, or none. Every one is legal.
func NamespaceLabels(rng *rand.Rand) map[string]string {
	g := newGen(rng, "")
	switch g.IntN(5) {
	case 0:
		return pick(g, nil, map[string]string{})
	case 1: // closed, however it is spelled
		labels := g.switches()
		labels["shorthop.dev/inject"] = pick(g, "disabled", "disable", "false")
		return labels
	}
	labels := g.switches()
	for range g.IntN(3) {
		labels[g.key()] = pick(g, "", "search", "A.b_c-9", g.text(63))
	}
	if g.oneIn(4) {
		labels["team"] = "search"
	}
	return labels
}
