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
package manifest
