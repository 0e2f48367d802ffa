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

// Case files: testdata/wrong-flags/<what is wrong, in words>.txtar. The sections:
//
//	args    the arguments, one on a line
//	errors  expected: what is said of them
func TestOptionsThatAreWrong(t *testing.T) {
	t.Setenv(namespaceEnv, "")
	for _, c := range testfile.ReadCases(t, "testdata/wrong-flags") {
		t.Run(c.Name(), func(t *testing.T) {
			c.OnlyHas(t, "args", "errors")
			parsed, err := parse(strings.Fields(string(c.Section("args")))...)
			if err == nil {
				t.Fatalf("accepted: %+v", parsed)
			}
			c.Expect(t, "errors", []byte(err.Error()+"\n"))
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
