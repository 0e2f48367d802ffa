//go:build chart

package chart_test

import (
	"os"
	"testing"
)

// The suites of helm-unittest, charts/shorthop/tests: one for each condition in a template.
func TestSuitesOfHelmUnittest(t *testing.T) {
	out, err := output(t, os.Getenv("HELM_UNITTEST"), "--strict", chartDir)
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	t.Log(out)
}
