// Package images tries `kubectl-shorthop resolvers` on images that it builds, in
// a registry in the same process: real loaders and programs of this machine and
// of the Go toolchain and, with the build tag e2e, of Debian's packages of musl,
// BusyBox and Net::DNS, which `make test-images` gets.
package images
