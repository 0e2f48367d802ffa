// Package resolver models what happens to a name between an application and
// the DNS: which /etc/resolv.conf a pod gets, and what resolvers then ask.
//
// [Node.ResolvConf] is the file that kubelet composes from its own settings,
// the node's file and the pod's dnsPolicy and dnsConfig. It follows kubelet
// v1.36.3 (pkg/kubelet/network/dns in k8s.io/kubernetes, GetPodDNS and what it
// calls) to the letter, surprises included: where it looks wrong, kubelet is.
// Windows nodes are not modelled.
//
// [Client.Lookup] is what the resolver in the container makes of that file: which
// queries glibc, musl, Go or c-ares send for a name, to which nameserver and in
// which order, and which answer the application gets. What each does is in a table
// on top of its file; test/resolver holds the models to the real resolvers.
//
// The package is pure: it reads no file, clock or environment, logs nothing,
// keeps no state and imports nothing but the standard library. Equal arguments
// give equal results, arguments are never changed, and results share no memory
// with them.
package resolver
