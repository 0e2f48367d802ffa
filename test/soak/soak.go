package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"time"
)

// soak lets one server live through everything that the others are replaced for, and looks whether it grows. Faults come
// in rounds, in each of which every fault happens once in an order that the seed gives.
func (s *site) soak(ctx context.Context, r *results) error {
	longLived := s.replicas[0]
	r.SoakRate, r.SoakPods = s.options.soakRate, s.options.soakPods
	random := rand.New(rand.NewPCG(s.options.seed, 0))
	step("The soak: %s, seed %d", s.options.time, s.options.seed)

	between := &happened{reviews: &tally{}, pods: &tally{}, fault: &fault{name: "none", reviews: noneLost, pods: noneLost}}
	r.Faults = append(r.Faults, between)
	byFault := map[*fault]*happened{}
	for i := range faults {
		byFault[&faults[i]] = &happened{fault: &faults[i], reviews: &tally{}, pods: &tally{}}
		r.Faults = append(r.Faults, byFault[&faults[i]])
	}
	count := func(h *happened) {
		h.times++
		s.generator.counts.Store(h.reviews)
		s.creator.counts.Store(h.pods)
	}
	count(between)
	reviews, stopReviews := s.generator.start(ctx, s.options.soakRate)
	defer stopReviews()
	pods, stopPods := s.creator.start(ctx, s.options.soakPods)
	defer stopPods()
	// rest is a moment without load and without connections of the load.
	rest := func(then func() error) error {
		reviews.pause()
		defer reviews.resume()
		pods.pause()
		defer pods.resume()
		s.balancer.Cut()
		if err := sleep(ctx, 500*time.Millisecond); err != nil {
			return err
		}
		return then()
	}

	began := time.Now()
	said := began
	var round []int
	for n := 0; n == 0 || time.Since(began) < s.options.time; n++ {
		if len(round) == 0 {
			round = random.Perm(len(faults))
		}
		f := &faults[round[0]]
		round = round[1:]
		if err := sleep(ctx, s.options.calm); err != nil {
			return err
		}
		if n < len(faults) || time.Since(said) > progressInterval {
			step("%s (%s of %s)", f.name, time.Since(began).Round(time.Second), s.options.time)
			said = time.Now()
		}
		h := byFault[f]
		lost := h.reviews.lost() + h.pods.lost()
		count(h)
		if err := f.do(s, ctx, longLived); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
		if err := rest(func() error {
			if more := h.reviews.lost() + h.pods.lost() - lost; more > 0 && f.reviews == noneLost && f.pods == noneLost {
				step("%s: %d lost: %s", f.name, more, strings.Join(h.problems(), "; "))
			}
			at, err := longLived.sample(ctx, time.Since(began))
			r.Samples = append(r.Samples, at)
			count(between)
			return err
		}); err != nil {
			return err
		}
	}
	between.times = 0
	r.SoakTook = time.Since(began)
	return nil
}

// sample is what a server holds at rest.
type sample struct {
	at                         time.Duration
	goroutines, files          float64
	heapInUse, heap, anonymous float64 // MiB
}

func (r *replica) sample(ctx context.Context, at time.Duration) (sample, error) {
	const mib = 1 << 20
	// The scrape's own connection is the same each time.
	http.DefaultClient.CloseIdleConnections()
	values, err := r.metrics(ctx)
	if err != nil {
		return sample{}, fmt.Errorf("%w: %w", errLongLivedEnded, err)
	}
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", r.PID()))
	if err != nil {
		return sample{}, fmt.Errorf("counting open files: %w", err)
	}
	anonymous, err := residentAnonymous(r.PID())
	return sample{
		at: at, goroutines: values["go_goroutines"], files: float64(len(files)),
		heapInUse: values["go_memstats_heap_inuse_bytes"] / mib,
		heap:      values["go_memstats_next_gc_bytes"] / 2 / mib,
		anonymous: anonymous / mib,
	}, err
}

// residentAnonymous is RssAnon in bytes: what counts as used and cannot be dropped.
func residentAnonymous(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("reading the memory of a server: %w", err)
	}
	_, after, _ := strings.Cut(string(status), "RssAnon:")
	var kib float64
	if _, err := fmt.Sscanf(after, "%f kB", &kib); err != nil {
		return 0, fmt.Errorf("reading the memory of a server: %w", err)
	}
	return kib * 1024, nil
}
