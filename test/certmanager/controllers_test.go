package certmanager_test

import (
	"context"
	"fmt"
	"time"

	cmscheme "github.com/cert-manager/cert-manager/pkg/client/clientset/versioned/scheme"
	"github.com/cert-manager/cert-manager/pkg/controller"
	"github.com/cert-manager/cert-manager/pkg/controller/cainjector"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/approver"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/ca"
	"github.com/cert-manager/cert-manager/pkg/controller/certificaterequests/selfsigned"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/issuing"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/keymanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/readiness"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/requestmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/revisionmanager"
	"github.com/cert-manager/cert-manager/pkg/controller/certificates/trigger"
	"github.com/cert-manager/cert-manager/pkg/controller/issuers"
	_ "github.com/cert-manager/cert-manager/pkg/issuer/ca" // the issuers register themselves
	_ "github.com/cert-manager/cert-manager/pkg/issuer/selfsigned"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	kubescheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/shorthop/shorthop/test/cluster"
)

// startCertManager runs the controllers of cert-manager that our chart needs,
// all in this process, until ctx ends. wait returns once they have ended.
func startCertManager(ctx context.Context, c *cluster.Cluster) (wait func() error, err error) {
	factory, err := controller.NewContextFactory(ctx, controller.ContextOptions{
		Kubeconfig:    c.Kubeconfig(),
		IssuerOptions: controller.IssuerOptions{ClusterResourceNamespace: "cert-manager"},
		// As cert-manager's own defaults.
		CertificateOptions: controller.CertificateOptions{
			CertificateRequestMinimumBackoffDuration: time.Hour,
			CertificateRequestMaximumBackoffDuration: 32 * time.Hour,
		},
	})
	if err != nil {
		return nil, fmt.Errorf("preparing cert-manager's controllers: %w", err)
	}
	var controllers []controller.Interface
	for _, name := range []string{
		issuers.ControllerName,
		approver.ControllerName, ca.CRControllerName, selfsigned.CRControllerName,
		trigger.ControllerName, keymanager.ControllerName, requestmanager.ControllerName,
		issuing.ControllerName, readiness.ControllerName, revisionmanager.ControllerName,
	} {
		made, err := controller.Known()[name](factory)
		if err != nil {
			return nil, fmt.Errorf("preparing cert-manager's controller %s: %w", name, err)
		}
		controllers = append(controllers, made)
	}
	injector, err := newInjector(ctx, c)
	if err != nil {
		return nil, err
	}
	informers, err := factory.Build("informers")
	if err != nil {
		return nil, fmt.Errorf("preparing cert-manager's informers: %w", err)
	}

	running, ctx := errgroup.WithContext(ctx)
	informers.SharedInformerFactory.Start(ctx.Done())
	informers.KubeSharedInformerFactory.Start(ctx.Done())
	running.Go(func() error { return injector.Start(ctx) })
	for _, made := range controllers {
		running.Go(func() error { return made.Run(2, ctx) })
	}
	return running.Wait, nil
}

// newInjector returns cert-manager's cainjector, for webhook configurations.
func newInjector(ctx context.Context, c *cluster.Cluster) (ctrl.Manager, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{kubescheme.AddToScheme, cmscheme.AddToScheme, apiextensionsv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("preparing cainjector: %w", err)
		}
	}
	config := rest.CopyConfig(c.Config)
	config.UserAgent = "cert-manager-cainjector/test" // up to the slash, it names who owns the bundles
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:  scheme,
		Metrics: metricsserver.Options{BindAddress: "0"},
		Client:  client.Options{Cache: &client.CacheOptions{DisableFor: []client.Object{&corev1.Secret{}}}},
	})
	if err != nil {
		return nil, fmt.Errorf("preparing cainjector: %w", err)
	}
	err = cainjector.RegisterAllInjectors(ctx, manager, cainjector.SetupOptions{
		EnableCertificatesDataSource: true,
		EnabledReconcilersFor:        map[string]bool{cainjector.MutatingWebhookConfigurationName: true},
	})
	if err != nil {
		return nil, fmt.Errorf("preparing cainjector: %w", err)
	}
	return manager, nil
}
