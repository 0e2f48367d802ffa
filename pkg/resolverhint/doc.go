// Package resolverhint tells from the queries of a pod which resolver wrote them.
//
// A resolver leaves marks that a query log keeps: whether A and AAAA of a name
// leave from one port, how far apart their IDs are, and what EDNS says. A [Client]
// takes the queries of one pod as they come, in memory of a fixed size, and keeps
// [Evidence] of its pairs; that of several pods can be added up. [Evidence.Judge]
// names the resolver, or says why it cannot.
//
// What comes out is a hint and never more: anything between the pod and the log may
// have written the queries anew, and a pod may have several resolvers. Where it
// could be wrong about a resolver that stops at ndots, it names none.
//
// The package is pure: it reads no file, clock or environment and keeps no state of
// its own.
package resolverhint
