package generated_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"

	"github.com/shorthop/shorthop/test/podgen"
)

// TestUnknownFieldsSurvive reviews every pod over HTTP, as an API server that is newer than this module would ask: each
// object of the pod, at every level, has a field that no version knows. The patch, applied as an API server does, must
// keep them all, and so must that of a second review under another policy, as when a pod comes from another cluster.
func TestUnknownFieldsSurvive(t *testing.T) {
	t.Parallel()
	logReplay(t)
	labels := namespaceLabels{"shop": nil, "crawl": podgen.NamespaceLabels(source(-2))}
	namespaces := slices.Sorted(maps.Keys(labels))
	var places []*place
	for i := range settings {
		asked := serve(t, settings[i].handler(t, labels))
		for _, namespace := range namespaces {
			places = append(places, &place{setting: &settings[i], namespace: namespace, reviewer: asked})
		}
	}

	tally := newTally(t)
	var unknown, redecided atomic.Int64
	eachPod(t, *podCount, tally, func(i int) {
		p := places[i%len(places)]
		other := places[(i+len(namespaces)*(1+i%(len(settings)-1)))%len(places)] // another policy, the same namespace
		rng := source(i)
		pod := podgen.Full(rng, p.namespace)
		manifest := podgen.JSON(rng, pod)
		if i%5 == 4 {
			manifest = withEphemeral(manifest, []corev1.EphemeralContainer{podgen.EphemeralContainer(rng, pod, "debug")})
		}
		newer, n := fromTheFuture(manifest)
		unknown.Add(int64(n))
		add := func(what outcome, err error) { tally.add(p.setting, what, i, err) }
		add(created, nil)
		again, err := p.review(t.Context(), newer, i%5 == 4, other, add)
		if err != nil {
			add(notAsked, err)
		}
		if again {
			redecided.Add(1)
		}
	})
	t.Logf("%d unknown fields; %d pods were patched once more under another policy", unknown.Load(), redecided.Load())
}

// review holds a review to what it may do to a pod, and says whether another policy patched the pod once more. With
// debug, the review is of an update that adds the pod's ephemeral containers.
func (p *place) review(ctx context.Context, pod []byte, debug bool, other *place, add func(outcome, error)) (redecided bool, err error) {
	q := request{namespace: p.namespace, object: pod}
	if debug {
		q.oldObject = withEphemeral(pod, nil)
	}
	if q.object, err = p.reviewer.apply(ctx, q); err != nil {
		return false, err
	}
	result := p.check(ctx, pod, q, add)
	// What is not recorded counts as the user's from then on.
	if debug || result.changed && !result.recorded {
		return false, nil
	}
	once := q.object
	if q.object, err = other.reviewer.apply(ctx, q); err != nil {
		return false, err
	}
	if bytes.Equal(q.object, once) {
		return false, nil
	}
	// A feature that the other policy skips stays as this one made it.
	both := p.with(other.setting)
	plain, errPlain := decode(pod)
	after, errAfter := decode(q.object)
	if err := errors.Join(errPlain, errAfter); err != nil {
		return false, err
	}
	if _, err := both.compare(p.namespace, plain, after); err != nil {
		add(valueChanged, fmt.Errorf("after a second review under policy %s: %w", other.name, err))
	}
	return true, nil
}

// with returns a setting under which values of both are right.
func (s *setting) with(other *setting) *setting {
	return &setting{
		name:  s.name + " and " + other.name,
		hosts: slices.Concat(s.hosts, other.hosts), ports: slices.Concat(s.ports, other.ports),
		nameservers: slices.Concat(s.nameservers, other.nameservers),
		searches:    slices.Concat(s.searches, other.searches), domains: slices.Concat(s.domains, other.domains),
		options: slices.Concat(s.options, other.options),
	}
}

// apply asks for a review and applies its patch with the library of the API server.
func (r reviewer) apply(ctx context.Context, q request) ([]byte, error) {
	operations, err := r.patch(ctx, q)
	if err != nil || len(operations) == 0 {
		return q.object, err
	}
	patch, err := jsonpatch.DecodePatch(operations)
	if err != nil {
		return nil, err
	}
	if len(patch) == 0 {
		return nil, errors.New("an empty patch instead of none")
	}
	applied, err := patch.Apply(q.object)
	if err != nil {
		return nil, fmt.Errorf("the patch %s does not apply: %w", operations, err)
	}
	return applied, nil
}

// fromTheFuture gives every object of a pod a field that no version knows, and says how many there are. Maps from
// strings to strings or quantities are no objects of the API: their keys are the user's.
func fromTheFuture(manifest []byte) (newer []byte, unknown int) {
	pod, err := decode(manifest)
	if err != nil {
		panic(err) // podgen has written it
	}
	isMap := map[string]bool{}
	for _, field := range podgen.Fields() {
		if path, ok := strings.CutSuffix(field, "{*}"); ok {
			isMap[path] = true
		}
	}
	var visit func(path string, value any)
	visit = func(path string, value any) {
		switch value := value.(type) {
		case []any:
			for _, element := range value {
				visit(path+"[*]", element)
			}
		case object:
			if isMap[path] {
				return
			}
			for _, key := range slices.Sorted(maps.Keys(value)) {
				visit(strings.TrimPrefix(path+"."+key, "."), value[key])
			}
			unknown++
			value["fieldOfTheFuture"] = object{"at": path, "number": json.Number("9007199254740993.25"), "env": nil}
		}
	}
	visit("", pod)
	newer, err = json.Marshal(pod)
	if err != nil {
		panic(err)
	}
	return newer, unknown
}
