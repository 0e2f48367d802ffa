package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/internal/doctor"
	"github.com/shorthop/shorthop/pkg/policy"
)

const outputTable = "table"

type auditOptions struct {
	cluster       clusterFlags
	namespace     string
	allNamespaces bool
	policyFile    string
	ownNamespace  string
	webhook       string
	all           bool
	output        *choice
}

func newAudit(s Streams) *cobra.Command {
	var o auditOptions
	command := &cobra.Command{
		Use:   "audit",
		Short: "Find pods that missed injection or carry an old decision",
		Long: `Find pods that missed injection or carry an old decision.

Compares every running pod with what the policy in force would do to it if it
were created now, and prints the commands that create such pods again. Changes
nothing.

  pinned     points at a host or a node-local cache whose health gate is closed
  missed     carries nothing, and a new pod would be injected
  stale      carries an old decision, and a new pod would look different
  edited     its record does not describe it
  unknown    differs from a new pod because of a closed gate, a rollout below
             100 %, DryRun, or something that is not known
  ok         as a new pod would be
  opted_out  left alone because a label says so
  skipped    left alone for another reason

A pod counts where its worse feature does; the features are counted as well.
Pods that have ended, are being deleted or mirror static pods are left out.

It goes by the policy that the replicas have loaded, with their health gates and
what they discovered, else by that of the ConfigMap; with --policy, by that file.
Replicas are asked through the API server, as kubectl port-forward does. Gates
that are not known are taken to be open.

It needs list pods and namespaces (of one namespace: get); get
mutatingwebhookconfigurations and services; and in Shorthop's namespace list
pods and configmaps, and create pods/portforward.

With -o json:

  policy       name, hash, mode, from; gatesKnown, discoveryKnown
  namespace    left out with -A
  consistent   false where pods may have been missed because they came or went
               while the list was read
  pods, classes, features, leftOut
               counts: of pods, by class, for each feature, of those left out
  workloads    namespace, kind, name, pods, findings (feature, class, reason,
               pods) and restart (command, or advice where there is none)
  reasons      what the reasons mean

Exit codes: 0 nothing to act on, 1 pods are pinned, missed or stale, 2 could not
run.`,
		Example: `  # After an outage of the webhook
  kubectl shorthop audit -A

  # What a new policy would mean for the pods of a namespace
  kubectl shorthop audit -n shop --policy policy.yaml

  # The commands alone, to run in portions
  kubectl shorthop audit -A -o json | jq -r '.workloads[].restart.command // empty'`,
		Args:              noArguments("name a namespace with -n, or all with -A"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(command *cobra.Command, _ []string) error { return o.run(command.Context(), s) },
	}
	o.cluster.add(command)
	flags := command.Flags()
	flags.StringVarP(&o.namespace, "namespace", "n", "", "namespace of the pods (default: that of the kubeconfig's context)")
	complete(command, "namespace", cobra.NoFileCompletions)
	flags.BoolVarP(&o.allNamespaces, "all-namespaces", "A", false, "pods of all namespaces")
	policyFlag(command, &o.policyFile, "file with the policy to compare with (default: the one in force)")
	flags.StringVar(&o.webhook, "webhook-configuration", "shorthop", "name of the MutatingWebhookConfiguration")
	complete(command, "webhook-configuration", cobra.NoFileCompletions)
	flags.StringVar(&o.ownNamespace, "own-namespace", "", "the namespace Shorthop runs in (default: that of the webhook's Service, else "+doctor.DefaultNamespace+")")
	complete(command, "own-namespace", cobra.NoFileCompletions)
	flags.BoolVar(&o.all, "all", false, "also list workloads that are ok, opted out or skipped")
	o.output = outputFlag(command, outputTable, outputJSON)
	return command
}

// validate returns the first thing that is wrong with the flags.
func (o *auditOptions) validate() error {
	if o.allNamespaces && o.namespace != "" {
		return failure("--namespace and --all-namespaces: only one of them")
	}
	if o.namespace != "" {
		if messages := validation.IsDNS1123Label(o.namespace); len(messages) > 0 {
			return failure("--namespace %q: %s", o.namespace, strings.Join(messages, "; "))
		}
	}
	if o.ownNamespace != "" {
		if err := checkOwnNamespace(o.ownNamespace); err != nil {
			return err
		}
	}
	if messages := validation.IsDNS1123Subdomain(o.webhook); len(messages) > 0 {
		return failure("--webhook-configuration %q: %s", o.webhook, strings.Join(messages, "; "))
	}
	return nil
}

func (o *auditOptions) run(ctx context.Context, s Streams) error {
	if err := o.validate(); err != nil {
		return err
	}
	var document *policy.InjectionPolicy
	if o.policyFile != "" {
		var err error
		if document, err = s.loadPolicy(o.policyFile); err != nil {
			return err
		}
	}
	config, err := o.cluster.config()
	if err != nil {
		return err
	}
	if o.namespace == "" && !o.allNamespaces {
		if o.namespace, err = o.cluster.namespace(); err != nil {
			return err
		}
	}
	progress := newProgress(s.Err)
	defer progress.stop()
	found, err := doctor.FindInForce(ctx, config, doctor.Options{
		WebhookConfiguration: o.webhook, OwnNamespace: o.ownNamespace, Policy: document, Progress: progress.now,
	})
	if err != nil {
		return failure("%v", err)
	}
	for _, remark := range remarksAbout(found) {
		fmt.Fprintf(s.Err, "%s: %s\n", programName, remark)
	}
	tally, consistent, err := o.read(ctx, config, found, s.Err, progress)
	if err != nil {
		return failure("%v", err)
	}
	progress.stop()
	if !consistent {
		fmt.Fprintf(s.Err, "%s: the list of pods took so long to read that it is not of one moment: pods that came or went meanwhile may be missing\n", programName)
	}
	var b bytes.Buffer
	if o.output.value == outputJSON {
		err = writeJSON(&b, o.document(found, tally, consistent))
	} else {
		err = o.writeTable(text{&b}, found, tally)
	}
	if err != nil {
		return failure("%v", err)
	}
	if err := s.write(b.Bytes()); err != nil {
		return err
	}
	if tally.Actionable() {
		return errFindings
	}
	return nil
}

// remarksAbout says what the findings rest on where that is not what new pods
// meet.
func remarksAbout(found *doctor.InForce) []string {
	var remarks []string
	if found.Asked != nil {
		remarks = append(remarks, fmt.Sprintf("no replica could be asked (%v): going by %s, with open health gates and without what is discovered", found.Asked, found.From))
	} else if found.Gates == nil {
		remarks = append(remarks, "the replicas have other health gates than this policy: taken to be open")
	}
	return remarks
}

// read reads and classifies all pods.
func (o *auditOptions) read(ctx context.Context, config *rest.Config, found *doctor.InForce, stderr io.Writer, progress *progress) (tally *audit.Tally, consistent bool, err error) {
	progress.now("namespaces")
	labels, err := readNamespaces(ctx, config, o.namespace)
	if err != nil {
		return nil, false, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, false, err
	}
	classifier := audit.NewClassifier(audit.Conditions{
		Policy: found.Policy, Gates: found.Gates, Discovered: found.Discovered, Installed: found.Installed,
	})
	tally = audit.NewTally()
	told := time.Now()
	if isTerminal(stderr) {
		told = time.Time{}
	}
	reader := audit.Reader{
		Client: client.CoreV1().RESTClient(),
		Page: func(_ context.Context, read, left int) error {
			if left > 0 && time.Since(told) >= slow {
				told = time.Now()
				fmt.Fprintf(stderr, "%s: %d of about %d pods\n", programName, read, read+left)
			}
			return nil
		},
	}
	progress.now("pods")
	consistent, err = reader.Read(ctx, o.namespace, func(pod *audit.Pod) {
		if why := pod.LeftOut(); why != "" {
			tally.LeftOut[why]++
			return
		}
		of, known := labels.of(ctx, pod.Metadata.Namespace)
		tally.Add(pod, classifier.Classify(pod, of, known))
	})
	return tally, consistent, err
}

// isTerminal reports whether somebody may be watching.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// namespaceLabels are the labels of namespaces, read once.
type namespaceLabels struct {
	client metadata.ResourceInterface
	labels map[string]map[string]string
	known  map[string]bool
}

// readNamespaces reads the labels of a namespace, or of all.
func readNamespaces(ctx context.Context, config *rest.Config, namespace string) (*namespaceLabels, error) {
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	n := &namespaceLabels{
		client: client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}),
		labels: map[string]map[string]string{}, known: map[string]bool{},
	}
	if namespace != "" {
		if err := n.get(ctx, namespace); err != nil {
			return nil, fmt.Errorf("read namespace %s: %w", namespace, err)
		}
		return n, nil
	}
	options := metav1.ListOptions{Limit: 500}
	for {
		page, err := n.client.List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("list namespaces: %w", err)
		}
		for i := range page.Items {
			n.labels[page.Items[i].Name], n.known[page.Items[i].Name] = page.Items[i].Labels, true
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return n, nil
		}
	}
}

func (n *namespaceLabels) get(ctx context.Context, namespace string) error {
	object, err := n.client.Get(ctx, namespace, metav1.GetOptions{})
	if err != nil {
		return err
	}
	n.labels[namespace], n.known[namespace] = object.Labels, true
	return nil
}

// of returns the labels of a namespace. One that is newer than the list is read
// now.
func (n *namespaceLabels) of(ctx context.Context, namespace string) (labels map[string]string, known bool) {
	if _, tried := n.known[namespace]; !tried {
		n.known[namespace] = false
		_ = n.get(ctx, namespace) // its pods are unknown then
	}
	return n.labels[namespace], n.known[namespace]
}

// auditDocument is what audit -o json prints. Fields are only ever added; the
// help of the command lists them.
type auditDocument struct {
	Policy     auditPolicy `json:"policy"`
	Namespace  string      `json:"namespace,omitzero"`
	Consistent bool        `json:"consistent"`
	audit.Counts
	Workloads []*audit.Workload       `json:"workloads"`
	Reasons   map[audit.Reason]string `json:"reasons"`
}

type auditPolicy struct {
	policyReference
	From           string `json:"from"`
	GatesKnown     bool   `json:"gatesKnown"`
	DiscoveryKnown bool   `json:"discoveryKnown"`
}

// shown reports whether workloads are listed for a class.
func (o *auditOptions) shown(class audit.Class) bool {
	return o.all || class.Actionable() || class == audit.Edited || class == audit.Unknown
}

func (o *auditOptions) document(found *doctor.InForce, tally *audit.Tally, consistent bool) *auditDocument {
	document := &auditDocument{
		Policy: auditPolicy{
			policyReference: policyReference{found.Policy.Name(), found.Policy.Hash(), found.Policy.Document().Spec.Mode},
			From:            found.From, GatesKnown: found.Gates != nil, DiscoveryKnown: found.Discovered != nil,
		},
		Namespace:  o.namespace,
		Consistent: consistent,
		Counts:     tally.Counts,
		Workloads:  tally.Workloads(o.shown),
		Reasons:    map[audit.Reason]string{},
	}
	for _, w := range document.Workloads {
		for _, g := range w.Findings {
			document.Reasons[g.Reason] = g.Reason.Sentence()
		}
	}
	return document
}

// row is a line of the table: the features of a workload with the same
// finding.
type row struct {
	audit.Group
	features []string
}

// writeTable writes a line per workload and finding, the counts, what the
// reasons mean, and the commands to run.
func (o *auditOptions) writeTable(t text, found *doctor.InForce, tally *audit.Tally) error {
	workloads := tally.Workloads(o.shown)
	var reasons []audit.Reason
	if len(workloads) > 0 {
		table := tabwriter.NewWriter(t, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "NAMESPACE\tWORKLOAD\tPODS\tCLASS\tFEATURES\tREASON")
		for _, w := range workloads {
			for _, r := range o.rows(w) {
				fmt.Fprintf(table, "%s\t%s/%s\t%d/%d\t%s\t%s\t%s\n", w.Namespace, strings.ToLower(w.Kind), w.Name,
					r.Pods, w.Pods, r.Class, strings.Join(r.features, ","), r.Reason)
				if !slices.Contains(reasons, r.Reason) {
					reasons = append(reasons, r.Reason)
				}
			}
		}
		if err := table.Flush(); err != nil {
			return err
		}
		t.line("")
	}
	t.line(fmt.Sprintf("policy %s, hash %s, mode %s, from %s", found.Policy.Name(), found.Policy.Hash(), found.Policy.Document().Spec.Mode, found.From))
	if o.namespace != "" {
		t.line(fmt.Sprintf("pods in namespace %s: %s", o.namespace, countsText(tally.Classes)))
	} else {
		t.line(fmt.Sprintf("pods in %d namespaces: %s", tally.Namespaces(), countsText(tally.Classes)))
	}
	for _, f := range []policy.Feature{policy.FeatureServiceHost, policy.FeatureDNS} {
		t.line(fmt.Sprintf("  %-13s %s", string(f)+":", countsText(tally.Features[f])))
	}
	left := 0
	for _, n := range tally.LeftOut {
		left += n
	}
	if left > 0 {
		t.line(fmt.Sprintf("left out: %d finished, %d being deleted, %d mirrors of static pods",
			tally.LeftOut[audit.LeftOutFinished], tally.LeftOut[audit.LeftOutDeleting], tally.LeftOut[audit.LeftOutMirror]))
	}
	if len(reasons) > 0 {
		t.line("")
		for _, reason := range reasons {
			t.wrapped(string(reason)+": ", reason.Sentence())
		}
	}
	writeRestarts(t, workloads)
	return nil
}

// rows puts features with the same finding on one line.
func (o *auditOptions) rows(w *audit.Workload) []row {
	var rows []row
	for _, g := range w.Findings {
		if !o.shown(g.Class) {
			continue
		}
		if last := len(rows) - 1; last >= 0 && rows[last].Class == g.Class && rows[last].Reason == g.Reason && rows[last].Pods == g.Pods {
			rows[last].features = append(rows[last].features, string(g.Feature))
			continue
		}
		rows = append(rows, row{g, []string{string(g.Feature)}})
	}
	return rows
}

// writeRestarts writes what creates the pods again: commands first, to be
// copied, then what no command does.
func writeRestarts(t text, workloads []*audit.Workload) {
	var commands, advice []string
	for _, w := range workloads {
		switch {
		case w.Restart == nil:
		case w.Restart.Command != "":
			commands = append(commands, w.Restart.Command)
		default:
			advice = append(advice, fmt.Sprintf("%s/%s in %s: %s", strings.ToLower(w.Kind), w.Name, w.Namespace, w.Restart.Advice))
		}
	}
	if len(commands) > 0 {
		t.line("")
		t.line("To have these pods created again:")
		for _, command := range commands {
			t.line("  " + command)
		}
	}
	if len(advice) > 0 {
		t.line("")
		t.line("For these there is no such command:")
		for _, line := range advice {
			t.line("  " + line)
		}
	}
}

// countsText lists the classes that have pods.
func countsText(counts map[audit.Class]int) string {
	var parts []string
	for _, class := range audit.Classes() {
		if n := counts[class]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, class))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
