package advisor_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/loggen"
)

// logged is a line of the simulated log.
type logged struct {
	time, line                    string
	client, port, id, qtype, name string
	code, namespace, pod          string
	noData                        bool
}

var loggedLine = regexp.MustCompile(`^(\S+) (\[INFO\] (\S+):(\d+) - (\d+) "(\w+) IN (\S+) udp .*" (\w+) .*)$`)

func loggedOf(t *testing.T, cluster *loggen.Cluster, log []byte) (all []logged) {
	t.Helper()
	pods := make(map[string]advisor.Pod)
	for _, p := range cluster.Pods() {
		pods[p.Status.PodIP] = p
	}
	types := map[string]resolver.RRType{"A": resolver.A, "AAAA": resolver.AAAA}
	for line := range strings.Lines(string(log)) {
		m := loggedLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			t.Fatalf("not a line of the log: %s", line)
		}
		pod := pods[m[3]].Metadata
		all = append(all, logged{
			time: m[1], line: m[2], client: m[3], port: m[4], id: m[5], qtype: m[6], name: m[7], code: m[8], namespace: pod.Namespace, pod: pod.Name,
			noData: cluster.Outcome(0, strings.TrimSuffix(m[7], "."), types[m[6]]) == resolver.NoData,
		})
	}
	return all
}

// object is any of JSON.
type object = map[string]any

// writers write a log in every form.
var writers = map[string]func(all []logged) []any{
	"Docker's json-file": each(func(l *logged) any { return object{"log": l.line + "\n", "stream": "stdout", "time": l.time} }),
	"Loki": each(func(l *logged) any {
		return object{"labels": object{"pod": "coredns-1"}, "line": l.line, "timestamp": l.time}
	}),
	"Fluent Bit": each(func(l *logged) any {
		return object{"date": 1.0, "log": l.line, "_p": "F", "time": l.time, "kubernetes": object{"pod_name": "coredns-1"}}
	}),
	"Elasticsearch": func(all []logged) []any {
		hits := each(func(l *logged) any { return object{"_source": object{"@timestamp": l.time, "message": l.line}} })(all)
		return []any{object{"took": 1, "hits": object{"hits": hits}}}
	},
	"Cloud Logging": func(all []logged) []any {
		return []any{each(func(l *logged) any {
			return object{"textPayload": l.line + "\n", "receiveTimestamp": "2026-01-02T09:00:00Z", "timestamp": l.time}
		})(all)}
	},
	"CloudWatch, of Fluent Bit": func(all []logged) []any {
		return []any{object{"events": each(func(l *logged) any {
			message, _ := json.Marshal(object{"log": l.line, "time": l.time})
			return object{"message": string(message), "timestamp": 1795168800000}
		})(all)}}
	},
	"Azure": func(all []logged) []any {
		return []any{object{"tables": []any{object{"rows": each(func(l *logged) any { return []any{l.time, l.line} })(all)}}}}
	},
	"Datadog": func(all []logged) []any {
		return []any{object{"data": each(func(l *logged) any { return object{"attributes": object{"message": l.line, "timestamp": l.time}} })(all)}}
	},
}

func each(write func(*logged) any) func([]logged) []any {
	return func(all []logged) (records []any) {
		for i := range all {
			records = append(records, write(&all[i]))
		}
		return records
	}
}

func number(t testing.TB, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// gadget is what Inspektor Gadget says of a line, where the pod is and where the server
// is.
func gadget(t testing.TB, l *logged) []any {
	t.Helper()
	client, server := object{"addr": l.client, "port": number(t, l.port)}, object{"addr": "10.96.0.10", "port": 53}
	record := func(qr, pod, packet string) object {
		r := object{
			"timestamp": l.time, "k8s": object{"namespace": l.namespace, "podName": pod}, "id": fmt.Sprintf("%04x", number(t, l.id)), "qr": qr,
			"name": l.name, "qtype": l.qtype, "pkt_type": packet, "src": client, "dst": server, "rcode": "", "addresses": "", "num_answers": 0,
		}
		if qr == "R" {
			r["src"], r["dst"], r["rcode"] = server, client, map[string]string{"NOERROR": "Success", "NXDOMAIN": "NameError"}[l.code]
			if l.code == "NOERROR" && !l.noData {
				r["addresses"], r["num_answers"] = "192.0.2.7", 1
			}
		}
		return r
	}
	return []any{record("Q", l.pod, "OUTGOING"), record("Q", "coredns-1", "HOST"), record("R", "coredns-1", "OUTGOING"), record("R", l.pod, "HOST")}
}

func flows(t testing.TB, l *logged) []any {
	t.Helper()
	dns := object{"query": l.name, "qtypes": []string{l.qtype}}
	client, server := object{"namespace": l.namespace, "pod_name": l.pod}, object{"namespace": "kube-system", "pod_name": "coredns-1"}
	request := object{"flow": object{
		"time": l.time, "l7": object{"type": "REQUEST", "dns": dns}, "source": client, "destination": server,
		"IP": object{"source": l.client, "destination": "10.96.0.10"}, "l4": object{"UDP": object{"source_port": number(t, l.port), "destination_port": 53}},
	}}
	answer := object{"query": l.name, "qtypes": []string{l.qtype}}
	switch {
	case l.code == "NXDOMAIN":
		answer["rcode"] = 3
	case !l.noData:
		answer["ips"] = []string{"192.0.2.7"}
	}
	return []any{request, object{"flow": object{
		"time": l.time, "l7": object{"type": "RESPONSE", "dns": answer}, "source": server, "destination": client, "is_reply": true,
		"IP": object{"source": "10.96.0.10", "destination": l.client}, "l4": object{"UDP": object{"source_port": 53, "destination_port": number(t, l.port)}},
	}}}
}

func asLines(t testing.TB, records []any) []byte {
	t.Helper()
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	for _, r := range records {
		if err := encoder.Encode(r); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func asDocument(t testing.TB, records []any) []byte {
	t.Helper()
	data, err := json.MarshalIndent(records, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// The same traffic says the same in whatever envelope it comes.
func TestEveryEnvelopeSaysTheSame(t *testing.T) {
	t.Parallel()
	cluster, log, _ := simulate(t, loggen.Options{Seed: *seed + 3, Workloads: 30, Lookups: 60, Timestamps: true, Loss: 5})
	want := advise(t, cluster, log, nil)
	all := loggedOf(t, cluster, log)
	for name, write := range writers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for how, data := range map[string][]byte{"lines": asLines(t, write(all)), "a document": asDocument(t, write(all))} {
				got := advise(t, cluster, data, nil)
				if diff := cmp.Diff(want.Workloads, got.Workloads); diff != "" || got.Source.Skipped.Malformed > 0 {
					t.Errorf("%s: %d lines malformed (-plain +so):\n%s", how, got.Source.Skipped.Malformed, diff)
				}
			}
		})
	}
}

// Records that name the pod say the same of names and ndots. What they cannot know, they
// do not: which resolver wrote the queries.
func TestEverySourceSaysTheSame(t *testing.T) {
	t.Parallel()
	cluster, log, _ := simulate(t, loggen.Options{Seed: *seed + 4, Workloads: 40, Lookups: 60, Timestamps: true})
	all := loggedOf(t, cluster, log)
	want := advise(t, cluster, log, nil)
	for name, source := range map[string]struct {
		write func(testing.TB, *logged) []any
		form  string
	}{"Inspektor Gadget": {gadget, "Inspektor Gadget"}, "Hubble": {flows, "Hubble"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var records []any
			for i := range all {
				records = append(records, source.write(t, &all[i])...)
			}
			got := advise(t, cluster, asLines(t, records), nil)
			if diff := cmp.Diff(got.Workloads, advise(t, cluster, asDocument(t, records), nil).Workloads); diff != "" {
				t.Errorf("(-lines +a document):\n%s", diff)
			}
			if got.Source.Queries != want.Source.Queries || got.Source.Skipped.Requests == 0 || len(got.Unattributed) > 0 {
				t.Errorf("%d queries of %d, %d requests, unattributed %+v", got.Source.Queries, want.Source.Queries, got.Source.Skipped.Requests, got.Unattributed)
			}
			sameAdvice(t, want, got)
			// A resolver that asks all nameservers at once has as many answers.
			var copies []byte
			for i := range all {
				one := asLines(t, source.write(t, &all[i]))
				copies = append(append(copies, one...), bytes.ReplaceAll(one, []byte(`"10.96.0.10"`), []byte(`"10.96.0.11"`))...)
			}
			copied := advise(t, cluster, copies, nil)
			sameAdvice(t, want, copied)
			if copied.Source.Retries != want.Source.Queries || copied.Source.ReadTwicePercent > 0 {
				t.Errorf("%d copies of %d count as retries, %.0f %% as read twice", copied.Source.Retries, want.Source.Queries, copied.Source.ReadTwicePercent)
			}
			for i := range got.Workloads {
				if w := &got.Workloads[i]; w.Resolver.Name != "" || w.Resolver.Pairs != 0 {
					t.Errorf("%s: the resolver is said to be %q by %d pairs", w.Name, w.Resolver.Name, w.Resolver.Pairs)
				}
			}
			told := false
			for _, g := range got.Source.Gaps {
				told = told || g.Code == advisor.GapSourceLacks && strings.Contains(g.Text, source.form)
			}
			if !told {
				t.Errorf("gaps %+v do not say what the source lacks", got.Source.Gaps)
			}
		})
	}
}

// sameAdvice compares names and ndots by workload.
func sameAdvice(t *testing.T, want, got *advisor.Report) {
	t.Helper()
	type advice struct {
		Ndots int
		Names map[string]int64
	}
	of := func(r *advisor.Report) map[string]advice {
		all := make(map[string]advice)
		for i := range r.Workloads {
			w := &r.Workloads[i]
			a := advice{Names: make(map[string]int64)}
			for _, u := range w.Names {
				a.Names[u.Name] = u.Lookups
			}
			if w.Recommendation != nil {
				a.Ndots = w.Recommendation.Ndots
			}
			all[w.Name] = a
		}
		return all
	}
	if diff := cmp.Diff(of(want), of(got)); diff != "" {
		t.Errorf("(-CoreDNS's log +this):\n%s", diff)
	}
}
