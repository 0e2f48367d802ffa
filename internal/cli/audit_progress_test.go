package cli

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/internal/audit"
	"github.com/shorthop/shorthop/pkg/policy"
)

// On a terminal there is a bar for each namespace, in a pipe there is none.
func TestProgressOfARollout(t *testing.T) {
	t.Parallel()
	tally := audit.NewTally()
	add := func(namespace string, class audit.Class, n int) {
		for range n {
			p := &audit.Pod{}
			p.Metadata.Namespace = namespace
			p.Pod.Metadata = policy.PodMetadata{Name: "a"}
			finding := audit.Finding{Class: class, Reason: audit.ReasonOlderPolicy}
			tally.Add(p, audit.Verdict{ServiceHost: finding, DNS: finding})
		}
	}
	add("shop", audit.OK, 3)
	add("shop", audit.Stale, 1)
	add("done", audit.OK, 1)
	add("a\x1b[2J", audit.Missed, 1)
	add("many", audit.OK, 999)
	add("many", audit.Missed, 1)
	for _, bars := range []bool{false, true} {
		o := &auditOptions{bars: bars}
		var b bytes.Buffer
		o.writeProgress(text{b: &b}, tally)
		got := b.String()
		wants := []string{"NAMESPACE", "shop", " 75%", "25%", "<1%", "99%", "namespaces that are done: 1; with nothing to inject: 0"}
		if bars {
			wants = append(wants, "[###############.....]", "[....................]")
		}
		for _, want := range wants {
			if !strings.Contains(got, want) {
				t.Errorf("bars %t: no %q in\n%s", bars, want, got)
			}
		}
		if strings.Contains(got, "\x1b") || strings.Contains(got, "[#") != bars || strings.Contains(got, "done ") && !strings.Contains(got, "done: 1") {
			t.Errorf("bars %t: got\n%s", bars, got)
		}
	}
}

func TestAPipeIsNoTerminal(t *testing.T) {
	t.Parallel()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // a character device, as a terminal is
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	for _, c := range []struct {
		streams Streams
		want    bool
	}{{Streams{Out: writer}, false}, {Streams{Out: &bytes.Buffer{}}, false}, {Streams{Out: device}, true}} {
		if got := c.streams.onTerminal(); got != c.want {
			t.Errorf("%T: got %t", c.streams.Out, got)
		}
	}
}
