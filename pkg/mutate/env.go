package mutate

import (
	"slices"
	"strconv"

	"gomodules.xyz/jsonpatch/v2"

	"github.com/shorthop/shorthop/pkg/policy"
)

// hostIPPath is the downward API field that holds the node's address.
const hostIPPath = "status.hostIP"

// envVar is an environment variable as it goes into a patch.
type envVar struct {
	Name      string        `json:"name"`
	Value     string        `json:"value,omitempty"`
	ValueFrom *envVarSource `json:"valueFrom,omitempty"`
}

type envVarSource struct {
	FieldRef fieldRef `json:"fieldRef"`
}

// fieldRef names its apiVersion: the API server would add it, and the stored
// pod would differ from the patch.
type fieldRef struct {
	APIVersion string `json:"apiVersion"`
	FieldPath  string `json:"fieldPath"`
}

// variablesFor is what a container gets, in the form in which pods are read and
// in the order in which it goes in front of the container's own.
func variablesFor(host, port, portHTTPS string) []policy.EnvVar {
	variables := make([]policy.EnvVar, 1, 3)
	variables[0] = policy.EnvVar{Name: policy.EnvServiceHost, Value: host}
	if host == HostFromNodeIP {
		variables[0] = policy.EnvVar{
			Name:      policy.EnvServiceHost,
			ValueFrom: policy.EnvVarSource{FieldRef: policy.FieldRef{FieldPath: hostIPPath}},
		}
	}
	if port != "" {
		variables = append(variables, policy.EnvVar{Name: policy.EnvServicePort, Value: port})
	}
	if portHTTPS != "" {
		variables = append(variables, policy.EnvVar{Name: policy.EnvServicePortHTTPS, Value: portHTTPS})
	}
	return variables
}

func patchValue(v policy.EnvVar) envVar {
	if v.ValueFrom.FieldRef.FieldPath != "" {
		return envVar{Name: v.Name, ValueFrom: &envVarSource{fieldRef{"v1", v.ValueFrom.FieldRef.FieldPath}}}
	}
	return envVar{Name: v.Name, Value: v.Value}
}

// ours returns the indices in a container's env of the variables that were put
// there, in ascending order: of each the first entry with its name and value,
// wherever another webhook has moved it.
func ours(env, variables []policy.EnvVar) []int {
	var found []int
	for _, v := range variables {
		if i := slices.Index(env, v); i >= 0 {
			found = append(found, i)
		}
	}
	slices.Sort(found)
	return found
}

// oursIn is ours for a container that may be recorded, of the features that are
// asked about.
func (r *Record) oursIn(c *policy.Container, serviceHost, resOptions bool) []int {
	var variables []policy.EnvVar
	if serviceHost && slices.Contains(r.Added.Containers, c.Name) {
		variables = r.variables(c.Name)
	}
	if resOptions && slices.Contains(r.Added.ResOptionsContainers, c.Name) {
		variables = append(variables, resOptionsVariable(r.ResOptions))
	}
	if len(variables) == 0 {
		return nil
	}
	return ours(c.Env, variables)
}

func resOptionsVariable(value string) policy.EnvVar {
	return policy.EnvVar{Name: policy.EnvResOptions, Value: value}
}

// envOperations makes want the first variables of a container's env, which have
// has, with the operations that touch the least. at are the indices of ours; there
// are some of ours, or some are wanted.
//
// In front, because kubelet expands $(VAR) in order: an entry of the user's
// that refers to KUBERNETES_SERVICE_HOST must see the new value.
//
//	ours are       want        operations
//	nowhere        some        added at the front, or as a list where there is none
//	all of env     none        the list is removed
//	at the front   some        replaced, added or removed one by one, where they differ
//	anywhere       any         removed, and want is added at the front
func envOperations(ops []jsonpatch.Operation, path string, have []policy.EnvVar, at []int, want []policy.EnvVar) []jsonpatch.Operation {
	index := func(i int) string { return path + "/" + strconv.Itoa(i) }
	inFront := len(at) == 0 || at[len(at)-1] == len(at)-1
	switch {
	case len(have) == 0:
		values := make([]envVar, len(want))
		for i, v := range want {
			values[i] = patchValue(v)
		}
		return append(ops, add(path, values))
	case len(at) == len(have) && len(want) == 0:
		return append(ops, remove(path))
	case inFront && len(want) > 0:
		for i := range max(len(at), len(want)) {
			switch {
			case i >= len(want):
				ops = append(ops, remove(index(len(want))))
			case i >= len(at):
				ops = append(ops, add(index(i), patchValue(want[i])))
			case have[i] != want[i]:
				ops = append(ops, replace(index(i), patchValue(want[i])))
			}
		}
		return ops
	}
	for _, i := range slices.Backward(at) {
		ops = append(ops, remove(index(i)))
	}
	for i, v := range want {
		ops = append(ops, add(index(i), patchValue(v)))
	}
	return ops
}

// setEnvironment gives every container that the request may change the variables
// that are decided for it, which are none where the feature or the container is
// skipped, and records them: in front those of the service host, and then
// RES_OPTIONS. A container whose name another one has is left out of the record. A
// feature that is kept stays as an earlier review left it, and counts as the
// user's.
func (w *rewrite) setEnvironment(compiled *policy.Compiled, r *policy.Request, d *policy.Decision) {
	record, host := &w.record, &d.ServiceHost
	giveHost, giveOptions := host.Injects() && !w.keptServiceHost, d.Fallthrough.ThroughEnvironment() && !w.keptResOptions
	var usual []policy.EnvVar
	if giveHost {
		record.ServiceHost, record.Added.Port, record.Added.PortHTTPS = host.Host, host.Port, host.Port
		if host.FromNodeIP {
			record.ServiceHost = HostFromNodeIP
		}
		usual = variablesFor(record.ServiceHost, host.Port, host.Port)
	}
	if giveOptions {
		record.ResOptions = d.Fallthrough.ResOptions
	}
	unrecorded := ambiguous(w.actual)
	for target := range r.ServiceHostTargets(host) {
		container := &containersOf(w.actual, target.List)[target.Index]
		var want []policy.EnvVar
		if giveHost && target.Reason == "" {
			want = usual
			if target.PairPort {
				want = variablesFor(record.ServiceHost, target.Port, target.Port)
			}
			if !unrecorded[container.Name] {
				record.addContainer(container.Name, &target)
			}
		}
		if giveOptions && compiled.ResOptionsReason(target.Container) == "" {
			want = append(slices.Clip(want), resOptionsVariable(record.ResOptions))
			if !unrecorded[container.Name] {
				record.Added.ResOptionsContainers = append(record.Added.ResOptionsContainers, container.Name)
			}
		}
		var at []int
		if target.List != policy.EphemeralContainers { // no record is written of those
			at = w.earlier.oursIn(container, !w.keptServiceHost, !w.keptResOptions)
		}
		if len(at)+len(want) == 0 {
			continue
		}
		before := len(w.ops)
		w.ops = envOperations(w.ops, "/spec/"+string(target.List)+"/"+strconv.Itoa(target.Index)+"/env", container.Env, at, want)
		if len(w.ops) > before {
			w.noteChanges(container.Env, at, want)
		}
	}
	if giveHost && len(record.Added.Containers) == 0 { // nothing that could be undone
		record.keepServiceHost(&Record{})
	}
	if giveOptions && len(record.Added.ResOptionsContainers) == 0 {
		record.keepResOptions(&Record{})
	}
}

// noteChanges notes which features a container's operations are about: those
// whose variables become others, or all of them where they only move.
func (w *rewrite) noteChanges(env []policy.EnvVar, at []int, want []policy.EnvVar) {
	var was, is [2][]policy.EnvVar // of the service host, and RES_OPTIONS
	sort := func(lists *[2][]policy.EnvVar, v policy.EnvVar) {
		i := 0
		if v.Name == policy.EnvResOptions {
			i = 1
		}
		lists[i] = append(lists[i], v)
	}
	for _, i := range at {
		sort(&was, env[i])
	}
	for _, v := range want {
		sort(&is, v)
	}
	host, options := !slices.Equal(was[0], is[0]), !slices.Equal(was[1], is[1])
	moved := !host && !options
	w.changesServiceHost = w.changesServiceHost || host || moved && len(is[0]) > 0
	w.changesResOptions = w.changesResOptions || options || moved && len(is[1]) > 0
}

// addContainer records a container that gets the variables.
func (r *Record) addContainer(name string, target *policy.Target) {
	r.Added.Containers = append(r.Added.Containers, name)
	if target.PairPort {
		r.Added.PairPort = target.Port
		r.Added.PairContainers = append(r.Added.PairContainers, name)
	}
}

func containersOf(pod *policy.Pod, list policy.ContainerList) []policy.Container {
	switch list {
	case policy.InitContainers:
		return pod.Spec.InitContainers
	case policy.EphemeralContainers:
		return pod.Spec.EphemeralContainers
	case policy.Containers:
	}
	return pod.Spec.Containers
}
