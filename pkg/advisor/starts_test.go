package advisor_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// TestASilentLogCoversNoStart has a pod that asks for a name two seconds after it was made. Whether its log has all that it asked
// is told by lines of anybody before it was made and until ten minutes behind: silence may be lines that were lost.
func TestASilentLogCoversNoStart(t *testing.T) {
	t.Parallel()
	made := time.Date(2026, 1, 2, 3, 30, 0, 0, time.UTC)
	everyMinute := func(from, to int) (seconds []int) {
		for s := from; s <= to; s += 60 {
			seconds = append(seconds, s)
		}
		return seconds
	}
	for name, test := range map[string]struct {
		own, others []int // when somebody asks, in seconds from when the pod was made
		want        int
	}{
		"others ask all the time":                                  {[]int{2}, everyMinute(-60, 600), 1},
		"others ask before, and the pod all the time":              {everyMinute(2, 602), []int{-1}, 1},
		"the log begins with the pod":                              {everyMinute(2, 602), nil, 0},
		"the log begins with others, between the pod and its line": {everyMinute(2, 602), []int{1}, 0},
		"others ask before, and nobody any more":                   {[]int{2}, []int{-1}, 0},
		"others ask all the time, for less than ten minutes":       {[]int{2}, everyMinute(-60, 540), 0},
		"others ask before, and not for long":                      {[]int{2}, []int{-1, 840}, 0},
		"others ask long before, and the pod all the time":         {everyMinute(2, 602), []int{-840}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pod, other := webPod(), webPod()
			pod.Metadata.CreationTimestamp = made
			other.Metadata.Name, other.Metadata.OwnerReferences[0].Name, other.Status.PodIP = "other-0", "other", "10.0.0.2"
			clients := advisor.NewClients(nil, nil)
			clients.Add(pod)
			clients.Add(other)
			lines := map[int]string{}
			for i, seconds := range [][]int{test.own, test.others} {
				for _, s := range seconds {
					asked := line(1000+s, 1, "A", "api.example.com", "NOERROR")
					lines[s] += made.Add(time.Duration(s)*time.Second).Format(time.RFC3339) + " " + strings.Replace(asked, "10.0.0.1", fmt.Sprintf("10.0.0.%d", i+1), 1)
				}
			}
			var log strings.Builder
			for s := -900; s <= 900; s++ {
				log.WriteString(lines[s])
			}
			collector := advisor.NewCollector(new(querylog.Parser), clients, resolver.Node{ClusterDomain: "cluster.local"})
			if err := collector.Read(strings.NewReader(log.String()), nil); err != nil {
				t.Fatal(err)
			}
			report := collector.Report(advisor.Settings{Observe: true})
			for i := range report.Workloads {
				if w := &report.Workloads[i]; w.Name == "web" && (w.Completeness.Starts != test.want || len(w.Observation.Started) != test.want) {
					t.Errorf("%d starts, %v; want %d of:\n%s", w.Completeness.Starts, w.Observation.Started, test.want, log.String())
				}
			}
		})
	}
}
