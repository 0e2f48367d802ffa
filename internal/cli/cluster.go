package cli

import (
	"github.com/spf13/cobra"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/shorthop/shorthop/internal/buildinfo"
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
