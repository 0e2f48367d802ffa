package cli

import (
	"bytes"
	"context"
	stdjson "encoding/json"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/explain"
	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/advisor/htmlreport"
	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

type adviseOptions struct {
	cluster       clusterFlags
	podsFiles     []string
	since         time.Duration
	logPods       string
	logFormat     string
	clusterDomain string
	searches      []string
	policyFile    string
	compareFile   string
	names         int
	dropFallback  bool
	minConfidence string
	follow        followFlags
	advice        adviceFlags
	output        *choice
}

func newAdvise(s Streams) *cobra.Command {
	var o adviseOptions
	command := &cobra.Command{
		Use:   "advise [LOG...]",
		Short: "Recommend ndots for each workload from query logs",
		Long: `Recommend ndots for each workload from query logs.

Reads what CoreDNS's log plugin writes (standard input when no file is named),
rebuilds the names that applications looked up, and recommends for each workload
the ndots with the fewest queries under which every one of these names keeps its
answer: with the resolvers that the policy's spec.resolvers names for the images,
else with all that are modelled. Changes nothing.

The log must be that of the first hop, the server that the pods ask: behind a
node-local cache, the cache's own. It is read as stores and collectors keep it: behind
any prefix, in JSON (Docker, Loki, Fluent Bit, Elasticsearch, Cloud Logging, CloudWatch,
Azure, Datadog and others), CSV or logfmt, compressed by gzip, Zstandard or bzip2. So are
Inspektor Gadget's trace_dns (-o json) and Hubble's flows (-o jsonpb), which name the pod
themselves. Several kinds may be mixed. Timestamps tell which pod had an address that was
used again. A log must have everything: log in every server block, without a class. What
is missing is told, and lowers the confidence: low confidence is never applied.

Pods are those of --pods (a list, an array, JSON lines, YAML), else of the cluster.
Services, StatefulSets and namespaces beside them tell which names need room though they
are not ready. With --since, the logs of the cluster's node-local-dns pods are read, or
where there are none, of the cluster DNS; with --follow, as they are written from now on.

With -o policy: a policy with a rule for the workloads that share a recommendation;
with --policy, that policy with these rules in it: before the rule that decides for
the pods now, with all that it says, or behind all (before rules that were made so
earlier).

Which resolver a workload has is what the policy's spec.resolvers says of its images,
else what its queries look like, with their number of pairs of A and AAAA: a hint, which
never allows a value by itself that would not be safe for all. With -o resolvers: these
hints, as comments for spec.resolvers, to be checked.

With -o advice: a DNSAdvice, which the webhook follows (--advice). With --merge, what an
earlier one has is kept: what a name needs counts at once, whatever the confidence, and
is remembered for --memory; a lower value comes with 24 hours that were covered on seven
days, of medium confidence at least, and holds for the images and commands of pods a
whole start of which was seen. The same logs again change nothing. With --write, that is
done to the document in ConfigMaps, and the exit code is 0, unless it could not run.

With -o html: a page with charts, all workloads and all risks. It loads nothing, so
it can be opened from a file, mailed and printed.

With -o json:

  source         logs, bytes, lines, queries, retries, skipped, pods, from, to,
                 untimed, readTwicePercent, files (each log; forms: what its queries
                 stood in; saw: what else it has), gaps (code, text,
                 confidence: the most that is possible, logs)
  cluster        domain, domainFound, nodeSearches
  totals         workloads, lookups, queries, predicted
  workloads      namespace, kind, name, pods, rules and ndots (in force), lookups (a
                 name asked for once, A and AAAA together), queries, recommendation
                 (ndots, queries, saved, savedPercent, confidence, because, apply,
                 fallback), reason where there is none to apply, names, risks,
                 completeness (from, to, coveredSeconds, logs, starts,
                 missingPercent, unfinished, foreign),
                 resolver (name, empty where not known; from: policy or queries; pairs;
                 reason)
  risks          code, text, names
  waste          the names whose search lists cost most
  unattributed   queries of clients that are no workload, with the reason
  comparison     with --compare: queries per lookup before, predicted and actual

Exit codes: 0 nothing to act on, 1 there are recommendations that save queries, 2
could not run: a file cannot be read or is not valid, for example.`,
		Example: `  # From files
  kubectl get pods,services,statefulsets,namespaces -A -o json > pods.json
  kubectl logs -n kube-system -l k8s-app=node-local-dns --timestamps --tail -1 > dns.log
  kubectl shorthop advise --pods pods.json dns.log

  # From the cluster, as rules for the policy
  kubectl shorthop advise --since 24h --policy policy.yaml -o policy > new.yaml
  kubectl shorthop lint new.yaml

  # As advice, kept for the next time
  kubectl shorthop advise --since 24h -o advice --merge advice.json > new.json

  # Did it help?
  kubectl shorthop advise --since 1h -o json > before.json
  kubectl shorthop advise --since 1h --compare before.json`,
		RunE: func(command *cobra.Command, args []string) error { return o.run(command.Context(), s, args) },
	}
	o.cluster.add(command)
	flags := command.Flags()
	flags.StringArrayVar(&o.podsFiles, "pods", nil, "file with the pods, from kubectl get pods -A -o json or yaml; several, of different times, tell more of pods that are gone (default: ask the cluster)")
	completeFile(command, "pods", "json")
	flags.DurationVar(&o.since, "since", 0, "read the logs of the cluster's DNS pods, this far back")
	complete(command, "since", cobra.FixedCompletions([]string{"1h", "24h"}, cobra.ShellCompDirectiveNoFileComp))
	flags.StringVar(&o.logPods, "log-pods", "", "NAMESPACE/SELECTOR of the pods whose logs --since and --follow read (default: the node-local cache's, else the cluster DNS's, by their labels in "+strings.Join(discovery.Namespaces(), " and ")+")")
	complete(command, "log-pods", cobra.NoFileCompletions)
	flags.StringVar(&o.logFormat, "log-format", "", "format of the log plugin, with its placeholders (default: common or combined)")
	complete(command, "log-format", cobra.FixedCompletions([]string{"{common}", "{combined}"}, cobra.ShellCompDirectiveNoFileComp))
	flags.StringVar(&o.clusterDomain, "cluster-domain", "", "cluster domain of the kubelets (default: the policy's, else "+explain.AssumedDomain+")")
	complete(command, "cluster-domain", cobra.NoFileCompletions)
	flags.StringSliceVar(&o.searches, "search", nil, "the nodes' own search domains, in their order (default: found in the log)")
	complete(command, "search", cobra.NoFileCompletions)
	policyFlag(command, &o.policyFile, "file with the policy: for the resolvers of images, excluded namespaces, and -o policy")
	flags.StringVar(&o.compareFile, "compare", "", "file with an earlier report (-o json), to compare what it predicted")
	completeFile(command, "compare", "json")
	flags.IntVar(&o.names, "names", 10, "how many names are listed per workload with -o json; -1 for all")
	complete(command, "names", cobra.NoFileCompletions)
	flags.BoolVar(&o.dropFallback, "drop-fallback", false, "recommend that pods on musl in mode NodeLocal go without fallback servers: half the queries, and no resolution while the node's cache is away")
	flags.StringVar(&o.minConfidence, "min-confidence", string(advisor.ConfidenceMedium), "the least confidence with which a recommendation is to be applied: medium or high; low never is")
	complete(command, "min-confidence", cobra.FixedCompletions([]string{string(advisor.ConfidenceMedium), string(advisor.ConfidenceHigh)}, cobra.ShellCompDirectiveNoFileComp))
	o.follow.add(command)
	o.advice.add(command)
	o.output = outputFlag(command, outputTable, outputJSON, outputPolicy, outputHTML, outputResolvers, outputAdvice)
	return command
}

// adviseDocument is what advise -o json prints.
type adviseDocument struct {
	*advisor.Report
	Comparison []advisor.Comparison `json:"comparison,omitzero"`
}

func (o *adviseOptions) validate(logs []string) error {
	if err := onlyOneStdin(slices.Concat(o.podsFiles, []string{o.policyFile, o.compareFile, o.advice.merge}, logs)...); err != nil {
		return err
	}
	if o.since < 0 || o.since > 0 && o.since < time.Second {
		return failure("--since %s: must be a second or more", o.since)
	}
	if o.since > 0 && len(logs) > 0 {
		return failure("--since reads the logs of the cluster: name no files")
	}
	if c := advisor.Confidence(o.minConfidence); c != advisor.ConfidenceMedium && c != advisor.ConfidenceHigh {
		return failure("--min-confidence %q: must be medium or high; low is never applied", o.minConfidence)
	}
	if err := o.validateAdvice(); err != nil {
		return err
	}
	if err := o.validateFollow(logs); err != nil {
		return err
	}
	if o.logPods != "" && o.since == 0 && o.follow.window == 0 {
		return failure("--log-pods needs --since or --follow")
	}
	for flag, domains := range map[string][]string{"--cluster-domain": {o.clusterDomain}, "--search": o.searches} {
		for _, domain := range domains {
			if domain == "" {
				continue
			}
			if messages := validation.IsDNS1123Subdomain(strings.TrimSuffix(domain, ".")); len(messages) > 0 {
				return failure("%s %q: %s", flag, domain, strings.Join(messages, "; "))
			}
		}
	}
	return nil
}

// collectAt is how much garbage there may be, in percent of what is in use: less
// than half of Go's default keeps 10,000 workloads below 256 MiB, and costs a tenth of
// the time at most (bin/bench --only querylogs). GOGC has precedence.
const collectAt = 40

func (o *adviseOptions) run(ctx context.Context, s Streams, logs []string) error {
	if os.Getenv("GOGC") == "" {
		defer debug.SetGCPercent(debug.SetGCPercent(collectAt))
	}
	if len(logs) == 0 && o.since == 0 && o.follow.window == 0 {
		logs = []string{stdinName}
	}
	if err := o.validate(logs); err != nil {
		return err
	}
	parser, err := querylog.New(o.logFormat)
	if err != nil {
		return failure("--log-format: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	source, err := o.source(s)
	if err != nil {
		return err
	}
	run, err := o.newAdviceRun(ctx, source)
	if err != nil {
		return err
	}
	return run.end(ctx, &s, o.advise(ctx, &s, source, parser, logs, run))
}

// advise reads everything, and reports it.
func (o *adviseOptions) advise(ctx context.Context, s *Streams, source *adviseSource, parser *querylog.Parser, logs []string, run *adviceRun) error {
	p, err := o.policy(s)
	if err != nil {
		return err
	}
	var earlier *advisor.Report
	if o.compareFile != "" {
		if earlier, err = s.readReport(o.compareFile); err != nil {
			return err
		}
	}
	clients := advisor.NewClients(p.resolverOf, p.ruleBy(source.namespaceLabels(ctx, p.document)))
	var f *followed
	if o.follow.window > 0 {
		if f, err = source.follow(ctx, o, run.behind(), clients); err != nil {
			return err
		}
		defer f.remove()
	} else if err := source.pods(ctx, clients); err != nil {
		return err
	}
	collector := advisor.NewCollector(parser, clients, o.node(p.document))
	if err := o.readLogs(ctx, source, logs, f, collector); err != nil {
		return err
	}
	a := advice{policy: p, workloads: clients.Workloads(), compared: earlier != nil}
	a.ofCluster = len(a.workloads)
	if f != nil {
		a.ofCluster = f.workloads
	}
	a.Report = collector.Report(advisor.Settings{
		ExcludedNamespaces: p.document.Spec.ExcludedNamespaces, Names: o.names,
		LocalServers: localServers(p.document), DropFallback: o.dropFallback, Ndots: policyNdots(p.document),
		Observe: o.makesAdvice(), MinConfidence: advisor.Confidence(o.minConfidence), DomainAssumed: o.clusterDomain == "" && p.document.Spec.Cluster.Domain == "",
	})
	run.found(&a, f)
	if a.Source.Queries == 0 {
		return failure("no queries in %s: %s", count(int(a.Source.Lines), "line"), s.nothingRead(a.Report))
	}
	if a.compared {
		a.Comparison = advisor.Compare(earlier, a.Report)
	}
	if run != nil {
		s.remarkLogs(a.Report)
		return run.write(ctx, o, s, &a)
	}
	return o.report(s, &a)
}

// advisePolicy is the policy that advice goes by.
type advisePolicy struct {
	text     []byte // nil without --policy
	document *policy.InjectionPolicy
	compiled *policy.Compiled
}

func (o *adviseOptions) policy(s *Streams) (p advisePolicy, err error) {
	if o.policyFile != "" {
		if p.text, err = s.readPolicy(o.policyFile); err != nil {
			return p, err
		}
	}
	if p.document, err = s.parsePolicy(o.policyFile, p.text); err != nil {
		return p, couldNotRun(err)
	}
	if p.compiled, err = policy.Compile(p.document, ""); err != nil {
		return p, failure("cannot compile the policy: %v", err)
	}
	return p, nil
}

func (p *advisePolicy) resolverOf(image string) resolver.Resolver {
	hint, _ := p.compiled.ResolverOf(image)
	if hint == nil || slices.Contains(hint.Beside, policy.BesideNetDNS) { // which stops where glibc goes on
		return ""
	}
	return resolver.Resolver(hint.Resolver)
}

// ruleBy returns which rule decides for a pod, where the labels of its namespace are
// these.
func (p *advisePolicy) ruleBy(labelsOf func(namespace string) (labels map[string]string, known bool)) func(string, *policy.Pod) (string, bool) {
	return func(namespace string, pod *policy.Pod) (string, bool) {
		r := policy.Request{Operation: policy.OperationCreatePod, Namespace: namespace, Pod: pod}
		r.NamespaceLabels, r.NamespaceKnown = labelsOf(namespace)
		return p.compiled.RuleOf(&r)
	}
}

// readLogs reads the logs of the cluster, or files.
func (o *adviseOptions) readLogs(ctx context.Context, source *adviseSource, files []string, recorded *followed, collector *advisor.Collector) error {
	progress := newProgress(&source.streams)
	defer progress.stop()
	read := func(name string, r io.Reader) error {
		return collector.ReadLog(name, r, func(p advisor.Progress) { progress.far("%d lines, %d MiB", p.Lines, p.Bytes>>20) })
	}
	switch {
	case recorded != nil:
		return recorded.read(&source.streams, read, collector.Missing)
	case o.since > 0:
		return source.logs(ctx, o, read, collector.Missing)
	}
	return source.streams.readLogs(files, read)
}

// advice is what there is to report.
type advice struct {
	adviseDocument
	compared  bool // with --compare, which may have found nothing
	policy    advisePolicy
	workloads []advisor.WorkloadKey // all, those without queries too
	ofCluster int                   // workloads, where not all were read
}

// report prints advice. Some that can be acted on makes the exit code 1.
func (o *adviseOptions) report(s *Streams, a *advice) error {
	s.remarkLogs(a.Report)
	var (
		b   bytes.Buffer
		err error
	)
	switch o.output.value {
	case outputJSON:
		err = writeJSON(&b, a.adviseDocument)
	case outputHTML:
		err = htmlreport.Write(&b, a.Report, a.Comparison)
	case outputResolvers:
		writeResolvers(&b, a.Report)
	case outputAdvice:
		if err := o.printAdvice(s, a, &b); err != nil {
			return err
		}
		return s.write(b.Bytes()) // a document is no finding
	case outputPolicy:
		var leftOut advisor.LeftOut
		leftOut, err = writeRules(&b, &a.policy, a.Report, a.workloads)
		if len(leftOut.NoObject) > 0 {
			s.remark("left out of the rules, as no object can have that kind and name: %s", someWorkloads(leftOut.NoObject))
		}
		if len(leftOut.RulesDiffer) > 0 {
			s.remark("left out of the rules, as several rules of the policy decide for their pods, or namespace labels that are not known: %s",
				someWorkloads(leftOut.RulesDiffer))
		}
	default:
		writeAdvice(s.text(&b), a)
	}
	if err != nil {
		return failure("cannot write the %s: %v", o.output.value, err)
	}
	if err := s.write(b.Bytes()); err != nil {
		return err
	}
	if a.Actionable() {
		return errFindings
	}
	return nil
}

// node is what the kubelets are taken to be configured with.
func (o *adviseOptions) node(document *policy.InjectionPolicy) resolver.Node {
	domain := o.clusterDomain
	if domain == "" {
		domain = document.Spec.Cluster.Domain
	}
	if domain == "" {
		domain = explain.AssumedDomain
	}
	return resolver.Node{
		ClusterDomain: strings.TrimSuffix(domain, "."),
		ClusterDNS:    document.Spec.Cluster.DNSServers,
		Host:          resolver.ResolvConf{Searches: o.searches},
	}
}

// parsePolicy is loadPolicy for a file that has been read.
func (s *Streams) parsePolicy(file string, data []byte) (*policy.InjectionPolicy, error) {
	once := *s
	once.In = bytes.NewReader(data)
	if file != "" {
		once.Open = func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	}
	return once.loadPolicy(file)
}

// readReport reads what advise -o json has printed.
func (s *Streams) readReport(file string) (*advisor.Report, error) {
	data, err := s.read(file)
	if err != nil {
		return nil, err
	}
	var report advisor.Report
	if err := stdjson.Unmarshal(data, &report); err != nil {
		return nil, failure("cannot read %s: %v", displayName(file), err)
	}
	if report.Workloads == nil {
		return nil, failure("cannot read %s: no workloads: is it what advise -o json has printed?", displayName(file))
	}
	return &report, nil
}
