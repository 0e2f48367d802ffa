package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionv1beta1 "k8s.io/api/admission/v1beta1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/uuid"
	webhookrequest "k8s.io/apiserver/pkg/admission/plugin/webhook/request"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/rest"

	"github.com/shorthop/shorthop/internal/webhookconfig"
)

const (
	// reviewTimeout is more than the 2 s of our webhook configuration: see late.
	reviewTimeout = 10 * time.Second
	// mostUnderWay is the API server's own limit, --max-mutating-requests-inflight. What is above it waits, and its latency
	// counts from when it was due all the same.
	mostUnderWay = 200
	// freshEach review is sent over a connection of its own.
	freshEach = 10
)

// mix are the captured reviews, as often as they are sent in turn.
var mix = []string{"typical", "small", "typical", "30-containers", "typical", "small", "typical", "typical", "small", "200-KiB"}

// readReviews reads reviews that kube-apiserver has sent, and moves them to the namespace of the load.
func readReviews(root string) (map[string]*admissionv1.AdmissionReview, error) {
	reviews := map[string]*admissionv1.AdmissionReview{}
	for _, name := range mix {
		text, err := os.ReadFile(filepath.Join(root, "internal", "admission", "testdata", "reviews", name+".json"))
		if err != nil {
			return nil, fmt.Errorf("reading a review: %w", err)
		}
		review := &admissionv1.AdmissionReview{}
		if err := json.Unmarshal(text, review); err != nil {
			return nil, fmt.Errorf("reading review %s: %w", name, err)
		}
		object := strings.ReplaceAll(string(review.Request.Object.Raw), `"namespace":"default"`, `"namespace":"`+openNamespace+`"`)
		review.Request.Namespace, review.Request.Object.Raw = openNamespace, []byte(object)
		reviews[name] = review
	}
	return reviews, nil
}

// patches are what a policy makes of the reviews, by the review's name.
type patches map[string]string

// generator sends reviews with kube-apiserver's own client for webhooks.
type generator struct {
	reviews map[string]*admissionv1.AdmissionReview
	// kept keeps its connections, fresh opens one for each review.
	kept, fresh webhook.ClientManager
	caBundle    atomic.Pointer[[]byte]
	// accepted are the policies of which one may be in force.
	accepted atomic.Pointer[[]patches]
	// counts is where reviews count that end now.
	counts atomic.Pointer[tally]
}

func newGenerator(reviews map[string]*admissionv1.AdmissionReview, port int) (*generator, error) {
	g := &generator{reviews: reviews}
	g.counts.Store(&tally{})
	g.accepted.Store(&[]patches{})
	for _, manager := range []*webhook.ClientManager{&g.kept, &g.fresh} {
		var err error
		*manager, err = webhook.NewClientManager(
			[]schema.GroupVersion{admissionv1.SchemeGroupVersion, admissionv1beta1.SchemeGroupVersion},
			admissionv1.AddToScheme, admissionv1beta1.AddToScheme)
		if err != nil {
			return nil, fmt.Errorf("making a client for webhooks: %w", err)
		}
		resolver, err := webhook.NewDefaultAuthenticationInfoResolver("")
		if err != nil {
			return nil, fmt.Errorf("making a client for webhooks: %w", err)
		}
		manager.SetAuthenticationInfoResolver(resolver)
		manager.SetServiceResolver(address(port))
		if err := manager.Validate(); err != nil {
			return nil, fmt.Errorf("making a client for webhooks: %w", err)
		}
	}
	g.fresh.SetAuthenticationInfoResolverWrapper(func(resolver webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
		return closing{resolver}
	})
	return g, nil
}

// address is a port of the loopback interface, to which every Service resolves.
type address int

// ResolveEndpoint implements webhook.ServiceResolver.
func (a address) ResolveEndpoint(string, string, int32) (*url.URL, error) {
	return &url.URL{Scheme: "https", Host: fmt.Sprintf("127.0.0.1:%d", int(a))}, nil
}

// closing makes clients that end a connection after one request.
type closing struct {
	webhook.AuthenticationInfoResolver
}

// ClientConfigForService implements webhook.AuthenticationInfoResolver.
func (c closing) ClientConfigForService(name, namespace string, port int) (*rest.Config, error) {
	config, err := c.AuthenticationInfoResolver.ClientConfigForService(name, namespace, port)
	if err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return closingTransport{next} })
	return config, nil
}

type closingTransport struct{ http.RoundTripper }

func (c closingTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Close = true
	return c.RoundTripper.RoundTrip(request)
}

// start sends reviews until stop is called, which waits for the answers.
func (g *generator) start(ctx context.Context, rate int) (p *pacer, stop func()) {
	p = newPacer(rate, mostUnderWay)
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { p.run(ctx, func(n int, due time.Time) { g.send(context.WithoutCancel(ctx), n, due) }) })
	return p, func() {
		cancel()
		running.Wait()
	}
}

// isFresh chooses one of freshEach, not in step with the mix, so that every review comes over both.
func isFresh(n int) bool { return n%freshEach == n/freshEach%freshEach }

func (g *generator) send(ctx context.Context, n int, due time.Time) {
	name, manager := mix[n%len(mix)], &g.kept
	if isFresh(n) {
		manager = &g.fresh
	}
	before, called := *g.accepted.Load(), time.Now()
	patch, err := g.call(ctx, manager, name)
	result, problem := failed, ""
	switch {
	case err != nil:
		problem = generalized(err.Error())
	case patch == "":
		result, problem = unpatched, "no patch"
	// A policy may come into force while the review is under way.
	case isOne(before, name, patch), isOne(*g.accepted.Load(), name, patch):
		result = expected
	default:
		result, problem = other, fmt.Sprintf("another patch for %s: %.300s", name, patch)
	}
	g.counts.Load().add(result, due, called, problem)
}

func isOne(policies []patches, name, patch string) bool {
	for _, policy := range policies {
		if policy[name] == patch {
			return true
		}
	}
	return false
}

// addresses are what makes the same error look different.
var addresses = regexp.MustCompile(`127\.0\.0\.1:\d+`)

func generalized(message string) string { return addresses.ReplaceAllString(message, "127.0.0.1") }

// call sends a review as the admission plugin of kube-apiserver does (dispatcher.go in
// k8s.io/apiserver/pkg/admission/plugin/webhook/mutating) and returns the patch.
func (g *generator) call(ctx context.Context, manager *webhook.ClientManager, name string) (patch string, err error) {
	path := webhookconfig.Path
	client, err := manager.HookClient(webhook.ClientConfig{
		Name: siteName, CABundle: *g.caBundle.Load(),
		Service: &webhook.ClientConfigService{Name: siteName, Namespace: siteName, Path: path, Port: 443},
	})
	if err != nil {
		return "", err
	}
	review := g.reviews[name].DeepCopy()
	review.Request.UID = uuid.NewUUID()
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	response := &admissionv1.AdmissionReview{}
	if err := client.Post().Body(review).Timeout(reviewTimeout).Do(ctx).Into(response); err != nil {
		return "", fmt.Errorf("failed to call webhook: %w", err)
	}
	result, err := webhookrequest.VerifyAdmissionResponse(review.Request.UID, true, response)
	if err != nil {
		return "", fmt.Errorf("received invalid webhook response: %w", err)
	}
	if !result.Allowed {
		return "", fmt.Errorf("denied: %v", result.Result)
	}
	return string(result.Patch), nil
}
