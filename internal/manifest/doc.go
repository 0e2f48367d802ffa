// Package manifest reads the files that people have of pods and workloads: what
// helm, kustomize, kubectl and jq print, and what is in repositories. Of a
// workload it makes the pod that its controller would make.
//
// What a file says is read, told or refused, and nothing hides anything else:
//
//	what                                                    becomes
//	a pod, or an object with a pod template                 a Pod
//	an object of any other kind                             a Remark: left out
//	a field that this build does not know                   a Remark: kept as it is
//	a key that is there twice                               a Remark: the last one counts
//	what cannot be read, or not be a pod: syntax, a wrong   a Problem
//	type, no name, no containers, a template, encryption
//
// kubectl refuses what becomes a Problem too.
//
// The way of a file, which Reader.Read goes:
//
//	document.go     a file -> its documents -> the objects in them (expand takes lists apart)
//	kinds.go        which kinds have pods, and what their controllers add to one
//	pod.go          an object -> its Pod, and the checks of both
//	unreadable.go   what to say of a file that is something else
package manifest
