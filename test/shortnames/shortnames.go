// Package shortnames lists the ways in which pods write names of their cluster, so that
// the models of resolvers and the real resolvers are tested with the same names.
package shortnames

// Namespace is the namespace of the pod that looks up names.
const Namespace = "shop"

// Searches are the search domains of its resolv.conf, as kubelet writes them.
func Searches() []string {
	return []string{Namespace + ".svc.cluster.local", "svc.cluster.local", "cluster.local"}
}

// NodeSearches are search domains of nodes, which kubelet writes behind those of
// the cluster.
func NodeSearches() []string {
	return []string{"eu-central-1.compute.internal", "corp.example.com"}
}

// Form is one way to write a name.
type Form struct {
	// Kind says what the name consists of.
	Kind string
	Name string
	// Answer is the name that exists.
	Answer string
}

const (
	cart  = "cart.shop.svc.cluster.local"
	stock = "stock.data.svc.cluster.local"
	near  = "web-0.web.shop.svc.cluster.local"
	far   = "kafka-0.kafka-brokers.data.svc.cluster.local"
	pod   = "10-0-0-7.data.pod.cluster.local"
)

// Forms are all forms of address names: of a Service and of a pod behind a
// headless one, of the own namespace and of another, short and in full, and
// names from outside.
func Forms() []Form {
	return []Form{
		{"service", "cart", cart},
		{"service.namespace", "cart.shop", cart},
		{"service.namespace", "stock.data", stock},
		{"service.namespace.svc", "cart.shop.svc", cart},
		{"service.namespace.svc", "stock.data.svc", stock},
		{"service, full name", stock, stock},
		{"service, full name with a dot", stock + ".", stock},
		{"pod.service", "web-0.web", near},
		{"pod.service.namespace", "web-0.web.shop", near},
		{"pod.service.namespace", "kafka-0.kafka-brokers.data", far},
		{"pod.service.namespace.svc", "web-0.web.shop.svc", near},
		{"pod.service.namespace.svc", "kafka-0.kafka-brokers.data.svc", far}, // Strimzi's default
		{"pod, full name", far, far},
		{"pod, full name with a dot", far + ".", far},
		{"address.namespace.pod", "10-0-0-7.data.pod", pod},
		{"external", "example.com", "example.com"},
		{"external", "api.example.com", "api.example.com"},
		{"external", "a.b.c.d.example.com", "a.b.c.d.example.com"},
		{"external with a dot", "api.example.com.", "api.example.com"},
		{"below a node's search domain", "ip-10-0-0-7", "ip-10-0-0-7.eu-central-1.compute.internal"},
	}
}

// ServiceRecord is a short SRV name. It has four dots: no other short form that the
// cluster's own search domains complete has as many.
func ServiceRecord() Form {
	return Form{"_port._protocol.service.namespace.svc", "_http._tcp.cart.shop.svc", "_http._tcp.cart.shop.svc.cluster.local"}
}

// Exist are the names that exist: those of all forms, and that of ServiceRecord.
func Exist() []string {
	exist := []string{ServiceRecord().Answer}
	for _, form := range Forms() {
		exist = append(exist, form.Answer)
	}
	return exist
}
