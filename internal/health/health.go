// Package health answers probes and shows what the server works with.
package health

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/shorthop/shorthop/internal/advicefile"
	"github.com/shorthop/shorthop/internal/discovery"
	"github.com/shorthop/shorthop/internal/gates"
	"github.com/shorthop/shorthop/pkg/policy"
)

// Check is one condition of readiness.
type Check struct {
	Name string
	// Probe returns nil, or why the server should get no reviews.
	Probe func() error
}

// Options holds what the handler needs. Policy is required.
type Options struct {
	// Ready are the conditions of readiness; all must hold. Defaults to none.
	Ready []Check
	// Policy returns the policy in force, nil while there is none.
	Policy func() *policy.Compiled
	// NoPolicy returns why there is none. Defaults to no reason.
	NoPolicy func() error
	// Advice returns the advice in force, nil while there is none. Defaults to none.
	Advice func() *policy.Advice
	// AdvisorRun returns how the last run of the advisor ended, nil while there was
	// none. Defaults to nil: there is no advisor.
	AdvisorRun func() *advicefile.Run
	// OwnNamespace is excluded besides what the policy excludes. Defaults to
	// none.
	OwnNamespace string
	// Gates returns the health gates. Defaults to none.
	Gates func() []gates.Status
	// Discovered returns what is known of the cluster's DNS. Defaults to
	// nothing, which is not shown.
	Discovered func() discovery.Result
}

// NewHandler answers
//
//	/healthz       200 as long as the process runs. It checks nothing else, as a
//	               restart heals neither a broken policy nor an expired certificate.
//	/readyz        200 if all checks hold, else 503. Lists every check.
//	/debug/policy  the policy in force with its defaults, the health gates, what is known
//	               of the cluster's DNS, and which advice there is, as JSON; 503 above
//	               maxDebug at once
func NewHandler(o Options) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", o.ready)
	mux.HandleFunc("GET /debug/policy", limited(o.debugPolicy))
	return mux
}

// maxDebug is how many requests for the debug document are answered at once: the
// document can be large, and its readers slow.
const maxDebug = 2

// limited answers 503 where maxDebug requests are being answered.
func limited(handle http.HandlerFunc) http.HandlerFunc {
	slots := make(chan struct{}, maxDebug)
	return func(w http.ResponseWriter, req *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			handle(w, req)
		default:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "too many requests at once", http.StatusServiceUnavailable)
		}
	}
}

// ready writes what a Kubernetes component writes for /readyz?verbose, whether
// or not it is asked to be verbose: a kubelet shows it in the pod's events.
func (o *Options) ready(w http.ResponseWriter, _ *http.Request) {
	var body strings.Builder
	status, verdict := http.StatusOK, "passed"
	for _, check := range o.Ready {
		if err := check.Probe(); err != nil {
			status, verdict = http.StatusServiceUnavailable, "failed"
			fmt.Fprintf(&body, "[-]%s failed: %v\n", check.Name, err)
			continue
		}
		fmt.Fprintf(&body, "[+]%s ok\n", check.Name)
	}
	fmt.Fprintf(&body, "readyz check %s\n", verdict)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	fmt.Fprint(w, body.String())
}

// PolicyDocument is what /debug/policy shows. doctor and audit read it, also from
// servers of other versions, whose document may have more fields or fewer: fields are
// only ever added, and a reader must cope with any of them missing.
type PolicyDocument struct {
	Name string `json:"name"`
	Hash string `json:"hash"`
	// ExcludedNamespaces is what is never touched, our own namespace included.
	ExcludedNamespaces []string       `json:"excludedNamespaces"`
	Gates              []gates.Status `json:"gates"`
	// Discovered is left out where nothing is looked for, as without a cluster.
	Discovered *discovery.Result `json:"discovered,omitzero"`
	// Advice is left out where there is none.
	Advice *AdviceDocument `json:"advice,omitzero"`
	// AdvisorRun is how its last run ended; left out where there was none.
	AdvisorRun *advicefile.Run `json:"advisorRun,omitzero"`
	// Document is the policy with all defaults.
	Document *policy.InjectionPolicy `json:"document"`
}

// AdviceDocument is what /debug/policy shows of the advice in force. It leaves out
// the advice for each workload.
type AdviceDocument struct {
	Name      string `json:"name"`
	Hash      string `json:"hash"`
	Workloads int    `json:"workloads"`
	// Status is what the document says of itself.
	Status policy.AdviceStatus `json:"status"`
}

func (o *Options) debugPolicy(w http.ResponseWriter, _ *http.Request) {
	compiled := o.Policy()
	if compiled == nil {
		why := errors.New("policy_invalid")
		if o.NoPolicy != nil {
			why = cmp.Or(o.NoPolicy(), why) // NoPolicy returns nil where a policy has come into force just now
		}
		http.Error(w, why.Error(), http.StatusServiceUnavailable)
		return
	}
	excluded := slices.Clone(compiled.Document().Spec.ExcludedNamespaces)
	if o.OwnNamespace != "" && !slices.Contains(excluded, o.OwnNamespace) {
		excluded = append(excluded, o.OwnNamespace)
	}
	slices.Sort(excluded)
	document := PolicyDocument{
		Name:               compiled.Name(),
		Hash:               compiled.Hash(),
		ExcludedNamespaces: append([]string{}, excluded...),
		Gates:              []gates.Status{},
		Document:           compiled.Document(),
	}
	if o.Gates != nil {
		document.Gates = o.Gates()
	}
	if o.Discovered != nil {
		document.Discovered = new(o.Discovered())
	}
	if o.Advice != nil {
		if a := o.Advice(); a != nil {
			document.Advice = &AdviceDocument{a.Name(), a.Hash(), a.Len(), *a.Status()}
		}
	}
	if o.AdvisorRun != nil {
		document.AdvisorRun = o.AdvisorRun()
	}
	body, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// A client that leaves early has what it wanted.
	_, _ = w.Write(append(body, '\n'))
}
