package policy_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/jsontest"
	"github.com/shorthop/shorthop/test/reviewtest"
	"github.com/shorthop/shorthop/test/testfile"
)

// FuzzParse: no document makes Parse panic; what it accepts can be compiled and
// decides without a panic; and it says the same when it is written out and read
// again.
func FuzzParse(f *testing.F) {
	for _, file := range documents(f, "testdata/invalid", ".yaml") {
		data := testfile.Read(f, file)
		_, document := leadingComment(data)
		f.Add(document)
	}
	for _, c := range append(testfile.ReadCases(f, "testdata/defaults"), testfile.ReadCases(f, "../mutate/testdata/cases")...) {
		for _, section := range c.Files {
			switch section.Name {
			case "document.yaml", "defaulted.yaml", "policy.yaml", "earlier-policy.yaml":
				f.Add(section.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		parsed, err := policy.Parse(document)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without a text")
			}
			return
		}
		compiled, err := policy.Compile(parsed, "shorthop")
		if err != nil {
			t.Fatalf("accepted and cannot be compiled: %v", err)
		}
		compiled.Decide(ordinaryRequest())
		policy.Lint(document)

		written := jsontest.YAML(t, parsed)
		recompiled := reviewtest.Compile(t, written, "shorthop")
		if compiled.Hash() != recompiled.Hash() {
			t.Errorf("written out it has another hash:\n%s", written)
		}
	})
}

// What is accepted as a number is the number that is written, whatever else the
// YAML library takes for one.
func TestNumbersAreWhatIsWritten(t *testing.T) {
	t.Parallel()
	const seed = 1
	random := rand.New(rand.NewPCG(seed, seed))
	const signs = "0123456789_+-.exXobEBOinfaNIF"
	accepted := 0
	draws := 4000
	if testing.Short() {
		draws /= 10
	}
	for range draws {
		text := make([]byte, 1+random.IntN(5))
		for i := range text {
			text[i] = signs[random.IntN(len(signs))]
			if random.IntN(2) == 0 {
				text[i] = signs[random.IntN(10)]
			}
		}
		parsed, err := policy.Parse(fmt.Appendf(nil, "%sspec: {rollout: {percent: %s}}\n", documentHead, text))
		if err != nil {
			continue
		}
		accepted++
		if got := strconv.Itoa(int(*parsed.Spec.Rollout.Percent)); got != string(text) && string(text) != "-0" {
			t.Errorf("%s is read as %s", text, got)
		}
	}
	if accepted == 0 {
		t.Error("nothing was accepted")
	}
}
