package audit

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// advice says how pods are created again where no command does it, by the
// group and kind of what owns them.
var advice = map[[2]string]string{
	{"batch", "CronJob"}:          "its next run gets new pods; one that never ends must be deleted",
	{"batch", "Job"}:              "let it end, or delete the Job and create it again",
	{"", "Pod"}:                   "nobody creates it again: delete it and create it from its manifest",
	{"apps", "ReplicaSet"}:        "delete its pods one after the other: it creates new ones",
	{"", "ReplicationController"}: "delete its pods one after the other: it creates new ones",
}

// restart says how the pods of a workload are created again.
//
// Whoever creates a pod writes its owner reference, and the API server takes
// any apiVersion, kind and name. A command is for an operator to copy or to
// pipe, so it is made only of what these can be:
//
//	apps Deployment, StatefulSet, DaemonSet,         a command, of any version: the reference
//	  valid name, valid namespace                      may have one that is gone, and kubectl
//	                                                   takes the one that the cluster serves
//	the kinds of advice, of their own group        their advice
//	any other, and any name that no object can have     advice for all of them
func (w *Workload) restart() Restart {
	const other = "restart it as its own controller wants it, or delete its pods one after the other"
	if !w.IsValid() && w.Kind != "Pod" { // of a Pod it may be a generateName
		return Restart{Advice: other}
	}
	if w.Group == "apps" && len(validation.IsDNS1123Label(w.Namespace)) == 0 {
		switch w.Kind {
		case "Deployment", "StatefulSet", "DaemonSet":
			return Restart{Command: []string{"kubectl", "-n", w.Namespace, "rollout", "restart", strings.ToLower(w.Kind) + "/" + w.Name}}
		}
	}
	if words, known := advice[[2]string{w.Group, w.Kind}]; known {
		return Restart{Advice: words}
	}
	return Restart{Advice: other}
}
