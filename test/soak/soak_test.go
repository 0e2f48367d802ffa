package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// TestShortRun goes through everything once but for most of the faults, which have their time in `make soak`.
func TestShortRun(t *testing.T) {
	r, err := measure(t.Context(), &options{
		time: 3 * time.Second, calm: time.Second, phase: 100 * time.Millisecond, rate: 100, podRate: 20, soakRate: 50, soakPods: 5,
		shutdownDelay: 2 * time.Second, seed: shortSeed,
	})
	if err != nil {
		t.Fatal(err)
	}
	if !r.lossless() {
		t.Errorf("something is lost:\n%s", r.tables())
	}
	if got, want := len(r.Lossless), len(changes); got != want {
		t.Errorf("%d kinds of change, want %d", got, want)
	}
	for _, p := range append(slices.Clone(r.Lossless), r.Creations) {
		if p.counts.expected == 0 || p.connections == 0 || p.changes == 0 {
			t.Errorf("%s: %d changes with %s over %d connections is no load", p.name, p.changes, p.counts, p.connections)
		}
	}
	happenedOnce := 0
	for _, h := range r.Faults {
		if h.times > 0 && h.reviews.expected > 0 {
			happenedOnce++
		}
	}
	if happenedOnce < 2 || len(r.Samples) < 2 {
		t.Errorf("%d faults with reviews and %d samples, want two at least", happenedOnce, len(r.Samples))
	}
	for _, s := range r.Samples {
		for i := range figures {
			if f := &figures[i]; f.of(s) <= 0 {
				t.Errorf("%s is %v", f.name, f.of(s))
			}
		}
	}
}

// shortSeed begins with faults that are over soon.
const shortSeed = 18

// TestGeneratorNoticesEveryLoss: the generator is what all of this rests on.
func TestGeneratorNoticesEveryLoss(t *testing.T) {
	t.Parallel()
	const good = `[{"op":"add","path":"/metadata/labels","value":{}}]`
	answer := func(change func(*admissionv1.AdmissionResponse)) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) {
			var review admissionv1.AdmissionReview
			if err := json.NewDecoder(req.Body).Decode(&review); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			jsonPatch := admissionv1.PatchTypeJSONPatch
			review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true, Patch: []byte(good), PatchType: &jsonPatch}
			review.Request = nil
			change(review.Response)
			_ = json.NewEncoder(w).Encode(review)
		}
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    outcome
	}{
		"the patch of the policy": {answer(func(*admissionv1.AdmissionResponse) {}), expected},
		"the patch of another policy": {answer(func(r *admissionv1.AdmissionResponse) {
			r.Patch = []byte(strings.Replace(good, "labels", "annotations", 1))
		}), other},
		"no patch":                 {answer(func(r *admissionv1.AdmissionResponse) { r.Patch, r.PatchType = nil, nil }), unpatched},
		"a denial":                 {answer(func(r *admissionv1.AdmissionResponse) { r.Allowed = false }), failed},
		"another UID":              {answer(func(r *admissionv1.AdmissionResponse) { r.UID = "other" }), failed},
		"a patch without its type": {answer(func(r *admissionv1.AdmissionResponse) { r.PatchType = nil }), failed},
		"an error":                 {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "broken", http.StatusInternalServerError) }, failed},
		"nothing":                  {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, failed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := clustertest.CA(t)
			dir := t.TempDir()
			if err := ca.WriteServingCert(dir, siteName+"."+siteName+".svc"); err != nil {
				t.Fatal(err)
			}
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			connections := atomic.Int32{}
			server := &http.Server{Handler: test.handler, ConnState: func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					connections.Add(1)
				}
			}}
			go func() { _ = server.ServeTLS(listener, filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")) }()
			t.Cleanup(func() { server.Close() })

			reviews, err := readReviews("../..")
			if err != nil {
				t.Fatal(err)
			}
			g, err := newGenerator(reviews, listener.Addr().(*net.TCPAddr).Port)
			if err != nil {
				t.Fatal(err)
			}
			bundle, accepted := ca.Bundle(), patches{}
			for name := range reviews {
				accepted[name] = good
			}
			g.caBundle.Store(&bundle)
			g.accepted.Store(&[]patches{{}, accepted})
			for n := range 2 * freshEach {
				g.send(t.Context(), n, time.Now())
			}
			counts := g.counts.Load()
			got := map[outcome]int{}
			for o, n := range map[outcome]int{expected: counts.expected, unpatched: counts.unpatched, other: counts.other, failed: counts.failed} {
				if n > 0 {
					got[o] = n
				}
			}
			if diff := cmp.Diff(map[outcome]int{test.want: 2 * freshEach}, got); diff != "" {
				t.Errorf("(-want +got):\n%s\n%v", diff, counts.examples())
			}
			// Two of their own and one that is kept.
			if test.want == expected && connections.Load() != 3 {
				t.Errorf("%d connections, want 3", connections.Load())
			}
		})
	}
}

func TestEveryReviewIsSentOverNewConnectionsToo(t *testing.T) {
	t.Parallel()
	fresh := map[string]bool{}
	for n := range len(mix) * freshEach {
		if isFresh(n) {
			fresh[mix[n%len(mix)]] = true
		}
	}
	for _, name := range mix {
		if !fresh[name] {
			t.Errorf("never %s", name)
		}
	}
}

func TestPacer(t *testing.T) {
	t.Parallel()
	t.Run("works by the clock, and makes up for what was late", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second-time.Millisecond)
			defer cancel()
			var latest time.Duration
			done := 0
			p := newPacer(10, 1)
			p.run(ctx, func(n int, due time.Time) {
				if n == 3 {
					time.Sleep(500 * time.Millisecond)
				}
				done++
				latest = max(latest, time.Since(due))
				if got, want := due.Sub(began), time.Duration(n)*100*time.Millisecond; got != want {
					t.Errorf("%d is due at %s, want %s", n, got, want)
				}
			})
			if done != 20 || latest != 500*time.Millisecond {
				t.Errorf("%d done, the latest by %s; want 20 and 500ms", done, latest)
			}
		})
	})
	t.Run("rests, and leaves out what would have been due", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var done, underWay atomic.Int32
			p := newPacer(10, 100)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				p.run(ctx, func(int, time.Time) {
					underWay.Add(1)
					time.Sleep(250 * time.Millisecond)
					underWay.Add(-1)
					done.Add(1)
				})
			}()
			time.Sleep(time.Second + time.Millisecond)
			p.pause()
			if underWay.Load() != 0 {
				t.Errorf("%d are under way during a pause", underWay.Load())
			}
			before := done.Load()
			time.Sleep(time.Minute)
			if done.Load() != before {
				t.Errorf("%d are done during a pause", done.Load()-before)
			}
			p.resume()
			time.Sleep(time.Second - time.Millisecond)
			cancel()
			<-ended
			if got := done.Load() - before; got != 10 {
				t.Errorf("%d in the second after a pause, want 10", got)
			}
		})
	})
}

func TestJudge(t *testing.T) {
	t.Parallel()
	f := &figure{name: "heap", of: func(s sample) float64 { return s.heap }, least: 2, share: 0.15}
	for name, test := range map[string]struct {
		heap func(n int) float64
		want bool
	}{
		"flat":                          {func(int) float64 { return 10 }, true},
		"noise":                         {func(n int) float64 { return 10 + float64(n%3) }, true},
		"what a fault leaves, often":    {func(n int) float64 { return 10 + 30*float64(max(0, n%12-10)) }, true},
		"the warm-up":                   {func(n int) float64 { return 2 + 8*float64(min(n, 10))/10 }, true},
		"less than before":              {func(n int) float64 { return 100 - float64(n)/2 }, true},
		"growth within what is allowed": {func(n int) float64 { return 10 + float64(n)/80 }, true},
		"growth":                        {func(n int) float64 { return 10 + float64(n)/30 }, false},
		"growth under noise":            {func(n int) float64 { return 10 + float64(n)/25 + float64(n%5) }, false},
		"a step":                        {func(n int) float64 { return 10 + 5*float64(n/80) }, false},
		"growth of much":                {func(n int) float64 { return 1000 + 2*float64(n) }, false},
		"growth within the share":       {func(n int) float64 { return 1000 + float64(n) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var samples []sample
			for n := range 120 {
				samples = append(samples, sample{at: time.Duration(n) * 10 * time.Second, heap: test.heap(n)})
			}
			g := judge(f, samples)
			if g.flat() != test.want {
				t.Errorf("flat is %t of %+v", g.flat(), g)
			}
		})
	}
	if g := judge(f, []sample{{heap: 3}}); !g.flat() || g.first != 3 || g.last != 3 {
		t.Errorf("a single sample is judged as %+v", g)
	}
}

func TestPromises(t *testing.T) {
	t.Parallel()
	all := []outcome{expected, unpatched, other, failed}
	for name, test := range map[string]struct {
		reviews, pods           promise
		reviewsBreak, podsBreak []outcome
	}{
		"none lost":                       {noneLost, noneLost, []outcome{unpatched, other, failed}, []outcome{unpatched, other, failed}},
		"pods may be refused, not missed": {noneLost, noneMissed, []outcome{unpatched, other, failed}, []outcome{unpatched, other}},
		"a server dies":                   {mayBeLost, mayBeLost, []outcome{unpatched, other}, []outcome{other, failed}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, o := range all {
				h := &happened{fault: &fault{reviews: test.reviews, pods: test.pods}, reviews: &tally{}, pods: &tally{}}
				h.reviews.add(o, time.Now(), time.Now(), "")
				if got, want := h.kept(), !slices.Contains(test.reviewsBreak, o); got != want {
					t.Errorf("review with outcome %d: kept is %t", o, got)
				}
				h = &happened{fault: &fault{reviews: test.reviews, pods: test.pods}, reviews: &tally{}, pods: &tally{}}
				h.pods.add(o, time.Now(), time.Now(), "")
				if got, want := h.kept(), !slices.Contains(test.podsBreak, o); got != want {
					t.Errorf("pod with outcome %d: kept is %t", o, got)
				}
			}
		})
	}
}

func TestPodProblem(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*corev1.Pod)
		ok     bool
	}{
		"nothing is wrong":           {func(*corev1.Pod) {}, true},
		"no mark":                    {func(p *corev1.Pod) { delete(p.Annotations, policy.AnnotationInjected) }, false},
		"a container without host":   {func(p *corev1.Pod) { p.Spec.Containers[1].Env = nil }, false},
		"another host":               {func(p *corev1.Pod) { p.Spec.InitContainers[0].Env[0].Value = "other" }, false},
		"the cluster's DNS":          {func(p *corev1.Pod) { p.Spec.DNSConfig.Nameservers[0] = "10.0.0.10" }, false},
		"another dnsPolicy":          {func(p *corev1.Pod) { p.Spec.DNSPolicy = corev1.DNSClusterFirst }, false},
		"the ndots of another rule":  {func(p *corev1.Pod) { p.Spec.DNSConfig.Options[0].Value = new("3") }, false},
		"the ndots of the other one": {func(p *corev1.Pod) { p.Spec.DNSConfig.Options[0].Value = new("1") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			container := func(name string) corev1.Container {
				return corev1.Container{Name: name, Env: []corev1.EnvVar{{Name: "KUBERNETES_SERVICE_HOST", Value: "192.0.2.1"}}}
			}
			pod := &corev1.Pod{Spec: corev1.PodSpec{
				InitContainers: []corev1.Container{container("init")},
				Containers:     []corev1.Container{container("a"), container("b")},
				DNSPolicy:      corev1.DNSNone,
				DNSConfig: &corev1.PodDNSConfig{
					Nameservers: []string{nodeLocal, "10.0.0.10"},
					Options:     []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("2")}},
				},
			}}
			pod.Annotations = map[string]string{policy.AnnotationInjected: "{}"}
			test.change(pod)
			if problem := podProblem(pod, "192.0.2.1", []string{"2", "1"}); (problem == "") != test.ok {
				t.Errorf("the problem is %q", problem)
			}
		})
	}
}

func TestCommandRefuses(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"more"}, {"--rate", "0"}, {"--soak-pods=-1"}, {"--time", "long"}} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			t.Parallel()
			if _, err := command(t.Context(), args); err == nil {
				t.Error("no error")
			}
		})
	}
}
