package policy_test

import (
	"bytes"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/testfile"
)

// A reason without a row in the list has no sentence, no series from the start,
// and no case that must reach it.
func TestEveryReasonIsInTheList(t *testing.T) {
	t.Parallel()
	declared := reasonConstants(t)
	var constants, listed []string
	for _, text := range declared {
		constants = append(constants, text)
	}
	for _, text := range policy.Reasons() {
		listed = append(listed, string(text.Reason))
	}
	slices.Sort(constants)
	slices.Sort(listed)
	if diff := cmp.Diff(constants, listed); diff != "" {
		t.Errorf("reason.go: constants and rows of reasonTexts differ; a constant without a row needs one (-constants +rows):\n%s", diff)
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		source := testfile.Read(t, file)
		if made := regexp.MustCompile(`\bReason\("\w+"\)`).Find(source); made != nil && !strings.HasSuffix(file, "_test.go") {
			t.Errorf("%s makes %s: give it a constant in reason.go", file, made)
		}
	}
}

// The table at the top of skip.go is what one reads to know which pods are left
// alone, and in which order.
func TestTheTableOfSkipsHasWhatTheCodeReturns(t *testing.T) {
	t.Parallel()
	source := testfile.Read(t, "skip.go")
	rows := map[string]int{} // the first row of each reason, from 1
	for i, row := range regexp.MustCompile(`(?m)^//\t.* skip +([a-z_]+)(?: \(.*\))?$`).FindAllStringSubmatch(string(source), -1) {
		if rows[row[1]] == 0 {
			rows[row[1]] = i + 1
		}
		if policy.Reason(row[1]).Sentence() == "" {
			t.Errorf("the table at the top of skip.go has %s, which is no reason", row[1])
		}
	}
	constants := reasonConstants(t)
	returned := regexp.MustCompile(`return (Reason\w+)`)
	if !returned.Match(source) {
		t.Error("skip.go returns no reason")
	}
	inCode := map[string]bool{constants["ReasonEphemeralContainer"]: true} // decideDNS
	for function := range bytes.SplitSeq(source, []byte("\nfunc ")) {
		name, _, _ := strings.Cut(string(function), "(r *Request")
		last := 0
		for _, match := range returned.FindAllSubmatch(function, -1) {
			reason := constants[string(match[1])]
			inCode[reason] = true
			switch row := rows[reason]; {
			case row == 0:
				t.Errorf("skip.go returns %s: add a row for %s to the table at its top", match[1], reason)
			case strings.HasSuffix(name, "skipPod") && row < last:
				t.Errorf("skipPod asks for %s later than the table at the top of skip.go says: put row and condition into the same order", reason)
			default:
				last = row
			}
		}
	}
	for reason := range rows {
		if !inCode[reason] {
			t.Errorf("the table at the top of skip.go has %s, which nothing in skip.go returns", reason)
		}
	}
}

// reasonConstants returns the reasons by their names in Go.
func reasonConstants(t *testing.T) map[string]string {
	t.Helper()
	source := testfile.Read(t, "reason.go")
	constants := map[string]string{}
	for _, constant := range regexp.MustCompile(`(?m)^\t(Reason\w+) +Reason += "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		constants[constant[1]] = constant[2]
	}
	if len(constants) == 0 {
		t.Fatal("reason.go has no constants")
	}
	return constants
}

// Every skip says what it does with what an earlier review put on the pod.
func TestEverySkipSaysWhatBecomesOfAnEarlierReview(t *testing.T) {
	t.Parallel()
	for _, text := range policy.Reasons() {
		skips := slices.Contains(text.Actions, policy.ActionSkip)
		if said := text.Earlier == policy.EarlierStays || text.Earlier == policy.EarlierComesOut; said != skips {
			t.Errorf("%s: %q, skips %t", text.Reason, text.Earlier, skips)
		}
		if text.Reason.Earlier() != text.Earlier {
			t.Errorf("%s: %q, the list says %q", text.Reason, text.Reason.Earlier(), text.Earlier)
		}
	}
	if got := policy.Reason("no_such_reason").Earlier(); got != policy.EarlierStays {
		t.Errorf("a reason that is not in the list: %q", got)
	}
}
