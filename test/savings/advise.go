package savings

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/advisor/querylog"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
)

// asRules adds what is known of the images of now, and the rules that
// `kubectl shorthop advise` makes of the query log of now.
func asRules(w *world, s *policy.Spec) error {
	s.Resolvers = known(w.now)
	said := map[string]policy.Resolver{}
	for i := range s.Resolvers {
		said[s.Resolvers[i].Images[0]] = s.Resolvers[i].Resolver
	}
	report, all, err := w.report(func(image string) resolver.Resolver { return resolver.Resolver(said[image]) }, advisor.Settings{})
	if err != nil {
		return err
	}
	rules, _ := advisor.Rules(report, all, nil)
	for i := range rules {
		s.Rules = append(s.Rules, rules[i].Rule)
	}
	return nil
}

// evidenceDays is on how many days the log of now is seen again: advice names no value
// before it has covered so many.
const evidenceDays = 7

// inForce is the document that the advisor keeps by the query log of now, in which
// images are not known, under a policy with that floor.
func inForce(w *world, floor int) (*policy.Advice, error) {
	report, _, err := w.report(nil, advisor.Settings{Names: -1, Observe: true})
	if err != nil {
		return nil, err
	}
	var document *policy.DNSAdvice
	for range evidenceDays {
		document, _ = advisor.Advise(document, report, advisor.AdviceOptions{
			Memory: 70 * 24 * time.Hour, MinConfidence: advisor.ConfidenceMedium, At: report.Source.To, Workloads: len(w.now), Floor: floor,
		})
		report.Source.To = report.Source.To.AddDate(0, 0, 1)
		for i := range report.Workloads {
			if o := report.Workloads[i].Observation; o != nil {
				o.From, o.To = o.From.AddDate(0, 0, 1), o.To.AddDate(0, 0, 1)
			}
		}
	}
	var text bytes.Buffer
	if err := advisor.WriteAdvice(&text, document); err != nil {
		return nil, err
	}
	parsed, err := policy.ParseAdvice(text.Bytes())
	if err != nil {
		return nil, err
	}
	return policy.CompileAdvice(parsed)
}

// report is what the query log of now shows, of all its workloads.
func (w *world) report(of func(image string) resolver.Resolver, settings advisor.Settings) (*advisor.Report, []advisor.WorkloadKey, error) {
	clients := advisor.NewClients(of, nil)
	var all []advisor.WorkloadKey
	for i := range w.now {
		l := &w.now[i]
		p := l.pod()
		listed := advisor.Pod{Metadata: advisor.Metadata{PodMetadata: p.Metadata, CreationTimestamp: started(i)}, Spec: advisor.Spec{PodSpec: p.Spec}}
		for _, c := range p.Spec.Containers {
			listed.Spec.Containers = append(listed.Spec.Containers, advisor.Container{ContainerImage: policy.ContainerImage{Name: c.Name, Image: c.Image}})
		}
		listed.Status.Phase, listed.Status.PodIP, listed.Status.HostIP = "Running", l.address(i), "192.168.0.1"
		clients.Add(&listed)
		all = append(all, advisor.WorkloadKey{Namespace: l.namespace, Kind: p.Workload().Kind, Name: p.Workload().Name})
	}
	parser, err := querylog.New("")
	if err != nil {
		return nil, nil, err
	}
	collector := advisor.NewCollector(parser, clients, w.node)
	if err := collector.Read(bytes.NewReader(w.log()), nil); err != nil {
		return nil, nil, err
	}
	return collector.Report(settings), all, nil
}

// started is when a workload's pod starts: one after the other, a minute apart.
func started(i int) time.Time {
	return time.Date(2026, 1, 1, 1, i, 0, 0, time.UTC)
}

func (*workload) address(i int) string { return fmt.Sprintf("10.1.%d.%d", i/250, i%250+1) }

// log is the query log of now at the first hop, while nobody patches anything. A
// name is looked up when the pod starts, and then again and again. The month's
// lookups are within a day, since a log without lines for a while counts as one
// with gaps.
func (w *world) log() []byte {
	r := rand.New(rand.NewPCG(uint64(len(w.exist)), 2))
	type event struct {
		at       time.Time
		workload int
		client   *resolver.Client
		name     string
	}
	var events []event
	for i := range w.now {
		p := w.now[i].pod()
		clients := w.clients(&w.now[i], &p)
		for c := range clients {
			for _, use := range w.now[i].containers[c].names {
				at := started(i).Add(time.Duration(1+r.IntN(20)) * time.Second)
				for range use.times {
					events = append(events, event{at, i, &clients[c], use.name})
					at = started(i).Add(time.Minute + time.Duration(r.IntN(24*3600))*time.Second)
				}
			}
		}
	}
	slices.SortStableFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	var b bytes.Buffer
	zone := w.zone(false)
	for _, e := range events {
		result := e.client.Lookup(e.name, zone)
		port, id := 1024+r.IntN(64000), r.IntN(1<<16)
		for i, q := range result.Queries {
			if e.client.Resolver == resolver.Go || i > 0 && q.Name != result.Queries[i-1].Name {
				port, id = 1024+r.IntN(64000), r.IntN(1<<16)
			}
			code, flags := "NXDOMAIN", "qr,aa,rd"
			if zone(0, q.Name, q.Type) == resolver.Answer {
				code = "NOERROR"
			}
			fmt.Fprintf(&b, "%s [INFO] %s:%d - %d \"%s IN %s. udp %d false 512\" %s %s 149 0.000102s\n",
				e.at.Format(time.RFC3339), w.now[e.workload].address(e.workload), port, id+i&1, q.Type, strings.ToLower(q.Name), len(q.Name)+18, code, flags)
		}
	}
	return b.Bytes()
}
