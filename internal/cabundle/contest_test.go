package cabundle

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/test/cluster/clustertest"
)

// recorder counts.
type recorder struct {
	mu      sync.Mutex
	undone  int
	dropped map[Dropped]int
	gone    bool
}

func (r *recorder) CASecretPresent(is bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone = !is
}

func (r *recorder) CABundleUndone() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.undone++
}

func (r *recorder) CABundleDropped(why Dropped, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dropped == nil {
		r.dropped = map[Dropped]int{}
	}
	r.dropped[why] += n
}

func (r *recorder) read() (undone, excess int, gone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.undone, r.dropped[DroppedExcess], r.gone
}

func TestContest(t *testing.T) {
	t.Parallel()
	start := time.Now()
	var c contest
	now := start
	if c.observe(false, now) || c.next.After(now) {
		t.Error("the first change is not made at once")
	}
	c.observe(true, now)
	// As fast as the other writer can.
	longer := false
	for n := range 20 {
		if !c.observe(false, now) || c.observe(false, now) {
			t.Fatalf("change %d is not counted once", n)
		}
		least, most := time.Duration(0), time.Duration(0)
		if n > 0 {
			least = min(time.Second<<(n-1), time.Minute)
			most = least + least/2
		}
		if n > 6 {
			least = time.Minute
			most = least + least/2
		}
		if wait := c.next.Sub(now); wait < least || wait > most {
			t.Errorf("after change %d, the next is in %s, want %s to %s", n, wait, least, most)
		}
		longer = longer || c.next.Sub(now) > least
		if c.going() != (n > 0) || c.undone != n+1 {
			t.Errorf("after change %d, it is going on: %t, %d times", n, c.going(), c.undone)
		}
		now = c.next
		c.observe(true, now)
	}
	if !longer { // replicas that began together would write together
		t.Error("no interval is longer than another replica's")
	}
	c.observe(true, now.Add(quiet-2*time.Minute))
	if !c.going() {
		t.Error("it is over too early")
	}
	wrong := c
	wrong.observe(false, now)
	if wrong.observe(false, now.Add(quiet)); !wrong.going() {
		t.Error("it is over while the bundle is wrong")
	}
	now = now.Add(quiet)
	c.observe(true, now)
	if c.going() || !c.observe(false, now) || c.next.After(now) {
		t.Error("after quiet, it does not begin anew")
	}
}

func TestWriters(t *testing.T) {
	t.Parallel()
	at := func(minute int) *metav1.Time {
		return new(metav1.NewTime(time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC)))
	}
	entry := func(manager, fields string, when *metav1.Time) metav1.ManagedFieldsEntry {
		return metav1.ManagedFieldsEntry{Manager: manager, Time: when, FieldsV1: metav1.NewFieldsV1(fields)}
	}
	bundle := `{"f:webhooks":{"k:{\"name\":\"a\"}":{"f:clientConfig":{"f:caBundle":{}}}}}`
	got := Writers([]metav1.ManagedFieldsEntry{
		entry("helm", `{"f:webhooks":{}}`, at(3)), entry(fieldManager, bundle, at(1)), entry("b", bundle, nil),
		{Manager: "none"}, entry("argocd", bundle, at(2)), entry("a", bundle, nil),
	})
	var names []string
	for _, w := range got {
		names = append(names, w.Manager)
	}
	if want := []string{"argocd", fieldManager, "a", "b"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
	if got := rival([]metav1.ManagedFieldsEntry{entry("argocd", bundle, at(1)), entry(fieldManager, bundle, at(2))}); got != "argocd" {
		t.Errorf("the rival is %q: we are none of our own", got)
	}
	if got := rival([]metav1.ManagedFieldsEntry{entry(fieldManager, bundle, at(1)), entry("helm", `{"f:webhooks":{}}`, at(3))}); got != "" {
		t.Errorf("the rival is %q, which has not written the bundle", got)
	}
}

// TestAnotherWriter puts its own bundle back as soon as it is changed, for some seconds, with 300 CAs of its own: two
// replicas write a few times and not hundreds of times, say why nothing is trusted, and have the last word.
func TestAnotherWriter(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	configs := f.control.Client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	ca := newAuthority(t, time.Now().Add(time.Hour))
	var theirs []byte
	for range 300 {
		theirs = append(theirs, newAuthorityFor(t, time.Now().Add(time.Hour), "somebody").pem()...)
	}
	f.createSecret()
	f.setCA(ca.pem())
	created := f.createConfiguration(theirs, theirs)
	watch, err := configs.Watch(t.Context(), metav1.ListOptions{ResourceVersion: created.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	fight, stop := context.WithTimeout(t.Context(), 6*time.Second)
	defer stop()
	written := make(chan int, 1)
	go func() {
		n := 0
		defer func() { written <- n }()
		for {
			select {
			case <-fight.Done():
				watch.Stop()
				return
			case <-watch.ResultChan():
			}
			config, err := configs.Get(t.Context(), name, metav1.GetOptions{})
			if err != nil || bytes.Equal(config.Webhooks[0].ClientConfig.CABundle, theirs) {
				continue
			}
			for i := range config.Webhooks {
				config.Webhooks[i].ClientConfig.CABundle = theirs
			}
			if _, err := configs.Update(t.Context(), config, metav1.UpdateOptions{FieldManager: "cainjector"}); err == nil {
				n++
			}
		}
	}()
	recorders := []*recorder{{}, {}}
	injectors := []*Injector{f.startWith(recorders[0]), f.startWith(recorders[1])}
	for n, injector := range injectors {
		clustertest.Eventually(f, "it says who it is", func() bool { return strings.Contains(injector.Trouble(), `field manager "cainjector" writes`) })
		if undone, excess, _ := recorders[n].read(); undone < 2 {
			t.Errorf("replica %d was undone %d times, and dropped %d", n, undone, excess)
		}
	}
	<-fight.Done()
	foreign := <-written
	ours := int(f.configuration().Generation) - 1 - foreign
	t.Logf("in 6 s they wrote %d times, two replicas %d times", foreign, ours)
	if ours > 12 {
		t.Errorf("two replicas wrote %d times in 6 s", ours)
	}

	clustertest.Eventually(f, "the bundle is right again", func() bool {
		return !slices.ContainsFunc(injectors, func(i *Injector) bool { return !i.Trusted(ca.leaf(t), 0) })
	})
	for _, webhook := range f.configuration().Webhooks {
		got, _ := parse(webhook.ClientConfig.CABundle)
		if len(got) > maxCertificates || len(webhook.ClientConfig.CABundle) > maxBytes {
			t.Errorf("%d certificates of %d bytes", len(got), len(webhook.ClientConfig.CABundle))
		}
	}
	total := 0
	for _, r := range recorders {
		_, excess, _ := r.read()
		total += excess
	}
	if total < 2*(300+1-maxCertificates) {
		t.Errorf("%d are said to be dropped", total)
	}

	// The Secret is deleted: what is published stays, and it is told.
	if err := f.control.Client.CoreV1().Secrets("default").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	clustertest.Eventually(f, "the missing Secret is told", func() bool {
		_, _, gone := recorders[0].read()
		return gone && injectors[0].Trouble() == "Secret default/shorthop is not there"
	})
	if !injectors[0].Trusted(ca.leaf(t), 0) {
		t.Error("the CA is not trusted any more")
	}
	f.createSecret()
	clustertest.Eventually(f, "it is back", func() bool {
		_, _, gone := recorders[0].read()
		return !gone
	})
}

// Of several troubles the one is told that keeps most from working.
func TestTrouble(t *testing.T) {
	t.Parallel()
	config := &admissionv1.MutatingWebhookConfiguration{}
	theirs := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{
		{Manager: "argocd\n", FieldsV1: metav1.NewFieldsV1(`{"f:webhooks":{"f:caBundle":{}}}`)},
	}}}
	for want, test := range map[string]struct {
		gone   bool
		config *admissionv1.MutatingWebhookConfiguration
		undone int
	}{
		"":                                       {false, config, 1}, // as an upgrade does
		"Secret default/ca is not there":         {true, nil, 2},
		"there is no webhook configuration hook": {false, nil, 2},
		"somebody else writes the caBundle of webhook configuration hook too, and has undone it 2 times":            {false, config, 2},
		`field manager "argocd\n" writes the caBundle of webhook configuration hook too, and has undone it 3 times`: {false, theirs, 3},
	} {
		i := &Injector{Options: Options{Namespace: "default", Secret: "ca", Configuration: "hook"}, secretGone: test.gone, contest: contest{undone: test.undone}}
		if i.updateTrouble(test.config); i.Trouble() != want {
			t.Errorf("%q, want %q", i.Trouble(), want)
		}
	}
}
