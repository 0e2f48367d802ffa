package cli

import (
	"fmt"
	"strings"
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
		return nil, invalidAdvice(displayName(file), err)
	}
	compiled, err := policy.CompileAdvice(parts...)
	if err != nil {
		return nil, invalidAdvice(displayName(file), err)
	}
	return compiled, nil
}

// maxAdviceFaults of a document are told: one may have thousands.
const maxAdviceFaults = 100

// invalidAdvice has a line for each problem, as that of a policy has.
func invalidAdvice(file string, err error) error {
	text := strings.TrimPrefix(err.Error(), file+":")
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, file+": "+line)
		}
	}
	if more := len(lines) - maxAdviceFaults; more > 0 {
		lines = append(lines[:maxAdviceFaults], fmt.Sprintf("%s: and %d problems more", file, more))
	}
	return invalid(lines)
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
