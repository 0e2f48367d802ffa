package explain

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// Fallthrough is what is done for resolvers that try the search list after a
// name that was not found as it is.
type Fallthrough struct {
	Outcome
	// Earlier is what becomes of RES_OPTIONS of an earlier review.
	Earlier policy.Earlier `json:"earlier,omitzero"`
	// Ndots and Carrier, RES_OPTIONS or resolv.conf, are there where something is
	// injected.
	Ndots   int32          `json:"ndots,omitzero"`
	Carrier policy.Carrier `json:"carrier,omitzero"`
	// Containers say which ndots each has in the end, and why.
	Containers []ContainerNdots `json:"containers"`
}

// ContainerNdots is the ndots that the resolver of a container reads.
type ContainerNdots struct {
	Name string               `json:"name"`
	List policy.ContainerList `json:"list"`
	// Resolver is empty where it is not known.
	Resolver policy.Resolver `json:"resolver,omitzero"`
	// Ndots of the resolver, by RES_OPTIONS or by resolv.conf; 0 where that is not
	// known here.
	Ndots int    `json:"ndots"`
	By    string `json:"by"`
	// Reason why it does not get RES_OPTIONS where others do.
	Reason  policy.Reason `json:"reason,omitzero"`
	Message string        `json:"message,omitzero"`
}

func newFallthrough(compiled *policy.Compiled, r *mutate.Result, after *policy.Pod, conf *podResolvConf) Fallthrough {
	d := &r.Decision.Fallthrough
	f := Fallthrough{
		Outcome: newOutcome(d.Outcome, compiled.Besides(&r.Request, &r.Decision).Fallthrough), Earlier: r.FallthroughEarlier, Ndots: d.Ndots, Carrier: d.Carrier, Containers: []ContainerNdots{},
	}
	file := 0
	if !conf.windows && !conf.hostServers {
		file = ndotsOf(conf.conf.Options)
	}
	for target := range r.Request.ServiceHostTargets(&r.Decision.ServiceHost) {
		c := ContainerNdots{Name: target.Container.Name, List: target.List, Ndots: file, By: string(policy.CarrierResolvConf)}
		if d.ThroughEnvironment() {
			c.Reason = compiled.ResOptionsReason(target.Container)
			c.Message = c.Reason.Sentence()
		}
		hint, _ := compiled.ResolverOf(target.Container.Image)
		if hint != nil {
			c.Resolver = hint.Resolver
		}
		if words := strings.Fields(resOptionsIn(after, &target, hint)); readsResOptions(hint) && setsNdots(words) {
			c.Ndots, c.By = ndotsOf(words), policy.EnvResOptions
		}
		f.Containers = append(f.Containers, c)
	}
	return f
}

// resOptionsIn is RES_OPTIONS in the patched container: of its env the last
// entry, which is what kubelet sets, else what the image has.
func resOptionsIn(after *policy.Pod, target *policy.Target, hint *policy.ImageResolver) string {
	list := after.Spec.Containers
	if target.List == policy.InitContainers {
		list = after.Spec.InitContainers
	}
	for _, v := range slices.Backward(list[target.Index].Env) {
		if v.Name == policy.EnvResOptions {
			return v.Value
		}
	}
	if hint == nil || hint.ResOptions == nil {
		return ""
	}
	return *hint.ResOptions
}

// readsResOptions is for a container whose image is known.
func readsResOptions(hint *policy.ImageResolver) bool {
	return hint != nil && (hint.Resolver == policy.ResolverGlibc || hint.Resolver == policy.ResolverCAres)
}

func setsNdots(words []string) bool {
	return slices.ContainsFunc(words, func(word string) bool { return strings.HasPrefix(word, "ndots:") })
}

// ndotsOf reads the last ndots of resolver options; without one it is 1.
func ndotsOf(words []string) int {
	ndots := 1
	for _, word := range words {
		if value, ok := strings.CutPrefix(word, "ndots:"); ok {
			if n, err := strconv.Atoi(value); err == nil {
				ndots = min(n, 15)
			}
		}
	}
	return ndots
}

// Description is what a container's resolver reads, in words: "glibc: ndots 2
// by RES_OPTIONS".
func (c *ContainerNdots) Description() string {
	ndots := "not known"
	if c.Ndots > 0 || c.By == policy.EnvResOptions {
		ndots = strconv.Itoa(c.Ndots)
	}
	text := cmp.Or(string(c.Resolver), "resolver not known") + ": ndots " + ndots
	if c.By == policy.EnvResOptions {
		text += " by RES_OPTIONS"
	}
	return text
}

// givenTo returns the value of RES_OPTIONS that a resolver's containers get, and
// the first of them; empty where none does.
func (f *Fallthrough) givenTo(r policy.Resolver) (value, container string) {
	for i := range f.Containers {
		if c := &f.Containers[i]; f.Carrier == policy.CarrierEnvironment && c.Resolver == r && c.Reason == "" {
			return "ndots:" + strconv.Itoa(int(f.Ndots)), c.Name
		}
	}
	return "", ""
}
