package explain

import (
	"cmp"
	"strconv"

	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/resolver"
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

	// AssumesLocal: it would be another one if the servers that the pod asks
	// did not answer names that end in svc themselves. AssumesPrivate: it would be
	// if a namespace with a headless Service were a name outside the cluster.
	AssumesLocal   bool `json:"-"`
	AssumesPrivate bool `json:"-"`
}

// ContainerNdots is the ndots that the resolver of a container reads.
type ContainerNdots struct {
	Name string               `json:"name"`
	List policy.ContainerList `json:"list"`
	// Resolver is empty where it is not known.
	Resolver policy.Resolver `json:"resolver,omitzero"`
	// Ndots of the resolver, by RES_OPTIONS or by resolv.conf. 0 where Unknown is
	// true: on Windows, with a node's file that is not known, or with RES_OPTIONS of
	// which the value comes from where it cannot be seen here.
	Ndots   int    `json:"ndots"`
	By      string `json:"by"`
	Unknown bool   `json:"unknown,omitzero"`
	// Reason why it gets no RES_OPTIONS where others do, or where none does for a
	// reason of the containers.
	Reason  policy.Reason `json:"reason,omitzero"`
	Message string        `json:"message,omitzero"`

	// before and after are what its resolver reads beside resolv.conf.
	before, after variables
}

func newFallthrough(compiled *policy.Compiled, r *mutate.Result, before, after *policy.Pod, conf *podResolvConf) Fallthrough {
	d := &r.Decision.Fallthrough
	f := Fallthrough{
		Outcome: newOutcome(d.Outcome, compiled.Besides(&r.Request, &r.Decision).Fallthrough), Earlier: r.FallthroughEarlier, Ndots: d.Ndots, Carrier: d.Carrier, Containers: []ContainerNdots{},
	}
	theirs := d.ThroughEnvironment() // the containers' reasons count
	for target := range r.Request.ServiceHostTargets(&r.Decision.ServiceHost) {
		c := ContainerNdots{Name: target.Container.Name, List: target.List, Reason: compiled.ResOptionsReason(target.Container)}
		theirs = theirs || c.Reason == d.Reason
		hint, _ := compiled.ResolverOf(target.Container.Image)
		if hint != nil {
			c.Resolver = hint.Resolver
		}
		c.before = variablesOf(containerAt(before, &target), hint)
		c.after = variablesOf(containerAt(after, &target), hint)
		c.readNdots(conf)
		f.Containers = append(f.Containers, c)
	}
	for i := range f.Containers {
		c := &f.Containers[i]
		if !theirs {
			c.Reason = ""
		}
		c.Message = c.Reason.Sentence()
	}
	return f
}

// readNdots asks the model of the container's resolver, of glibc's where it is not
// known. RES_OPTIONS decides where another ndots in resolv.conf changes nothing.
func (c *ContainerNdots) readNdots(conf *podResolvConf) {
	c.By, c.Unknown = string(policy.CarrierResolvConf), conf.windows || conf.hostServers
	if conf.windows {
		return
	}
	if c.after.unseenOptions {
		c.By, c.Unknown = policy.EnvResOptions, true
		return
	}
	client := resolver.Client{
		Resolver: resolver.Resolver(cmp.Or(c.Resolver, policy.ResolverGlibc)), ResolvConf: conf.conf, ResOptions: c.after.resOptions,
	}
	ndots := client.Ndots()
	client.ResolvConf = resolver.ResolvConf{Options: []string{"ndots:" + strconv.Itoa(ndots^1)}}
	if client.Ndots() == ndots {
		c.By, c.Unknown = policy.EnvResOptions, false
	}
	if !c.Unknown {
		c.Ndots = ndots
	}
}

// variables are what a resolver reads in its process's environment.
type variables struct {
	resOptions, localDomain string
	// Those that are unseen are set, and cannot be seen here.
	unseenOptions, unseenDomain bool
}

// variablesOf are those of a container: of its env, else of its image's ENV. What
// comes by envFrom is not seen, and is taken to be none of them. It is empty for a
// resolver that reads neither, or that is not known.
func variablesOf(c *policy.Container, hint *policy.ImageResolver) (v variables) {
	if hint == nil || hint.Resolver != policy.ResolverGlibc && hint.Resolver != policy.ResolverCAres {
		return v
	}
	read := func(name string, image *string) (value string, unseen bool) {
		value, set, seen := c.Variable(name)
		if !set && image != nil {
			value, set = *image, true
		}
		if name == policy.EnvLocalDomain && set && seen && value == "" {
			value = " " // which the model tells from one that is not set
		}
		return value, !seen
	}
	v.resOptions, v.unseenOptions = read(policy.EnvResOptions, hint.ResOptions)
	v.localDomain, v.unseenDomain = read(policy.EnvLocalDomain, hint.LocalDomain)
	return v
}

// seen are the variables without those that are unseen.
func (v variables) seen() variables {
	return variables{resOptions: v.resOptions, localDomain: v.localDomain}
}

// unseen names the variables that are unseen.
func (v variables) unseen() string {
	switch {
	case v.unseenOptions && v.unseenDomain:
		return policy.EnvResOptions + " and " + policy.EnvLocalDomain
	case v.unseenOptions:
		return policy.EnvResOptions
	case v.unseenDomain:
		return policy.EnvLocalDomain
	}
	return ""
}

// containerAt is a target's container in the pod as it is before or after.
func containerAt(pod *policy.Pod, target *policy.Target) *policy.Container {
	if target.List == policy.InitContainers {
		return &pod.Spec.InitContainers[target.Index]
	}
	return &pod.Spec.Containers[target.Index]
}

// Description is what a container's resolver reads, in words: "glibc: ndots 2
// by RES_OPTIONS".
func (c *ContainerNdots) Description() string {
	ndots := strconv.Itoa(c.Ndots)
	if c.Unknown {
		ndots = "not known"
	}
	text := cmp.Or(string(c.Resolver), "resolver not known") + ": ndots " + ndots
	if c.By == policy.EnvResOptions {
		text += " by RES_OPTIONS"
	}
	return text
}
