package querylog_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/test/jsontest"
)

// lines takes a log apart.
func lines(t testing.TB, r io.Reader) (found []querylog.Record, read int) {
	t.Helper()
	data, err := io.ReadAll(querylog.NewDocuments(r))
	if err != nil {
		t.Fatal(err)
	}
	u := querylog.Unwrapper{Parser: &querylog.Parser{}}
	u.Lines(data, func(_ []byte, v querylog.Verdict, r *querylog.Record) {
		if v == querylog.Query {
			found = append(found, *r)
		}
		read++
	})
	return found, read
}

// FuzzEnvelopes: whatever the log, nothing panics, how it is read in pieces does not
// matter, and names are what they should be.
func FuzzEnvelopes(f *testing.F) {
	files, err := filepath.Glob("testdata/envelopes/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range archive.Files {
			if part.Name == "input" {
				f.Add(part.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, log []byte) {
		found, read := lines(t, bytes.NewReader(log))
		pieces, readInPieces := lines(t, iotest.OneByteReader(bytes.NewReader(log)))
		if read != readInPieces || len(found) != len(pieces) {
			t.Fatalf("%d lines and %d queries, in pieces %d and %d", read, len(found), readInPieces, len(pieces))
		}
		for i := range found {
			r, other := &found[i], &pieces[i]
			if text(querylog.Query, r) != text(querylog.Query, other) {
				t.Fatalf("%s, in pieces %s", text(querylog.Query, r), text(querylog.Query, other))
			}
			if len(r.Client) == 0 && len(r.Pod) == 0 || len(r.Name) == 0 || len(r.Name) > 1012 || r.Type >= querylog.Types || r.Result >= querylog.Results || r.Form >= querylog.Forms {
				t.Fatalf("%+v", r)
			}
			for k, c := range r.Name {
				if c < ' ' || c > '~' || c >= 'A' && c <= 'Z' || c == ' ' && (k == 0 || r.Name[k-1] != '\\') {
					t.Fatalf("name %q", r.Name)
				}
			}
		}
	})
}

// FuzzAnyJSON: a query is found in JSON whatever it stands in, and with the time beside
// it, as encoding/json writes it.
func FuzzAnyJSON(f *testing.F) {
	f.Add("log", "other", "text \" \\ { [ \n", uint8(0), uint8(0), uint16(1), false)
	f.Add("message", "é", strings.Repeat("x", 300), uint8(3), uint8(2), uint16(400), true)
	f.Fuzz(func(t *testing.T, key, sibling, value string, depth, arrays uint8, records uint16, indent bool) {
		records %= 500
		reserved := map[string]bool{"time": true, "field": true, "value": true, "qr": true}
		if reserved[key] || reserved[sibling] || key == sibling || strings.Contains(value, `" `) || strings.Contains(strings.ToLower(key+sibling), "time") {
			return
		}
		var list []any
		for i := range int(records) + 1 {
			at := time.Unix(1_795_168_800+int64(i), 0).UTC()
			var record any = map[string]any{sibling: value, key: fmt.Sprintf(`[INFO] 10.0.0.1:%d - 7 "A IN a%d.example.com. udp 44 false 512" NOERROR qr 1 2s`, i+1, i), "time": at.Format(time.RFC3339)}
			for range depth % 8 {
				record = map[string]any{"in": record}
			}
			list = append(list, record)
		}
		var document any = list
		for range arrays % 8 {
			document = map[string]any{"n": 1, "list": document}
		}
		data, err := json.Marshal(document)
		if indent {
			data, err = json.MarshalIndent(document, "", "  ")
		}
		if err != nil {
			return
		}
		found, _ := lines(t, bytes.NewReader(data))
		if len(found) != len(list) {
			t.Fatalf("%d queries of %d in %s", len(found), len(list), data[:min(len(data), 2000)])
		}
		for i := range found {
			r := &found[i]
			if want := fmt.Sprintf("a%d.example.com", i); string(r.Name) != want || r.Unix != 1_795_168_800+int64(i) || int(r.Source>>16) != i+1 {
				t.Fatalf("%s, want %s", text(querylog.Query, r), want)
			}
		}
	})
}

// plainWord is what encoding/json does not escape and no record can be without.
func plainWord(s string) bool {
	return s != "" && len(s) < 200 && strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.'
	}) < 0
}

// FuzzInspektorGadget: of an answer, the record is what its fields say, whatever stands
// beside them.
func FuzzInspektorGadget(f *testing.F) {
	f.Add("api.example.com.", "A", "Success", "shop", "web-1", "10.244.1.5", uint16(41234), uint16(7), 1, "192.0.2.7", "HOST", "c")
	f.Add("api.example.com.", "AAAA", "NameError", "shop", "web-1", "fd00::5", uint16(41234), uint16(0xffff), 0, "", "LOOPBACK", "\" {\\")
	f.Fuzz(func(t *testing.T, name, qtype, rcode, namespace, pod, address string, port, id uint16, answers int, addresses, packet, comm string) {
		if !plainWord(strings.TrimSuffix(name, ".")) || !plainWord(strings.ToLower(qtype)) || !plainWord(namespace) || !plainWord(pod) || !plainWord(strings.ReplaceAll(address, ":", ".")) || port == 53 || port == 0 || answers < 0 || answers > 60000 {
			return
		}
		data, err := json.Marshal(map[string]any{
			"qr": "R", "name": name, "qtype": qtype, "rcode": rcode, "id": fmt.Sprintf("%.4x", id), "pkt_type": packet, "num_answers": answers, "addresses": addresses,
			"timestamp": "2026-11-20T10:00:00.123456789Z", "k8s": map[string]any{"namespace": namespace, "podName": pod, "owner": map[string]any{"name": "web"}},
			"src": map[string]any{"addr": "10.96.0.10", "port": 53, "k8s": map[string]any{"namespace": "kube-system", "name": "kube-dns"}},
			"dst": map[string]any{"addr": address, "port": port, "k8s": map[string]any{"namespace": "x", "name": pod}}, "proc": map[string]any{"comm": comm, "pid": 1},
		})
		if err != nil {
			t.Fatal(err)
		}
		found, _ := lines(t, bytes.NewReader(data))
		if strings.HasPrefix(packet, "O") {
			if len(found) > 0 {
				t.Fatalf("%s: what the server sends is none of the pod's", data)
			}
			return
		}
		if len(found) != 1 {
			t.Fatalf("%s: %d queries", data, len(found))
		}
		r := &found[0]
		want := strings.TrimSuffix(name, ".")
		if string(r.Name) != want || string(r.Namespace) != namespace || string(r.Pod) != pod || string(r.Client) != address || r.Source != uint32(port)<<16|uint32(id) || r.Unix != 1795168800 {
			t.Fatalf("%s: %s, pod %s/%s", data, text(querylog.Query, r), r.Namespace, r.Pod)
		}
		if ok := rcode == "Success"; ok && r.Result != querylog.OK || rcode == "NameError" && r.Result != querylog.NXDomain || r.NoData && (!ok || answers > 0 && addresses != "") {
			t.Fatalf("%s: result %d, NODATA %t", data, r.Result, r.NoData)
		}
	})
}

// FuzzHubble: the same of a flow.
func FuzzHubble(f *testing.F) {
	f.Add("api.example.com.", "A", uint16(0), "shop", "web-1", "10.244.1.5", uint16(41234), "192.0.2.7", true)
	f.Add("api.example.com", "AAAA", uint16(3), "shop", "web-1", "fd00::5", uint16(1), "", false)
	f.Fuzz(func(t *testing.T, name, qtype string, rcode uint16, namespace, pod, address string, port uint16, ip string, wrapped bool) {
		if !plainWord(strings.TrimSuffix(name, ".")) || !plainWord(strings.ToLower(qtype)) || !plainWord(namespace) || !plainWord(pod) || !plainWord(strings.ReplaceAll(address, ":", ".")) {
			return
		}
		dns := map[string]any{"query": name, "qtypes": []string{qtype}, "observation_source": "proxy"}
		if rcode != 0 {
			dns["rcode"] = rcode
		}
		if ip != "" {
			dns["ips"] = []string{ip}
		}
		var record any = map[string]any{
			"time": "2026-11-20T10:00:00.123456789Z", "IP": map[string]any{"source": "10.244.0.2", "destination": address}, "is_reply": true,
			"l4":     map[string]any{"UDP": map[string]any{"source_port": 53, "destination_port": port}},
			"source": map[string]any{"namespace": "kube-system", "pod_name": "coredns-1", "labels": []string{"k8s:app=x"}},
			"destination": map[string]any{
				"namespace": namespace, "pod_name": pod, "labels": []string{"k8s:app=y"}, "workloads": []any{map[string]any{"name": "web", "kind": "Deployment"}},
			},
			"l7": map[string]any{"type": "RESPONSE", "latency_ns": "5", "dns": dns}, "Summary": "DNS Answer \"" + name,
		}
		if wrapped {
			record = map[string]any{"flow": record, "node_name": "n1", "time": "2026-11-20T10:00:00.5Z"}
		}
		data := jsontest.Marshal(t, record)
		found, _ := lines(t, bytes.NewReader(data))
		if len(found) != 1 {
			t.Fatalf("%s: %d queries", data, len(found))
		}
		r := &found[0]
		if string(r.Name) != strings.TrimSuffix(name, ".") || string(r.Namespace) != namespace || string(r.Pod) != pod || string(r.Client) != address || r.Source>>16 != uint32(port) || r.Unix != 1795168800 {
			t.Fatalf("%s: %s, pod %s/%s", data, text(querylog.Query, r), r.Namespace, r.Pod)
		}
		if (r.Result == querylog.OK) != (rcode == 0) || (r.Result == querylog.NXDomain) != (rcode == 3) || r.NoData != (rcode == 0 && ip == "" && r.Type != querylog.OtherType) {
			t.Fatalf("%s: result %d, NODATA %t", data, r.Result, r.NoData)
		}
	})
}

func BenchmarkUnwrap(b *testing.B) {
	for name, line := range map[string]string{
		"Docker":     `{"log":"[INFO] 10.244.1.5:30007 - 14 \"A IN api.example.com.shop.svc.cluster.local. udp 44 false 512\" NXDOMAIN qr,aa,rd 117 0.000123s\n","stream":"stdout","time":"2026-11-20T10:00:00.123456789Z"}`,
		"Fluent Bit": `{"date":1795168800.25,"log":"[INFO] 10.244.1.5:30007 - 14 \"A IN api.example.com.shop.svc.cluster.local. udp 44 false 512\" NXDOMAIN qr,aa,rd 117 0.000123s","stream":"stdout","_p":"F","time":"2026-11-20T10:00:00.123456789Z","kubernetes":{"pod_name":"coredns-7d","namespace_name":"kube-system","pod_id":"b5b3b3b3-0000-4000-8000-000000000000","labels":{"k8s-app":"kube-dns"},"host":"n1","container_name":"coredns"}}`,
	} {
		b.Run(name, func(b *testing.B) {
			u := querylog.Unwrapper{Parser: &querylog.Parser{}}
			buffer := []byte(line)
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			for b.Loop() {
				copy(buffer, line)
				if _, v := u.Unwrap(buffer); v != querylog.Query {
					b.Fatal(v)
				}
			}
		})
	}
}
