package policy_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
)

// A container is left alone for its proxy where net/http would send a request
// for the API server through it. http.ProxyFromEnvironment reads the environment
// once in a process, so there is a process for every environment.
func TestProxyIsThatOfNetHTTP(t *testing.T) {
	t.Parallel()
	const seed = 14
	environments, hosts := 200, 49 // and one environment with references for each: 10,000 pairs
	if testing.Short() {
		environments = 10
	}
	rng := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // cases of a test
	counts := map[bool]int{}
	for i := range environments {
		targets := drawHosts(rng, hosts)
		env := drawEnvironment(rng, "")
		want := askNetHTTP(t, env, targets)
		for j, target := range targets {
			got := leftAloneForProxy(t, env, target)
			counts[got]++
			if got != want[j] {
				t.Fatalf("seed %d, environment %d: %v, %s: through the proxy %t, net/http says %t", seed, i, env, target, got, want[j])
			}
		}
		target := targets[0]
		env = drawEnvironment(rng, target)
		got := leftAloneForProxy(t, env, target)
		counts[got]++
		if want := askNetHTTP(t, env, []string{target})[0]; got != want {
			t.Fatalf("seed %d, environment %d: %v, %s: through the proxy %t, net/http says %t", seed, i, env, target, got, want)
		}
	}
	t.Logf("%d pairs through the proxy, %d not", counts[true], counts[false])
	if counts[true]*10 < counts[false] || counts[false]*10 < counts[true] {
		t.Errorf("the draws tell too little: %v", counts)
	}
}

// variable is an environment variable as a pod writes it, and as kubelet gives
// it to the process.
type variable struct{ name, written, expanded string }

func pick(rng *rand.Rand, from ...string) string { return from[rng.IntN(len(from))] }

func drawHosts(rng *rand.Rand, n int) []string {
	hosts := make([]string, n)
	for i := range hosts {
		host := pick(rng, "api.example.com", "api.prod.example.com", "api.prod.example.com.", "kube.corp", "example.com", "localhost",
			"sub.localhost", "10.0.0.1", "10.200.3.4", "192.0.2.7", "127.0.0.1", "fd00::1", "fd00:1::7", "::1", "2001:db8::5", "xn--bcher-kva.example")
		hosts[i] = net.JoinHostPort(host, pick(rng, "443", "6443", "8443"))
	}
	return hosts
}

// drawEnvironment draws references as well where a target is named.
func drawEnvironment(rng *rand.Rand, target string) []variable {
	host, port, _ := net.SplitHostPort(target)
	var env []variable
	add := func(name, text string) { env = append(env, variable{name, strings.ReplaceAll(text, "$", "$$"), text}) }
	proxy := func() string {
		return pick(rng, "http://squid.corp.example:3128", "https://user:pass@squid:3128", "squid.corp.example:3128", "socks5://10.1.1.1:1080",
			"http://[fd00::9]:3128", "http://[", "://x", "http://a b", "", "", "$(NOPE)", "http://$(PROXY_SERVICE_HOST):80")
	}
	exceptions := func(name string) variable {
		v := variable{name: name}
		for i := range rng.IntN(6) {
			if i > 0 {
				separator := pick(rng, ",", ",", ", ", " ,", ",,")
				v.written, v.expanded = v.written+separator, v.expanded+separator
			}
			written := pick(rng, "api.example.com", ".example.com", "example.com", "*.example.com", "*.prod.example.com", "API.PROD.EXAMPLE.COM", "kube.corp",
				".corp", "corp", "10.0.0.0/8", "10.0.0.1", "192.0.2.0/24", "192.0.2.7:443", "192.0.2.7:6443", "api.prod.example.com:443",
				"api.prod.example.com:6443", "fd00::/16", "fd00::1", "[fd00::1]:443", "[fd00::1]", "2001:db8::5", "::/0", "0.0.0.0/0",
				"::ffff:10.0.0.0/104", "localhost", "127.0.0.0/8", ".", "a/b", "example.com:", ":443", "*:443", "bücher.example", "prod.example.com.", "10.0.0.0/99")
			if rng.IntN(40) == 0 {
				written = "*"
			}
			expanded := written
			if target != "" {
				switch rng.IntN(6) {
				case 0:
					written, expanded = "$(KUBERNETES_SERVICE_HOST)", host
				case 1:
					written, expanded = "$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)", host+":"+port
				case 2:
					written, expanded = "$(DOMAIN)", "example.com"
				case 3:
					written, expanded = "$$(KUBERNETES_SERVICE_HOST)", "$(KUBERNETES_SERVICE_HOST)"
				case 4:
					written, expanded = "$(LATER)", "$(LATER)"
				}
			}
			v.written, v.expanded = v.written+written, v.expanded+expanded
		}
		return v
	}
	env = append(env, variable{"DOMAIN", "example.com", "example.com"})
	for range 1 + rng.IntN(4) {
		switch rng.IntN(6) {
		case 0:
			add("http_proxy", proxy())
		case 1, 2:
			add(pick(rng, "HTTPS_PROXY", "https_proxy"), proxy())
		default:
			env = append(env, exceptions(pick(rng, "NO_PROXY", "NO_PROXY", "no_proxy")))
		}
	}
	if rng.IntN(8) > 0 {
		env = append(env, variable{"HTTPS_PROXY", "http://squid.corp.example:3128", "http://squid.corp.example:3128"})
	}
	return append(env, variable{"LATER", "example.com", "example.com"})
}

func leftAloneForProxy(t *testing.T, env []variable, target string) bool {
	t.Helper()
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		t.Fatal(err)
	}
	container := policy.Container{Name: "app"}
	for _, v := range env {
		container.Env = append(container.Env, policy.EnvVar{Name: v.name, Value: v.written})
	}
	d := compile(t, header+fmt.Sprintf("  serviceHost: {host: %q, port: %s}\n", host, port)).Decide(&policy.Request{
		Operation: policy.OperationCreatePod, Namespace: "shop", NamespaceKnown: true,
		Pod: &policy.Pod{Spec: policy.PodSpec{Containers: []policy.Container{container}}},
	})
	return d.ServiceHost.Reason == policy.ReasonProxy
}

const proxyHelper = "SHORTHOP_TEST_PROXY_HELPER"

// askNetHTTP asks a process with the environment for every target.
func askNetHTTP(t *testing.T, env []variable, targets []string) []bool {
	t.Helper()
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxyHelper$", "-test.v=false")
	command.Env = []string{proxyHelper + "=yes"}
	for _, v := range env {
		command.Env = append(command.Env, v.name+"="+v.expanded)
	}
	command.Stdin = strings.NewReader(strings.Join(targets, "\n"))
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var through []bool
	for line := range strings.Lines(string(out)) {
		if answer, ok := strings.CutPrefix(strings.TrimSpace(line), "proxy: "); ok {
			through = append(through, answer == "true")
		}
	}
	if len(through) != len(targets) {
		t.Fatalf("%d answers for %d targets: %s", len(through), len(targets), out)
	}
	return through
}

// TestProxyHelper is the process that askNetHTTP starts.
func TestProxyHelper(t *testing.T) {
	if os.Getenv(proxyHelper) == "" {
		t.Skip("only as a process of TestProxyIsThatOfNetHTTP")
	}
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+lines.Text(), nil)
		if err != nil {
			t.Fatal(err)
		}
		through, err := http.ProxyFromEnvironment(request)
		fmt.Printf("proxy: %t\n", through != nil || err != nil)
	}
}

// References are expanded as kubelet does.
func TestReferencesAreExpandedAsKubeletDoes(t *testing.T) {
	t.Parallel()
	for written, reached := range map[string]bool{
		"$(KUBERNETES_SERVICE_HOST)":   true,
		"x,$(KUBERNETES_SERVICE_HOST)": true,
		"$(HOST)":                      true, // of an earlier entry
		"$(LATER)":                     false,
		"$$(HOST)":                     false,
		"$$$(HOST)":                    false, // $ and the value
		"$(HOST":                       false,
		"$HOST":                        false,
		"$( HOST)":                     false,
		"$()$(HOST)":                   false,
		"$(,$(HOST)":                   false, // the name has "$(" in it
		"$,$(HOST)":                    true,
		"$":                            false,
		"$(HOST),$":                    true,
		"$(SECRET),$(HOST)":            true,
		"$(SECRET)$(HOST)":             false,
		"$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT_HTTPS)": true,
	} {
		container := policy.Container{Name: "app", Env: []policy.EnvVar{
			{Name: "HTTPS_PROXY", Value: "http://squid:3128"},
			{Name: "HOST", Value: "$(KUBERNETES_SERVICE_HOST)"},
			{Name: "SECRET", ValueFrom: policy.EnvVarSource{SecretKeyRef: true}},
			{Name: "NO_PROXY", Value: written},
			{Name: "LATER", Value: "api.example.com"},
		}}
		d := compile(t, header+"  serviceHost: {host: api.example.com}\n").Decide(&policy.Request{
			Operation: policy.OperationCreatePod, Namespace: "shop", NamespaceKnown: true,
			Pod: &policy.Pod{Spec: policy.PodSpec{Containers: []policy.Container{container}}},
		})
		if d.ServiceHost.Injects() != reached {
			t.Errorf("%q: %v", written, d.ServiceHost.Outcome)
		}
	}
}

// An environment in which every variable repeats the one before must not take
// memory that grows with every line.
func TestReferencesThatMultiplyAreBounded(t *testing.T) {
	t.Parallel()
	container := policy.Container{Name: "app", Env: []policy.EnvVar{
		{Name: "HTTPS_PROXY", Value: "http://squid:3128"}, {Name: "V0", Value: strings.Repeat("x", 1000)},
	}}
	for i := range 200 {
		repeated := fmt.Sprintf("$(V%d)$(V%d)", i, i)
		container.Env = append(container.Env, policy.EnvVar{Name: fmt.Sprintf("V%d", i+1), Value: repeated})
	}
	container.Env = append(container.Env, policy.EnvVar{Name: "NO_PROXY", Value: "$(V200),api.example.com"})
	compiled := compile(t, header+"  serviceHost: {host: api.example.com}\n")
	request := &policy.Request{
		Operation: policy.OperationCreatePod, Namespace: "shop", NamespaceKnown: true,
		Pod: &policy.Pod{Spec: policy.PodSpec{Containers: []policy.Container{container}}},
	}
	result := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if d := compiled.Decide(request); !d.ServiceHost.Injects() {
				b.Fatalf("%v: what can be seen of the exceptions counts", d.ServiceHost.Outcome)
			}
		}
	})
	if bytes := result.AllocedBytesPerOp(); bytes > 32<<20 {
		t.Errorf("%d bytes", bytes)
	}
}
