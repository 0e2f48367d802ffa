package cli

import (
	"bytes"
	"context"
	"fmt"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/internal/clusterread"
	"github.com/shorthop/shorthop/internal/doctor"
	"github.com/shorthop/shorthop/internal/explain"
	"github.com/shorthop/shorthop/internal/podlist"
	"github.com/shorthop/shorthop/pkg/policy"
)

type auditOptions struct {
	cluster      clusterFlags
	installation installationFlags
	podsFlags
	policyFile string
	adviceFile string
	all        bool
	bars       bool // the table is shown on a terminal
	output     *choice
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

Pods say themselves who owns them, and the API server does not check it. There is
a command only where the owner is a Deployment, StatefulSet or DaemonSet of the
group apps with a valid name; for all others there is advice in words. So there is
where the command would leave pods as they are: the rollout of a Deployment is
paused, or an updateStrategy is OnDelete or has a partition.

Where the webhook's selectors leave a new pod out, and where rollout.percent does,
a restart brings nothing: there is none for these pods, and the reason says so.

A pod counts where its worse feature does; the features are counted as well. The
progress of a rollout is told by namespace, of those that are not done (--all: of
all), with bars on a terminal; then how many pods have which reason not to be ok.
Pods that have ended, are being deleted or mirror static pods are left out.

It goes by the policy that the replicas have loaded, with their health gates and
what they discovered, else by that of the ConfigMap; with --policy, by that file.
Replicas are asked through the API server, as kubectl port-forward does. Gates
that are not known are taken to be open. The selectors are those of the webhook
configuration as it is; where it was made for another policy than --policy, they
do not count.

It needs list pods and namespaces (of one namespace: get); get
mutatingwebhookconfigurations and services; list deployments, statefulsets and
daemonsets, those of which there is a command; and in Shorthop's namespace list
pods and configmaps, and create pods/portforward.

With -o json:

  policy       name, hash, mode, from; gatesKnown, discoveryKnown, filterKnown
               (what the webhook's selectors leave out)
  namespace    left out with -A
  consistent   false where pods may have been missed because they came or went
               while the list was read
  pods, classes, features, leftOut
               counts: of pods, by class, for each feature, of those left out
  progress     by namespace, the least first: pods, injected (ok, pinned), stale,
               missed, optedOut, other, and percent: of those neither opted out
               nor skipped, rounded down
  whyNot       feature, class, reason and pods: by class as above, most pods first
  workloads    namespace, group, kind, name, pods, findings
               (feature, class, reason, pods) and restart (command, the list of
               the program and its arguments, or advice where there is none)
  reasons      what the reasons mean

Exit codes: 0 nothing to act on, 1 pods are pinned, missed or stale, 2 could not
run: a file is not valid, or the API server does not answer, for example.`,
		Example: `  # After an outage of the webhook
  kubectl shorthop audit -A

  # What a new policy would mean for the pods of a namespace
  kubectl shorthop audit -n shop --policy policy.yaml

  # The commands alone, quoted for a shell, to run in portions
  kubectl shorthop audit -A -o json | jq -r '.workloads[].restart.command // empty | @sh' > restarts
  head -n 20 restarts | sh`,
		Args:              noArguments("name a namespace with -n, or all with -A"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(command *cobra.Command, _ []string) error { return o.run(command.Context(), s) },
	}
	o.cluster.add(command)
	o.installation.add(command)
	o.add(command)
	policyFlag(command, &o.policyFile, "file with the policy to compare with (default: the one in force)")
	command.Flags().StringVar(&o.adviceFile, "advice", "", "file with the DNSAdvice in force, plain or gzipped (default: what the replicas follow)")
	completeFile(command, "advice", "json", "yaml", "yml", "gz")
	command.Flags().BoolVar(&o.all, "all", false, "also list workloads that are ok, opted out or skipped, and namespaces that are done")
	o.output = outputFlag(command, outputTable, outputJSON)
	return command
}

// validate returns the first thing that is wrong with the flags.
func (o *auditOptions) validate() error {
	if err := o.podsFlags.validate(); err != nil {
		return err
	}
	return o.installation.validate()
}

func (o *auditOptions) run(ctx context.Context, s Streams) error {
	if err := o.validate(); err != nil {
		return err
	}
	document, err := s.givenPolicy(o.policyFile)
	if err != nil {
		return couldNotRun(err)
	}
	var advice *policy.Advice
	if o.adviceFile != "" {
		if advice, err = s.readAdvice(o.adviceFile); err != nil {
			return couldNotRun(err)
		}
	}
	config, err := o.cluster.config()
	if err != nil {
		return err
	}
	if err := o.complete(&o.cluster); err != nil {
		return err
	}
	progress := newProgress(&s)
	defer progress.stop()
	options := o.installation.options(document, progress)
	options.Advice = advice
	found, err := doctor.FindInForce(ctx, config, options)
	if err != nil {
		return failure("%v", err) // says what was asked, and of whom
	}
	for _, remark := range remarksAbout(found) {
		s.remark("%s", remark)
	}
	o.bars = s.onTerminal()
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return failure("cannot make a client of the API server at %s: %v", config.Host, err)
	}
	tally, consistent, err := o.read(ctx, config, client, found, progress)
	if err != nil {
		return failure("cannot read the cluster: %v", err)
	}
	workloads := tally.Workloads(o.shown)
	progress.now("the workloads to restart")
	unread := audit.CheckRestarts(ctx, client.AppsV1(), o.namespace, workloads)
	progress.stop()
	if !consistent {
		s.remark(notOfOneMoment)
	}
	for _, err := range unread {
		s.remark("which commands leave pods as they are (paused, OnDelete, a partition) is not known: %v", err)
	}
	return o.report(&s, found, tally, workloads, consistent)
}

// report prints the findings. Some that can be acted on makes the exit code 1.
func (o *auditOptions) report(s *Streams, found *doctor.InForce, tally *audit.Tally, workloads []*audit.Workload, consistent bool) error {
	var b bytes.Buffer
	if o.output.value == outputJSON {
		if err := writeJSON(&b, o.document(found, tally, workloads, consistent)); err != nil {
			return failure("cannot write the %s: %v", o.output.value, err)
		}
	} else {
		o.writeTable(s.text(&b), found, tally, workloads)
	}
	if err := s.write(b.Bytes()); err != nil {
		return err
	}
	if tally.Actionable() {
		return errFindings
	}
	return nil
}

// notOfOneMoment is said of a list of pods that expired while it was read.
const notOfOneMoment = "the list of pods took so long to read that it is not of one moment: pods that came or went meanwhile may be missing"

// remarksAbout says what the findings rest on where that is not what new pods
// meet.
func remarksAbout(found *doctor.InForce) []string {
	var remarks []string
	if found.NoReplica != nil {
		remarks = append(remarks, fmt.Sprintf("no replica could be asked (%v): going by %s, with open health gates and without what is discovered", found.NoReplica, found.From))
	} else if found.Gates == nil {
		remarks = append(remarks, "the replicas have other health gates than this policy: taken to be open")
	}
	if found.SeveralConfigMaps != "" {
		remarks = append(remarks, found.SeveralConfigMaps)
	}
	switch {
	case found.NoFilter != "":
		remarks = append(remarks, fmt.Sprintf("which new pods the API server leaves out is not known (%s): going by the policy alone", found.NoFilter))
	case found.OtherFilter:
		remarks = append(remarks, "the webhook configuration was made for another policy than this one, and its selectors may leave out others; `kubectl shorthop doctor` says what to do")
	}
	return remarks
}

// called asks the filter of the API server, where it is known.
func called(found *doctor.InForce) func(namespace, pod map[string]string) bool {
	if found.Filter == nil {
		return nil
	}
	return found.Filter.Calls
}

// read reads and classifies all pods.
func (o *auditOptions) read(
	ctx context.Context, config *rest.Config, client kubernetes.Interface, found *doctor.InForce, progress *progress,
) (tally *audit.Tally, consistent bool, err error) {
	progress.now("namespaces")
	namespaces, err := readNamespaces(ctx, config, o.namespace)
	if err != nil {
		return nil, false, err
	}
	classifier := audit.NewClassifier(audit.Conditions{
		Policy: found.Policy, Gates: found.Gates, Discovered: found.Discovered, Advice: found.Advice, Installed: found.Installed,
		Called: called(found),
	})
	tally = audit.NewTally()
	reader := podlist.Reader[audit.Pod]{
		Client: client.CoreV1().RESTClient(),
		Page: func(_ context.Context, read, left int) error {
			if left > 0 {
				progress.far("%d of about %d pods", read, read+left)
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
		namespace, known := namespaces.find(ctx, pod.Metadata.Namespace)
		tally.Add(pod, classifier.Classify(pod, namespace, known))
	})
	return tally, consistent, err
}

// knownNamespaces is what decisions read of namespaces, read once.
type knownNamespaces struct {
	client metadata.ResourceInterface
	of     map[string]policy.Namespace
	known  map[string]bool
}

// readNamespaces reads a namespace, or all.
func readNamespaces(ctx context.Context, config *rest.Config, namespace string) (*knownNamespaces, error) {
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	n := &knownNamespaces{
		client: client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}),
		of:     map[string]policy.Namespace{}, known: map[string]bool{},
	}
	if namespace != "" {
		if err := n.get(ctx, namespace); err != nil {
			return nil, fmt.Errorf("read namespace %s: %w", namespace, err)
		}
		return n, nil
	}
	err = clusterread.Pages(ctx, "namespaces", "", func(ctx context.Context, o metav1.ListOptions) (string, error) {
		page, err := n.client.List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range page.Items {
			n.add(&page.Items[i])
		}
		return page.Continue, nil
	})
	if err != nil {
		return nil, err
	}
	return n, nil
}

func (n *knownNamespaces) get(ctx context.Context, namespace string) error {
	object, err := n.client.Get(ctx, namespace, metav1.GetOptions{})
	if err != nil {
		return err
	}
	n.add(object)
	return nil
}

func (n *knownNamespaces) add(o *metav1.PartialObjectMetadata) {
	n.of[o.Name] = policy.Namespace{Labels: o.Labels, Annotations: policy.NamespaceAnnotations(o.Annotations)}
	n.known[o.Name] = true
}

// find returns a namespace. One that is newer than the list is read now.
func (n *knownNamespaces) find(ctx context.Context, namespace string) (found policy.Namespace, known bool) {
	if _, tried := n.known[namespace]; !tried {
		n.known[namespace] = false
		_ = n.get(ctx, namespace) // its pods are unknown then
	}
	return n.of[namespace], n.known[namespace]
}

// auditDocument is what audit -o json prints. Fields are only ever added; the
// help of the command lists them.
type auditDocument struct {
	Policy     auditPolicy `json:"policy"`
	Namespace  string      `json:"namespace,omitzero"`
	Consistent bool        `json:"consistent"`
	audit.Counts
	Progress  []*audit.Progress       `json:"progress"`
	WhyNot    []audit.WhyNot          `json:"whyNot"`
	Workloads []*audit.Workload       `json:"workloads"`
	Reasons   map[audit.Reason]string `json:"reasons"`
}

type auditPolicy struct {
	explain.PolicyReference
	From           string `json:"from"`
	GatesKnown     bool   `json:"gatesKnown"`
	DiscoveryKnown bool   `json:"discoveryKnown"`
	FilterKnown    bool   `json:"filterKnown"`
}

// shown reports whether workloads are listed for a class.
func (o *auditOptions) shown(class audit.Class) bool {
	return o.all || class.Actionable() || class == audit.Edited || class == audit.Unknown
}

func (o *auditOptions) document(found *doctor.InForce, tally *audit.Tally, workloads []*audit.Workload, consistent bool) *auditDocument {
	document := &auditDocument{
		Policy: auditPolicy{
			PolicyReference: explain.ReferenceTo(found.Policy),
			From:            found.From, GatesKnown: found.Gates != nil, DiscoveryKnown: found.Discovered != nil,
			FilterKnown: found.Filter != nil,
		},
		Namespace:  o.namespace,
		Consistent: consistent,
		Counts:     tally.Counts,
		Progress:   tally.Progress(),
		WhyNot:     tally.WhyNot(),
		Workloads:  workloads,
		Reasons:    map[audit.Reason]string{},
	}
	for _, why := range document.WhyNot {
		document.Reasons[why.Reason] = why.Reason.Sentence()
	}
	for _, w := range document.Workloads {
		for _, g := range w.Findings {
			document.Reasons[g.Reason] = g.Reason.Sentence()
		}
	}
	return document
}
