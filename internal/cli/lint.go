package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"

	"github.com/spf13/cobra"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
)

const kindWebhookConfig = "MutatingWebhookConfiguration"

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
		data, err := s.read(file)
		if err != nil {
			return err
		}
		documents, problems := readDocuments(file, data)
		if !slices.ContainsFunc(documents, func(d document) bool { return d.kind == kindWebhookConfig }) {
			result, p := lintPolicy(file, displayName(file), data)
			results = append(results, result)
			policies = append(policies, p)
			continue
		}
		for _, problem := range problems {
			results = append(results, lintResult{
				File: file, Errors: []finding{problem.finding}, Warnings: []finding{}, source: problem.source,
			})
		}
		for i := range documents {
			switch d := &documents[i]; d.kind {
			case policy.Kind:
				result, p := lintPolicy(file, d.source, d.text)
				result.Document = d.number
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

	// Parse accepted it, so there is one document. The decoder would stop at an
	// empty one before it.
	var written policy.InjectionPolicy
	if err := yaml.Unmarshal(splitYAML(data)[0].text, &written); err == nil {
		for _, warning := range policy.Lint(&written) {
			result.Warnings = append(result.Warnings, finding(warning))
		}
	}
	return result, p
}

// lintedConfig is a webhook configuration in a file.
type lintedConfig struct {
	file string
	*document
}

func (o *lintOptions) lintConfig(d lintedConfig, p *policy.InjectionPolicy) lintResult {
	result := lintResult{
		File: d.file, Document: d.number, Kind: kindWebhookConfig, Errors: []finding{}, Warnings: []finding{}, source: d.source,
	}
	result.Name, _ = child(d.object, "metadata")["name"].(string)
	if want := admissionv1.SchemeGroupVersion.String(); d.apiVersion != want {
		result.Errors = append(result.Errors, finding{"apiVersion", fmt.Sprintf("got %q, want %s", d.apiVersion, want)})
		return result
	}
	var s shape
	s.check(d.object, reflect.TypeFor[admissionv1.MutatingWebhookConfiguration](), d.at)
	result.Errors = append(result.Errors, s.wrong...)
	result.Warnings = append(result.Warnings, s.unknown...)
	if len(s.wrong) > 0 {
		return result
	}
	var config admissionv1.MutatingWebhookConfiguration
	encoded, err := json.Marshal(d.object)
	if err == nil {
		err = json.Unmarshal(encoded, &config)
	}
	if err != nil {
		result.Errors = append(result.Errors, finding{Message: err.Error()})
		return result
	}
	for _, e := range webhookconfig.Validate(&config, o.ownNamespace, p) {
		result.Errors = append(result.Errors, finding{e.Field, e.ErrorBody()})
	}
	return result
}

// report prints the results. Errors make the exit code 1, warnings do not.
func (o *lintOptions) report(s Streams, results []lintResult) error {
	var b bytes.Buffer
	if o.output.value == outputJSON {
		if err := writeJSON(&b, map[string]any{"items": results}); err != nil {
			return failure("%v", err)
		}
	} else {
		for i := range results {
			results[i].writeText(&b)
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

func (r *lintResult) writeText(b *bytes.Buffer) {
	for _, e := range r.Errors {
		fmt.Fprintf(b, "%s: %s\n", r.source, e)
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(b, "%s: warning: %s\n", r.source, warning)
	}
	switch {
	case len(r.Errors) > 0:
	case r.Rules != nil:
		fmt.Fprintf(b, "%s: ok: policy %s, hash %s, %s\n", r.source, r.Name, r.Hash, count(*r.Rules, "rule"))
	default:
		fmt.Fprintf(b, "%s: ok: %s %s\n", r.source, r.Kind, r.Name)
	}
}

// count is a number with its noun.
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
