package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

const (
	outputText = "text"
	outputJSON = "json"
	outputYAML = "yaml"
)

type explainOptions struct {
	files           []string
	policyFile      string
	namespace       string
	namespaceLabels labelsFlag
	nodeFile        string
	closedGates     gatesFlag
	cluster         policy.Cluster
	lookupNames     []string
	output          *choice
}

func newExplain(s Streams) *cobra.Command {
	o := explainOptions{namespaceLabels: labelsFlag{}}
	command := &cobra.Command{
		Use:   "explain -f FILE",
		Short: "Tell what Shorthop does to a pod, and why",
		Long: `Tell what Shorthop does to a pod, and why.

Makes the decision of the admission webhook offline, from a manifest and a
policy file. Takes Pods, and Deployments, ReplicaSets, StatefulSets, DaemonSets,
Jobs and CronJobs, of which it makes the pod that their controllers would make:
with their labels, names and owner references, in which zeros stand for what
nobody can know before. A file may hold several documents and lists; each pod is
explained. Objects without pods are left out with a remark.

The health gates are taken to be open, unless --closed-gates names them. What
the server discovers is not known: of a policy without spec.cluster, name it with
--cluster-domain and --cluster-dns. What other webhooks do is not known either.

With -o json, one object for one pod, {"items": [...]} for several:

  namespace, pod     the pod's name, or its generateName
  workload           kind, name
  policy             name, hash, mode
  rule               the rule that matched, "default" for the policy's own fields
  serviceHost        action (inject, dry_run, skip), reason, message, host or
                     fromNodeIP, port, and containers: name, list, injected,
                     and reason and message where it is not injected
  dns                action, reason, message, mode, options, servers,
                     fallbackServers, domain, extraSearches
  record             value: what the annotation shorthop.dev/injected says;
                     reason and message where it is left out
  warnings           for the person who creates the pod
  patch              JSON Patch
  resolvConf         before, after: nameservers, searches, options; notes
  resolvers          where the policy has spec.resolvers: container, image,
                     resolver, pattern
  lookups            with --lookup: notes, and names: name, existsAs,
                     resolver, breaks, and before and after: status, answer,
                     queries (name, type, server) in order

Where an action is dry_run, record, patch, resolvConf.after and the lookups
after are a preview: what mode Enforce would do.

--lookup models which queries the pod sends for a name, before and after, with
each resolver that its containers may have. A name of one label, of a label and
a namespace, or one that ends in .svc is taken for a Service that exists; any
other exists as it is written. Where the second of two labels is also a public
top-level domain (web.dev), it is taken for that: write web.dev.svc.

With -o yaml, the pod as it would be admitted.`,
		Example: `  # A pod under a policy, in a namespace with labels
  kubectl shorthop explain -f pod.yaml --policy policy.yaml -n shop --namespace-labels team=shop

  # What a chart's workloads would get, and nothing else
  helm template ./chart | kubectl shorthop explain -f - --policy policy.yaml

  # A pod of the cluster, explained as if it were created now
  kubectl get pod web-0 -o yaml | kubectl shorthop explain -f - --policy policy.yaml

  # What a shop's pods ask for two names, before and after
  kubectl shorthop explain -f shop.yaml --policy policy.yaml --lookup api.example.com,web.default.svc

  # The reasons only
  kubectl shorthop explain -f pod.yaml -o json | jq '{serviceHost, dns} | map_values(.reason)'`,
		Args:              noArguments("name the manifest with -f"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(*cobra.Command, []string) error { return o.run(s) },
	}
	flags := command.Flags()
	flags.StringArrayVarP(&o.files, "filename", "f", nil, "file with pods or workloads, - for standard input; may be repeated")
	completeFile(command, "filename", yamlExtensions...)
	policyFlag(command, &o.policyFile, "file with the policy (default: a built-in policy with spec.dns: {})")
	flags.StringVarP(&o.namespace, "namespace", "n", "", `namespace of the pods (default: the manifest's, or "default")`)
	complete(command, "namespace", cobra.NoFileCompletions)
	flags.Var(&o.namespaceLabels, "namespace-labels", "labels of the namespace; kubernetes.io/metadata.name is always there")
	complete(command, "namespace-labels", cobra.FixedCompletions([]string{
		policy.LabelInject + "=disabled", policy.LabelInject + "=enabled",
		policy.LabelServiceHost + "=disabled", policy.LabelServiceHost + "=enabled",
		policy.LabelDNS + "=disabled", policy.LabelDNS + "=enabled",
	}, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace))
	flags.StringVar(&o.nodeFile, "node-resolv-conf", "", "resolv.conf of the node (what kubelet's --resolv-conf names)")
	complete(command, "node-resolv-conf", cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
	flags.Var(&o.closedGates, "closed-gates", "health gates to take for closed: "+strings.Join(gateNames, ", "))
	complete(command, "closed-gates", cobra.FixedCompletions(gateNames, cobra.ShellCompDirectiveNoFileComp))
	flags.StringVar(&o.cluster.Domain, "cluster-domain", "", "cluster domain that the server discovers (default: not known)")
	complete(command, "cluster-domain", cobra.NoFileCompletions)
	flags.StringSliceVar(&o.cluster.DNSServers, "cluster-dns", nil, "addresses of the cluster DNS that the server discovers (default: not known)")
	complete(command, "cluster-dns", cobra.NoFileCompletions)
	flags.StringSliceVar(&o.lookupNames, "lookup", nil, "names whose lookups to model")
	complete(command, "lookup", cobra.NoFileCompletions)
	o.output = outputFlag(command, outputText, outputJSON, outputYAML)
	return command
}

func (o *explainOptions) run(s Streams) error {
	if len(o.files) == 0 {
		return failure("explain needs -f FILE, the manifest of a pod or a workload (- for standard input)")
	}
	if err := onlyOneStdin(append([]string{o.policyFile, o.nodeFile}, o.files...)...); err != nil {
		return err
	}
	if o.namespace != "" {
		if messages := validation.IsDNS1123Label(o.namespace); len(messages) > 0 {
			return failure("--namespace %q: %s", o.namespace, strings.Join(messages, "; "))
		}
	}
	if err := checkCluster(&o.cluster); err != nil {
		return err
	}
	if err := checkLookups(o.lookupNames); err != nil {
		return err
	}
	if len(o.lookupNames) > 0 && o.output.value == outputYAML {
		return failure("--lookup has nothing to say with -o yaml, which prints pods: choose text or json")
	}
	document, err := s.loadPolicy(o.policyFile)
	if err != nil {
		return err
	}
	compiled, err := policy.Compile(document, "")
	if err != nil {
		return failure("%v", err) // Parse accepts nothing that Compile does not
	}
	var host *resolver.ResolvConf
	if o.nodeFile != "" {
		if host, err = s.readResolvConf(o.nodeFile); err != nil {
			return err
		}
	}
	manifests, remarks, err := o.readAll(s)
	if err != nil {
		return err
	}
	if o.policyFile == "" {
		remarks = append([]string{"no --policy: using the built-in policy, spec.dns: {} with all its defaults"}, remarks...)
	}
	for _, remark := range remarks {
		fmt.Fprintf(s.Err, "%s: %s\n", programName, remark)
	}
	var explanations []explanation
	for i := range manifests {
		m := &manifests[i]
		if err := o.place(m); err != nil {
			return failure("%v", err)
		}
		e, err := o.explain(compiled, m, host)
		if err != nil {
			return failure("%v", err)
		}
		e.builtIn = o.policyFile == ""
		explanations = append(explanations, e)
	}
	result, err := o.format(explanations)
	if err != nil {
		return failure("%v", err)
	}
	return s.write(result)
}

func (o *explainOptions) readAll(s Streams) (manifests []manifest, remarks []string, err error) {
	var invalidLines []string
	for _, file := range o.files {
		data, err := s.read(file)
		if err != nil {
			return nil, nil, err
		}
		found, said, err := readManifests(file, data)
		if err != nil {
			invalidLines = append(invalidLines, err.Error())
			continue
		}
		manifests, remarks = append(manifests, found...), append(remarks, said...)
	}
	if len(invalidLines) > 0 {
		return nil, nil, invalid(invalidLines)
	}
	return manifests, remarks, nil
}

// place settles the pod's namespace: the flag's, else the manifest's, else
// "default".
func (o *explainOptions) place(m *manifest) error {
	if o.namespace != "" && o.namespace != m.namespace {
		m.namespace = o.namespace
		return m.setNamespace(o.namespace)
	}
	if m.namespace == "" {
		m.namespace = corev1.NamespaceDefault
	}
	return nil
}

// explain reviews one pod as the webhook would when it is created.
func (o *explainOptions) explain(compiled *policy.Compiled, m *manifest, host *resolver.ResolvConf) (explanation, error) {
	allLabels := map[string]string{corev1.LabelMetadataName: m.namespace}
	for key, value := range o.namespaceLabels {
		if key != corev1.LabelMetadataName {
			allLabels[key] = value
		}
	}
	result := mutate.Review(compiled, policy.Request{
		Operation:       policy.OperationCreatePod,
		Namespace:       m.namespace,
		NamespaceLabels: allLabels,
		NamespaceKnown:  true,
		Pod:             &m.pod,
		ObjectSize:      len(m.json),
		Gates:           o.closedGates.gates(compiled),
		Discovered:      &policy.Discovered{Domain: o.cluster.Domain, DNSServers: o.cluster.DNSServers},
	})
	e := newExplanation(compiled, m, &result)
	closed := result.Request
	closed.Gates = &policy.Gates{}
	otherwise := compiled.Decide(&closed)
	e.hostGate = result.Decision.ServiceHost.Injects() && !otherwise.ServiceHost.Injects()
	e.cacheGate = result.Decision.DNS.Mode == policy.DNSModeNodeLocal && otherwise.DNS.Reason == policy.ReasonNodeLocalUnhealthy
	maps.DeleteFunc(allLabels, func(key, _ string) bool { return key == corev1.LabelMetadataName })
	e.namespaceLabels = allLabels

	var err error
	if e.patched, err = applyPatch(m.json, result.Operations); err != nil {
		return e, fmt.Errorf("%s: %w", e.Pod, err)
	}
	e.admitted = e.patched
	if result.DryRun() {
		e.admitted = m.json
	}
	var after policy.Pod
	if err := json.Unmarshal(e.patched, &after); err != nil {
		return e, fmt.Errorf("%s: %w", e.Pod, err)
	}
	e.setRecord(&result, &after)
	cluster := o.knownCluster(compiled)
	var was, is podResolvConf
	e.ResolvConf, was, is = resolvConfs(cluster, m.namespace, &m.pod, &after, host)
	if e.Resolvers, err = resolversOf(compiled, m.json); err != nil {
		return e, fmt.Errorf("%s: %w", e.Pod, err)
	}
	if len(o.lookupNames) > 0 {
		e.Lookups = o.lookups(cluster.Domain, &e, &was, &is)
	}
	return e, nil
}

// format renders explanations in the chosen format.
func (o *explainOptions) format(explanations []explanation) ([]byte, error) {
	var b bytes.Buffer
	switch o.output.value {
	case outputJSON:
		var value any = &explanations[0]
		if len(explanations) > 1 {
			value = map[string]any{"items": explanations}
		}
		if err := writeJSON(&b, value); err != nil {
			return nil, err
		}
	case outputYAML:
		for i := range explanations {
			if i > 0 {
				b.WriteString("---\n")
			}
			pod, err := yaml.JSONToYAML(explanations[i].admitted)
			if err != nil {
				return nil, err
			}
			b.Write(pod)
		}
	default:
		for i := range explanations {
			if i > 0 {
				b.WriteString("\n\n")
			}
			explanations[i].writeText(&b)
		}
	}
	return b.Bytes(), nil
}

// writeJSON is for people too: indented, and with <, > and & as they are.
func writeJSON(b *bytes.Buffer, value any) error {
	encoder := json.NewEncoder(b)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}
