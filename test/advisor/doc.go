// Package advisor holds pkg/advisor to the real things: workloads with known habits
// look up names with the real glibc, musl and Go through a real CoreDNS that logs.
// What the advisor rebuilds from the log is compared with what was looked up; then
// its recommendations are applied and the same is looked up again, and answers and
// queries are compared with those before and those predicted.
//
// It needs root or unprivileged user namespaces, gcc, musl-gcc and CoreDNS
// (E2E_COREDNS names it): make test-advisor.
package advisor
