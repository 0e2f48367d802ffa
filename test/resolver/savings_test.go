//go:build e2e

package resolver_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/savings"
)

// TestSavingsBreakWhatRealResolversLose looks up 500 of the names of the pages on
// savings as the pods would, before and after: what has another answer then, or
// none, is what the page counts as broken.
func TestSavingsBreakWhatRealResolversLose(t *testing.T) {
	probes := map[resolver.Resolver]string{}
	var known []resolver.Resolver
	// Any musl will do: releases differ only where a search domain makes no valid name.
	for name, r := range map[string]resolver.Resolver{"glibc": resolver.Glibc, "musl": resolver.Musl, "go": resolver.Go} {
		_, probes[r] = build(t, name)
		known = append(known, r)
	}
	pairs, err := savings.Sample(savings.Seed, 500, known...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newSandbox(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	tally := map[string]int{}
	for i := range pairs {
		p := &pairs[i]
		ask := func(client resolver.Client) observation {
			t.Helper()
			c := testCase{
				Resolver: client.Resolver, Conf: client.ResolvConf, Hostname: client.Hostname, ResOptions: client.ResOptions,
				Name: p.Name, Zone: randomZone{Exist: append([]string{"something.that.exists"}, p.Exist...)},
			}
			c.Conf.Nameservers = nil
			for n := range client.ResolvConf.Nameservers {
				c.Conf.Nameservers = append(c.Conf.Nameservers, fmt.Sprintf("127.0.1.%d", n+1))
			}
			o, err := s.observe(request{Case: c, Probe: probes[client.Resolver]})
			if err != nil {
				t.Fatal(err)
			}
			return o
		}
		before, after := ask(p.Before), ask(p.After)
		lost := before.Status == resolver.Found && (after.Status != resolver.Found || !slices.Equal(before.Addresses, after.Addresses))
		if lost != p.Broken {
			t.Errorf("%s, %s: %s looks up %s: %s %v, then %s %v; broken by the model: %t\n%s",
				p.Mix, p.Strategy, p.After.Resolver, p.Name, before.Status, before.Addresses, after.Status, after.Addresses, p.Broken, p.After.ResolvConf)
		}
		tally[fmt.Sprintf("%s, broken: %t", p.After.Resolver, lost)]++
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	t.Log(tally)
	if tally["musl, broken: true"] < 100 {
		t.Errorf("%d pairs are broken, too few to say something", tally["musl, broken: true"])
	}
}
