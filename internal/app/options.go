package app

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shorthop/shorthop/internal/buildinfo"
)

const (
	certSourceProvided    = "provided"
	certSourceSelfManaged = "self-managed"

	// disabled as an address switches a server off.
	disabled = "0"

	// namespaceFile is where kubelet tells a pod its namespace.
	namespaceFile = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
	namespaceEnv  = "POD_NAMESPACE"
)

var (
	logLevels   = []string{"debug", "info", "warn", "error"}
	logFormats  = []string{"json", "console"}
	certSources = []string{certSourceProvided}
)

// options are the flags.
type options struct {
	policy             string
	ownNamespace       string
	certSource         string
	certDir            string
	bindAddress        string
	metricsBindAddress string
	healthBindAddress  string
	shutdownDelay      time.Duration
	clusterAccess      bool
	kubeconfig         string
	logLevel           string
	logFormat          string
}

// newCommand returns the command line. run gets options that are valid.
func newCommand(run func(*options) error) *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "webhook --policy FILE --cert-dir DIR",
		Short: "Shorten the first network hop of every pod",
		Long: `A mutating admission webhook that points pods straight at the API server and
at the DNS cache on their own node, as an InjectionPolicy says.

It ends with exit code 0 when it was asked to, 1 on invalid flags or an invalid
policy, and 2 when it could not run.`,
		Version:       buildinfo.Version,
		Args:          noArguments,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.complete(cmd.Flags())
			if err := o.validate(); err != nil {
				return err
			}
			return run(o)
		},
	}
	cmd.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	o.addFlags(cmd.Flags())
	for flag, values := range map[string][]string{
		"cert-source": certSources,
		"log-level":   logLevels,
		"log-format":  logFormats,
	} {
		mustHave(cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)))
	}
	mustHave(cmd.MarkFlagDirname("cert-dir"))
	return cmd
}

// mustHave panics where the code names a flag that it does not define.
func mustHave(err error) {
	if err != nil {
		panic(err)
	}
}

// noArguments explains the one mistake that is easily made.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if args[0] == "true" || args[0] == "false" {
		return fmt.Errorf("unexpected argument %q: write --cluster-access=%[1]s, with an equals sign", args[0])
	}
	return fmt.Errorf("unexpected arguments %q: everything is a flag", args)
}

func (o *options) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.policy, "policy", "",
		"`FILE` with the InjectionPolicy; changes are followed, a broken one leaves the last good policy in force (required)")
	flags.StringVar(&o.ownNamespace, "own-namespace", "",
		"`NAMESPACE` of this webhook, whose pods are never touched (default: environment variable "+namespaceEnv+", else the service account's)")
	flags.StringVar(&o.certSource, "cert-source", certSourceProvided,
		"where the serving certificate comes from: `SOURCE` provided is files, by cert-manager or anybody else")
	flags.StringVar(&o.certDir, "cert-dir", "",
		"`DIR` with tls.crt and tls.key; changes are followed (required with --cert-source=provided)")
	flags.StringVar(&o.bindAddress, "bind-address", ":9443", "`HOST:PORT` for reviews, HTTPS")
	flags.StringVar(&o.metricsBindAddress, "metrics-bind-address", ":8080", "`HOST:PORT` for /metrics, HTTP; 0 disables it")
	flags.StringVar(&o.healthBindAddress, "health-probe-bind-address", ":8081",
		"`HOST:PORT` for /healthz, /readyz and /debug/policy, HTTP")
	flags.DurationVar(&o.shutdownDelay, "shutdown-delay", 10*time.Second,
		"on SIGTERM: how long to go on serving as not ready, until no client is sent here any more")
	flags.BoolVar(&o.clusterAccess, "cluster-access", true,
		"connect to the API server; false refuses policies that need it, and namespace labels are not seen")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "`FILE` that says how to connect (default: as a pod of the cluster)")
	flags.StringVar(&o.logLevel, "log-level", "info", "lowest `LEVEL` that is logged: "+strings.Join(logLevels, ", "))
	flags.StringVar(&o.logFormat, "log-format", "json", "log `FORMAT`: "+strings.Join(logFormats, ", "))
	flags.SortFlags = false
}

// complete fills in what depends on where the program runs.
func (o *options) complete(flags *pflag.FlagSet) {
	if !flags.Changed("own-namespace") {
		o.ownNamespace = ownNamespace(os.Getenv(namespaceEnv), namespaceFile)
	}
}

func ownNamespace(env, file string) string {
	if env != "" {
		return env
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "" // not in a pod, or one without a service account
	}
	return strings.TrimSpace(string(data))
}

// validate returns everything that is wrong, one line each.
func (o *options) validate() error {
	var errs []error
	wrong := func(flag, format string, args ...any) {
		errs = append(errs, fmt.Errorf("--"+flag+": "+format, args...))
	}
	if o.policy == "" {
		wrong("policy", "is required")
	}
	if o.ownNamespace != "" {
		for _, problem := range validation.IsDNS1123Label(o.ownNamespace) {
			wrong("own-namespace", "%q: %s", o.ownNamespace, problem)
		}
	}
	switch o.certSource {
	case certSourceProvided:
		if o.certDir == "" {
			wrong("cert-dir", "is required with --cert-source=%s", certSourceProvided)
		}
	case certSourceSelfManaged:
		wrong("cert-source", "%s is not in this version; use %s, also for files that cert-manager mounts",
			certSourceSelfManaged, certSourceProvided)
	default:
		wrong("cert-source", "%q is not one of %s", o.certSource, strings.Join(certSources, ", "))
	}
	// Port 0, any free one, would be nobody's wish for reviews, and
	// controller-runtime takes it for its default.
	if problem := addressProblem(o.bindAddress, 1); problem != "" {
		wrong("bind-address", "%s", problem)
	}
	if problem := addressProblem(o.metricsBindAddress, 0); problem != "" && o.metricsBindAddress != disabled {
		wrong("metrics-bind-address", "%s; 0 alone disables it", problem)
	}
	if problem := addressProblem(o.healthBindAddress, 0); problem != "" {
		wrong("health-probe-bind-address", "%s", problem)
	}
	if o.shutdownDelay < 0 {
		wrong("shutdown-delay", "%s is negative", o.shutdownDelay)
	}
	if !slices.Contains(logLevels, o.logLevel) {
		wrong("log-level", "%q is not one of %s", o.logLevel, strings.Join(logLevels, ", "))
	}
	if !slices.Contains(logFormats, o.logFormat) {
		wrong("log-format", "%q is not one of %s", o.logFormat, strings.Join(logFormats, ", "))
	}
	return errors.Join(errs...)
}

func addressProblem(address string, lowestPort int) string {
	_, port, err := splitAddress(address)
	switch {
	case err != nil:
		return fmt.Sprintf("%q is not HOST:PORT or :PORT", address)
	case port < lowestPort || port > 65535:
		return fmt.Sprintf("%q: the port is not between %d and 65535", address, lowestPort)
	}
	return ""
}

func splitAddress(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(text)
	return host, port, err
}

// Flags returns the flags of the webhook with their defaults and help texts,
// for the reference page.
func Flags() *pflag.FlagSet {
	return newCommand(nil).Flags()
}
