package advisor_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/resolver"
	"github.com/shorthop/shorthop/test/loggen"
	"github.com/shorthop/shorthop/test/testfile"
)

var (
	lines   = flag.Int64("lines", 1_000_000, "lines of the log that is read")
	pods    = flag.Int("clients", 10_000, "pods in it")
	perPod  = flag.Int("per-client", 20, "lookups of each pod in the block that is repeated")
	maxHeap = flag.Int64("max-memory", 256, "MiB of resident memory that may be in use at the peak; 0: any")
)

// repeated is a block that is read again and again, each time with other durations:
// lines that are alike would count once.
type repeated struct {
	block []byte
	at    int
	left  int64 // bytes
	times int
}

func (r *repeated) Read(p []byte) (int, error) {
	if r.left <= 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(int64(len(p)), r.left)], r.block[r.at:])
	r.left -= int64(n)
	if r.at += n; r.at == len(r.block) {
		r.at = 0
		before, now := fmt.Appendf(nil, "%03ds\n", (102+r.times)%1000), fmt.Appendf(nil, "%03ds\n", (103+r.times)%1000)
		r.times++
		for at := 0; ; at += len(now) {
			next := bytes.Index(r.block[at:], before)
			if next < 0 {
				break
			}
			at += next
			copy(r.block[at:], now)
		}
	}
	return n, nil
}

// TestLongLogs reads a long log in bounded memory. `make bench` says how fast.
func TestLongLogs(t *testing.T) {
	var block bytes.Buffer
	cluster := loggen.New(loggen.Options{Seed: 1, Workloads: *pods, Lookups: *perPod, Timestamps: true, Loss: 5})
	if _, err := cluster.Write(&block); err != nil {
		t.Fatal(err)
	}
	inBlock := int64(bytes.Count(block.Bytes(), []byte("\n")))
	size := int64(float64(block.Len()) / float64(inBlock) * float64(*lines))
	generated := resident(t, "VmRSS")

	clients := advisor.NewClients(loggen.ResolverOf, nil)
	for _, pod := range cluster.Pods() {
		clients.Add(&pod)
	}
	collector := advisor.NewCollector(new(querylog.Parser), clients, resolver.Node{ClusterDomain: loggen.ClusterDomain})
	if err := collector.Read(&repeated{block: block.Bytes(), left: size}, nil); err != nil {
		t.Fatal(err)
	}
	report := collector.Report(advisor.Settings{Names: 10})
	used := resident(t, "VmHWM") - generated
	t.Logf("%d lines (%d MiB), %d pods, %d workloads; memory at the peak, without the block that is repeated: %d MiB",
		report.Source.Lines, report.Source.Bytes>>20, clients.Len(), len(report.Workloads), used>>10)
	if report.Source.Queries < report.Source.Lines-1 || len(report.Workloads) != *pods {
		t.Errorf("%d queries in %d lines, %d workloads of %d pods", report.Source.Queries, report.Source.Lines, len(report.Workloads), *pods)
	}
	if *maxHeap > 0 && used>>10 > *maxHeap {
		t.Errorf("%d MiB in use, want at most %d", used>>10, *maxHeap)
	}
}

// resident is the process's memory in KiB, now or at the peak.
func resident(t *testing.T, field string) (size int64) {
	t.Helper()
	status := testfile.Read(t, "/proc/self/status")
	_, rest, _ := strings.Cut(string(status), field+":")
	if _, err := fmt.Sscan(rest, &size); err != nil {
		t.Fatal(err)
	}
	return size
}
