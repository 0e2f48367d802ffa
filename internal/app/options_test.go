package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/shorthop/shorthop/test/testfile"
)

// parse returns the options that run would get.
func parse(args ...string) (*options, error) {
	var parsed *options
	cmd := newCommand(func(o *options) error {
		parsed = o
		return nil
	})
	cmd.SetArgs(args)
	err := cmd.Execute()
	return parsed, err
}

func TestOptions(t *testing.T) {
	t.Setenv(namespaceEnv, "shorthop-system")
	defaults := func(change func(*options)) *options {
		o := &options{
			policy: "p.yaml", certDir: "tls", ownNamespace: "shorthop-system", certSource: "provided",
			selfManaged: selfManagedOptions{
				secret: "shorthop-ca", service: "shorthop",
				caDuration: 365 * 24 * time.Hour, leafDuration: 7 * 24 * time.Hour, settle: 10 * time.Second,
			},
			bindAddress: ":9443", metricsBindAddress: ":8080", healthBindAddress: ":8081",
			detect:        detectOptions{10 * time.Minute, "shorthop-detector"},
			shutdownDelay: 10 * time.Second, clusterAccess: true, webhookConfiguration: "shorthop", logLevel: "info", logFormat: "json",
		}
		change(o)
		return o
	}
	required := []string{"--policy=p.yaml", "--cert-dir=tls"}
	for name, test := range map[string]struct {
		args []string
		want *options
	}{
		"defaults":         {nil, defaults(func(*options) {})},
		"no own namespace": {[]string{"--own-namespace="}, defaults(func(o *options) { o.ownNamespace = "" })},
		"everything set": {
			[]string{
				"--own-namespace=other", "--bind-address=127.0.0.1:1", "--metrics-bind-address=0", "--health-probe-bind-address", "[::1]:0",
				"--shutdown-delay=0s", "--cluster-access=false", "--kubeconfig=k", "--log-level=debug", "--log-format=console",
				"--ca-secret=ca", "--service=s", "--webhook-configuration=w", "--ca-duration=3h", "--leaf-duration=2h", "--ca-settle=1s",
				"--detect-interval=0", "--detect-lease=l", "--client-ca-file=c", "--client-names=a,b",
			},
			&options{
				clientCAFile: "c", clientNames: []string{"a", "b"},
				detect: detectOptions{0, "l"},
				policy: "p.yaml", certDir: "tls", ownNamespace: "other", certSource: "provided", bindAddress: "127.0.0.1:1",
				metricsBindAddress: "0", healthBindAddress: "[::1]:0", kubeconfig: "k", webhookConfiguration: "w", logLevel: "debug", logFormat: "console",
				selfManaged: selfManagedOptions{
					secret: "ca", service: "s", caDuration: 3 * time.Hour, leafDuration: 2 * time.Hour, settle: time.Second,
				},
			},
		},
		"self-managed needs nothing else": {
			[]string{"--cert-source=self-managed", "--cert-dir="},
			defaults(func(o *options) { o.certSource, o.certDir = "self-managed", "" }),
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parse(append(required, test.args...)...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(options{}, selfManagedOptions{}, detectOptions{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestOptionsThatAreWrong(t *testing.T) {
	t.Setenv(namespaceEnv, "")
	valid := []string{"--policy=p.yaml", "--cert-dir=tls"}
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"none": {nil, []string{"--policy: is required", "--cert-dir: is required with --cert-source=provided"}},
		"all of them": {
			[]string{
				"--own-namespace=A", "--cert-source=vault", "--bind-address=9443", "--metrics-bind-address=:http",
				"--health-probe-bind-address=0", "--shutdown-delay=-1s", "--log-level=loud", "--log-format=xml",
				"--detect-interval=-1s", "--detect-lease=_", "--client-names=a,",
			},
			[]string{
				"--policy: is required",
				`--own-namespace: "A": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`,
				`--cert-source: "vault" is not one of provided, self-managed`,
				"--client-names: needs --client-ca-file: without a certificate, a client has no name",
				`--client-names: one of ["a" ""] is empty`,
				`--bind-address: "9443" is not HOST:PORT or :PORT`,
				`--metrics-bind-address: ":http" is not HOST:PORT or :PORT; 0 alone disables it`,
				`--health-probe-bind-address: "0" is not HOST:PORT or :PORT`,
				"--shutdown-delay: -1s is negative",
				"--detect-interval: -1s is negative",
				`--detect-lease: "_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
				`--log-level: "loud" is not one of debug, info, warn, error`,
				`--log-format: "xml" is not one of json, console`,
			},
		},
		"ports out of range": {
			append(valid, "--bind-address=:0", "--metrics-bind-address=:65536"),
			[]string{
				`--bind-address: ":0": the port is not between 1 and 65535`,
				`--metrics-bind-address: ":65536": the port is not between 0 and 65535; 0 alone disables it`,
			},
		},
		"self-managed without what it needs": {
			[]string{
				"--policy=p.yaml", "--cert-source=self-managed", "--cluster-access=false", "--ca-secret=", "--service=a.b", "--webhook-configuration=_",
				"--ca-settle=-1s", "--leaf-duration=-3s", "--ca-duration=-4s",
			},
			[]string{
				"--own-namespace: is required with --cert-source=self-managed",
				"--cluster-access: --cert-source=self-managed cannot do without",
				`--ca-secret: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
				`--service: "a.b": must not contain dots`,
				"--ca-settle: -1s is negative",
				"--leaf-duration: -3s: the third that is left at a renewal must be longer than --ca-settle (-1s), for the next certificate to be used in time",
				"--ca-duration: -4s is not longer than --leaf-duration (-3s)",
				`--webhook-configuration: "_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
			},
		},
		"certificates that would expire before the next may be used": {
			[]string{"--policy=p.yaml", "--own-namespace=o", "--cert-source=self-managed", "--leaf-duration=30s", "--ca-duration=30s"},
			[]string{
				"--leaf-duration: 30s: the third that is left at a renewal must be longer than --ca-settle (10s), for the next certificate to be used in time",
				"--ca-duration: 30s is not longer than --leaf-duration (30s)",
			},
		},
		"a space instead of an equals sign": {
			append(valid, "--cluster-access", "false"),
			[]string{`unexpected argument "false": write --cluster-access=false, with an equals sign`},
		},
		"an argument":  {append(valid, "serve"), []string{`unexpected arguments ["serve"]: everything is a flag`}},
		"unknown flag": {append(valid, "--verbose"), []string{"unknown flag: --verbose"}},
	} {
		t.Run(name, func(t *testing.T) {
			parsed, err := parse(test.args...)
			if err == nil {
				t.Fatalf("accepted: %+v", parsed)
			}
			if diff := cmp.Diff(test.want, strings.Split(err.Error(), "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestOwnNamespace(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "namespace")
	testfile.Write(t, file, "from-file\n")
	for name, test := range map[string]struct{ env, file, want string }{
		"the environment wins": {"from-env", file, "from-env"},
		"else the file":        {"", file, "from-file"},
		"else there is none":   {"", file + ".none", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := ownNamespace(test.env, test.file); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// The help is a contract: every flag, its meaning and its default.
func TestHelp(t *testing.T) {
	var help bytes.Buffer
	if code := Main([]string{"--help"}, &help, os.Stderr); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	testfile.Expect(t, "testdata/help.txt", help.Bytes())
}

func TestVersionAndCompletion(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--version"}, "webhook "},
		{[]string{"completion", "bash"}, "bash completion"},
		{[]string{"__complete", "--log-level", ""}, "debug\ninfo\nwarn\nerror\n"},
		{[]string{"__complete", "--cert-source", ""}, "provided\nself-managed\n"},
	} {
		var stdout, stderr bytes.Buffer
		if code := Main(test.args, &stdout, &stderr); code != exitDone || !strings.Contains(stdout.String(), test.want) {
			t.Errorf("%q: exit code %d, want %q in\n%s%s", test.args, code, test.want, &stdout, &stderr)
		}
	}
}
