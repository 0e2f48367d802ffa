package loggen

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// Logged is a query of a log, taken apart for what writes it in another form.
type Logged struct {
	// Time is before the line, in RFC 3339.
	Time, Line         string
	Client, Type, Name string
	Port, ID           int
	Code               string
	Namespace, Pod     string
	NoData             bool
}

var loggedLine = regexp.MustCompile(`^(?:(\d\S+) )?(\[INFO\] (\S+):(\d+) - (\d+) "(\w+) IN (\S+) udp .*" (\w+) .*)$`)

// Logged takes a log of the cluster's pods apart; what others asked is left out. Lines
// without a time get one every 50 ms.
func (c *Cluster) Logged(log []byte) (all []Logged, err error) {
	pods := make(map[string]advisor.Pod)
	for _, p := range c.Pods() {
		pods[p.Status.PodIP] = p
	}
	types := map[string]resolver.RRType{"A": resolver.A, "AAAA": resolver.AAAA}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for line := range strings.Lines(string(log)) {
		line = strings.TrimSpace(line)
		m := loggedLine.FindStringSubmatch(line)
		if m == nil {
			if strings.Contains(line, " IN ") {
				return nil, fmt.Errorf("not a line of the log plugin: %s", line)
			}
			continue
		}
		at = at.Add(50 * time.Millisecond)
		if m[1] == "" {
			m[1] = at.Format(time.RFC3339Nano)
		}
		pod := pods[m[3]].Metadata
		if pod.Name == "" {
			continue
		}
		l := Logged{
			Time: m[1], Line: m[2], Client: m[3], Type: m[6], Name: m[7], Code: m[8], Namespace: pod.Namespace, Pod: pod.Name,
			NoData: c.Outcome(0, strings.TrimSuffix(m[7], "."), types[m[6]]) == resolver.NoData,
		}
		l.Port, _ = strconv.Atoi(m[4]) // digits, by the expression
		l.ID, _ = strconv.Atoi(m[5])
		all = append(all, l)
	}
	return all, nil
}

// Plain writes them as lines again.
func Plain(all []Logged) []byte {
	var out []byte
	for i := range all {
		out = append(append(append(append(out, all[i].Time...), ' '), all[i].Line...), '\n')
	}
	return out
}

// object is any of JSON.
type object = map[string]any

// Envelopes write a log into what collects and keeps logs, as values of JSON.
var Envelopes = map[string]func(all []Logged) []any{
	"Docker's json-file": each(func(l *Logged) any { return object{"log": l.Line + "\n", "stream": "stdout", "time": l.Time} }),
	"Loki": each(func(l *Logged) any {
		return object{"labels": object{"pod": "coredns-1"}, "line": l.Line, "timestamp": l.Time}
	}),
	"Fluent Bit": each(func(l *Logged) any {
		return object{"date": 1.0, "log": l.Line, "_p": "F", "time": l.Time, "kubernetes": object{"pod_name": "coredns-1"}}
	}),
	"Elasticsearch": func(all []Logged) []any {
		hits := each(func(l *Logged) any { return object{"_source": object{"@timestamp": l.Time, "message": l.Line}} })(all)
		return []any{object{"took": 1, "hits": object{"hits": hits}}}
	},
	"Cloud Logging": func(all []Logged) []any {
		return []any{each(func(l *Logged) any {
			return object{"textPayload": l.Line + "\n", "receiveTimestamp": "2026-01-02T09:00:00Z", "timestamp": l.Time}
		})(all)}
	},
	"CloudWatch, of Fluent Bit": func(all []Logged) []any {
		return []any{object{"events": each(func(l *Logged) any {
			message, _ := json.Marshal(object{"log": l.Line, "time": l.Time})
			return object{"message": string(message), "timestamp": 1795168800000}
		})(all)}}
	},
	"Azure": func(all []Logged) []any {
		return []any{object{"tables": []any{object{"rows": each(func(l *Logged) any { return []any{l.Time, l.Line} })(all)}}}}
	},
	"Datadog": func(all []Logged) []any {
		return []any{object{"data": each(func(l *Logged) any { return object{"attributes": object{"message": l.Line, "timestamp": l.Time}} })(all)}}
	},
}

func each(write func(*Logged) any) func([]Logged) []any {
	return func(all []Logged) (records []any) {
		for i := range all {
			records = append(records, write(&all[i]))
		}
		return records
	}
}

// Gadget is what Inspektor Gadget says of a line, where the pod is and where the server
// is.
func Gadget(l *Logged) []any {
	client, server := object{"addr": l.Client, "port": l.Port}, object{"addr": "10.96.0.10", "port": 53}
	record := func(qr, pod, packet string) object {
		r := object{
			"timestamp": l.Time, "k8s": object{"namespace": l.Namespace, "podName": pod}, "id": fmt.Sprintf("%04x", l.ID), "qr": qr,
			"name": l.Name, "qtype": l.Type, "pkt_type": packet, "src": client, "dst": server, "rcode": "", "addresses": "", "num_answers": 0,
		}
		if qr == "R" {
			r["src"], r["dst"], r["rcode"] = server, client, map[string]string{"NOERROR": "Success", "NXDOMAIN": "NameError"}[l.Code]
			if l.Code == "NOERROR" && !l.NoData {
				r["addresses"], r["num_answers"] = "192.0.2.7", 1
			}
		}
		return r
	}
	return []any{record("Q", l.Pod, "OUTGOING"), record("Q", "coredns-1", "HOST"), record("R", "coredns-1", "OUTGOING"), record("R", l.Pod, "HOST")}
}

// Flows is what Hubble says of a line.
func Flows(l *Logged) []any {
	dns := object{"query": l.Name, "qtypes": []string{l.Type}}
	client, server := object{"namespace": l.Namespace, "pod_name": l.Pod}, object{"namespace": "kube-system", "pod_name": "coredns-1"}
	request := object{"flow": object{
		"time": l.Time, "l7": object{"type": "REQUEST", "dns": dns}, "source": client, "destination": server,
		"IP": object{"source": l.Client, "destination": "10.96.0.10"}, "l4": object{"UDP": object{"source_port": l.Port, "destination_port": 53}},
	}}
	answer := object{"query": l.Name, "qtypes": []string{l.Type}}
	switch {
	case l.Code == "NXDOMAIN":
		answer["rcode"] = 3
	case !l.NoData:
		answer["ips"] = []string{"192.0.2.7"}
	}
	return []any{request, object{"flow": object{
		"time": l.Time, "l7": object{"type": "RESPONSE", "dns": answer}, "source": server, "destination": client, "is_reply": true,
		"IP": object{"source": "10.96.0.10", "destination": l.Client}, "l4": object{"UDP": object{"source_port": 53, "destination_port": l.Port}},
	}}}
}

// Lines writes values of JSON, one on a line.
func Lines(values []any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	for _, v := range values {
		if err := encoder.Encode(v); err != nil {
			return nil, fmt.Errorf("writing a line of JSON: %w", err)
		}
	}
	return out.Bytes(), nil
}
