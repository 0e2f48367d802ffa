package cli

import (
	"bytes"
	"context"

	"github.com/spf13/cobra"

	"github.com/shorthop/shorthop/internal/detect"
)

type detectOptions struct {
	cluster    clusterFlags
	resolvConf string
	output     *choice
}

// mostResolvConf bounds a resolv.conf that is given.
const mostResolvConf = 1 << 20

func newDetect(s Streams) *cobra.Command {
	var o detectOptions
	command := &cobra.Command{
		Use:   "detect",
		Short: "Print values for the chart that fit the cluster",
		Long: `Print values for the chart that fit the cluster.

Reads the cluster with the rights of the kubeconfig and changes nothing. Prints a
file of values for helm install -f, with a reason above each, and as comments
what was found, what is left to decide, and what could not be found out, why, and
how to find it out:

  flavour            by labels and versions of nodes
  cluster-domain     of kubelets, else of the cluster DNS
  cluster-dns        the Service, as the server discovers it
  kubelet            whom pods ask
  node-local-cache   DaemonSets with node-cache or its arguments, by name, or by a
                     label where there is one for each pool. Mode NodeLocal only
                     where pods do not ask the cache already
  managed-cache      caches of platforms that are no DaemonSet
  kube-proxy         its mode
  service-host       names in the API server's certificate that resolve and
                     verify from here, with the CA that pods have
  dns-logs           whether queries are logged, and how advise reads them
  control-plane      what else is special about the platform

Namespaces that the platform runs itself are excluded by their names.

Some kubelets are asked for their configuration through the API server (get
nodes/proxy). Without that permission, say what pods have with --resolv-conf.

It needs list nodes, namespaces and daemonsets; get nodes/proxy; in kube-system
list services and endpointslices, get configmaps; in default, kube-public and the
namespaces of caches get configmaps; and where there is Cilium, list
ciliumlocalredirectpolicies. What is missing makes what needs it unknown, and no
more.

With -o json: server, flavour, values, reasons (by path, as --set takes it),
findings (about, found, set, problem) and unknown (about, why, how).

Exit codes: 0 done (there may be unknowns), 1 done, and a finding is a problem:
something contradicts itself, or a cache has an address that nobody owns; 2 could
not run: the API server does not answer.`,
		Example: `  # Look first, then install
  kubectl shorthop detect > values.yaml
  helm install shorthop charts/shorthop -n shorthop-system --create-namespace -f values.yaml

  # Where kubelets may not be asked
  kubectl exec POD -- cat /etc/resolv.conf | kubectl shorthop detect --resolv-conf -

  # What could not be found out
  kubectl shorthop detect -o json | jq -r '.unknown[] | .about + ": " + .how'`,
		Args:              noArguments("name the cluster with --kubeconfig and --context"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(command *cobra.Command, _ []string) error { return o.run(command.Context(), s) },
	}
	o.cluster.add(command)
	command.Flags().StringVar(&o.resolvConf, "resolv-conf", "", "file with /etc/resolv.conf of a pod with dnsPolicy ClusterFirst (default: kubelets are asked)")
	complete(command, "resolv-conf", cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
	o.output = outputFlag(command, outputYAML, outputJSON)
	return command
}

func (o *detectOptions) run(ctx context.Context, s Streams) error {
	var resolvConf []byte
	if o.resolvConf != "" {
		var err error
		if resolvConf, err = s.readAtMost(o.resolvConf, mostResolvConf); err != nil {
			return err
		}
		if !detect.IsPodResolvConf(string(resolvConf)) {
			return failure("%s is no resolv.conf of a pod with dnsPolicy ClusterFirst: it has no nameserver and search domains of a cluster", displayName(o.resolvConf))
		}
	}
	config, err := o.cluster.config()
	if err != nil {
		return err
	}
	progress := newProgress(&s)
	objects, err := detect.Collect(ctx, config, string(resolvConf), progress.now)
	progress.stop()
	if err != nil {
		return failure("cannot ask the API server at %s: %v", config.Host, err)
	}
	result := detect.Judge(objects)
	var b bytes.Buffer
	if o.output.value == outputJSON {
		err = writeJSON(&b, result.Document())
	} else {
		var values []byte
		values, err = result.YAML()
		b.Write(values)
	}
	if err != nil {
		return failure("cannot write the %s: %v", o.output.value, err)
	}
	if err := s.write(b.Bytes()); err != nil {
		return err
	}
	if result.Problems() {
		return errFindings
	}
	return nil
}
