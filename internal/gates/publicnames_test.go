package gates_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"

	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// Namespaces with headless Services come and go at a real API server, and a DNS
// server knows some of their names.
func TestPublicNamespacesAtARealAPIServer(t *testing.T) {
	t.Parallel()
	control := clustertest.Start(t, cluster.Options{})
	client, err := metadata.NewForConfig(control.Config)
	if err != nil {
		t.Fatal(err)
	}
	makeSlice := func(namespace, name string, labels map[string]string) {
		t.Helper()
		_, err := control.Client.DiscoveryV1().EndpointSlices(namespace).Create(t.Context(), &discoveryv1.EndpointSlice{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}, AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.1.2.3"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	headless := map[string]string{"service.kubernetes.io/headless": "", "kubernetes.io/service-name": "db"}
	for _, name := range []string{"dev", "data", "app", "shop"} {
		if err := control.CreateNamespace(t.Context(), name, nil); err != nil {
			t.Fatal(err)
		}
	}
	makeSlice("dev", "web", map[string]string{"kubernetes.io/service-name": "web"}) // not headless
	makeSlice("shop", "db", headless)                                               // not known outside

	server := newDNSServer(t, func(w dns.ResponseWriter, question *dns.Msg) {
		switch name := question.Question[0].Name; {
		case strings.HasSuffix(name, ".svc."):
			local(w, question)
		case name == "dev." || name == "data.": // a top-level domain, and a private zone
			record(dns.RcodeSuccess, "answer", "QNAME 60 IN SOA ns. h. 1 2 3 4 60")(w, question)
		default:
			forwarded(w, question)
		}
	})
	set, _ := newSet(t, clustertest.CA(t))
	set.Metadata = client
	set.Namespaces = func() []string { t.Error("the list of top-level domains was looked at"); return nil }
	set.AskDNSAt(server.port)
	start(t, set)
	falls := compileFallthrough(t, strings.Replace(fallthroughPolicy, "REQUIRED", "true", 1))
	set.Prepare(t.Context(), falls)()
	is := func(want ...string) func() bool {
		return func() bool {
			return slices.Equal(set.Status()[0].PublicNamespaces, want) && set.Current().PublicNamespace == (len(want) > 0)
		}
	}
	clustertest.Eventually(t, "none is public", is())
	makeSlice("data", "db", headless)
	clustertest.Eventually(t, "data is public", is("data"))
	makeSlice("dev", "db", headless)
	makeSlice("app", "db", headless)
	clustertest.Eventually(t, "data and dev are public", is("data", "dev"))
	set.Prepare(t.Context(), compile(t, "{}"))()
	if set.Current().PublicNamespace {
		t.Error("names are remembered, and asked for, that no policy needs any more")
	}
	set.Prepare(t.Context(), falls)()
	clustertest.Eventually(t, "data and dev are found again", is("data", "dev"))
	for _, namespace := range []string{"data", "dev"} {
		if err := control.Client.DiscoveryV1().EndpointSlices(namespace).Delete(t.Context(), "db", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	clustertest.Eventually(t, "none is public any more", is())
}
