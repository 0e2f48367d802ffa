package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/shorthop/shorthop/internal/doctor"
)

type doctorOptions struct {
	cluster      clusterFlags
	installation installationFlags
	policyFile   string
	probe        string
	probeImage   string
	output       *choice
}

func newDoctor(s Streams) *cobra.Command {
	var o doctorOptions
	command := &cobra.Command{
		Use:   "doctor",
		Short: "Check an installation in the cluster",
		Long: `Check an installation in the cluster.

Looks at the cluster from outside, with the rights of the kubeconfig, and
changes nothing, but for --probe. One line per check: pass, warn (something to look at), fail
(something to act on) or unknown (a permission, or something that the check
needs, is missing; the others are made all the same); below it what it counts,
and what to do.

` + describeChecks() + `
It goes by the policy that the replicas have loaded, else by --policy, else by
the ConfigMap. Replicas are asked through the API server, as kubectl
port-forward does: their certificate, and /debug/policy.

It needs get and list mutatingwebhookconfigurations; get services; list pods,
namespaces, networkpolicies, nodes, events; create pods/portforward; in Shorthop's
namespace list replicasets, list and get configmaps, get leases and secrets (the
metadata of one is read), in kube-system list services, endpointslices and
daemonsets, get configmaps and daemonsets; get /metrics of the API server. Where there are Cilium
or Calico, list their policies; where policies restrict egress, get the Service
kubernetes and list its endpointslices; where pods ask nameservers that nobody
has, list daemonsets.

--probe asks from the nodes themselves: a pod on each, of the restricted Pod
Security Standard, asks the node-local cache, the cluster DNS and the API host,
and ends. The pods are in Shorthop's namespace and are taken away at the end,
also when the command is interrupted; it needs create, list and delete pods
there, and list nodes. Where there are more than ` + strconv.Itoa(doctor.MaxProbedNodes) + ` nodes, as many are asked;
--probe=N asks N. The image is that of a replica, which has the command "probe".

Above the checks is the path of new pods to DNS and to the API server, and below
it what each arrow was observed from.

With -o json: {"policy": {name, hash, from}, "paths": [{of, hops: [{name, from}],
notes}], "checks": [{check, status, found, items, do}]}.

Exit codes: 0 nothing failed (there may be warnings and unknowns), 1 a check
failed, 2 could not run: the policy's file is not valid, or the API server does
not answer, or not to us.`,
		Example: `  # Check the installation of the current context
  kubectl shorthop doctor

  # Is the policy of the repository the one that is in force?
  kubectl shorthop doctor --policy policy.yaml

  # Do the cache, the cluster DNS and the API host answer on the nodes themselves?
  kubectl shorthop doctor --probe

  # What there is to do, for a script
  kubectl shorthop doctor -o json | jq -r '.checks[] | select(.do) | .check + ": " + .do'`,
		Args:              noArguments("name the cluster with --kubeconfig and --context"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(command *cobra.Command, _ []string) error { return o.run(command.Context(), s) },
	}
	o.cluster.add(command)
	o.installation.add(command)
	policyFlag(command, &o.policyFile, "file with the policy that should be in force (default: not compared)")
	flags := command.Flags()
	flags.StringVar(&o.probe, "probe", "", "ask from a short pod on every node, or with --probe=N on N of them (default: nothing is asked from nodes)")
	flags.Lookup("probe").NoOptDefVal = allNodes
	complete(command, "probe", cobra.FixedCompletions([]string{allNodes}, cobra.ShellCompDirectiveNoFileComp))
	flags.StringVar(&o.probeImage, "probe-image", "", "image of these pods (default: that of a replica)")
	complete(command, "probe-image", cobra.NoFileCompletions)
	o.output = outputFlag(command, outputText, outputJSON)
	return command
}

const allNodes = "all"

// probeOptions read the flags; nil where no node is to be asked.
func (o *doctorOptions) probeOptions() (*doctor.ProbeOptions, error) {
	switch {
	case o.probe == "" && o.probeImage != "":
		return nil, failure("--probe-image: is for --probe")
	case o.probe == "":
		return nil, nil
	case o.probe == allNodes:
		return &doctor.ProbeOptions{Image: o.probeImage}, nil
	}
	n, err := strconv.Atoi(o.probe)
	if err != nil || n < 1 {
		return nil, failure("--probe %q: is not a number of nodes from 1 on, nor %s", o.probe, allNodes)
	}
	return &doctor.ProbeOptions{Nodes: n, Image: o.probeImage}, nil
}

// describeChecks has a line for each check.
func describeChecks() string {
	var b strings.Builder
	for _, c := range doctor.Checks() {
		fmt.Fprintf(&b, "  %-23s %s\n", c.Check, c.About)
	}
	return b.String()
}

func (o *doctorOptions) run(ctx context.Context, s Streams) error {
	if err := o.installation.validate(); err != nil {
		return err
	}
	probe, err := o.probeOptions()
	if err != nil {
		return err
	}
	document, err := s.givenPolicy(o.policyFile)
	if err != nil {
		return couldNotRun(err)
	}
	config, err := o.cluster.config()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM) // probes are taken away
	defer stop()
	progress := newProgress(&s)
	options := o.installation.options(document, progress)
	options.Probe = probe
	facts, err := doctor.Collect(ctx, config, options)
	progress.stop()
	if ctx.Err() != nil {
		return failure("interrupted")
	}
	if err != nil {
		return failure("cannot ask the API server at %s: %v", config.Host, err)
	}
	report := doctor.Judge(facts)
	var b bytes.Buffer
	if o.output.value == outputJSON {
		if err := writeJSON(&b, report); err != nil {
			return failure("cannot write the %s: %v", o.output.value, err)
		}
	} else {
		writeReport(s.text(&b), report)
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
	for i := range report.Paths {
		path := &report.Paths[i]
		t.line(fmt.Sprintf("%-4s %s", path.Of, path))
		for _, hop := range path.Hops {
			if hop.Name == doctor.HopUnknown {
				t.wrapped("       ", hop.From)
				continue
			}
			t.wrapped("       ", hop.Name+": by "+hop.From)
		}
		for _, note := range path.Notes {
			t.wrapped("       ", note)
		}
	}
	if len(report.Paths) > 0 {
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
		for _, line := range r.Block {
			t.line("           " + line)
		}
	}
	var counts []string
	for _, status := range []doctor.Status{doctor.Pass, doctor.Warn, doctor.Fail, doctor.Unknown} {
		counts = append(counts, fmt.Sprintf("%d %s", report.Count(status), status))
	}
	t.line("")
	t.line(strings.Join(counts, ", "))
}
