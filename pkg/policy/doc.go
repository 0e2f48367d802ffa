// Package policy decides what Shorthop does to a pod, and says why.
//
// An InjectionPolicy document is decoded strictly, defaulted and validated
// (Parse), then compiled once (Compile). Compiled.Decide takes the facts of
// one admission request and returns a Decision: for each feature an action, a
// reason from a closed list, and the values to inject. Package mutate turns a
// Decision into JSON Patch operations.
//
// Where to read what:
//
//	types.go     the document
//	default.go   the value of every field that is left out
//	validate.go  what is allowed, with field paths
//	reason.go    the closed list of reasons, a sentence for each
//	keys.go      labels and annotations on pods and namespaces
//	optout.go    precedence of labels: the table of who wins
//	skip.go      pods that are left alone whatever the labels say
//	match.go     which rule a pod gets
//	effective.go what a rule makes of the policy's own fields
//	override.go  what a developer may tune with annotations
//	cluster.go   the cluster's domain and servers, as far as they are known
//	gate.go      health gates, and what a closed one means
//	advice.go    what query logs have shown, in the place of the policy's numbers
//	decide.go    the order in which all of the above is asked
//
// The package is pure: no I/O, no clock, no logger, no package state that
// changes.
package policy
