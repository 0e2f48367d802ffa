package cli

import (
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"github.com/shorthop/shorthop/internal/webhookconfig"
)

type webhookConfigOptions struct {
	policyFile   string
	ownNamespace string
	service      string
	url          string
	caFile       string
}

func newWebhookConfig(s Streams) *cobra.Command {
	var o webhookConfigOptions
	command := &cobra.Command{
		Use:   "webhook-config --policy FILE",
		Short: "Print the MutatingWebhookConfiguration that fits a policy",
		Long: `Print the MutatingWebhookConfiguration that fits a policy.

Its filters keep pods and namespaces that are opted out away from Shorthop at
the API server already. They are made from the policy's label aliases, excluded
namespaces and namespaceOptOut: print it again when those change.`,
		Example: `  # For the Service shorthop in shorthop-system
  kubectl shorthop webhook-config --policy policy.yaml --ca-bundle ca.crt | kubectl apply -f -

  # For a server outside the cluster
  kubectl shorthop webhook-config --policy policy.yaml --url https://127.0.0.1:9443 --ca-bundle ca.crt`,
		Args:              noArguments("name the policy with --policy"),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE:              func(*cobra.Command, []string) error { return o.run(s) },
	}
	policyFlag(command, &o.policyFile, "file with the policy")
	ownNamespaceFlag(command, &o.ownNamespace)
	flags := command.Flags()
	flags.StringVar(&o.service, "service", "shorthop", "Service in the own namespace that the API server calls, on port 443")
	complete(command, "service", cobra.NoFileCompletions)
	flags.StringVar(&o.url, "url", "", "URL of a server outside the cluster, instead of --service: https, host and port")
	complete(command, "url", cobra.NoFileCompletions)
	flags.StringVar(&o.caFile, "ca-bundle", "", "PEM file with the certificates that verify the server's (default: left out)")
	completeFile(command, "ca-bundle", "pem", "crt", "cer")
	command.MarkFlagsMutuallyExclusive("service", "url")
	return command
}

func (o *webhookConfigOptions) run(s Streams) error {
	if o.policyFile == "" {
		return failure("webhook-config needs --policy FILE (- for standard input)")
	}
	if err := onlyOneStdin(o.policyFile, o.caFile); err != nil {
		return err
	}
	if err := o.validate(); err != nil {
		return err
	}
	p, err := s.loadPolicy(o.policyFile)
	if err != nil {
		return err
	}
	options := webhookconfig.Options{OwnNamespace: o.ownNamespace, Service: o.service, URL: o.url}
	if o.caFile != "" {
		if options.CABundle, err = s.read(o.caFile); err != nil {
			return err
		}
		if !isCertificates(options.CABundle) {
			return invalid([]string{displayName(o.caFile) + ": holds no certificates, want those of a CA in PEM"})
		}
	}
	encoded, err := yaml.Marshal(webhookconfig.New(p, options))
	if err != nil {
		return failure("cannot encode the configuration: %v", err)
	}
	return s.write(encoded)
}

func (o *webhookConfigOptions) validate() error {
	if err := checkOwnNamespace(o.ownNamespace); err != nil {
		return err
	}
	if messages := validation.IsDNS1035Label(o.service); len(messages) > 0 {
		return failure("--service %q: %s", o.service, strings.Join(messages, "; "))
	}
	if o.url != "" {
		u, err := url.Parse(o.url)
		if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return failure("--url %q: must be https:// with a host and a port, and nothing else", o.url)
		}
	}
	return nil
}

// isCertificates reports whether PEM data has certificates and nothing else:
// a private key must not end up in a public object.
func isCertificates(data []byte) bool {
	n := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if _, err := x509.ParseCertificate(block.Bytes); err != nil || block.Type != "CERTIFICATE" {
			return false
		}
		n++
	}
	return n > 0
}
