package nodecache

import (
	"net/netip"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Redirects is the resource of Cilium's local redirect policies. One redirects to
// pods of its own namespace.
var Redirects = schema.GroupVersionResource{Group: "cilium.io", Version: "v2", Resource: "ciliumlocalredirectpolicies"}

// Redirect is a policy of Cilium by which the port of DNS at an address leads to a
// pod of the same node.
type Redirect struct {
	Namespace, Name string
	Address         netip.Addr
}

// RedirectOf reads a policy. ok is false for one with a serviceMatcher, which
// redirects the address of a Service, and for one of other ports.
func RedirectOf(object *unstructured.Unstructured) (r Redirect, ok bool) {
	text, _, _ := unstructured.NestedString(object.Object, "spec", "redirectFrontend", "addressMatcher", "ip")
	address, err := netip.ParseAddr(text)
	if err != nil {
		return Redirect{}, false
	}
	ports, _, _ := unstructured.NestedSlice(object.Object, "spec", "redirectFrontend", "addressMatcher", "toPorts")
	for _, port := range ports {
		if fields, isMap := port.(map[string]any); isMap && fields["port"] == "53" {
			return Redirect{object.GetNamespace(), object.GetName(), address.Unmap()}, true
		}
	}
	return Redirect{}, false
}

// RedirectedService returns the Service whose address a policy redirects to a pod
// of the same node. ok is false for one with an addressMatcher.
func RedirectedService(object *unstructured.Unstructured) (namespace, name string, ok bool) {
	name, _, _ = unstructured.NestedString(object.Object, "spec", "redirectFrontend", "serviceMatcher", "serviceName")
	namespace, _, _ = unstructured.NestedString(object.Object, "spec", "redirectFrontend", "serviceMatcher", "namespace")
	return namespace, name, name != ""
}
