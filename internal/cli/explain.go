package cli

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shorthop/shorthop/internal/explain"
	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/internal/manifest"
	"github.com/shorthop/shorthop/pkg/policy"
)

type explainOptions struct {
	files                []string
	recursive            bool
	policyFile           string
	namespace            string
	namespaceLabels      labelsFlag
	namespaceAnnotations annotationsFlag
	nodeFile             string
	closedGates          gatesFlag
	adviceFile           string
	discovered           policy.Discovered
	lookupNames          []string
	output               *choice
}

const explainExamples = `  # A pod under a policy, in a namespace with labels
  kubectl shorthop explain -f pod.yaml --policy policy.yaml -n shop --namespace-labels team=shop

  # What a chart's workloads would get, and nothing else
  helm template ./chart | kubectl shorthop explain -f - --policy policy.yaml

  # Everything below a folder, and what of it is left out
  kubectl shorthop explain -R -f deploy/ -o json | jq '.remarks'

  # A pod of the cluster, explained as if it were created now
  kubectl get pod web-0 -o yaml | kubectl shorthop explain -f - --policy policy.yaml

  # What a shop's pods ask for two names, before and after
  kubectl shorthop explain -f shop.yaml --policy policy.yaml --lookup api.example.com,web.default.svc

  # The reasons only
  kubectl shorthop explain -f pod.yaml -o json | jq '{serviceHost, dns} | map_values(.reason)'`

func newExplain(s Streams) *cobra.Command {
	o := explainOptions{namespaceLabels: labelsFlag{}, namespaceAnnotations: annotationsFlag{}}
	command := &cobra.Command{
		Use:   "explain -f FILE",
		Short: "Tell what Shorthop does to a pod, and why",
		Long: `Tell what Shorthop does to a pod, and why.

Makes the decision of the admission webhook offline, from a manifest and a
policy file. Takes Pods, and whatever makes pods: every such kind of apps and
batch, ReplicationControllers, PodTemplates, Argo Rollouts, DeploymentConfigs,
and any other object of another project that has a pod template at spec.template
(CloneSet, Knative's Service). Of these it makes the first pod that their
controllers would make: with their labels, names and owner references, in which
zeros and nines stand for what nobody can know before.

A file may hold YAML documents, JSON objects one after the other, and lists; a
folder's files are those that kubectl takes, *.yaml, *.yml and *.json. Each pod is
explained. Objects of other kinds are left out with a remark for each kind. What
cannot be read is told, and does not hide the rest; the exit code is then 1.
Templates (Helm, Kustomize, OpenShift) are to be rendered first.

The health gates are taken to be open, unless --closed-gates names them. What
the server discovers is not known: of a policy without spec.cluster, name it with
--cluster-domain and --cluster-dns. What other webhooks do is not known either.

With -o json, one object for one pod, {"items": [...]} for several:

  namespace, pod     the pod's name, or its generateName
  file, document     what it was read from; document where the file has several
  workload           group, kind, name
  madeFrom           group, kind, name of the object with the pod template
  policy             name, hash, mode
  rule               the rule that matched, "default" for the policy's own fields
  serviceHost        action (inject, dry_run, skip), reason, message; also:
                     reason and message of those behind it, which would count
                     if it did not; host or fromNodeIP, port, and containers:
                     name, list, injected, and reason and message where it is
                     not injected, port where it is not the policy's; earlier
                     (stays, comes_out): what an earlier review added
  dns                action, reason, message, also, mode, options, servers,
                     fallbackServers, domain, extraSearches; earlier
  fallthrough        action, reason, message, also, ndots, carrier
                     (RES_OPTIONS or resolv.conf), and containers: name, list,
                     resolver, ndots, by, unknown where ndots is not known
                     here, and reason and message where it gets no RES_OPTIONS
                     though others do, or no container does because of them;
                     earlier
  advice             action, reason, message, ndots and fallthrough where they
                     are the advice's; document, its hash, and evidence: from,
                     to, coveredSeconds, observed, workloads, incomplete, known
  record             value: what the annotation shorthop.dev/injected says;
                     reason and message where it is left out
  warnings           for the person who creates the pod
  notes              what the patch does not show
  patch              JSON Patch
  resolvConf         before, after: nameservers, searches, options; notes
  resolvers          where the policy has spec.resolvers: container, image,
                     resolver, pattern; otherName of an image that no pattern
                     matches, where one matches that
  lookups            with --lookup: notes, and names: name, existsAs,
                     resolver, container whose RES_OPTIONS and LOCALDOMAIN
                     count, breaks, and before and after: status, answer,
                     queries (name, type, server) in order

and beside these, or beside items:

  remarks            what was left out, or is not known: file, document, line
                     (of the first), count, apiVersion, kind, field, message

Where an action is dry_run, record, patch, resolvConf.after and the lookups
after are a preview: what mode Enforce would do.

--lookup models which queries the pod sends for a name, before and after, with
each resolver that its containers may have. A name of one label, of a label and
a namespace, or one that ends in .svc is taken for a Service that exists; any
other exists as it is written. Where the second of two labels is also a public
top-level domain (web.dev), it is taken for that: write web.dev.svc.

With -o yaml, the pod as it would be admitted.`,
		Example:           explainExamples,
		Args:              noArguments("name the manifest with -f"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(*cobra.Command, []string) error { return o.run(s) },
	}
	o.add(command)
	return command
}

// add adds the flags.
func (o *explainOptions) add(command *cobra.Command) {
	flags := command.Flags()
	flags.StringArrayVarP(&o.files, "filename", "f", nil, "file or folder with pods or workloads, - for standard input; may be repeated")
	completeFile(command, "filename", yamlExtensions...)
	flags.BoolVarP(&o.recursive, "recursive", "R", false, "read folders below folders too")
	policyFlag(command, &o.policyFile, "file with the policy (default: a built-in policy with spec.dns: {})")
	flags.StringVar(&o.adviceFile, "advice", "", "file with the DNSAdvice in force, plain or gzipped (default: there is no advice)")
	completeFile(command, "advice", "json", "yaml", "yml", "gz")
	flags.StringVarP(&o.namespace, "namespace", "n", "", `namespace of pods whose manifest names none (default: "default")`)
	complete(command, "namespace", cobra.NoFileCompletions)
	flags.Var(&o.namespaceLabels, "namespace-labels", "labels of the namespace; kubernetes.io/metadata.name is always there")
	complete(command, "namespace-labels", cobra.FixedCompletions([]string{
		policy.LabelInject + "=disabled", policy.LabelInject + "=enabled",
		policy.LabelServiceHost + "=disabled", policy.LabelServiceHost + "=enabled",
		policy.LabelDNS + "=disabled", policy.LabelDNS + "=enabled",
	}, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace))
	flags.Var(&o.namespaceAnnotations, "namespace-annotations", "annotations of the namespace that tune its pods")
	complete(command, "namespace-annotations", cobra.FixedCompletions([]string{
		policy.AnnotationNdots + "=2", policy.AnnotationDNSMode + "=" + string(policy.DNSModeOptions),
		policy.AnnotationDNSMode + "=" + string(policy.DNSModeNodeLocal), policy.AnnotationDNSOptions + "=timeout:1 attempts:3",
	}, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveNoSpace))
	flags.StringVar(&o.nodeFile, "node-resolv-conf", "", "resolv.conf of the node (what kubelet's --resolv-conf names)")
	complete(command, "node-resolv-conf", cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
	flags.Var(&o.closedGates, "closed-gates", "health gates to take for closed: "+strings.Join(gateNames, ", "))
	complete(command, "closed-gates", cobra.FixedCompletions(gateNames, cobra.ShellCompDirectiveNoFileComp))
	flags.StringVar(&o.discovered.Domain, "cluster-domain", "", "cluster domain that the server discovers (default: not known)")
	complete(command, "cluster-domain", cobra.NoFileCompletions)
	flags.StringSliceVar(&o.discovered.DNSServers, "cluster-dns", nil, "addresses of the cluster DNS that the server discovers (default: not known)")
	complete(command, "cluster-dns", cobra.NoFileCompletions)
	flags.StringSliceVar(&o.lookupNames, "lookup", nil, "names whose lookups to model")
	complete(command, "lookup", cobra.NoFileCompletions)
	o.output = outputFlag(command, outputText, outputJSON, outputYAML)
}

func (o *explainOptions) run(s Streams) error {
	if err := o.validate(); err != nil {
		return err
	}
	conditions, err := o.conditions(&s)
	if err != nil {
		return err
	}
	read := manifestReader{streams: &s, recursive: o.recursive}
	for _, name := range o.files {
		if err := read.add(name); err != nil {
			return err
		}
	}
	var explanations []*explain.Explanation
	for i := range read.Pods {
		e, err := conditions.Explain(&read.Pods[i])
		if err != nil {
			return failure("cannot explain pod %v", err)
		}
		explanations = append(explanations, e)
	}
	return o.report(s, &read.Reader, explanations)
}

// validate returns the first fault of the flags.
func (o *explainOptions) validate() error {
	if len(o.files) == 0 {
		return failure("explain needs -f FILE, the manifest of a pod or a workload (- for standard input)")
	}
	if err := onlyOneStdin(append([]string{o.policyFile, o.nodeFile, o.adviceFile}, o.files...)...); err != nil {
		return err
	}
	if o.namespace != "" {
		if messages := validation.IsDNS1123Label(o.namespace); len(messages) > 0 {
			return failure("--namespace %q: %s", o.namespace, strings.Join(messages, "; "))
		}
	}
	if err := checkDiscovered(&o.discovered); err != nil {
		return err
	}
	if err := checkLookups(o.lookupNames); err != nil {
		return err
	}
	if len(o.lookupNames) > 0 && o.output.value == outputYAML {
		return failure("--lookup has nothing to say with -o yaml, which prints pods: choose text or json")
	}
	return nil
}

// conditions reads the files that the flags name, and returns the conditions that pods
// are explained under.
func (o *explainOptions) conditions(s *Streams) (*explain.Conditions, error) {
	document, err := s.loadPolicy(o.policyFile)
	if err != nil {
		return nil, err
	}
	c := &explain.Conditions{
		Namespace:       o.namespace,
		NamespaceLabels: o.namespaceLabels, NamespaceAnnotations: o.namespaceAnnotations,
		HostsClosed:  slices.Contains(o.closedGates, string(gates.KindServiceHost)),
		CachesClosed: slices.Contains(o.closedGates, string(gates.KindNodeLocal)),
		Discovered:   o.discovered,
		Lookups:      o.lookupNames,
	}
	if slices.Contains(o.closedGates, string(gates.KindUpstream)) {
		c.Upstream = policy.ReasonUpstreamFails
	}
	if c.Policy, err = policy.Compile(document, ""); err != nil {
		return nil, failure("cannot compile the policy: %v", err) // cannot happen: Compile accepts all that Parse does
	}
	if o.adviceFile != "" {
		if c.Advice, err = s.readAdvice(o.adviceFile); err != nil {
			return nil, err
		}
	}
	if o.nodeFile != "" {
		if c.NodeResolvConf, err = s.readResolvConf(o.nodeFile); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// report prints the remarks, the explanations, and what could not be read. The exit
// code is 1 if anything could not be read, or there is nothing to explain.
func (o *explainOptions) report(s Streams, read *manifest.Reader, explanations []*explain.Explanation) error {
	if o.policyFile == "" && len(explanations) > 0 {
		s.remark("no --policy: using the built-in policy, spec.dns: {} with all its defaults")
	}
	for _, r := range read.Remarks {
		s.remark("%s", r)
	}
	var problems []string
	for _, p := range read.Problems {
		problems = append(problems, p.String())
	}
	if len(explanations) > 0 {
		result, err := o.format(explanations, read.Remarks)
		if err != nil {
			return failure("cannot write the %s: %v", o.output.value, err)
		}
		if err := s.write(result); err != nil {
			return err
		}
	} else if len(problems) == 0 {
		problems = []string{fmt.Sprintf("%s: nothing to explain in %s, want one of %s, or another object with a pod template at spec.template",
			programName, strings.Join(displayNames(o.files), ", "), strings.Join(manifest.KindNames(), ", "))}
	}
	if len(problems) > 0 {
		return invalid(problems)
	}
	return nil
}

// explanationDocument is what explain -o json prints for several pods.
type explanationDocument struct {
	Items   []*explain.Explanation `json:"items"`
	Remarks []manifest.Remark      `json:"remarks,omitzero"`
}

// format renders explanations in the chosen format.
func (o *explainOptions) format(explanations []*explain.Explanation, remarks []manifest.Remark) ([]byte, error) {
	var b bytes.Buffer
	switch o.output.value {
	case outputJSON:
		var value any = &explanationDocument{explanations, remarks}
		if len(explanations) == 1 {
			value = &struct {
				*explain.Explanation
				Remarks []manifest.Remark `json:"remarks,omitzero"`
			}{explanations[0], remarks}
		}
		if err := writeJSON(&b, value); err != nil {
			return nil, err
		}
	case outputYAML:
		for i, e := range explanations {
			if i > 0 {
				b.WriteString("---\n")
			}
			if err := writeYAML(&b, e.Admitted); err != nil {
				return nil, err
			}
		}
	default:
		for i, e := range explanations {
			if i > 0 {
				b.WriteString("\n\n")
			}
			explanationText{e, o.policyFile == ""}.write(text{b: &b})
		}
	}
	return b.Bytes(), nil
}
