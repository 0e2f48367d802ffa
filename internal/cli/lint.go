package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/spf13/cobra"
	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/shorthop/shorthop/internal/manifest"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/pkg/printable"
)

const kindWebhookConfig = "MutatingWebhookConfiguration"

// maxLinted is how many bytes a file can have: a policy has far less, and a
// rendered chart with its CustomResourceDefinitions has some.
const maxLinted = 32 << 20

type lintOptions struct {
	policyFile   string
	ownNamespace string
	output       *choice
}

// lintResult is what lint -o json prints for a policy or a webhook
// configuration. Fields are only ever added.
type lintResult struct {
	File string `json:"file"`
	// Document is which document of the file it is, from 1, where it has
	// several.
	Document int    `json:"document,omitzero"`
	Kind     string `json:"kind,omitzero"`
	// Name, and of a policy its hash and number of rules: where there are no
	// errors.
	Name     string    `json:"name,omitzero"`
	Hash     string    `json:"hash,omitzero"`
	Rules    *int      `json:"rules,omitzero"`
	Errors   []finding `json:"errors"`
	Warnings []finding `json:"warnings"`

	source string // what lines begin with
}

func newLint(s Streams) *cobra.Command {
	var o lintOptions
	command := &cobra.Command{
		Use:   "lint FILE...",
		Short: "Check policies and webhook configurations",
		Long: `Check policies and webhook configurations.

Prints every error of a policy as "FILE: path: message" and exits with 1; for a
valid one prints its name, hash and number of rules, and warnings about what is
valid and perhaps not meant.

A file that holds MutatingWebhookConfigurations is checked for entries that
would make Shorthop's pods wait for themselves, reach into namespaces that the
policy excludes, or fire where pods cannot be patched. The policy is the one
that --policy names, or the only one among the files.

With -o json: {"items": [{file, document, kind, name, hash, rules,
errors: [{field, message}], warnings: [{field, message}]}]}.`,
		Example: `  # In continuous integration
  kubectl shorthop lint policies/*.yaml

  # What a chart renders, against the policy it is meant for
  helm template ./chart | kubectl shorthop lint - --policy policy.yaml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return failure("lint needs at least one FILE (- for standard input)")
			}
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions(yamlExtensions, cobra.ShellCompDirectiveFilterFileExt),
		RunE:              func(_ *cobra.Command, args []string) error { return o.run(s, args) },
	}
	policyFlag(command, &o.policyFile, "policy that webhook configurations are for (default: the only one among the files)")
	ownNamespaceFlag(command, &o.ownNamespace)
	o.output = outputFlag(command, outputText, outputJSON)
	return command
}

func (o *lintOptions) run(s Streams, files []string) error {
	if err := onlyOneStdin(append([]string{o.policyFile}, files...)...); err != nil {
		return err
	}
	if err := checkOwnNamespace(o.ownNamespace); err != nil {
		return err
	}
	var (
		results  []lintResult
		configs  []lintedConfig
		policies []*policy.InjectionPolicy
	)
	for _, file := range files {
		data, err := s.readAtMost(file, maxLinted+1)
		if err != nil {
			return err
		}
		if len(data) > maxLinted {
			return failure("cannot read %s: too large: files have at most %d bytes", displayName(file), maxLinted)
		}
		documents, problems := manifest.Documents(displayName(file), data)
		if !slices.ContainsFunc(documents, func(d manifest.Document) bool { return d.Kind == kindWebhookConfig }) {
			result, p := lintPolicy(file, displayName(file), data)
			results = append(results, result)
			policies = append(policies, p)
			continue
		}
		for _, problem := range problems {
			results = append(results, lintResult{
				File: file, Errors: []finding{problem.Finding}, Warnings: []finding{}, source: problem.Place.String(),
			})
		}
		for i := range documents {
			switch d := &documents[i]; d.Kind {
			case policy.Kind:
				result, p := lintPolicy(file, d.String(), d.Text)
				result.Document = d.Document
				results = append(results, result)
				policies = append(policies, p)
			case kindWebhookConfig:
				configs = append(configs, lintedConfig{file, d})
			}
		}
	}
	if len(configs) > 0 {
		p, err := o.policyFor(s, policies)
		if err != nil {
			return err
		}
		for i := range configs {
			results = append(results, o.lintConfig(configs[i], p))
		}
	}
	return o.report(s, results)
}

// policyFor is the policy that webhook configurations are held against. It is
// nil where the only one is not valid, which is a finding of its own.
func (o *lintOptions) policyFor(s Streams, policies []*policy.InjectionPolicy) (*policy.InjectionPolicy, error) {
	switch {
	case o.policyFile != "":
		return s.loadPolicy(o.policyFile)
	case len(policies) == 1:
		return policies[0], nil
	case len(policies) == 0:
		return nil, failure("a %s is checked against a policy: name it with --policy", kindWebhookConfig)
	}
	return nil, failure("a %s is checked against one policy, but there are %d among the files: name it with --policy", kindWebhookConfig, len(policies))
}

// lintPolicy checks a policy just as the server reads it. The policy is nil
// where it is not valid.
func lintPolicy(file, source string, data []byte) (lintResult, *policy.InjectionPolicy) {
	result := lintResult{File: file, Kind: policy.Kind, Errors: []finding{}, Warnings: []finding{}, source: source}
	p, err := policy.Parse(data)
	if err != nil {
		result.Errors = singleErrors(err)
		return result, nil
	}
	compiled, err := policy.Compile(p, "")
	if err != nil {
		result.Errors = singleErrors(err)
		return result, nil
	}
	result.Name, result.Hash, result.Rules = compiled.Name(), compiled.Hash(), new(len(p.Spec.Rules))

	for _, warning := range policy.Lint(data) {
		result.Warnings = append(result.Warnings, finding(warning))
	}
	return result, p
}

// lintedConfig is a webhook configuration in a file.
type lintedConfig struct {
	file string
	*manifest.Document
}

func (o *lintOptions) lintConfig(d lintedConfig, p *policy.InjectionPolicy) lintResult {
	result := lintResult{
		File: d.file, Document: d.Place.Document, Kind: kindWebhookConfig, Errors: []finding{}, Warnings: []finding{}, source: d.String(),
	}
	if metadata, isObject := d.Object["metadata"].(map[string]any); isObject {
		result.Name, _ = metadata["name"].(string)
	}
	if want := admissionv1.SchemeGroupVersion.String(); d.APIVersion != want {
		result.Errors = append(result.Errors, finding{Field: "apiVersion", Message: fmt.Sprintf("got %q, want %s", d.APIVersion, want)})
		return result
	}
	if d.Twice != "" {
		result.Errors = append(result.Errors, finding{Message: d.Twice})
	}
	wrong, unknown := d.Check(reflect.TypeFor[admissionv1.MutatingWebhookConfiguration]())
	result.Errors = append(result.Errors, wrong...)
	result.Warnings = append(result.Warnings, unknown...)
	if len(wrong) > 0 {
		return result
	}
	var config admissionv1.MutatingWebhookConfiguration
	encoded, err := json.Marshal(d.Object)
	if err == nil {
		err = json.Unmarshal(encoded, &config)
	}
	if err != nil {
		result.Errors = append(result.Errors, finding{Message: err.Error()})
		return result
	}
	for _, e := range webhookconfig.Validate(&config, o.ownNamespace, p) {
		result.Errors = append(result.Errors, finding{Field: e.Field, Message: e.ErrorBody()})
	}
	return result
}

// report prints the results. Errors make the exit code 1, warnings do not.
func (o *lintOptions) report(s Streams, results []lintResult) error {
	for i := range results {
		results[i].Errors, results[i].Warnings = firstOf(results[i].Errors, "errors"), firstOf(results[i].Warnings, "warnings")
	}
	var b bytes.Buffer
	if o.output.value == outputJSON {
		if err := writeJSON(&b, map[string]any{"items": results}); err != nil {
			return failure("cannot write the %s: %v", o.output.value, err)
		}
	} else {
		for i := range results {
			results[i].writeText(s.text(&b))
		}
	}
	if err := s.write(b.Bytes()); err != nil {
		return err
	}
	for i := range results {
		if len(results[i].Errors) > 0 {
			return errFindings
		}
	}
	return nil
}

// maxFindings is how many errors, and warnings, of a document are shown. Of a
// policy Parse tells no more itself.
const maxFindings = 101

func firstOf(findings []finding, what string) []finding {
	if more := len(findings) - maxFindings + 1; more > 1 {
		return append(findings[:maxFindings-1], finding{Message: fmt.Sprintf("and %d more %s", more, what)})
	}
	return findings
}

func (r *lintResult) writeText(t text) {
	for _, e := range r.Errors {
		t.line(r.source + ": " + printable.Clip(e.String()))
	}
	for _, warning := range r.Warnings {
		t.line(r.source + ": warning: " + printable.Clip(warning.String()))
	}
	switch {
	case len(r.Errors) > 0:
	case r.Rules != nil:
		t.line(fmt.Sprintf("%s: ok: policy %s, hash %s, %s", r.source, r.Name, r.Hash, count(*r.Rules, "rule")))
	default:
		t.line(fmt.Sprintf("%s: ok: %s %s", r.source, r.Kind, printable.Name(r.Name)))
	}
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
