package cli

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	stdjson "encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/advisor/htmlreport"
	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// Output formats of advise alone: rules, and a page for people.
const (
	outputPolicy = "policy"
	outputHTML   = "html"
)

// defaultClusterDomain is kubeadm's and that of nearly all clusters.
const defaultClusterDomain = "cluster.local"

type adviseOptions struct {
	cluster       clusterFlags
	podsFile      string
	since         time.Duration
	logPods       string
	logFormat     string
	clusterDomain string
	searches      []string
	policyFile    string
	compareFile   string
	names         int
	dropFallback  bool
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
node-local cache, the cache's own. Files may be gzipped, and have what kubectl logs
--prefix --timestamps or a container runtime puts before each line. Timestamps tell
which pod had an address that was used again.

Pods are those of --pods, else of the cluster. With --since, the logs of the
cluster's node-local-dns pods are read, or where there are none, of kube-dns.

With -o policy: a policy with a rule for the workloads that share a recommendation;
with --policy, that policy with these rules in it: before the rule that decides for
the pods now, with all that it says, or behind all (before rules that were made so
earlier).

With -o html: a page with charts, all workloads and all risks. It loads nothing, so
it can be opened from a file, mailed and printed.

With -o json:

  source         logs, bytes, lines, queries, retries, skipped, pods, from, to
  cluster        domain, nodeSearches
  totals         workloads, lookups, queries, predicted
  workloads      namespace, kind, name, pods, rules and ndots (in force), lookups (a
                 name asked for once, A and AAAA together), queries, recommendation
                 (ndots, queries, saved, savedPercent, confidence, because, apply,
                 fallback), reason where there is none to apply, names, risks
  risks          code, text, names
  waste          the names whose search lists cost most
  unattributed   queries of clients that are no workload, with the reason
  comparison     with --compare: queries per lookup before, predicted and actual

Exit codes: 0 nothing to act on, 1 there are recommendations that save queries, 2
could not run.`,
		Example: `  # From files
  kubectl get pods -A -o json > pods.json
  kubectl logs -n kube-system -l k8s-app=node-local-dns --timestamps --tail -1 > dns.log
  kubectl shorthop advise --pods pods.json dns.log

  # From the cluster, as rules for the policy
  kubectl shorthop advise --since 24h --policy policy.yaml -o policy > new.yaml
  kubectl shorthop lint new.yaml

  # Did it help?
  kubectl shorthop advise --since 1h -o json > before.json
  kubectl shorthop advise --since 1h --compare before.json`,
		RunE: func(command *cobra.Command, args []string) error { return o.run(command.Context(), s, args) },
	}
	o.cluster.add(command)
	flags := command.Flags()
	flags.StringVar(&o.podsFile, "pods", "", "file with the pods, from kubectl get pods -A -o json (default: ask the cluster)")
	completeFile(command, "pods", "json")
	flags.DurationVar(&o.since, "since", 0, "read the logs of the cluster's DNS pods, this far back")
	complete(command, "since", cobra.FixedCompletions([]string{"1h", "24h"}, cobra.ShellCompDirectiveNoFileComp))
	flags.StringVar(&o.logPods, "log-pods", "", "NAMESPACE/SELECTOR of the pods whose logs --since reads (default: kube-system/k8s-app=node-local-dns, else kube-system/k8s-app=kube-dns)")
	complete(command, "log-pods", cobra.NoFileCompletions)
	flags.StringVar(&o.logFormat, "log-format", "", "format of the log plugin, with its placeholders (default: common or combined)")
	complete(command, "log-format", cobra.FixedCompletions([]string{"{common}", "{combined}"}, cobra.ShellCompDirectiveNoFileComp))
	flags.StringVar(&o.clusterDomain, "cluster-domain", "", "cluster domain of the kubelets (default: the policy's, else "+defaultClusterDomain+")")
	complete(command, "cluster-domain", cobra.NoFileCompletions)
	flags.StringSliceVar(&o.searches, "search", nil, "the nodes' own search domains, in their order (default: found in the log)")
	complete(command, "search", cobra.NoFileCompletions)
	policyFlag(command, &o.policyFile, "file with the policy: for the resolvers of images, excluded namespaces, and -o policy")
	flags.StringVar(&o.compareFile, "compare", "", "file with an earlier report (-o json), to compare what it predicted")
	completeFile(command, "compare", "json")
	flags.IntVar(&o.names, "names", 10, "how many names are listed per workload with -o json; -1 for all")
	complete(command, "names", cobra.NoFileCompletions)
	flags.BoolVar(&o.dropFallback, "drop-fallback", false, "recommend that pods on musl in mode NodeLocal go without fallback servers: half the queries, and no resolution while the node's cache is away")
	o.output = outputFlag(command, outputTable, outputJSON, outputPolicy, outputHTML)
	return command
}

// adviseDocument is what advise -o json prints.
type adviseDocument struct {
	*advisor.Report
	Comparison []advisor.Comparison `json:"comparison,omitzero"`
}

func (o *adviseOptions) validate(logs []string) error {
	if err := onlyOneStdin(append([]string{o.podsFile, o.policyFile, o.compareFile}, logs...)...); err != nil {
		return err
	}
	if o.since < 0 || o.since > 0 && o.since < time.Second {
		return failure("--since %s: must be a second or more", o.since)
	}
	if o.since > 0 && len(logs) > 0 {
		return failure("--since reads the logs of the cluster: name no files")
	}
	if o.logPods != "" && o.since == 0 {
		return failure("--log-pods needs --since")
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

func (o *adviseOptions) run(ctx context.Context, s Streams, logs []string) error {
	if err := o.validate(logs); err != nil {
		return err
	}
	if len(logs) == 0 && o.since == 0 {
		logs = []string{stdinName}
		if err := onlyOneStdin(append([]string{o.podsFile, o.policyFile, o.compareFile}, logs...)...); err != nil {
			return err
		}
	}
	parser, err := querylog.New(o.logFormat)
	if err != nil {
		return failure("--log-format: %s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	var policyText []byte
	if o.policyFile != "" {
		if policyText, err = s.read(o.policyFile); err != nil {
			return err
		}
	}
	document, err := s.parsePolicy(o.policyFile, policyText)
	if err != nil {
		return err
	}
	compiled, err := policy.Compile(document, "")
	if err != nil {
		return failure("%v", err)
	}
	var earlier *advisor.Report
	if o.compareFile != "" {
		if earlier, err = s.readReport(o.compareFile); err != nil {
			return err
		}
	}
	clients := advisor.NewClients(func(image string) resolver.Resolver {
		r, _ := compiled.ResolverOf(image)
		return resolver.Resolver(r)
	})
	source, err := o.source(ctx, s)
	if err != nil {
		return err
	}
	if err := source.pods(ctx, clients); err != nil {
		return failure("%v", err)
	}
	collector := advisor.NewCollector(parser, clients, o.node(document))
	told := newCounting(s.Err)
	if o.since > 0 {
		err = source.logs(ctx, o, func(r io.Reader) error { return collector.Read(r, told.tell) })
	} else {
		err = s.readLogs(logs, func(r io.Reader) error { return collector.Read(r, told.tell) })
	}
	if err != nil {
		return err
	}
	report := collector.Report(advisor.Settings{
		ExcludedNamespaces: document.Spec.ExcludedNamespaces, Names: o.names,
		LocalServers: localServers(document), DropFallback: o.dropFallback,
	})
	if report.Source.Queries == 0 {
		return failure("no queries in %s: is it what CoreDNS's log plugin writes, and --log-format its format?", count(int(report.Source.Lines), "line"))
	}
	if skipped := report.Source.Skipped; skipped.Malformed > 0 {
		fmt.Fprintf(s.Err, "%s: skipped %s that cannot be read as a query\n", programName, count(int(skipped.Malformed), "line"))
	}
	var comparison []advisor.Comparison
	if earlier != nil {
		comparison = advisor.Compare(earlier, report)
	}
	var b bytes.Buffer
	switch o.output.value {
	case outputJSON:
		err = writeJSON(&b, adviseDocument{report, comparison})
	case outputHTML:
		err = htmlreport.Write(&b, report, comparison)
	case outputPolicy:
		err = writeRules(&b, policyText, document, report, clients.Workloads())
	default:
		err = writeAdvice(text{&b}, report, comparison, earlier != nil)
	}
	if err != nil {
		return failure("%v", err)
	}
	if err := s.write(b.Bytes()); err != nil {
		return err
	}
	if report.Actionable() {
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
		domain = defaultClusterDomain
	}
	return resolver.Node{
		ClusterDomain: strings.TrimSuffix(domain, "."),
		ClusterDNS:    document.Spec.Cluster.DNSServers,
		Host:          resolver.ResolvConf{Searches: o.searches},
	}
}

// localServers are all addresses at which the policy says that a node has a cache.
func localServers(document *policy.InjectionPolicy) []string {
	servers := []string{policy.DefaultNodeLocalServer}
	add := func(dns *policy.DNS) {
		if dns != nil {
			servers = append(servers, dns.NodeLocal.Servers...)
		}
	}
	add(document.Spec.DNS)
	for i := range document.Spec.Rules {
		add(document.Spec.Rules[i].DNS)
	}
	return servers
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

// readLogs hands on one log after the other.
func (s *Streams) readLogs(files []string, each func(io.Reader) error) error {
	for _, file := range files {
		if err := s.readLog(file, each); err != nil {
			return failure("cannot read %s: %v", displayName(file), withoutPath(err))
		}
	}
	return nil
}

func (s *Streams) readLog(file string, each func(io.Reader) error) error {
	in := s.In
	if file != stdinName {
		opened, err := s.Open(file)
		if err != nil {
			return err
		}
		defer opened.Close()
		in = opened
	}
	plain, err := unzipped(in)
	if err != nil {
		return err
	}
	return each(plain)
}

// unzipped unpacks what begins as gzip does.
func unzipped(r io.Reader) (io.Reader, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	if magic, _ := buffered.Peek(2); !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return buffered, nil
	}
	return gzip.NewReader(buffered)
}

// counting tells how far the reading is, on a terminal and otherwise once it takes
// long.
type counting struct {
	out  io.Writer
	last time.Time
}

func newCounting(out io.Writer) *counting { return &counting{out, time.Now()} }

func (c *counting) tell(p advisor.Progress) {
	if time.Since(c.last) < slow {
		return
	}
	c.last = time.Now()
	fmt.Fprintf(c.out, "%s: %d lines, %d MiB\n", programName, p.Lines, p.Bytes>>20)
}
