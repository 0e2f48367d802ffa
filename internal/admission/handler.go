package admission

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/shorthop/shorthop/internal/metrics"
	"github.com/shorthop/shorthop/pkg/mutate"
	"github.com/shorthop/shorthop/pkg/policy"
)

// What the API server does with an answer under failurePolicy Ignore, and so
// what we answer. "allowed" is allowed: true without a patch.
//
//	what happens                              we answer             the pod is
//	pod skipped, or nothing to add            allowed               created as it is
//	pod injected                              allowed + patch       created patched
//	object cannot be decoded                  allowed + warning     created as it is
//	panic                                     allowed + warning     created as it is
//	the patch cannot be encoded               allowed + warning     created as it is
//	the same three under onError Deny         denied                rejected
//	namespace labels unknown                  allowed + warning     created as it is
//	not about a pod                           allowed + warning     created as it is
//	policy not loaded yet                     503, Retry-After: 1   created after a retry, or as it is
//	body is no review, or UID unknown         400                   created as it is
//	body cannot be read to its end            400                   created as it is
//	body above the limit                      413                   created as it is
//	content type is not JSON                  415                   created as it is
//	method is not POST                        405                   created as it is
//
// A denial, and a patch that does not apply, reject the pod even under
// Ignore: the failure policy covers only calls that fail.

const (
	// maxBody is above what the API server can send: an object of 3 MiB, twice
	// for an update, and the rest of the review.
	maxBody = 7 << 20
	// keepBuffer is the largest buffer that is kept for the next review.
	keepBuffer = 256 << 10
	// firstBuffer is how much of an announced length is believed: most reviews
	// are smaller. What is above has to arrive before it takes memory.
	firstBuffer = 32 << 10
	// readTimeout bounds how long a client may take to send its body.
	readTimeout = 10 * time.Second
	// reviewTimeout bounds a review where the request names no timeout.
	reviewTimeout = 2 * time.Second
)

// NamespaceLabels reads the labels of a namespace. It returns within the
// context's deadline; ok is false where the labels cannot be had. It must be
// safe for concurrent use, and the labels are not changed afterwards.
type NamespaceLabels interface {
	Labels(ctx context.Context, namespace string) (labels map[string]string, ok bool)
}

// Options holds what a Handler needs. All fields are required but Gates,
// Discovered and Draining.
type Options struct {
	// Policy returns the policy in force, nil while there is none.
	Policy     func() *policy.Compiled
	Namespaces NamespaceLabels
	// Gates returns the health gates as they are. Defaults to none.
	Gates func() *policy.Gates
	// Discovered returns what is known of the cluster's DNS. Defaults to
	// nothing.
	Discovered func() *policy.Discovered
	Metrics    *metrics.Metrics
	Log        logr.Logger
	// Draining reports whether the server is about to stop. Reviews are still
	// answered; clients are asked to open a new connection, which leads them
	// to another replica. Defaults to never.
	Draining func() bool
}

// Handler answers AdmissionReviews of pods. It keeps no state between reviews
// and is safe for concurrent use.
type Handler struct {
	Options
	buffers sync.Pool
}

// New returns a Handler.
func New(o Options) *Handler {
	if o.Draining == nil {
		o.Draining = func() bool { return false }
	}
	if o.Gates == nil {
		o.Gates = func() *policy.Gates { return nil }
	}
	if o.Discovered == nil {
		o.Discovered = func() *policy.Discovered { return nil }
	}
	return &Handler{Options: o, buffers: sync.Pool{New: func() any { return new(bytes.Buffer) }}}
}

// ServeHTTP answers one review. See the table at the top of this file.
func (h *Handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	started := time.Now()
	h.Metrics.ReviewBegan()
	defer func() { h.Metrics.ReviewEnded(time.Since(started)) }()
	if h.Draining() {
		w.Header().Set("Connection", "close")
	}
	compiled := h.Policy()
	if compiled == nil {
		w.Header().Set("Retry-After", "1")
		h.refuse(w, http.StatusServiceUnavailable, metrics.StageNotReady, errors.New("no policy is loaded yet"))
		return
	}
	body, reusable := h.buffers.Get().(*bytes.Buffer), true
	defer func() {
		if reusable && body.Cap() <= keepBuffer {
			body.Reset()
			h.buffers.Put(body)
		}
	}()
	if status, err := readBody(w, req, body); err != nil {
		h.refuse(w, status, metrics.StageRequest, err)
		return
	}
	ctx, cancel := reviewContext(req, started)
	defer cancel()
	answer, err := h.review(ctx, compiled, body.Bytes())
	if err != nil {
		h.refuse(w, http.StatusBadRequest, metrics.StageRequest, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// The answer holds copies of what it took from the body, so it can be
	// written over the body.
	body.Reset()
	if _, err := w.Write(answer.appendTo(body.AvailableBuffer())); err != nil {
		reusable = false // of a failed write HTTP/2 may still be sending a part
		h.Log.V(1).Info("client left before the answer", "uid", answer.uid, "error", err.Error())
	}
}

// refuse answers what is not a review.
func (h *Handler) refuse(w http.ResponseWriter, status int, stage metrics.Stage, err error) {
	h.Metrics.Error(stage)
	h.Log.Info("refused a request", "status", status, "stage", string(stage), "error", err.Error())
	http.Error(w, err.Error(), status)
}

// readBody checks the request and reads its body. On an error it returns the
// HTTP status to answer with.
func readBody(w http.ResponseWriter, req *http.Request, body *bytes.Buffer) (status int, err error) {
	if req.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return http.StatusMethodNotAllowed, fmt.Errorf("method is %.20s, want POST", req.Method)
	}
	if contentType, _, err := mime.ParseMediaType(req.Header.Get("Content-Type")); err != nil || contentType != "application/json" {
		return http.StatusUnsupportedMediaType, fmt.Errorf("content type is %.80q, want application/json", req.Header.Get("Content-Type"))
	}
	if req.ContentLength > maxBody {
		return http.StatusRequestEntityTooLarge, errBodyTooLarge
	}
	// Not every writer has deadlines; those of the server do.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(readTimeout))
	if n := int(min(req.ContentLength, firstBuffer)); n > 0 {
		body.Grow(n + bytes.MinRead)
	}
	n, err := body.ReadFrom(io.LimitReader(req.Body, maxBody+1))
	switch {
	case err != nil:
		return http.StatusBadRequest, fmt.Errorf("read body: %w", err)
	case n > maxBody:
		return http.StatusRequestEntityTooLarge, errBodyTooLarge
	case n == 0:
		return http.StatusBadRequest, fmt.Errorf("%w: the body is empty", errNotReview)
	}
	return http.StatusOK, nil
}

var errBodyTooLarge = fmt.Errorf("body is larger than %d bytes", maxBody)

// reviewContext outlives the client's connection and the server's shutdown,
// so that a review that was begun is finished, and ends before the API server
// stops waiting: webhook calls carry their timeout in the query.
func reviewContext(req *http.Request, started time.Time) (context.Context, context.CancelFunc) {
	timeout := reviewTimeout
	if text := req.URL.Query().Get("timeout"); text != "" {
		if asked, err := time.ParseDuration(text); err == nil && asked > 0 {
			timeout = min(timeout, asked*4/5)
		}
	}
	return context.WithDeadline(context.WithoutCancel(req.Context()), started.Add(timeout))
}

// review decides on one body. The error says why there is no review to answer;
// once there is one, everything is answered.
func (h *Handler) review(ctx context.Context, compiled *policy.Compiled, body []byte) (result *answer, err error) {
	var r review
	defer func() {
		// The stack is logged, the pod is not: it may hold secrets.
		if p := recover(); p != nil {
			h.Log.Error(fmt.Errorf("panic: %v", p), "bug in Shorthop; please report it", "uid", clip(r.Request.UID), "stack", string(debug.Stack()))
			result, err = h.fail(compiled, &r, metrics.StagePanic, "internal error"), nil
			if r.Request.UID == "" { // nothing that could be answered
				result, err = nil, errors.New("internal error")
			}
		}
	}()
	decodeErr := decode(body, &r)
	if err := r.checkType(); err != nil {
		if decodeErr != nil {
			return nil, fmt.Errorf("%w: %w", errNotReview, decodeErr)
		}
		return nil, err
	}
	if decodeErr != nil && !r.Request.isOther() {
		h.Log.Info("cannot decode a pod", "uid", r.Request.UID, "namespace", clip(r.Request.Namespace), "error", decodeErr.Error())
		return h.fail(compiled, &r, metrics.StageObject, "the pod cannot be decoded"), nil
	}
	return h.decide(ctx, compiled, &r, len(body)), nil
}

// decide reviews a pod.
func (h *Handler) decide(ctx context.Context, compiled *policy.Compiled, r *review, size int) *answer {
	operation, namespace := r.Request.policyOperation(), r.Request.Namespace
	labels, known := map[string]string(nil), true
	if needsNamespace(compiled, operation, namespace) {
		labels, known = h.Namespaces.Labels(ctx, namespace)
	}
	result := mutate.Review(compiled, policy.Request{
		Operation:       operation,
		Namespace:       namespace,
		NamespaceLabels: labels,
		NamespaceKnown:  known,
		Pod:             &r.Request.Object,
		OldPod:          r.Request.OldObject,
		ObjectSize:      size,
		Gates:           h.Gates(),
		Discovered:      h.Discovered(),
	})
	warnings := result.Decision.Warnings
	if !r.Request.isPod() {
		warnings = append(warnings, fmt.Sprintf("shorthop: reviews pods only, was asked about %s; check the webhook configuration", r.Request.Resource))
	}
	if !known {
		h.Metrics.Error(metrics.StageNamespace)
		warnings = append(warnings, fmt.Sprintf("shorthop: the labels of namespace %s could not be read, so the pod is left as it is", clip(namespace)))
	}
	var patch []byte
	if len(result.Operations) > 0 && !result.DryRun() {
		var err error
		if patch, err = mutate.AppendJSON(make([]byte, 0, 2048), result.Operations); err != nil {
			h.Log.Error(err, "cannot encode a patch", "uid", r.Request.UID, "namespace", clip(namespace))
			return h.fail(compiled, r, metrics.StagePatch, "the patch cannot be encoded")
		}
	}
	h.record(r, &result)
	return &answer{
		apiVersion: r.APIVersion, uid: r.Request.UID, allowed: true,
		patch: patch, warnings: warnings, audit: auditOf(&result),
	}
}

// needsNamespace reports whether a decision depends on the namespace's labels.
// They may have to be read live, and a pod that is left alone in any case, the
// kill switch above all, must not wait for that.
func needsNamespace(compiled *policy.Compiled, operation policy.Operation, namespace string) bool {
	return operation != policy.OperationOther && !compiled.Excludes(namespace) &&
		compiled.Document().Spec.Mode != policy.ModeOff
}

// record counts and logs what was decided.
func (h *Handler) record(r *review, result *mutate.Result) {
	d := &result.Decision
	h.Metrics.Decision(policy.FeatureServiceHost, d.ServiceHost.Action, d.ServiceHost.Reason)
	h.Metrics.Decision(policy.FeatureDNS, d.DNS.Action, d.DNS.Reason)
	if result.RecordReason != "" {
		h.Metrics.Decision(policy.FeatureRecord, policy.ActionSkip, result.RecordReason)
	}
	log := h.Log.V(1)
	if result.DryRun() {
		// A dry run leaves nothing on the pod: the log is where its outcome is
		// found, pod by pod.
		log = h.Log
	}
	if log.Enabled() {
		log.Info("reviewed", "uid", r.Request.UID, "namespace", clip(r.Request.Namespace), "name", podName(&r.Request.Object),
			"rule", d.Rule, "operations", len(result.Operations),
			"serviceHostAction", string(d.ServiceHost.Action), "serviceHostReason", string(d.ServiceHost.Reason),
			"dnsAction", string(d.DNS.Action), "dnsReason", string(d.DNS.Reason))
	}
}

// fail answers a review that could not be decided, as the policy's onError
// says.
func (h *Handler) fail(compiled *policy.Compiled, r *review, stage metrics.Stage, problem string) *answer {
	h.Metrics.Error(stage)
	failed := &answer{apiVersion: r.APIVersion, uid: r.Request.UID, audit: []auditAnnotation{{"error", string(stage)}}}
	if compiled.OnError() == policy.OnErrorDeny {
		failed.message = "shorthop: " + problem + "; the policy says onError: Deny"
		return failed
	}
	failed.allowed = true
	failed.warnings = []string{"shorthop: " + problem + ", so the pod is left as it is"}
	return failed
}
