// Package querylog reads the lines that CoreDNS's log plugin writes, as they come
// from a file, from kubectl logs or from a node's /var/log/containers.
//
// [Parser.Parse] takes one line apart without allocating. What stands before the
// query is skipped: the pod that kubectl logs --prefix names, a timestamp, the
// container runtime's stream and tag, the log level.
//
// The package is pure: it reads nothing itself and keeps no state.
package querylog
