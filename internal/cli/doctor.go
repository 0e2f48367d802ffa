package cli

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shorthop/shorthop/internal/doctor"
)

type doctorOptions struct {
	cluster      clusterFlags
	policyFile   string
	ownNamespace string
	webhook      string
	output       *choice
}

func newDoctor(s Streams) *cobra.Command {
	var o doctorOptions
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Check an installation in the cluster",
		Long: `Check an installation in the cluster.

Looks at the cluster from outside, with the rights of the kubeconfig, and
changes nothing. One line per check: pass, warn (something to look at), fail
(something to act on) or unknown (a permission, or something that the check
needs, is missing; the others are made all the same); below it what it counts,
and what to do.

  webhook-configuration   its entries are there and as they should be
  webhook-filter          the API server filters by what the policy says
  serving-certificate     caBundle verifies what every replica serves
  replicas                at least two, on more than one node
  policy                  the same on every replica, and that of the ConfigMap
  gates                   what the replicas say about their health gates
  api-host                answers, with a certificate for that name
  node-local-cache        rolled out, on the addresses that the policy names
  cluster-dns             the policy's servers are the cluster's DNS Services
  cluster-domain          the policy's domain is the cluster DNS's zone
  namespaces-opted-out    lists them
  namespace-names         none is named like a public top-level domain
  egress-policies         NetworkPolicies let pods ask the node-local cache
  custom-zones            the node-local cache knows those of the cluster DNS
  unpatched-pods          how often the API server got no answer

It goes by the policy that the replicas have loaded, else by --policy, else by
the ConfigMap. Replicas are asked through the API server, as kubectl
port-forward does: their certificate, and /debug/policy.

It needs get mutatingwebhookconfigurations; get services; list pods,
namespaces, networkpolicies; create pods/portforward; in Shorthop's namespace
list and get configmaps, in kube-system list services, get configmaps and
daemonsets; and get /metrics of the API server.

With -o json: {"policy": {name, hash, from}, "checks": [{check, status, found,
items, do}]}.

Exit codes: 0 nothing failed (there may be warnings and unknowns), 1 a check
failed, 2 could not run: the API server does not answer, or not to us.`,
		Example: `  # Check the installation of the current context
  kubectl shorthop doctor

  # Is the policy of the repository the one that is in force?
  kubectl shorthop doctor --policy policy.yaml

  # What there is to do, for a script
  kubectl shorthop doctor -o json | jq -r '.checks[] | select(.do) | .check + ": " + .do'`,
		Args:              noArguments("name the cluster with --kubeconfig and --context"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(command *cobra.Command, _ []string) error { return o.run(command.Context(), s) },
	}
	o.cluster.add(command)
	flags := command.Flags()
	flags.StringVar(&o.webhook, "webhook-configuration", "shorthop", "name of the MutatingWebhookConfiguration")
	complete(command, "webhook-configuration", cobra.NoFileCompletions)
	flags.StringVar(&o.ownNamespace, "own-namespace", "", "the namespace Shorthop runs in (default: that of the webhook's Service, else "+doctor.DefaultNamespace+")")
	complete(command, "own-namespace", cobra.NoFileCompletions)
	policyFlag(command, &o.policyFile, "file with the policy that should be in force (default: not compared)")
	o.output = outputFlag(command, outputText, outputJSON)
	return command
}

func (o *doctorOptions) run(ctx context.Context, s Streams) error {
	if o.ownNamespace != "" {
		if err := checkOwnNamespace(o.ownNamespace); err != nil {
			return err
		}
	}
	if messages := validation.IsDNS1123Subdomain(o.webhook); len(messages) > 0 {
		return failure("--webhook-configuration %q: %s", o.webhook, strings.Join(messages, "; "))
	}
	options := doctor.Options{WebhookConfiguration: o.webhook, OwnNamespace: o.ownNamespace}
	if o.policyFile != "" {
		document, err := s.loadPolicy(o.policyFile)
		if err != nil {
			return err
		}
		options.Policy = document
	}
	config, err := o.cluster.config()
	if err != nil {
		return err
	}
	progress := newProgress(s.Err)
	options.Progress = progress.now
	facts, err := doctor.Collect(ctx, config, options)
	progress.stop()
	if err != nil {
		return failure("cannot ask the API server at %s: %v", config.Host, err)
	}
	report := doctor.Judge(facts)
	var b bytes.Buffer
	if o.output.value == outputJSON {
		if err := writeJSON(&b, report); err != nil {
			return failure("%v", err)
		}
	} else {
		writeReport(text{&b}, report)
	}
	if err := s.write(b.Bytes()); err != nil {
		return err
	}
	if report.Count(doctor.Fail) > 0 {
		return errFindings
	}
	return nil
}

// writeReport writes a line per check, which is never broken, so that it can
// be searched by line; what belongs to it is indented below.
func writeReport(t text, report *doctor.Report) {
	if p := report.Policy; p != nil {
		t.line(fmt.Sprintf("policy %s, hash %s, from %s", p.Name, p.Hash, p.From))
		t.line("")
	}
	const shownItems = 10
	for i := range report.Checks {
		r := &report.Checks[i]
		t.line(fmt.Sprintf("%-8s %-22s %s", r.Status, r.Check, r.Found))
		for k, item := range r.Items {
			if k == shownItems {
				t.line(fmt.Sprintf("         and %d more; -o json lists them all", len(r.Items)-shownItems))
				break
			}
			t.line("         - " + item)
		}
		if r.Do != "" {
			t.wrapped("         to do: ", r.Do)
		}
	}
	var counts []string
	for _, status := range []doctor.Status{doctor.Pass, doctor.Warn, doctor.Fail, doctor.Unknown} {
		counts = append(counts, fmt.Sprintf("%d %s", report.Count(status), status))
	}
	t.line("")
	t.line(strings.Join(counts, ", "))
}
