package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shorthop/shorthop/pkg/policy"
)

// yamlExtensions are completed for files that hold Kubernetes objects.
var yamlExtensions = []string{"yaml", "yml", "json"}

// choice is a flag whose value is one of a few words.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string { return c.value }

func (c *choice) Type() string { return strings.Join(c.allowed, "|") }

func (c *choice) Set(value string) error {
	if !slices.Contains(c.allowed, value) {
		return fmt.Errorf("must be one of %s", strings.Join(c.allowed, ", "))
	}
	c.value = value
	return nil
}

// policyFlag adds --policy.
func policyFlag(command *cobra.Command, file *string, usage string) {
	command.Flags().StringVar(file, "policy", "", usage)
	completeFile(command, "policy", yamlExtensions...)
}

// ownNamespaceFlag adds --own-namespace.
func ownNamespaceFlag(command *cobra.Command, namespace *string) {
	command.Flags().StringVar(namespace, "own-namespace", "shorthop-system", "the namespace Shorthop runs in")
	complete(command, "own-namespace", cobra.NoFileCompletions)
}

func checkOwnNamespace(namespace string) error {
	if messages := validation.IsDNS1123Label(namespace); len(messages) > 0 {
		return failure("--own-namespace %q: %s", namespace, strings.Join(messages, "; "))
	}
	return nil
}

// noArguments refuses arguments, and says what to use instead.
func noArguments(hint string) cobra.PositionalArgs {
	return func(command *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("%s takes no arguments, got %q; %s", command.Name(), args[0], hint)
		}
		return nil
	}
}

// complete says what the shell offers as a flag's value.
func complete(command *cobra.Command, flag string, values cobra.CompletionFunc) {
	if err := command.RegisterFlagCompletionFunc(flag, values); err != nil {
		panic(err) // the flag does not exist: a mistake in this package
	}
}

// completeFile offers files with these extensions.
func completeFile(command *cobra.Command, flag string, extensions ...string) {
	complete(command, flag, cobra.FixedCompletions(extensions, cobra.ShellCompDirectiveFilterFileExt))
}

// annotationsFlag is a flag with the annotations of a namespace that tune its
// pods: k=v,k=v, which may be repeated. What is wrong with a value, the review
// tells.
type annotationsFlag map[string]string

func (a annotationsFlag) String() string { return labelsFlag(a).String() }

func (a annotationsFlag) Type() string { return "k=v,..." }

func (a annotationsFlag) Set(text string) error {
	return eachPair(text, func(key, value string) error {
		if len(policy.NamespaceAnnotations(map[string]string{key: value})) == 0 {
			return fmt.Errorf("key %q is not one of %s, %s, %s", key, policy.AnnotationNdots, policy.AnnotationDNSMode, policy.AnnotationDNSOptions)
		}
		a[key] = value
		return nil
	})
}

// eachPair hands on the pairs of a list k=v,k=v until one is refused.
func eachPair(text string, take func(key, value string) error) error {
	if text == "" {
		return nil
	}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, found := strings.Cut(pair, "=")
		if !found {
			return fmt.Errorf("%q is not of the form key=value", pair)
		}
		if err := take(key, value); err != nil {
			return err
		}
	}
	return nil
}

// labelsFlag is a flag with labels: k=v,k=v, which may be repeated.
type labelsFlag map[string]string

func (l labelsFlag) String() string {
	pairs := make([]string, 0, len(l))
	for key, value := range l {
		pairs = append(pairs, key+"="+value)
	}
	slices.Sort(pairs)
	return strings.Join(pairs, ",")
}

func (l labelsFlag) Type() string { return "k=v,..." }

func (l labelsFlag) Set(text string) error {
	return eachPair(text, func(key, value string) error {
		if messages := validation.IsQualifiedName(key); len(messages) > 0 {
			return fmt.Errorf("key %q: %s", key, strings.Join(messages, "; "))
		}
		if messages := validation.IsValidLabelValue(value); len(messages) > 0 {
			return fmt.Errorf("value %q of %s: %s", value, key, strings.Join(messages, "; "))
		}
		l[key] = value
		return nil
	})
}
