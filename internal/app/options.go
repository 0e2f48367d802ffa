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
	certSources = []string{certSourceProvided, certSourceSelfManaged}
)

// options are the flags.
type options struct {
	policy               string
	advice               string
	advisorRun           string
	ownNamespace         string
	certSource           string
	certDir              string
	clientCAFile         string
	clientNames          []string
	selfManaged          selfManagedOptions
	bindAddress          string
	metricsBindAddress   string
	healthBindAddress    string
	shutdownDelay        time.Duration
	clusterAccess        bool
	kubeconfig           string
	webhookConfiguration string
	detect               detectOptions
	logLevel             string
	logFormat            string
}

// selfManagedOptions count only with that source.
type selfManagedOptions struct {
	secret       string
	service      string
	caDuration   time.Duration
	leafDuration time.Duration
	settle       time.Duration
}

// newCommand returns the command line. run gets options that are valid.
func newCommand(run func(*options) error) *cobra.Command {
	o := &options{}
	cmd := &cobra.Command{
		Use:   "webhook --policy FILE {--cert-dir DIR | --cert-source self-managed}",
		Short: "Shorten the first network hop of every pod",
		Long: `A mutating admission webhook that points pods straight at the API server and
at the DNS cache on their own node, as an InjectionPolicy says.

It ends with exit code 0 when it was asked to, 1 on invalid flags, and 2 when it
could not run. With an invalid policy it runs, is not ready, and answers reviews
with 503 until the file is mended.`,
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
	cmd.AddCommand(newCheck(), newProbe())
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
	flags.StringVar(&o.advice, "advice", "",
		"`PATH` of a DNSAdvice, or a folder with its parts, plain or gzipped; changes are followed, a broken one leaves the last good advice in force, and none is needed (default: no advice)")
	flags.StringVar(&o.advisorRun, "advisor-run", "",
		"`FILE` in which the advisor says how its last run ended, for metrics; changes are followed (default: there is no advisor)")
	flags.StringVar(&o.ownNamespace, "own-namespace", "",
		"`NAMESPACE` of this webhook, whose pods are never touched (default: environment variable "+namespaceEnv+", else the service account's)")
	flags.StringVar(&o.certSource, "cert-source", certSourceProvided,
		"where the serving certificate comes from: `SOURCE` provided is files, by cert-manager or anybody else; self-managed signs it with a CA of its own, which it keeps in a Secret and adds to the webhook configuration")
	flags.StringVar(&o.certDir, "cert-dir", "",
		"`DIR` with tls.crt and tls.key; changes are followed (required with --cert-source=provided)")
	flags.StringVar(&o.clientCAFile, "client-ca-file", "",
		"`FILE` with CA certificates: only clients with a certificate by one of them may send reviews; changes are followed (default: anybody may)")
	flags.StringSliceVar(&o.clientNames, "client-names", nil,
		"`NAMES` of which a client's certificate must have one, as common name or DNS name, separated by commas (default: every certificate by --client-ca-file will do)")
	flags.StringVar(&o.webhookConfiguration, "webhook-configuration", "shorthop",
		"`NAME` of the MutatingWebhookConfiguration whose filter is compared with the policy; self-managed: whose caBundle is kept up to date")
	flags.StringVar(&o.selfManaged.secret, "ca-secret", "shorthop-ca",
		"self-managed: `NAME` of the Secret in the own namespace that holds the CA; it must be there, and may be empty")
	flags.StringVar(&o.selfManaged.service, "service", "shorthop",
		"self-managed: `NAME` of the Service in the own namespace by which API servers reach this webhook")
	flags.DurationVar(&o.selfManaged.caDuration, "ca-duration", 365*24*time.Hour,
		"self-managed: lifetime of a CA; the next one is made when a third of it is left")
	// As long as cert-manager's own. What is left at a renewal, 56 h, is more
	// than the day before which an expiry is worth an alert.
	flags.DurationVar(&o.selfManaged.leafDuration, "leaf-duration", 7*24*time.Hour,
		"self-managed: lifetime of a serving certificate; the next one is signed when a third of it is left")
	flags.DurationVar(&o.selfManaged.settle, "ca-settle", 10*time.Second,
		"self-managed: how long a CA must have been in the webhook configuration, and a certificate have been valid, before it is used")
	flags.StringVar(&o.bindAddress, "bind-address", ":9443", "`HOST:PORT` for reviews, HTTPS")
	flags.StringVar(&o.metricsBindAddress, "metrics-bind-address", ":8080", "`HOST:PORT` for /metrics, HTTP; 0 disables it")
	flags.StringVar(&o.healthBindAddress, "health-probe-bind-address", ":8081",
		"`HOST:PORT` for /healthz, /readyz and /debug/policy, HTTP")
	flags.DurationVar(&o.shutdownDelay, "shutdown-delay", 10*time.Second,
		"on SIGTERM: how long to go on serving as not ready, until no client is sent here any more")
	flags.BoolVar(&o.clusterAccess, "cluster-access", true,
		"connect to the API server; false refuses policies that need it, and namespace labels are not seen")
	flags.StringVar(&o.kubeconfig, "kubeconfig", "", "`FILE` that says how to connect (default: as a pod of the cluster)")
	o.detect.addFlags(flags)
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
		o.validateSelfManaged(wrong)
	default:
		wrong("cert-source", "%q is not one of %s", o.certSource, strings.Join(certSources, ", "))
	}
	if o.clientCAFile == "" && len(o.clientNames) > 0 {
		wrong("client-names", "needs --client-ca-file: without a certificate, a client has no name")
	}
	if slices.Contains(o.clientNames, "") {
		wrong("client-names", "one of %q is empty", o.clientNames)
	}
	// Port 0, any free one, would be nobody's wish for reviews.
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
	for _, problem := range validation.IsDNS1123Subdomain(o.webhookConfiguration) {
		wrong("webhook-configuration", "%q: %s", o.webhookConfiguration, problem)
	}
	o.detect.validate(wrong)
	if !slices.Contains(logLevels, o.logLevel) {
		wrong("log-level", "%q is not one of %s", o.logLevel, strings.Join(logLevels, ", "))
	}
	if !slices.Contains(logFormats, o.logFormat) {
		wrong("log-format", "%q is not one of %s", o.logFormat, strings.Join(logFormats, ", "))
	}
	return errors.Join(errs...)
}

func (o *options) validateSelfManaged(wrong func(flag, format string, args ...any)) {
	if o.ownNamespace == "" {
		wrong("own-namespace", "is required with --cert-source=%s", certSourceSelfManaged)
	}
	if !o.clusterAccess {
		wrong("cluster-access", "--cert-source=%s cannot do without", certSourceSelfManaged)
	}
	m := &o.selfManaged
	for _, name := range []struct {
		flag, value string
		problems    []string
	}{
		{"ca-secret", m.secret, validation.IsDNS1123Subdomain(m.secret)},
		{"service", m.service, validation.IsDNS1123Label(m.service)},
	} {
		for _, problem := range name.problems {
			wrong(name.flag, "%q: %s", name.value, problem)
		}
	}
	if m.settle < 0 {
		wrong("ca-settle", "%s is negative", m.settle)
	}
	if m.leafDuration/3 <= m.settle {
		wrong("leaf-duration", "%s: the third that is left at a renewal must be longer than --ca-settle (%s), for the next certificate to be used in time",
			m.leafDuration, m.settle)
	}
	if m.caDuration <= m.leafDuration {
		wrong("ca-duration", "%s is not longer than --leaf-duration (%s)", m.caDuration, m.leafDuration)
	}
}

func addressProblem(address string, lowestPort int) string {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Sprintf("%q is not HOST:PORT or :PORT", address)
	}
	port, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return fmt.Sprintf("%q is not HOST:PORT or :PORT", address)
	case port < lowestPort || port > 65535:
		return fmt.Sprintf("%q: the port is not between %d and 65535", address, lowestPort)
	}
	return ""
}

// Flags returns the flags of the webhook with their defaults and help texts,
// for the reference page.
func Flags() *pflag.FlagSet {
	return newCommand(nil).Flags()
}
