package podgen

import (
	"math/rand/v2"
	"strings"
)

// gen is the source of one pod: the randomness, and the facts about the pod that its parts must agree on.
type gen struct {
	*rand.Rand

	namespace   string
	windows     bool // spec.os says so, with all that validation then forbids
	hostNetwork bool
	hashLabel   bool  // the pod has a pod-template-hash label
	gracePeriod int64 // upper bound of a preStop sleep
	volumes     []string
	nextPort    int32 // host ports must not collide, so no port is used twice
}

func newGen(rng *rand.Rand, namespace string) *gen {
	return &gen{Rand: rng, namespace: namespace, gracePeriod: 30, nextPort: 1024}
}

func (g *gen) oneIn(n int) bool { return g.IntN(n) == 0 }

func (g *gen) flip() bool { return g.oneIn(2) }

// between returns a number in [low, high].
func (g *gen) between(low, high int) int { return low + g.IntN(high-low+1) }

// rarely returns 0, or once in n times a number in [1, most].
func (g *gen) rarely(n, most int) int {
	if !g.oneIn(n) {
		return 0
	}
	return g.between(1, most)
}

// pick returns one of its arguments. Name a value twice to make it twice as likely.
func pick[T any](g *gen, from ...T) T { return from[g.IntN(len(from))] }

const letters = "abcdefghijklmnopqrstuvwxyz"

// text returns n letters.
func (g *gen) text(n int) string {
	var b strings.Builder
	b.Grow(n)
	for range n {
		b.WriteByte(letters[g.IntN(len(letters))])
	}
	return b.String()
}

// word returns a short name that is legal everywhere.
func (g *gen) word() string { return g.text(g.between(1, 8)) }

// label returns a DNS label of n characters with dashes and digits.
func (g *gen) label(n int) string {
	b := []byte(g.text(n))
	for i := 1; i < n-1; i++ {
		switch g.IntN(8) {
		case 0:
			b[i] = '-'
		case 1:
			b[i] = byte('0' + g.IntN(10))
		}
	}
	return string(b)
}

// domain returns a DNS name of n characters.
func (g *gen) domain(n int) string {
	b := []byte(g.label(n))
	for i := 3; i < n-2; i += g.between(3, 20) {
		b[i-1], b[i], b[i+1] = 'x', '.', 'y'
	}
	return string(b)
}
