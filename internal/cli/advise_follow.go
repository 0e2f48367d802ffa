package cli

import (
	"context"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/shorthop/shorthop/internal/advisorrun"
	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/policy"
)

// followFlags are those of advise that record logs as they are written.
type followFlags struct {
	window     time.Duration
	nodes      int
	spool      string
	spoolLimit string
}

const (
	mostNodes    = 1000
	longestTime  = 24 * time.Hour
	defaultSpool = "1Gi"
)

func (f *followFlags) add(command *cobra.Command) {
	flags := command.Flags()
	flags.DurationVar(&f.window, "follow", 0, "read the logs of the cluster's DNS pods as they are written, for so long: of a busy one, there are only seconds to be read --since")
	complete(command, "follow", cobra.FixedCompletions([]string{"30m", "1h"}, cobra.ShellCompDirectiveNoFileComp))
	flags.IntVar(&f.nodes, "nodes", 20, "with --follow: of how many nodes at most the logs of node-local caches are read. With --write, the next run begins with the next ones")
	complete(command, "nodes", cobra.NoFileCompletions)
	flags.StringVar(&f.spool, "spool", "", "with --follow: folder in which logs are kept, compressed, until they are read (default: that for temporary files)")
	complete(command, "spool", cobra.FixedCompletions(nil, cobra.ShellCompDirectiveFilterDirs))
	flags.StringVar(&f.spoolLimit, "spool-limit", defaultSpool, "with --follow: how much room there is for them; where it is full, the time ends early")
	complete(command, "spool-limit", cobra.FixedCompletions([]string{defaultSpool}, cobra.ShellCompDirectiveNoFileComp))
}

// room is spoolLimit in bytes.
func (f *followFlags) room() (int64, error) {
	q, err := resource.ParseQuantity(f.spoolLimit)
	if err != nil || q.Value() <= 0 {
		return 0, failure("--spool-limit %q: must be a size, as in %s", f.spoolLimit, defaultSpool)
	}
	return q.Value(), nil
}

func (o *adviseOptions) validateFollow(logs []string) error {
	f := &o.follow
	if f.window == 0 {
		if f.spool != "" {
			return failure("--spool needs --follow")
		}
		return nil
	}
	if _, err := f.room(); err != nil {
		return err
	}
	switch {
	case f.window < time.Second || f.window > longestTime:
		return failure("--follow %s: must be 1s to %s", f.window, longestTime)
	case len(logs) > 0:
		return failure("--follow reads the logs of the cluster: name no files")
	case o.since > 0:
		return failure("--follow and --since: only one of them")
	case len(o.podsFiles) > 0:
		return failure("--follow reads the pods of the cluster: leave out --pods")
	case f.nodes < 1 || f.nodes > mostNodes:
		return failure("--nodes %d: must be 1 to %d", f.nodes, mostNodes)
	}
	return nil
}

// followed is what was recorded.
type followed struct {
	logs      []advisorrun.Recorded
	of        int    // logs that there are
	next      string // see advisorrun.Choose
	workloads int    // of the cluster
	remove    func() // takes the files away
}

// follow records the logs of the first hop, and adds the pods as they were before and
// afterwards: of both, as pods come and go meanwhile. Pods of nodes whose caches are
// not read ask nothing that could be seen: they only say which names there are.
func (a *adviseSource) follow(ctx context.Context, o *adviseOptions, behind string, clients *advisor.Clients) (f *followed, err error) {
	pods, perNode, err := a.firstHop(ctx, o.logPods)
	if err != nil {
		return nil, err
	}
	f = &followed{of: len(pods)}
	read := map[string]bool{}
	if perNode {
		pods, f.next = advisorrun.Choose(pods, o.follow.nodes, behind)
		for i := range pods {
			read[pods[i].Status.HostIP] = true
		}
	}
	all := map[advisor.WorkloadKey]bool{}
	add := func(p *advisor.Pod) {
		pod := policy.Pod{Metadata: p.Metadata.PodMetadata, Spec: p.Spec.PodSpec}
		w := pod.Workload()
		all[advisor.WorkloadKey{Namespace: p.Metadata.Namespace, Kind: bounded(w.Kind), Name: bounded(w.Name)}] = true
		if perNode && f.next != "" && !read[p.Status.HostIP] {
			p.Status.PodIP, p.Status.PodIPs = "", nil
		}
		clients.Add(p)
	}
	if err := a.clusterPods(ctx, add); err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp(o.follow.spool, "shorthop-")
	if err != nil {
		return nil, failure("--spool: %v", withoutPath(err))
	}
	f.remove = func() { _ = os.RemoveAll(folder) }
	defer func() {
		if err != nil {
			f.remove()
		}
	}()
	limit, err := o.follow.room()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	a.streams.remark("recording the log of %s for %s", count(len(pods), "pod"), o.follow.window)
	recorder := advisorrun.Recorder{Client: a.client, Folder: folder, Window: o.follow.window, Limit: limit}
	logs, full, err := recorder.Record(ctx, containersOf(pods))
	if err != nil {
		return nil, failure("recording logs: %v", err)
	}
	if full {
		a.streams.remark("the logs have filled the %s of --spool-limit after %s: what comes then was not recorded", o.follow.spoolLimit, time.Since(began).Round(time.Second))
	}
	f.logs = logs
	if err := a.clusterPods(ctx, add); err != nil {
		return nil, err
	}
	a.clusterNames(ctx, clients)
	f.workloads = len(all)
	return f, nil
}

// containersOf are those of pods that may have queries in their logs.
func containersOf(pods []corev1.Pod) (list []advisorrun.Container) {
	for i := range pods {
		containers := discovery.DNSContainers(&pods[i])
		for _, container := range containers {
			list = append(list, advisorrun.Container{Pod: &pods[i], Name: container, Log: logName(&pods[i], container, len(containers))})
		}
	}
	return list
}

// logName is what the log of a container is called.
func logName(pod *corev1.Pod, container string, of int) string {
	name := pod.Namespace + "/" + pod.Name
	if of > 1 {
		name += "/" + container
	}
	return name
}

// read hands on what was recorded.
func (f *followed) read(s *Streams, each func(string, io.Reader) error, missing func(name, why string)) error {
	own := *s
	own.Open = System().Open
	for i := range f.logs {
		l := &f.logs[i]
		if l.File == "" {
			missing(l.Log, l.Err.Error())
			continue
		}
		if err := own.readLog(l.File, func(_ string, r io.Reader) error { return each(l.Log, r) }); err != nil {
			return failure("cannot read the recorded log of %s: %v", l.Log, withoutPath(err))
		}
		if l.Err != nil { // what is missing is no hole between two lines
			missing(l.Log+", the rest", l.Err.Error())
		}
	}
	return nil
}
