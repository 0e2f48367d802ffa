package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/shorthop/shorthop/internal/doctor"
)

// What the path was observed from is told as a source, and what is not known as a sentence.
func TestThePathIsTold(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	writeReport(text{b: &b}, &doctor.Report{Paths: []doctor.Path{{Of: "dns", Hops: []doctor.Hop{
		{Name: "kube-dns 10.0.0.10", From: "the policy"},
		{Name: doctor.HopUnknown, From: "whom pods ask is not known, as Services cannot be looked for: needs the right to list services"},
	}}}})
	const want = `dns  pod -> kube-dns 10.0.0.10 -> unknown
       kube-dns 10.0.0.10: by the policy
       whom pods ask is not known, as Services cannot be looked for: needs the right to list
       services
`
	if got := b.String(); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
