// Package querylog reads queries from logs: lines that CoreDNS's log plugin writes, and
// records of Inspektor Gadget and of Hubble, in whatever files, APIs and collectors leave
// around them.
//
// From the outside to the inside, each in the file of its comment:
//
//	Documents   a reader that puts every JSON value onto a line        documents.go
//	Unwrapper   takes a line out of its envelope, and parts together   unwrap.go, partial.go
//	  JSON      one rule for all of it, and which key has the time     json.go, jsontime.go
//	  records   those that have a query in their fields                records.go
//	  CSV       and the time in the cells beside                       cells.go
//	Parser      takes one line of CoreDNS apart                        parse.go, format.go
//	Shape       what a line looks like of which no query can be read   shape.go
//
// [Parser.Parse] skips what stands before the query: the pod that kubectl logs --prefix
// names, a timestamp, the container runtime's stream and tag, the log level. It does not
// allocate.
//
// The package is pure: it opens nothing, and has no state but the buffers of an Unwrapper
// and of Documents, each of which belongs to one goroutine.
package querylog
