package main

import (
	"fmt"
	"strings"
)

// mutatingPolicy is a MutatingAdmissionPolicy that does what the setting asks of a webhook: the variables in the containers
// and init containers that do not have them, the pod's DNS, our label and a record. It knows no opt-outs.
func mutatingPolicy(s *setting, namespace, host string, port int32) string {
	var b strings.Builder
	fmt.Fprintf(&b, `metadata: {name: %[1]s}
spec:
  failurePolicy: Ignore
  reinvocationPolicy: Never
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  mutations:
  - patchType: ApplyConfiguration
    applyConfiguration:
      expression: |
        Object{
          metadata: Object.metadata{
            %[2]sannotations: {"shorthop.dev/injected": "true"}
          }`, namespace, labels(s))
	if s.host {
		b.WriteString(",\n          spec: Object.spec{")
		for _, list := range []string{"initContainers", "containers"} {
			fmt.Fprintf(&b, `
            %[1]s: (has(object.spec.%[1]s) ? object.spec.%[1]s : []).filter(
              c, !has(c.env) || !c.env.exists(e, e.name == "KUBERNETES_SERVICE_HOST")
            ).map(c, Object.spec.%[1]s{name: c.name, env: [
              Object.spec.%[1]s.env{name: "KUBERNETES_SERVICE_HOST", value: "%[2]s"},
              Object.spec.%[1]s.env{name: "KUBERNETES_SERVICE_PORT", value: "%[3]d"},
              Object.spec.%[1]s.env{name: "KUBERNETES_SERVICE_PORT_HTTPS", value: "%[3]d"}
            ]}),`, list, host, port)
		}
		b.WriteString("\n          }")
	}
	b.WriteString("\n        }\n")
	if !s.ndots {
		return b.String()
	}
	// The lists of dnsConfig are atomic, which an ApplyConfiguration must not set.
	b.WriteString(`  - patchType: JSONPatch
    jsonPatch:
      expression: |
        (has(object.spec.dnsConfig) || object.spec.dnsPolicy != "ClusterFirst") ? [] : [
`)
	if s.nodeLocal {
		b.WriteString(`          JSONPatch{op: "replace", path: "/spec/dnsPolicy", value: "None"},
          JSONPatch{op: "add", path: "/spec/dnsConfig", value: {
            "nameservers": dyn(["169.254.20.10", "10.0.0.10"]),
            "searches": dyn([object.metadata.namespace + ".svc.cluster.local", "svc.cluster.local", "cluster.local"]),
            "options": dyn([{"name": "ndots", "value": "3"}])
          }}
        ]
`)
	} else {
		b.WriteString(`          JSONPatch{op: "add", path: "/spec/dnsConfig", value: {"options": [{"name": "ndots", "value": "3"}]}}
        ]
`)
	}
	return b.String()
}

func labels(s *setting) string {
	if s.nodeLocal {
		return `labels: {"shorthop.dev/pinned": "node-local"}, `
	}
	return ""
}
