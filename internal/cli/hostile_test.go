package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/cli"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/hostile"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/reviewtest"
)

// hostilePolicy makes commands say all that they can.
const hostilePolicy = `apiVersion: shorthop.dev/v1alpha1
kind: InjectionPolicy
metadata: {name: hostile}
spec:
  cluster: {domain: cluster.local, dnsServers: [10.0.0.10]}
  serviceHost: {host: api.example.com}
  dns: {mode: NodeLocal, ndots: 4, nodeLocal: {servers: [169.254.20.10]}}
  resolvers:
  - {images: ["registry.example.com/*"], resolver: glibc}
  podOverrides: {allowed: [ndots, mode, options]}
`

// hostilePod has a text wherever the API server takes any, and in some places
// where it does not, as manifests come from anywhere. It runs at an address, so
// that logs can name it.
func hostilePod(s string) map[string]any {
	container := map[string]any{
		"name": s, "image": s, "command": []any{s}, "args": []any{s},
		"env": []any{map[string]any{"name": "A" + s, "value": s}, map[string]any{"name": "KUBERNETES_SERVICE_HOST", "value": s}},
	}
	plain := map[string]any{"name": "plain", "image": "registry.example.com/shop/web:1" + s}
	return map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{
			"name": s + "-0", "namespace": "shop",
			"labels": map[string]any{policy.LabelInject: s, policy.LabelDNS: s, "pod-template-hash": "abc"},
			"annotations": map[string]any{
				policy.AnnotationNdots: s, policy.AnnotationDNSMode: s, policy.AnnotationDNSOptions: s + " " + s,
				policy.AnnotationInjected: s, s: s,
			},
			"ownerReferences": []any{map[string]any{"apiVersion": s, "kind": s, "name": s, "uid": s, "controller": true}},
		},
		"spec": map[string]any{
			"initContainers": []any{container}, "containers": []any{container, plain},
			"nodeName": s, "schedulerName": s,
			"dnsConfig": map[string]any{
				"nameservers": []any{s}, "searches": []any{s},
				"options": []any{map[string]any{"name": s, "value": s}},
			},
			s: s,
		},
		"status": map[string]any{"phase": "Running", "podIP": "10.244.0.1", "hostIP": "192.168.0.1", "message": s, "reason": s},
	}
}

// hostileLog has two lookups of the pod and, so that a table has two rows,
// queries of an address that no pod has.
func hostileLog(s string) []byte {
	var b bytes.Buffer
	query := func(client, name, code string) {
		fmt.Fprintf(&b, "[INFO] %s:9829 - 8271 \"A IN %s. udp 57 false 512\" %s qr,aa,rd 149 0.0001s\n", client, name, code)
		fmt.Fprintf(&b, "[INFO] %s:9829 - 8272 \"AAAA IN %s. udp 57 false 512\" %s qr,aa,rd 149 0.0001s\n", client, name, code)
	}
	for _, name := range []string{"api.example.com", strings.ToLower(s) + ".example.com"} {
		for range 20 {
			for _, search := range []string{".shop.svc.cluster.local", ".svc.cluster.local", ".cluster.local"} {
				query("10.244.0.1", name+search, "NXDOMAIN")
			}
			query("10.244.0.1", name, "NOERROR")
		}
	}
	query("10.244.0.9", "other.example.com", "NOERROR")
	fmt.Fprintf(&b, "%s\n[INFO] %s - %s \"A IN %s. udp 57 false 512\" %s qr 1 0.0001s\n", s, s, s, s, s)
	return b.Bytes()
}

// command runs a command line with files.
func command(files map[string][]byte, args ...string) (stdout, stderr []byte, code int) {
	var out, errs bytes.Buffer
	code = cli.Main(args, cli.Streams{
		In: strings.NewReader(""), Out: &out, Err: &errs,
		Open: func(name string) (io.ReadCloser, error) {
			if data, found := files[name]; found {
				return io.NopCloser(bytes.NewReader(data)), nil
			}
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		},
	})
	return out.Bytes(), errs.Bytes(), code
}

// Every command, with every format, of pods, logs, policies and files that
// somebody wrote who means harm: no output has anything that a terminal or a
// browser takes for more than text, and none grows with what it repeats.
func TestOutputsOfHostileInput(t *testing.T) {
	t.Parallel()
	for _, text := range hostile.Texts() {
		t.Run(text.Name, func(t *testing.T) {
			t.Parallel()
			s := text.Text
			pod := jsontest.Marshal(t, hostilePod(s))
			list := append(append([]byte(`{"kind": "List", "apiVersion": "v1", "items": [`), pod...), "]}"...)
			other := jsontest.Marshal(t, map[string]any{"apiVersion": s, "kind": s, "metadata": map[string]any{"name": s}})
			webhook, err := json.Marshal(map[string]any{
				"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration", "metadata": map[string]any{"name": s},
				"webhooks": []any{map[string]any{"name": s, "failurePolicy": s, "clientConfig": map[string]any{"url": s}, s: s}},
			})
			if err != nil {
				t.Fatal(err)
			}
			files := map[string][]byte{
				"pod.json": pod, "pods.json": list, "policy.yaml": []byte(hostilePolicy), "dns.log": hostileLog(s),
				"other.json": other, "webhook.json": webhook, "raw.yaml": []byte(s), "key.yaml": []byte("kind: [" + s + "\n" + s + ": &a"),
				"bad-policy.yaml": []byte(strings.Replace(hostilePolicy, "ndots: 4", fmt.Sprintf("ndots: 4, %q: %q, mode: %q", s, s, s), 1)),
				s:                 []byte(s),
			}
			for _, line := range []string{
				"explain -f pod.json --policy policy.yaml --lookup api.example.com",
				"explain -f pod.json --policy policy.yaml -o json",
				"explain -f pod.json --policy policy.yaml -o yaml",
				"explain -f other.json", "explain -f raw.yaml", "explain -f key.yaml", "explain -f other.json -f pod.json",
				"explain -f pod.json --policy bad-policy.yaml", "explain -f pod.json --policy raw.yaml",
				"explain -f pod.json --node-resolv-conf raw.yaml",
				"advise --pods pods.json dns.log", "advise --pods pods.json dns.log -o json",
				"advise --pods pods.json dns.log -o html", "advise --pods pods.json dns.log -o policy",
				"advise --pods raw.yaml dns.log", "advise --pods pods.json raw.yaml", "advise --pods pods.json dns.log --compare raw.yaml",
				"lint policy.yaml raw.yaml key.yaml bad-policy.yaml", "lint webhook.json policy.yaml", "lint other.json", "lint bad-policy.yaml -o json",
				"lint webhook.json policy.yaml -o json", "webhook-config --policy raw.yaml",
			} {
				stdout, stderr, _ := command(files, strings.Fields(line)...)
				check(t, line, stdout, stderr)
			}
			for _, args := range [][]string{
				{"explain", "-f", s}, {"lint", s}, {"lint", s, "no" + s}, {"advise", "--pods", "pods.json", "no" + s}, {s}, {"explain", "-f", "pod.json", "--" + s},
				{"explain", "-f", "pod.json", "-o", s}, {"explain", "-f", "pod.json", "-n", s}, {"explain", "-f", "pod.json", "--lookup=" + s},
				{"explain", s}, {"audit", "--kubeconfig", "/nowhere/" + s}, {"doctor", "--kubeconfig", "/nowhere/" + s, "--context", s},
				{"advise", "--log-format", s, "--pods", "pods.json", "dns.log"},
			} {
				stdout, stderr, _ := command(files, args...)
				if len(s) > 1000 {
					stdout, stderr = nil, nil // the user's own words are as long as they are
				}
				check(t, fmt.Sprintf("%.200q", args), stdout, stderr)
			}
		})
	}
}

func check(t *testing.T, line string, stdout, stderr []byte) {
	t.Helper()
	raw := hostile.Raw(stdout, "")
	switch {
	case strings.HasSuffix(line, "-o html"):
		raw = hostile.Raw(stdout, "→–…’")
		if n := bytes.Count(stdout, []byte("<script>")); n > 1 || bytes.Contains(stdout, []byte("<img")) {
			t.Errorf("%s: there are %d scripts, or an image", line, n)
		}
	case strings.HasSuffix(line, "-o yaml"):
		raw = hostile.Unprintable(stdout)
	case strings.HasSuffix(line, "-o json") && len(stdout) > 0:
		if !json.Valid(stdout) {
			t.Errorf("%s: not JSON: %.300q", line, stdout)
		}
	case len(stdout) > 64<<10:
		t.Errorf("%s: %d bytes", line, len(stdout))
	}
	if raw != "" {
		t.Errorf("%s: standard output has %s", line, raw)
	}
	if raw := hostile.Raw(stderr, "\t"); raw != "" {
		t.Errorf("%s: standard error has %s", line, raw)
	}
	if len(stderr) > 64<<10 {
		t.Errorf("%s: %d bytes on standard error", line, len(stderr))
	}
	for _, output := range [][]byte{stdout, stderr} {
		if bytes.Contains(output, []byte("\nkubectl -n kube-system delete")) && !strings.HasSuffix(line, "-o yaml") {
			t.Errorf("%s: a line is forged: %q", line, output)
		}
	}
}

// What explain -o yaml prints of a pod is the same pod, whatever is in it; and
// what kubectl prints of it as JSON can be read.
func TestYAMLOfHostilePodsIsThePod(t *testing.T) {
	t.Parallel()
	for _, text := range hostile.ValidUTF8() {
		t.Run(text.Name, func(t *testing.T) {
			t.Parallel()
			pod := hostilePod(text.Text)
			encoded := jsontest.Marshal(t, pod)
			stdout, stderr, code := command(map[string][]byte{"pod.json": encoded, "off.yaml": []byte(hostilePolicy + "  mode: \"Off\"\n")},
				"explain", "-f", "pod.json", "--policy", "off.yaml", "-o", "yaml")
			if code != 0 {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			var got, want any
			err := yaml.Unmarshal(stdout, &got)
			if len(text.Text) > 1024 { // longer than a key of YAML can be
				err = json.Unmarshal(stdout, &got)
			}
			if err := errors.Join(err, json.Unmarshal(encoded, &want)); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%.2000s", diff)
			}
		})
	}
}

// The names that no object can have are left out of the rules, and the others
// get theirs.
func TestRulesAreMadeOfNamesThatObjectsHave(t *testing.T) {
	t.Parallel()
	for _, text := range hostile.Texts() {
		t.Run(text.Name, func(t *testing.T) {
			t.Parallel()
			bad, good := hostilePod(text.Text), hostilePod("")
			for _, pod := range []map[string]any{bad, good} {
				spec := pod["spec"].(map[string]any) //nolint:forcetypeassert // as hostilePod makes it
				delete(spec, "dnsConfig")
				spec["containers"] = []any{map[string]any{"name": "db", "image": "db:1"}} // no pattern fits a very long one
				delete(spec, "initContainers")
			}
			good["metadata"] = map[string]any{
				"name": "db-0", "namespace": "shop",
				"ownerReferences": []any{map[string]any{"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": true}},
			}
			good["status"] = map[string]any{"phase": "Running", "podIP": "10.244.0.2"}
			pods := jsontest.Marshal(t, map[string]any{"kind": "List", "items": []any{bad, good}})
			// One round of both kinds of lookups, as many times as a rule needs.
			lines := bytes.SplitAfter(hostileLog("www"), []byte("\n"))
			log := slices.Concat(lines[:8]...)
			log = bytes.ReplaceAll(log, []byte(" - 8272 "), []byte(" - 48272 ")) // musl's IDs are close, glibc's are not
			log = append(log, bytes.ReplaceAll(log, []byte("10.244.0.1:"), []byte("10.244.0.2:"))...)
			files := map[string][]byte{
				"pods.json": pods, "dns.log": often(t, log, "120"),
				"policy.yaml": []byte("apiVersion: shorthop.dev/v1alpha1\nkind: InjectionPolicy\nmetadata: {name: p}\nspec:\n  resolvers: [{images: [\"*\"], resolver: glibc}]\n"),
			}
			stdout, stderr, code := command(files, "advise", "--pods", "pods.json", "--policy", "policy.yaml", "dns.log", "-o", "policy")
			if code != 1 {
				t.Fatalf("exit code %d: %s", code, stderr)
			}
			document := reviewtest.Parse(t, stdout)
			if len(document.Spec.Rules) != 1 || len(document.Spec.Rules[0].Match.Owners) != 1 || document.Spec.Rules[0].Match.Owners[0] != (policy.Owner{Kind: "StatefulSet", Name: "db"}) {
				t.Errorf("the rules are %+v", document.Spec.Rules)
			}
			if !bytes.Contains(stderr, []byte("left out of the rules")) {
				t.Errorf("standard error does not say what is left out: %q", stderr)
			}
		})
	}
}
