package certs

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"sync"
	"time"

	certauthority "github.com/cert-manager/cert-manager/pkg/server/tls/authority"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const (
	// backDate is how long before its signing a certificate begins, so that an
	// API server whose clock is behind takes it: as much as
	// kube-controller-manager's signer allows. A short-lived one begins a tenth
	// of its life before.
	backDate = 5 * time.Minute
	// caInterval is when the age of the CA is looked at, and what failed is tried
	// again.
	caInterval = 10 * time.Second
	// fillTimeout bounds one change of the Secret.
	fillTimeout = 10 * time.Second
	// calm is how long the Secret must have kept its CA for the next fill to be
	// the first again.
	calm = 15 * time.Minute
)

// lifeOf is when a certificate is valid that is signed now.
func lifeOf(duration time.Duration, now time.Time) (notBefore, notAfter time.Time) {
	notBefore = now.Add(-min(backDate, duration/10))
	return notBefore, notBefore.Add(duration)
}

// authority is the CA in a Secret that replicas share. In place of
// cert-manager's DynamicAuthority, which back-dates nothing, fills a Secret
// that somebody empties as fast as they do, and creates one that is missing,
// for which the server has no permission.
//
// The Secret has the same keys, and is filled anew where cert-manager's would:
//
//	Secret                                          is
//	not there                                       left so: Publisher.Trouble tells
//	without ca.crt, tls.crt, tls.key of one pair,
//	  or not of a CA                                filled
//	with a CA of whose life a third is left         filled
//	anything else                                   used
//
// A Secret that somebody empties again and again is filled at once, and then
// at intervals that grow from a second to five minutes.
type authority struct {
	namespace, secret        string
	caDuration, leafDuration time.Duration
	client                   kubernetes.Interface
	log                      logr.Logger

	mu      sync.Mutex
	current *tls.Certificate // nil while there is none
	watches []chan<- struct{}

	// What follows is only for Run.
	fills    wait.Backoff
	lastFill time.Time
	nextFill time.Time
}

// Run keeps the CA until ctx ends. It returns nil: what cannot be done is
// logged and tried again.
func (a *authority) Run(ctx context.Context) error {
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, a.secret).String()
	informer := coreinformers.NewFilteredSecretInformer(a.client, a.namespace, 0, cache.Indexers{},
		func(o *metav1.ListOptions) { o.FieldSelector = selector })
	changed := make(chan struct{}, 1)
	note := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { note() }, UpdateFunc: func(any, any) { note() },
	})
	if err != nil {
		return fmt.Errorf("preparing to watch the CA: %w", err)
	}
	var running sync.WaitGroup
	running.Go(func() { informer.RunWithContext(ctx) })
	defer running.Wait()

	again := time.NewTicker(caInterval)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-again.C:
		}
		object, exists, err := informer.GetStore().GetByKey(a.namespace + "/" + a.secret)
		if err == nil && exists {
			err = a.ensure(ctx, object.(*corev1.Secret), time.Now())
		}
		if err != nil && ctx.Err() == nil {
			a.log.Error(err, "cannot keep the CA", "namespace", a.namespace, "name", a.secret)
		}
	}
}

// ensure uses the CA in the Secret, or puts a new one there.
func (a *authority) ensure(ctx context.Context, secret *corev1.Secret, now time.Time) error {
	ca, why := caIn(secret, now)
	if why == "" {
		a.use(ca)
		return nil
	}
	if now.Before(a.nextFill) {
		return nil
	}
	if now.Sub(a.lastFill) > calm {
		a.fills = wait.Backoff{Duration: time.Second, Factor: 2, Jitter: 0.5, Steps: 10, Cap: 5 * time.Minute}
	}
	a.lastFill, a.nextFill = now, now.Add(a.fills.Step())
	filled := secret.DeepCopy()
	if err := a.fill(filled, now); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, fillTimeout)
	defer cancel()
	_, err := a.client.CoreV1().Secrets(a.namespace).Update(ctx, filled, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil // another replica was first; the watch brings what it is now
	}
	if err == nil {
		a.log.Info("made a new CA", "reason", why, "namespace", a.namespace, "name", a.secret)
	}
	return err
}

// caIn returns the CA, or why there has to be a new one.
func caIn(secret *corev1.Secret, now time.Time) (ca *tls.Certificate, why string) {
	certificate, key := secret.Data[certFile], secret.Data[keyFile]
	if len(certificate) == 0 || len(key) == 0 || !bytes.Equal(certificate, secret.Data[caFile]) {
		return nil, "the Secret lacks a part of it"
	}
	pair, err := tls.X509KeyPair(certificate, key)
	switch {
	case err != nil:
		return nil, "what is in the Secret is no pair of certificate and key"
	case !pair.Leaf.IsCA:
		return nil, "what is in the Secret is not a CA"
	case pair.Leaf.NotAfter.Sub(now) < pair.Leaf.NotAfter.Sub(pair.Leaf.NotBefore)/3:
		return nil, "a third of its life is left"
	}
	return &pair, ""
}

// use signs by this CA from now on, and tells whoever watches.
func (a *authority) use(ca *tls.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.current != nil && a.current.Leaf.Equal(ca.Leaf) {
		return
	}
	a.current = ca
	for _, watch := range a.watches {
		select {
		case watch <- struct{}{}:
		default: // it has yet to take the last one
		}
	}
}

// fill puts a new CA into the Secret.
func (a *authority) fill(secret *corev1.Secret, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making the key of a CA: %w", err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: a.secret},
		IsCA:    true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageCertSign,
	}
	template.NotBefore, template.NotAfter = lifeOf(a.caDuration, now)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("signing a CA: %w", err)
	}
	encodedKey, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encoding the key of a CA: %w", err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if secret.Data == nil {
		secret.Data = map[string][]byte{}
	}
	secret.Data[caFile], secret.Data[certFile] = certificate, certificate
	secret.Data[keyFile] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: encodedKey})
	return nil
}

// WatchRotation tells the channel of each new CA.
func (a *authority) WatchRotation(watch chan<- struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watches = append(a.watches, watch)
}

// StopWatchingRotation ends that.
func (a *authority) StopWatchingRotation(watch chan<- struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.watches {
		if a.watches[i] == watch {
			a.watches = append(a.watches[:i], a.watches[i+1:]...)
			return
		}
	}
}

// Sign signs a leaf for the template's key and names. It never outlives its
// CA.
func (a *authority) Sign(template *x509.Certificate) (*x509.Certificate, error) {
	a.mu.Lock()
	ca := a.current
	a.mu.Unlock()
	if ca == nil {
		return nil, certauthority.ErrCertificateNotAvailable
	}
	return a.signBy(ca, template, time.Now())
}

func (a *authority) signBy(ca *tls.Certificate, template *x509.Certificate, now time.Time) (*x509.Certificate, error) {
	template.BasicConstraintsValid = true
	template.NotBefore, template.NotAfter = lifeOf(a.leafDuration, now)
	if ca.Leaf.NotAfter.Before(template.NotAfter) {
		template.NotAfter = ca.Leaf.NotAfter
	}
	if !now.Before(template.NotAfter) {
		return nil, fmt.Errorf("the CA in Secret %s/%s has expired", a.namespace, a.secret)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.Leaf, template.PublicKey.(crypto.PublicKey), ca.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("signing the serving certificate: %w", err)
	}
	return x509.ParseCertificate(der)
}
