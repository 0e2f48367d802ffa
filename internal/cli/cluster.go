package cli

import (
	"net/url"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shorthop/shorthop/internal/buildinfo"
	"github.com/shorthop/shorthop/internal/doctor"
	"github.com/shorthop/shorthop/pkg/policy"
)

// clusterFlags are those of commands that ask a cluster, with kubectl's names
// and defaults.
type clusterFlags struct {
	kubeconfig string
	context    string
}

func (f *clusterFlags) add(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig file (default: as kubectl finds it)")
	complete(command, "kubeconfig", cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault))
	flags.StringVar(&f.context, "context", "", "context of the kubeconfig (default: the current one)")
	complete(command, "context", cobra.NoFileCompletions)
}

// config says how to reach the cluster: by the kubeconfig, else as a pod.
func (f *clusterFlags) config() (*rest.Config, error) {
	config, err := f.loader().ClientConfig()
	if err != nil {
		return nil, failure("cannot read the kubeconfig: %v", err)
	}
	config.UserAgent = programName + "/" + buildinfo.Version
	// The commands read a few lists page by page; the API server protects
	// itself.
	config.QPS = -1
	return config, nil
}

// namespace is that of the kubeconfig's context, as kubectl has it.
func (f *clusterFlags) namespace() (string, error) {
	namespace, _, err := f.loader().Namespace()
	if err != nil {
		return "", failure("cannot read the kubeconfig: %v", err)
	}
	return namespace, nil
}

func (f *clusterFlags) loader() clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.kubeconfig
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: f.context})
}

// podsFlags say whose pods a command looks at, with kubectl's names.
type podsFlags struct {
	namespace     string // "" with -A
	allNamespaces bool
}

func (f *podsFlags) add(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVarP(&f.namespace, "namespace", "n", "", "namespace of the pods (default: that of the kubeconfig's context)")
	complete(command, "namespace", cobra.NoFileCompletions)
	flags.BoolVarP(&f.allNamespaces, "all-namespaces", "A", false, "pods of all namespaces")
}

func (f *podsFlags) validate() error {
	if f.allNamespaces && f.namespace != "" {
		return failure("--namespace and --all-namespaces: only one of them")
	}
	if f.namespace != "" {
		if messages := validation.IsDNS1123Label(f.namespace); len(messages) > 0 {
			return failure("--namespace %q: %s", f.namespace, strings.Join(messages, "; "))
		}
	}
	return nil
}

// complete takes the namespace of the kubeconfig where no flag says one.
func (f *podsFlags) complete(cluster *clusterFlags) (err error) {
	if f.namespace == "" && !f.allNamespaces {
		f.namespace, err = cluster.namespace()
	}
	return err
}

// installationFlags say where an installation of Shorthop is to be found in a
// cluster.
type installationFlags struct {
	webhook      string
	ownNamespace string
	healthURL    string
}

func (f *installationFlags) add(command *cobra.Command) {
	flags := command.Flags()
	flags.StringVar(&f.webhook, "webhook-configuration", "shorthop", "name of the MutatingWebhookConfiguration")
	complete(command, "webhook-configuration", cobra.NoFileCompletions)
	flags.StringVar(&f.ownNamespace, "own-namespace", "", "the namespace Shorthop runs in (default: that of the webhook's Service, else "+doctor.DefaultNamespace+")")
	complete(command, "own-namespace", cobra.NoFileCompletions)
	flags.StringVar(&f.healthURL, "health-url", "", "http(s)://HOST:PORT of the health endpoints of a server outside the cluster, which the webhook calls by URL (default: it is not asked)")
	complete(command, "health-url", cobra.NoFileCompletions)
}

func (f *installationFlags) validate() error {
	if f.ownNamespace != "" {
		if err := checkOwnNamespace(f.ownNamespace); err != nil {
			return err
		}
	}
	if f.healthURL != "" {
		if u, err := url.Parse(f.healthURL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
			return failure("--health-url %q: want http://HOST:PORT or https://HOST:PORT, without a path", f.healthURL)
		}
	}
	if messages := validation.IsDNS1123Subdomain(f.webhook); len(messages) > 0 {
		return failure("--webhook-configuration %q: %s", f.webhook, strings.Join(messages, "; "))
	}
	return nil
}

// options are what doctor's functions look for. The policy may be nil.
func (f *installationFlags) options(given *policy.InjectionPolicy, progress *progress) doctor.Options {
	return doctor.Options{WebhookConfiguration: f.webhook, OwnNamespace: f.ownNamespace, HealthURL: f.healthURL, Policy: given, Progress: progress.now}
}
