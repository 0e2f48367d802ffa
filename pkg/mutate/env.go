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

// variablesFor is what a container gets, in the form in which pods are read.
func variablesFor(host, port string) []policy.EnvVar {
	variables := make([]policy.EnvVar, 1, 2)
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
	return variables
}

func patchValue(v policy.EnvVar) envVar {
	if v.ValueFrom.FieldRef.FieldPath != "" {
		return envVar{Name: v.Name, ValueFrom: &envVarSource{fieldRef{"v1", v.ValueFrom.FieldRef.FieldPath}}}
	}
	return envVar{Name: v.Name, Value: v.Value}
}

// addVariables prepends variables to the env of one container. Prepended,
// because kubelet expands $(VAR) in order: an entry of the user's that refers
// to KUBERNETES_SERVICE_HOST must see the new value.
func addVariables(ops []jsonpatch.Operation, env string, have []policy.EnvVar, variables []policy.EnvVar) []jsonpatch.Operation {
	if len(have) == 0 {
		values := make([]envVar, len(variables))
		for i, v := range variables {
			values[i] = patchValue(v)
		}
		return append(ops, add(env, values))
	}
	for i, v := range variables {
		ops = append(ops, add(env+"/"+strconv.Itoa(i), patchValue(v)))
	}
	return ops
}

// replaceVariables turns what an earlier review put at the front of a
// container's env into what is decided now.
func replaceVariables(ops []jsonpatch.Operation, env string, have, variables []policy.EnvVar) []jsonpatch.Operation {
	if slices.Equal(have, variables) {
		return ops
	}
	for i := range max(len(have), len(variables)) {
		at := env + "/" + strconv.Itoa(i)
		switch {
		case i >= len(variables):
			ops = append(ops, remove(env+"/"+strconv.Itoa(len(variables))))
		case i >= len(have):
			ops = append(ops, add(at, patchValue(variables[i])))
		case have[i] != variables[i]:
			ops = append(ops, replace(at, patchValue(variables[i])))
		}
	}
	return ops
}

// serviceHostOperations adds the variables to every target that lacks them and
// fills in the record. record is the record of an earlier review, if any.
func serviceHostOperations(ops []jsonpatch.Operation, actual *policy.Pod, r *policy.Request, d *policy.ServiceHostDecision, earlier *Record, record *Record) []jsonpatch.Operation {
	record.ServiceHost, record.Added.Port = d.Host, d.Port
	if d.FromNodeIP {
		record.ServiceHost = HostFromNodeIP
	}
	variables := variablesFor(record.ServiceHost, record.Added.Port)
	for target := range r.ServiceHostTargets() {
		if target.Reason != "" {
			continue
		}
		env := "/spec/" + string(target.List) + "/" + strconv.Itoa(target.Index) + "/env"
		have := containersOf(actual, target.List)[target.Index].Env
		if len(have) != len(target.Container.Env) { // an earlier review was here
			ops = replaceVariables(ops, env, have[:earlier.variables()], variables)
		} else {
			ops = addVariables(ops, env, have, variables)
		}
		record.Added.Containers = append(record.Added.Containers, target.Container.Name)
	}
	return ops
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
