package resolver_test

import (
	"fmt"

	"github.com/shorthop/shorthop/pkg/resolver"
)

// A nameserver in the dnsConfig of a ClusterFirst pod comes after the cluster's.
func ExampleNode_ResolvConf() {
	node := resolver.Node{
		ClusterDNS:    []string{"10.96.0.10"},
		ClusterDomain: "cluster.local",
		Host: resolver.ResolvConf{
			Nameservers: []string{"192.0.2.53"},
			Searches:    []string{"corp.example.com"},
			Options:     []string{"edns0"},
		},
	}
	two := "2"
	conf, _ := node.ResolvConf(resolver.PodDNS{
		Namespace: "shop",
		Policy:    "ClusterFirst",
		Config: &resolver.DNSConfig{
			Nameservers: []string{"169.254.20.10"},
			Options:     []resolver.Option{{Name: "ndots", Value: &two}},
		},
	})
	fmt.Print(conf)
	// Output:
	// search shop.svc.cluster.local svc.cluster.local cluster.local corp.example.com
	// nameserver 10.96.0.10
	// nameserver 169.254.20.10
	// options ndots:2
}

// In a pod of kubelet's making, an external name costs eight queries.
func ExampleResolver_Lookup() {
	conf := resolver.ResolvConf{
		Nameservers: []string{"10.96.0.10"},
		Searches:    []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"},
		Options:     []string{"ndots:5"},
	}
	internet := func(_ int, name string, _ resolver.RRType) resolver.Outcome {
		if name == "www.example.com" {
			return resolver.Answer
		}
		return resolver.NXDomain
	}
	lookup := resolver.Glibc.Lookup(conf, "www.example.com", internet)
	for _, query := range lookup.Queries {
		fmt.Println(query.Type, query.Name)
	}
	fmt.Println(lookup.Status, lookup.Name())
	// Output:
	// A www.example.com.shop.svc.cluster.local
	// AAAA www.example.com.shop.svc.cluster.local
	// A www.example.com.svc.cluster.local
	// AAAA www.example.com.svc.cluster.local
	// A www.example.com.cluster.local
	// AAAA www.example.com.cluster.local
	// A www.example.com
	// AAAA www.example.com
	// found www.example.com
}
