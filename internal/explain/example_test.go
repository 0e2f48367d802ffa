package explain_test

import (
	"fmt"
	"log"

	"github.com/shorthop/shorthop/internal/explain"
	"github.com/shorthop/shorthop/internal/manifest"
	"github.com/shorthop/shorthop/pkg/policy"
)

func ExampleConditions_Explain() {
	document, err := policy.Parse([]byte(`
apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
spec:
  dns: {ndots: 2}
`))
	if err != nil {
		log.Fatal(err)
	}
	compiled, err := policy.Compile(document, "")
	if err != nil {
		log.Fatal(err)
	}
	var files manifest.Reader
	files.Read("pod.yaml", []byte("{apiVersion: v1, kind: Pod, metadata: {name: web}, spec: {containers: [{name: web}]}}"))

	conditions := explain.Conditions{
		Policy: compiled, Namespace: "shop",
		Discovered: policy.Discovered{Domain: "cluster.local", DNSServers: []string{"10.96.0.10"}},
		Lookups:    []string{"api.example.com"},
	}
	e, err := conditions.Explain(&files.Pods[0])
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(e.Namespace, e.Pod, e.DNS.Action, e.DNS.Reason)
	fmt.Print(e.ResolvConf.After)
	musl := e.Lookups.Names[1]
	fmt.Println(musl.Resolver, len(musl.Before.Queries), "queries before,", len(musl.After.Queries), "after")
	// Output:
	// shop web inject enabled_by_policy
	// search shop.svc.cluster.local svc.cluster.local cluster.local
	// nameserver 10.96.0.10
	// options ndots:2
	// musl 8 queries before, 2 after
}
