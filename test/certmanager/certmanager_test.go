// Package certmanager_test runs the real cert-manager against a real
// kube-apiserver, with the objects of our chart, and renews every certificate
// while pods are created.
package certmanager_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cmutil "github.com/cert-manager/cert-manager/pkg/api/util"
	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	cmclient "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/rotation"
)

var (
	duration = flag.Duration("duration", 0, "how long to create pods; it ends with a whole cycle, of which there is at least one")
	rate     = flag.Int("rate", 50, "pods per second")
)

const (
	// kubeletDelay is how late the files are, for kubelet looks at Secrets only
	// now and then. Nothing may depend on when they come.
	kubeletDelay = 5 * time.Second
	// hang guards against a test that never ends.
	hang = 3 * time.Minute
)

// fixture is an installation: the chart's objects, two servers behind a
// balancer, and the files that they serve with.
type fixture struct {
	*testing.T
	cluster *cluster.Cluster
	certs   cmclient.Interface
	servers []*cluster.Webhook
}

func TestCertManager(t *testing.T) {
	klog.SetLogger(logr.Discard()) // cert-manager tells every step
	ctrl.SetLogger(logr.Discard())
	dir := t.TempDir()
	program, err := rotation.Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{T: t}
	f.startCluster()
	balancer, err := rotation.NewBalancer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { balancer.Close() })
	objects, err := client.New(f.cluster.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	f.prepareNamespaces()
	policy := filepath.Join(dir, "policy.yaml")
	if err := os.WriteFile(policy, install(t, objects, balancer.Port), 0o600); err != nil {
		t.Fatal(err)
	}

	// kubelet starts a container once its Secret has the keys that it mounts.
	folder := &rotation.Folder{Dir: filepath.Join(dir, "tls")}
	clustertest.Eventually(f, "the leaf is issued and the CA injected", func() bool {
		return len(f.secret("shorthop-tls").Data[corev1.TLSCertKey]) > 0 && !slices.ContainsFunc(f.bundles(), func(b []byte) bool { return len(b) == 0 })
	})
	f.mount(folder, "shorthop-tls")
	for range 2 {
		f.startServer(cluster.WebhookOptions{
			Binary: program, Policy: policy, CertDir: folder.Dir, Kubeconfig: f.cluster.Kubeconfig(), ReadyTimeout: hang,
			Args: []string{"--own-namespace", release},
		}, balancer)
	}
	clustertest.Eventually(f, "pods are mutated", f.mutated)

	load, err := rotation.StartLoad(t.Context(), f.cluster.Config, balancer, *rate, "open", "closed")
	if err != nil {
		t.Fatal(err)
	}
	defer load.Stop() // of a test that gave up
	cycles := 0
	for started := time.Now(); cycles == 0 || time.Since(started) < *duration; cycles++ {
		f.renewEverything()
		t.Logf("after cycle %d: %s", cycles+1, load.SoFar())
	}
	result := load.Stop()
	t.Logf("in all: %s", result)
	if result.Created == 0 || result.NewConnections == 0 {
		t.Error("that is no load")
	}
	if result.Missed > 0 {
		t.Errorf("%d pods are not mutated", result.Missed)
	}
	for _, err := range result.Errors[:min(len(result.Errors), 5)] {
		t.Errorf("one of %d pods that were not created: %v", len(result.Errors), err)
	}
}

// renewEverything renews the leaf, then the CA, then the leaf again, which
// brings the new CA to the webhook configuration.
func (f *fixture) renewEverything() {
	f.Helper()
	f.renewLeaf()

	old := f.secret("shorthop-issuer-ca").Data
	f.renew("shorthop-ca")
	clustertest.Eventually(f, "there is a new CA", func() bool {
		return !bytes.Equal(f.secret("shorthop-issuer-ca").Data[corev1.TLSCertKey], old[corev1.TLSCertKey])
	})
	renewed := f.secret("shorthop-issuer-ca").Data
	if !bytes.Equal(renewed[corev1.TLSPrivateKeyKey], old[corev1.TLSPrivateKeyKey]) {
		f.Error("the CA has a new key")
	}

	want := bytes.TrimSpace(renewed[corev1.TLSCertKey])
	// The issuer may not have seen the new CA yet when it signs.
	for range 5 {
		f.renewLeaf()
		if bytes.Equal(bytes.TrimSpace(f.secret("shorthop-tls").Data["ca.crt"]), want) {
			break
		}
	}
	clustertest.Eventually(f, "the webhook configuration has the new CA", func() bool {
		return !slices.ContainsFunc(f.bundles(), func(bundle []byte) bool { return !bytes.Contains(bundle, want) })
	})
	block, _ := pem.Decode(want)
	ca, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		f.Fatal(err)
	}
	for _, leaf := range f.served() {
		if err := leaf.CheckSignatureFrom(ca); err != nil {
			f.Errorf("a leaf is not the new CA's: %v", err)
		}
	}
}

func (f *fixture) renewLeaf() {
	f.Helper()
	before := f.served()
	f.renew("shorthop")
	clustertest.Eventually(f, "every server serves a new certificate", func() bool {
		return !slices.ContainsFunc(f.served(), func(c *x509.Certificate) bool { return slices.ContainsFunc(before, c.Equal) })
	})
}

// renew does what `cmctl renew` does.
func (f *fixture) renew(name string) {
	f.Helper()
	certificates := f.certs.CertmanagerV1().Certificates(release)
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		certificate, err := certificates.Get(f.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		cmutil.SetCertificateCondition(certificate, certificate.Generation, cmapi.CertificateConditionIssuing, cmmeta.ConditionTrue,
			"ManuallyTriggered", "Certificate re-issuance manually triggered")
		_, err = certificates.UpdateStatus(f.Context(), certificate, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		f.Fatal(err)
	}
}

// startCluster starts the control plane and cert-manager.
func (f *fixture) startCluster() {
	f.Helper()
	f.cluster = clustertest.Start(f, cluster.Options{})
	source, err := exec.CommandContext(f.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager").Output()
	if err != nil {
		f.Fatal(err)
	}
	_, err = envtest.InstallCRDs(f.cluster.Config, envtest.CRDInstallOptions{
		Paths: []string{filepath.Join(strings.TrimSpace(string(source)), "deploy", "crds")}, ErrorIfPathMissing: true, MaxTime: hang,
	})
	if err != nil {
		f.Fatal(err)
	}
	if f.certs, err = cmclient.NewForConfig(f.cluster.Config); err != nil {
		f.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(f.Context()))
	wait, err := startCertManager(ctx, f.cluster)
	if err != nil {
		stop()
		f.Fatal(err)
	}
	f.Cleanup(func() {
		stop()
		if err := wait(); err != nil {
			f.Error(err)
		}
	})
}

func (f *fixture) prepareNamespaces() {
	f.Helper()
	for namespace, labels := range map[string]map[string]string{
		release: nil, "open": nil, "closed": {"shorthop.dev/inject": "disabled"},
	} {
		if err := f.cluster.CreateNamespace(f.Context(), namespace, labels); err != nil {
			f.Fatal(err)
		}
	}
	// In place of the chart's: the API server verifies its name, as always, and
	// connects to this address instead of a cluster IP that nobody routes.
	_, err := f.cluster.Client.CoreV1().Services(release).Create(f.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: release},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "127.0.0.1"},
	}, metav1.CreateOptions{})
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) startServer(options cluster.WebhookOptions, balancer *rotation.Balancer) {
	f.Helper()
	webhook := clustertest.Webhook(f, options)
	if err := balancer.Add(webhook); err != nil {
		f.Fatal(err)
	}
	f.servers = append(f.servers, webhook)
}

// mount does what kubelet does with the Secret until the test ends: what
// changes arrives late.
func (f *fixture) mount(folder *rotation.Folder, secret string) {
	f.Helper()
	publish := func(data map[string][]byte) error {
		return folder.Publish(func(dir string) error {
			for name, content := range data {
				if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
					return err
				}
			}
			return nil
		})
	}
	mounted := f.secret(secret)
	if err := publish(mounted.Data); err != nil {
		f.Fatal(err)
	}
	ctx, stop := context.WithCancel(f.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(kubeletDelay):
			}
			current, err := f.cluster.Client.CoreV1().Secrets(release).Get(ctx, secret, metav1.GetOptions{})
			if err != nil || current.ResourceVersion == mounted.ResourceVersion {
				continue
			}
			if err := publish(current.Data); err != nil {
				f.Error(err)
				return
			}
			mounted = current
		}
	}()
	f.Cleanup(func() {
		stop()
		<-ended
	})
}

func (f *fixture) secret(name string) *corev1.Secret {
	f.Helper()
	secret, err := f.cluster.Client.CoreV1().Secrets(release).Get(f.Context(), name, metav1.GetOptions{})
	if err != nil {
		f.Fatal(err)
	}
	return secret
}

// bundles returns the caBundle of each entry.
func (f *fixture) bundles() [][]byte {
	f.Helper()
	config, err := f.cluster.Client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(f.Context(), release, metav1.GetOptions{})
	if err != nil {
		f.Fatal(err)
	}
	var bundles [][]byte
	for _, webhook := range config.Webhooks {
		bundles = append(bundles, webhook.ClientConfig.CABundle)
	}
	return bundles
}

func (f *fixture) served() []*x509.Certificate {
	f.Helper()
	var certs []*x509.Certificate
	for _, webhook := range f.servers {
		cert, err := rotation.Served(f.Context(), webhook)
		if err != nil {
			f.Fatal(err)
		}
		certs = append(certs, cert)
	}
	return certs
}

// mutated reports whether a pod that is created as a trial is.
func (f *fixture) mutated() bool {
	f.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "trial"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/app"}}},
	}
	created, err := f.cluster.Client.CoreV1().Pods("open").Create(f.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil {
		f.Fatal(err)
	}
	return rotation.Mutated(created)
}
