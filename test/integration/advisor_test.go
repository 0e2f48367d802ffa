package integration_test

import (
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/shorthop/shorthop/internal/advicefile"
	"github.com/shorthop/shorthop/internal/advisorrun"
	"github.com/shorthop/shorthop/internal/cli"
	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/policy"
)

// loggingKubelet is as much of a kubelet as logs through the API server need: containers of its pods log queries until
// nobody reads any more.
type loggingKubelet struct {
	// client has asked for names, one after the other.
	client string
	names  atomic.Pointer[[]string]
	asked  atomic.Int32 // how often a log was asked for
}

// ServeHTTP answers /containerLogs/NAMESPACE/POD/CONTAINER.
func (k *loggingKubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/containerLogs/") || r.URL.Query().Get("follow") != "true" || r.URL.Query().Get("timestamps") != "true" {
		http.NotFound(w, r)
		return
	}
	k.asked.Add(1)
	for id := 0; r.Context().Err() == nil; id++ {
		var b strings.Builder
		for _, name := range *k.names.Load() {
			name, code, _ := strings.Cut(name, " ")
			for i, kind := range []string{"A", "AAAA"} {
				fmt.Fprintf(&b, "%s [INFO] %s:12000 - %d \"%s IN %s. udp 60 false 512\" %s qr,aa,rd 100 0.0001s\n",
					time.Now().UTC().Format("2006-01-02T15:04:05.000000000Z"), k.client, 2*id+i, kind, name, code)
			}
		}
		if id == 20 {
			b.WriteString("2026-01-01T00:00:00.0") // what a reader sees last is no whole line
		}
		if _, err := io.WriteString(w, b.String()); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		if id == 20 {
			<-r.Context().Done()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// startLoggingKubelet makes a node whose kubelet it is, with a cache's pod, and a pod of a workload.
func startLoggingKubelet(t *testing.T, node, caches, workloads string, number int) *loggingKubelet {
	t.Helper()
	k := &loggingKubelet{client: fmt.Sprintf("10.244.%d.1", number)}
	server := httptest.NewTLSServer(k)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	ctx, core := t.Context(), shared.Client.CoreV1()
	host := fmt.Sprintf("127.0.0.%d", number)
	created, err := core.Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: node}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	created.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	created.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(server.Listener.Addr().(*net.TCPAddr).Port)
	if _, err := core.Nodes().UpdateStatus(ctx, created, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, pod := range []*corev1.Pod{
		{ObjectMeta: metav1.ObjectMeta{Namespace: caches, Name: "cache-" + node, Labels: map[string]string{"app": "cache"}}, Spec: corev1.PodSpec{HostNetwork: true}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: workloads, Name: fmt.Sprintf("web-%d", number), OwnerReferences: []metav1.OwnerReference{
			{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "web", UID: "1", Controller: new(true)}}}},
	} {
		pod.Spec.NodeName, pod.Spec.Containers = node, []corev1.Container{{Name: "c", Image: "shop/web:1"}}
		made, err := core.Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		made.Status.Phase, made.Status.HostIP, made.Status.HostIPs = corev1.PodRunning, host, []corev1.HostIP{{IP: host}}
		made.Status.PodIP = k.client
		if pod.Spec.HostNetwork {
			made.Status.PodIP = host
		}
		made.Status.PodIPs = []corev1.PodIP{{IP: made.Status.PodIP}}
		if _, err := core.Pods(pod.Namespace).UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// TestTheAdvisorFollowsLogs runs what the chart's CronJob runs, again and again: logs are followed on one node after the
// other, what they show is written only where it changes, and who has to know learns of it.
func TestTheAdvisorFollowsLogs(t *testing.T) {
	t.Parallel()
	s := newScope(t)
	caches, workloads, own := s.namespace("caches", nil), s.namespace("shop", nil), s.namespace("own", nil)
	first := startLoggingKubelet(t, "a-"+own, caches, workloads, 21)
	second := startLoggingKubelet(t, "b-"+own, caches, workloads, 22)
	asks := func(k *loggingKubelet, name string, searches int) {
		list := []string{workloads + ".svc.cluster.local", "svc.cluster.local", "cluster.local"}[:searches]
		var names []string
		for i, search := range list {
			code := "NXDOMAIN"
			if i == searches-1 {
				code = "NOERROR"
			}
			names = append(names, name+"."+search+" "+code)
		}
		k.names.Store(&names)
	}
	asks(first, "db.data", 2)
	asks(second, "db.data", 2)
	maps := shared.Client.CoreV1().ConfigMaps(own)
	for _, name := range []string{"advice", "advice-report"} {
		if _, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	kubeconfig := shared.Kubeconfig()
	run := func(want int, args ...string) (printed string) {
		t.Helper()
		var out, errs bytes.Buffer
		streams := cli.Streams{In: strings.NewReader(""), Out: &out, Err: &errs, Open: func(name string) (io.ReadCloser, error) { return os.Open(name) }}
		args = append([]string{"advise", "--kubeconfig", kubeconfig, "--follow=4s", "--nodes=1", "--spool=" + t.TempDir(), "--log-pods=" + caches + "/app=cache", "--write=" + own + "/advice"}, args...)
		if got := cli.Main(args, streams); got != want {
			t.Fatalf("exit code %d, want %d: %s%s", got, want, out.String(), errs.String())
		}
		t.Log(errs.String())
		return out.String()
	}
	get := func(name string) *corev1.ConfigMap {
		t.Helper()
		found, err := maps.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	left := func() *advicefile.Run {
		t.Helper()
		r, err := advicefile.ParseRun([]byte(get("advice-report").Data["run.json"]))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	events := func(reason string) (messages []string) {
		t.Helper()
		list, err := shared.Client.CoreV1().Events(own).List(t.Context(), metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("reason", reason).String()})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			messages = append(messages, list.Items[i].Message)
		}
		return messages
	}
	needed := func(text string) string {
		t.Helper()
		document, err := policy.ParseAdvice([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for i := range document.Spec.Workloads {
			if w := &document.Spec.Workloads[i]; w.Namespace == workloads {
				return fmt.Sprint(len(w.Needed), " ", w.Needed["2"] != "", " ", w.Needed["3"] != "")
			}
		}
		return "nothing"
	}
	unzipped := func(data []byte) string {
		t.Helper()
		unzip, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(unzip)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}

	run(0)
	written := get("advice")
	if got := needed(unzipped(written.BinaryData["advice.json.gz"])); got != "1 true false" {
		t.Errorf("needed: %s", got)
	}
	r := left()
	if r.Error != "" || r.Logs != 1 || r.Of != 2 || r.Next != "a-"+own || r.Observed != 1 || r.Workloads < 2 || r.Succeeded.IsZero() || !r.Raised.IsZero() {
		t.Errorf("the first run left %+v", r)
	}
	if report := unzipped(get("advice-report").BinaryData["report.json.gz"]); !strings.Contains(report, `"name": "db.data"`) {
		t.Errorf("report:\n%.2000s", report)
	}
	if n := second.asked.Load(); n != 0 {
		t.Errorf("the log of the other node was asked for %d times", n)
	}

	run(0) // the other node: what is known already
	if r := left(); r.Next != "b-"+own || get("advice").ResourceVersion != written.ResourceVersion || second.asked.Load() == 0 {
		t.Errorf("the second run left %+v, and advice changed: %t", r, get("advice").ResourceVersion != written.ResourceVersion)
	}

	asks(first, "db.data.svc", 3)
	printed := run(0, "--print")
	if got := needed(printed); got != "2 true true" || get("advice").ResourceVersion != written.ResourceVersion {
		t.Errorf("printed: needed %s", got)
	}
	asks(second, "db.data.svc", 3)
	run(0)
	if got := needed(unzipped(get("advice").BinaryData["advice.json.gz"])); got != "2 true true" {
		t.Errorf("needed: %s", got)
	}
	raised := events(advisorrun.EventRaised)
	if r := left(); r.Raised.IsZero() || len(raised) != 2 || !strings.Contains(raised[0], "StatefulSet of "+workloads+"/web: ") || !strings.Contains(raised[0], "db.data.svc") {
		t.Errorf("raised: %+v, Events %q", r, raised)
	}

	before := left()
	run(2, "--log-pods="+caches+"/app=none")
	if r := left(); !strings.HasPrefix(r.Error, "no DNS pods found") || !r.Succeeded.Equal(before.Succeeded) || r.Next != before.Next {
		t.Errorf("a run without logs left %+v", r)
	}
	if failed := events(advisorrun.EventFailed); len(failed) != 1 || !strings.HasPrefix(failed[0], "no DNS pods found") {
		t.Errorf("Events %q", failed)
	}
	if get("advice-report").BinaryData["report.json.gz"] == nil {
		t.Error("the last report is gone")
	}
}

// TestLargeAdviceIsWrittenInParts keeps what does not fit into one ConfigMap in several, and changes none where it does not
// fit into all.
func TestLargeAdviceIsWrittenInParts(t *testing.T) {
	t.Parallel()
	own := newScope(t).namespace("parts", nil)
	api := shared.Client.CoreV1().ConfigMaps(own)
	for _, name := range []string{"advice", "advice-2", "advice-3"} {
		if _, err := api.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	of := func(workloads int) *policy.DNSAdvice {
		d := &policy.DNSAdvice{}
		d.APIVersion, d.Kind, d.Metadata.Name = policy.APIVersion, policy.KindAdvice, "default"
		for i := range workloads {
			w := policy.AdvisedWorkload{Namespace: "shop", Kind: "Deployment", Name: fmt.Sprintf("w%d", i), Needed: map[string]policy.Date{"3": "2026-11-29"}}
			for range 10 { // which does not compress
				name := make([]byte, 100)
				_, _ = rand.Read(name)
				w.References = append(w.References, policy.AdviceReference{Image: hex.EncodeToString(name)})
			}
			d.Spec.Workloads = append(d.Spec.Workloads, w)
		}
		return d
	}
	maps := func() *advisorrun.Maps {
		t.Helper()
		m := advisorrun.NewMaps(shared.Client, own, "advice")
		if err := m.Get(t.Context()); err != nil {
			t.Fatal(err)
		}
		return m
	}
	put := func(workloads, want int) error {
		t.Helper()
		parts, err := maps().Put(t.Context(), of(workloads))
		if parts != want {
			t.Errorf("%d workloads: %d parts, want %d (%v)", workloads, parts, want, err)
		}
		return err
	}
	stored := func() int {
		t.Helper()
		d, err := maps().Document()
		if err != nil {
			t.Fatal(err)
		}
		return len(d.Spec.Workloads)
	}
	if err := put(1200, 2); err != nil || stored() != 1200 {
		t.Errorf("%v, %d workloads", err, stored())
	}
	if err := put(3000, 0); err == nil || !strings.Contains(err.Error(), "does not fit into 3 ConfigMaps") || stored() != 1200 {
		t.Errorf("%v, %d workloads", err, stored())
	}
	if err := put(10, 1); err != nil || stored() != 10 {
		t.Errorf("%v, %d workloads", err, stored())
	}
	// As a repository makes it, of what was printed.
	var text bytes.Buffer
	if err := advisor.WriteAdvice(&text, of(5)); err != nil {
		t.Fatal(err)
	}
	found, err := api.Get(t.Context(), "advice", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found.BinaryData, found.Data = nil, map[string]string{"advice.json.gz": text.String()}
	if _, err := api.Update(t.Context(), found, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if stored() != 5 {
		t.Errorf("%d workloads", stored())
	}
	if err := put(7, 1); err != nil || stored() != 7 {
		t.Errorf("%v, %d workloads", err, stored())
	}
}
