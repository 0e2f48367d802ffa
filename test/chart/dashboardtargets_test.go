//go:build chart

package chart_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/test/cluster"
)

// targets are what Prometheus scrapes, each with the labels that it gets as a target.
type targets struct {
	webhook      *cluster.Webhook
	dns, cache   string // addresses of CoreDNS
	nodeExporter string
	round        int // of traffic
}

// dnsPort is one that takes no root.
const dnsPort = "1053"

func startTargets(t *testing.T) *targets {
	t.Helper()
	// Addresses that no other process on this machine has, so that nobody else listens on the ports.
	pid := os.Getpid()
	own := func(n int) string { return fmt.Sprintf("127.%d.%d.%d", n, pid>>8&0xff, pid&0xff) }
	s := &targets{dns: own(81), cache: own(82), nodeExporter: own(83) + ":9100"}

	dir := t.TempDir()
	if _, err := cluster.ServingCert(dir, "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	policyFile := filepath.Join(dir, "policy.yaml")
	host, port, err := newest.Endpoint()
	if err != nil {
		t.Fatal(err)
	}
	write(t, policyFile, []byte(fmt.Sprintf("apiVersion: shorthop.dev/v1alpha1\nkind: InjectionPolicy\nmetadata: {name: a}\n"+
		"spec: {serviceHost: {host: %q, port: %d}, dns: {}}\n", host, port)))
	s.webhook, err = cluster.StartProcess(t.Context(), cluster.WebhookOptions{
		Binary: webhookBinary, Policy: policyFile, CertDir: dir, Kubeconfig: newest.Kubeconfig(), Args: []string{"--own-namespace", "default", "--detect-lease=dashboard", "--shutdown-delay=0s"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.webhook.Kill)

	s.startDNS(t, dir)
	// The exporter is the real one; what it reads is written here as the kernel writes it, as not every machine tracks connections.
	proc := filepath.Join(dir, "proc")
	netfilter := filepath.Join(proc, "sys", "net", "netfilter")
	if err := os.MkdirAll(netfilter, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(netfilter, "nf_conntrack_count"), []byte("1210\n"))
	write(t, filepath.Join(netfilter, "nf_conntrack_max"), []byte("131072\n"))
	start(t, os.Getenv("NODE_EXPORTER"), "--collector.disable-defaults", "--collector.conntrack", "--path.procfs="+proc, "--web.listen-address="+s.nodeExporter)
	if err := cluster.WaitEffective(t.Context(), func(ctx context.Context) (bool, error) {
		connection, err := new(net.Dialer).DialContext(ctx, "tcp", s.nodeExporter)
		if err != nil {
			return false, nil
		}
		return true, connection.Close()
	}); err != nil {
		t.Fatalf("node_exporter does not listen: %v", err)
	}

	failOpen(t, own(84))
	return s
}

func (s *targets) startDNS(t *testing.T, dir string) {
	t.Helper()
	// The cluster DNS knows one name of the cluster and one outside.
	corefile := filepath.Join(dir, "Corefile.dns")
	write(t, corefile, []byte(`.:`+dnsPort+` {
  bind `+s.dns+`
  errors
  cache 30
  template IN A web.shop.svc.cluster.local there.example.com {
    answer "{{.Name}} 60 IN A 192.0.2.1"
  }
  template ANY ANY . {
    rcode NXDOMAIN
    authority ". 60 IN SOA a.root-servers.net nstld.root-servers.net 1 60 60 60 30"
  }
  prometheus `+s.dns+`:9153
}
`))
	startCoreDNS(t, corefile, s.dns)
	corefile = filepath.Join(dir, "Corefile.cache")
	write(t, corefile, []byte(strings.NewReplacer("169.254.20.10", s.cache, ":53 ", ":"+dnsPort+" ", "prometheus :", "prometheus "+s.cache+":",
		"__PILLAR__CLUSTER__DNS__", s.dns+":"+dnsPort, "__PILLAR__UPSTREAM__SERVERS__", s.dns+":"+dnsPort).Replace(documentedCorefile(t))))
	startCoreDNS(t, corefile, s.cache)
	// The documented mark is the cache's own: the cluster DNS here has none.
	for address, want := range map[string]string{s.cache: "local.shorthop.dev.", s.dns: "a.root-servers.net."} {
		rcode, authority := ask(t, address, "db.shop.svc.")
		if rcode != dnsmessage.RCodeNameError || len(authority) != 1 {
			t.Fatalf("%s answers %s for db.shop.svc., with the authority %v", address, rcode, authority)
		}
		if soa, ok := authority[0].Body.(*dnsmessage.SOAResource); !ok || soa.NS.String() != want {
			t.Errorf("%s answers for db.shop.svc. with the authority %v, want %s", address, authority, want)
		}
	}
}

// failOpen has the API server call for pods what never answers, by the name of an entry of ours.
func failOpen(t *testing.T, address string) {
	t.Helper()
	name := "shorthop-that-never-answers"
	configs := newest.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	if _, err := configs.Create(t.Context(), &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionv1.MutatingWebhook{{
			Name: webhookconfig.Entries()[0], AdmissionReviewVersions: []string{"v1"}, SideEffects: new(admissionv1.SideEffectClassNone),
			FailurePolicy: new(admissionv1.Ignore), TimeoutSeconds: new(int32(1)),
			ClientConfig: admissionv1.WebhookClientConfig{URL: new("https://" + address + ":443/")},
			Rules: []admissionv1.RuleWithOperations{{Operations: []admissionv1.OperationType{admissionv1.Create}, Rule: admissionv1.Rule{
				APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"},
			}}},
		}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := configs.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// documentedCorefile is the one of the page.
func documentedCorefile(t *testing.T) string {
	t.Helper()
	_, block, found := strings.Cut(string(read(t, root+"/docs/node-local-cache.md")), "\n```corefile\n")
	block, _, ended := strings.Cut(block, "\n```\n")
	if !found || !ended {
		t.Fatal("docs/node-local-cache.md has no block corefile")
	}
	return block + "\n"
}

func startCoreDNS(t *testing.T, corefile, address string) {
	t.Helper()
	start(t, os.Getenv("E2E_COREDNS"), "-conf", corefile)
	if err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
		rcode, _ := ask(t, address, "web.shop.svc.cluster.local.")
		return rcode == dnsmessage.RCodeSuccess, nil
	}); err != nil {
		t.Fatalf("CoreDNS with\n%s\ndoes not answer: %v", read(t, corefile), err)
	}
}

// start runs a program until the test is over.
func start(t *testing.T, program string, args ...string) {
	t.Helper()
	command := exec.CommandContext(t.Context(), program, args...)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		_ = log.Close()
		if t.Failed() {
			t.Logf("%s: %s", filepath.Base(program), read(t, log.Name()))
		}
	})
}

// ask sends one question for an A record, and returns the answer's code and its authority. A server that does not answer is one
// that refuses.
func ask(t *testing.T, address, name string) (dnsmessage.RCode, []dnsmessage.Resource) {
	t.Helper()
	question, err := (&dnsmessage.Message{Header: dnsmessage.Header{ID: 1, RecursionDesired: true}, Questions: []dnsmessage.Question{{
		Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET,
	}}}).Pack()
	if err != nil {
		t.Fatal(err)
	}
	connection, err := new(net.Dialer).DialContext(t.Context(), "udp", net.JoinHostPort(address, dnsPort))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	buffer := make([]byte, 1232)
	if _, err := connection.Write(question); err != nil {
		return dnsmessage.RCodeRefused, nil
	}
	n, err := connection.Read(buffer)
	if err != nil {
		return dnsmessage.RCodeRefused, nil
	}
	var answer dnsmessage.Message
	if err := answer.Unpack(buffer[:n]); err != nil {
		t.Fatal(err)
	}
	return answer.RCode, answer.Authorities
}

// traffic is a few reviews, a pod that no webhook answers for, and forty questions to the cache: ten new names that do not
// exist, each three times, and ten times a name that does.
func (s *targets) traffic(t *testing.T) {
	t.Helper()
	for range 5 {
		review(t, s.webhook.URL, "default")
		review(t, s.webhook.URL, "kube-system")
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: "a-"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "b"}}}}
	if _, err := newest.Client.CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Fatal(err)
	}
	s.round++
	for i := range 10 {
		missing := fmt.Sprintf("missing-%d-%d.example.com.", s.round, i)
		for range 3 {
			expect(t, s.cache, missing, dnsmessage.RCodeNameError)
		}
		expect(t, s.cache, "there.example.com.", dnsmessage.RCodeSuccess)
	}
}

func expect(t *testing.T, address, name string, want dnsmessage.RCode) {
	t.Helper()
	if got, _ := ask(t, address, name); got != want {
		t.Fatalf("%s answers %s for %s, want %s", address, got, name, want)
	}
}

var series = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$`)

// scrape returns the value of every series that an expression names, with the labels that Prometheus adds.
func (s *targets) scrape(t *testing.T, expressions []string) map[string]string {
	t.Helper()
	named := metricsNamed(expressions)
	all := map[string]string{}
	add := func(labels, text string) {
		for line := range strings.Lines(text) {
			match := series.FindStringSubmatch(strings.TrimSpace(line))
			if len(match) == 0 || !named[match[1]] {
				continue
			}
			value, err := strconv.ParseFloat(match[3], 64)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			all[match[1]+"{"+strings.Trim(match[2]+","+labels+`,cluster="east"`, ",")+"}"] = strconv.FormatFloat(value, 'f', -1, 64)
		}
	}
	add(`job="shorthop-metrics",namespace="`+namespace+`",pod="shorthop-0"`, get(t, s.webhook.MetricsURL))
	add(`job="coredns",namespace="kube-system"`, get(t, "http://"+s.dns+":9153/metrics"))
	add(`job="node-local-dns",namespace="kube-system"`, get(t, "http://"+s.cache+":9253/metrics"))
	add(`job="node-exporter",namespace="monitoring"`, get(t, "http://"+s.nodeExporter+"/metrics"))
	api, err := newest.Client.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	add(`job="apiserver"`, string(api))
	return all
}

func get(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// ready waits for what comes after a while: the detector's first scan, the gates' first probes, and that the API server calls the
// webhook which never answers.
func (s *targets) ready(t *testing.T, expressions []string) {
	t.Helper()
	missing := map[string]bool{}
	for name := range metricsNamed(expressions) {
		missing[name] = true
	}
	if err := cluster.WaitEffective(t.Context(), func(context.Context) (bool, error) {
		s.traffic(t)
		for series := range s.scrape(t, expressions) {
			name, _, _ := strings.Cut(series, "{")
			delete(missing, name)
		}
		return len(missing) == 0, nil
	}); err != nil {
		t.Fatalf("nobody has %q: %v", slices.Sorted(maps.Keys(missing)), err)
	}
}

// metricsNamed are all metrics in expressions.
func metricsNamed(expressions []string) map[string]bool {
	named := map[string]bool{}
	for _, e := range expressions {
		for _, match := range regexp.MustCompile(`\b([a-z_]+)\{`).FindAllStringSubmatch(e, -1) {
			named[match[1]] = true
		}
	}
	return named
}
