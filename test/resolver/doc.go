// Package resolver holds the models of pkg/resolver to the real resolvers:
// glibc, musl, Go and, on request, c-ares look up random names under random
// resolv.conf files, and an instrumented DNS server compares what they ask, of
// which nameserver and in which order, with what the model says.
//
// It needs Linux, a C compiler and musl-gcc (Debian: gcc, libc6-dev, musl-tools),
// and either root or unprivileged user namespaces:
//
//	go test -tags e2e ./test/resolver -cases 2000 -timeout 60m
//
// A run prints its seed. -seed repeats it, -case N runs one case of it and
// prints both sides. -resolvers chooses who takes part (glibc, musl, go, c-ares),
// -musl-cc the compiler for another musl, and -cares the prefix of an installed
// c-ares 1.34.
package resolver
