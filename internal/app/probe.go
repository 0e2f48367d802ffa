package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/shorthop/shorthop/internal/nodeprobe"
)

// probeLimit bounds the whole probe.
const probeLimit = 30 * time.Second

// newProbe is what the pods of `kubectl shorthop doctor --probe` run: the image has
// nothing else.
func newProbe() *cobra.Command {
	var (
		q   nodeprobe.Questions
		out string
	)
	cmd := &cobra.Command{
		Use:   "probe [--dns ADDRESS]... [--api HOST:PORT]...",
		Short: "Ask DNS servers and API servers from here, and write down what they say",
		Long: `Ask DNS servers and API servers from here, and write down what they say: what
the pods of "kubectl shorthop doctor --probe" do on their nodes.

It prints a JSON list of {kind (dns, api), target, error}; error is missing where
it answered as it should. It ends with exit code 0 whatever they say, 1 where a
flag is wrong, 2 where the answers cannot be written.`,
		Args:          noArguments,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := validateProbe(&q); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), probeLimit)
			defer cancel()
			text := append(nodeprobe.Encode(nodeprobe.Ask(ctx, &q)), '\n')
			if _, err := cmd.OutOrStdout().Write(text); err != nil {
				return &runtimeError{fmt.Errorf("cannot write the answers: %w", err)}
			}
			if out != "" {
				if err := os.WriteFile(out, text[:len(text)-1], 0o600); err != nil {
					return &runtimeError{fmt.Errorf("cannot write the answers: %w", err)}
				}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&q.DNS, "dns", nil, "`ADDRESS` of a DNS server, asked on port 53; may be repeated")
	flags.StringVar(&q.Name, "name", "", "`NAME` that DNS servers must know (default: any answer is one)")
	flags.StringArrayVar(&q.API, "api", nil, "`HOST:PORT` of an API server; may be repeated")
	flags.StringVar(&q.CAFile, "ca", "", "`FILE` with the certificates that verify API servers (default: they are not verified)")
	flags.StringVar(&out, "out", "", "`FILE` that gets the answers too, as a container's termination message")
	flags.SortFlags = false
	return cmd
}

// validateProbe returns everything that is wrong, one line each.
func validateProbe(q *nodeprobe.Questions) error {
	var errs []error
	if len(q.DNS)+len(q.API) == 0 {
		errs = append(errs, errors.New("--dns, --api: at least one is required"))
	}
	for _, server := range q.DNS {
		if _, err := netip.ParseAddr(server); err != nil {
			errs = append(errs, fmt.Errorf("--dns: %q is no address", server))
		}
	}
	for _, server := range q.API {
		if host, port, err := net.SplitHostPort(server); err != nil || host == "" || port == "" {
			errs = append(errs, fmt.Errorf("--api: %q is no HOST:PORT", server))
		}
	}
	return errors.Join(errs...)
}
