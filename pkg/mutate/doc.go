// Package mutate turns a decision of package policy into JSON Patch
// operations, and can undo them.
//
// Review is the one entry for everything that needs to know what happens to a
// pod: the admission server, explain and audit. Its promises, each with a
// property test:
//
//   - The operations apply to the pod they were made for: parents are created
//     first, there are no test operations, lists are changed at indices that
//     exist.
//   - No value that the user set is changed or removed. The one exception is
//     dnsPolicy, which becomes None in mode NodeLocal; nameservers and searches
//     of the user's that are ours too may move to the front (front.go).
//   - A second review of the patched pod has no operations, for equal facts.
//   - Undo of the patched pod is the pod.
//   - The same pod and policy give the same bytes.
//
// The operations are written by hand and touch only what is ours. A patch made
// by comparing a decoded and re-encoded pod would remove every field that this
// build does not know.
package mutate
