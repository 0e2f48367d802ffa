package cli

import (
	"fmt"
	"time"

	"github.com/shorthop/shorthop/internal/advicefile"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
)

// readAdvice reads a document of advice.
func (s *Streams) readAdvice(file string) (*policy.Advice, error) {
	data, err := s.readAtMost(file, policy.MaxAdviceSize+1)
	if err != nil {
		return nil, err
	}
	parts, err := advicefile.Parse([]advicefile.File{{Name: displayName(file), Data: data}})
	if err != nil {
		return nil, failure("%v", err)
	}
	compiled, err := policy.CompileAdvice(parts...)
	if err != nil {
		return nil, failure("%s: %v", displayName(file), err)
	}
	return compiled, nil
}

// writeAdvice says nothing where there is no advice and none is asked for.
func (e explanationText) writeAdvice(t text) {
	a := &e.Advice
	if a.Document == "" && a.Reason != policy.ReasonAdviceNone {
		return
	}
	t.outcome("Advice", &a.Outcome, "")
	if a.Ndots > 0 {
		t.labelled("ndots", fmt.Sprintf("%d in resolv.conf", a.Ndots))
	}
	if a.Fallthrough > 0 {
		t.labelled("fallthrough", fmt.Sprintf("%d for resolvers that fall through", a.Fallthrough))
	}
	if a.Evidence == nil {
		t.labelled("assumes", "that there is no advice (--advice)")
		return
	}
	t.labelled("document", fmt.Sprintf("%s, of %s", a.Document, count(a.Evidence.Known, "workload")))
	if to := a.Evidence.To; !to.IsZero() {
		t.labelled("evidence", fmt.Sprintf("up to %s, %s of %d then; %s covered", to.UTC().Format(time.RFC3339),
			count(int(a.Evidence.Observed), "workload"), a.Evidence.Workloads, time.Duration(a.Evidence.CoveredSeconds)*time.Second))
	}
	for _, gap := range a.Evidence.Incomplete {
		t.labelled("incomplete", printable.Line(gap))
	}
}
