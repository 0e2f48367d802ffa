package rotation_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/shorthop/shorthop/internal/admission"
	"github.com/shorthop/shorthop/internal/certs"
	"github.com/shorthop/shorthop/internal/metrics"
	"github.com/shorthop/shorthop/internal/namespaces"
	"github.com/shorthop/shorthop/internal/reviewserver"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
	"github.com/shorthop/shorthop/test/cluster"
	"github.com/shorthop/shorthop/test/cluster/clustertest"
	"github.com/shorthop/shorthop/test/rotation"
)

// TestManager runs the review server as the WebhookServer of controller-runtime's
// own manager, in two replicas. Their certificates are renewed, and each of them
// ends and is replaced, while pods are created.
func TestManager(t *testing.T) {
	s := newSite(t, "manager")
	ca := clustertest.CA(t)
	s.register(ca.Bundle())
	folder := &rotation.Folder{Dir: t.TempDir()}
	publish := func() {
		t.Helper()
		if err := folder.Publish(func(dir string) error { return ca.WriteServingCert(dir, s.hostname()) }); err != nil {
			t.Fatal(err)
		}
	}
	publish()
	stops := map[*cluster.Webhook]func(){}
	start := func() {
		webhook, stop := s.startManager(folder.Dir)
		stops[webhook] = stop
	}
	for range 2 {
		start()
	}
	s.underLoad(func() {
		before := s.served()
		publish()
		s.renewed(before)
		for _, webhook := range slices.Clone(s.servers) {
			stops[webhook]()
			s.balancer.Remove(webhook)
			s.servers = slices.DeleteFunc(s.servers, func(w *cluster.Webhook) bool { return w == webhook })
			start()
		}
	})
}

// startManager starts a manager and returns once the balancer has it. stop returns
// when the manager has ended.
func (s *site) startManager(certDir string) (webhook *cluster.Webhook, stop func()) {
	s.Helper()
	must := func(err error) {
		s.Helper()
		if err != nil {
			s.Fatal(err)
		}
	}
	parsed, err := policy.Parse([]byte(document))
	must(err)
	compiled, err := policy.Compile(parsed, s.name)
	must(err)
	certificate, err := certs.NewProvided(certDir, func(time.Time) {}, logr.Discard())
	must(err)
	client, err := metadata.NewForConfig(shared.Config)
	must(err)
	labels, err := namespaces.New(client, client, logr.Discard())
	must(err)

	addresses := clustertest.FreeAddresses(s, 2)
	reviews, health := addresses[0], addresses[1]
	server := reviewserver.New(reviewserver.Options{
		Address: reviews, GetCertificate: certificate.GetCertificate, Delay: shutdownDelay, Log: zap.NewNop(),
	})
	of, err := manager.New(shared.Config, manager.Options{
		WebhookServer:           server,
		HealthProbeBindAddress:  health,
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		GracefulShutdownTimeout: new(time.Minute),
		Logger:                  logr.Discard(),
	})
	must(err)
	// What an operator would write.
	of.GetWebhookServer().Register(webhookconfig.Path, admission.New(admission.Options{
		Policy:     func() *policy.Compiled { return compiled },
		Namespaces: labels,
		Metrics:    metrics.New(prometheus.NewRegistry()),
		Log:        logr.Discard(),
	}))
	must(of.Add(certificate))
	must(of.Add(labels))
	must(of.AddReadyzCheck("webhook", of.GetWebhookServer().StartedChecker()))

	ctx, cancel := context.WithCancel(s.Context())
	ended := make(chan error, 1)
	go func() { ended <- of.Start(ctx) }()
	once := false
	stop = func() {
		cancel()
		if !once {
			once = true
			if err := <-ended; err != nil {
				s.Errorf("a manager: %v", err)
			}
		}
	}
	s.Cleanup(stop)
	webhook = &cluster.Webhook{URL: "https://" + reviews, HealthURL: "http://" + health}
	clustertest.Eventually(s.T, "the manager is ready", func() bool { return labels.Synced() && rotation.IsReady(s.Context(), webhook) })
	must(s.balancer.Add(webhook))
	s.servers = append(s.servers, webhook)
	return webhook, stop
}
