package admission

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/shorthop/shorthop/internal/loglimit"
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
//	object, resource or operation missing,    allowed + warning     created as it is
//	cannot be decoded, or too many values
//	panic                                     allowed + warning     created as it is
//	the patch cannot be encoded               allowed + warning     created as it is
//	the same three under onError Deny,        denied                rejected
//	except in an excluded namespace
//	namespace labels unknown                  allowed + warning     created as it is
//	not about a pod                           allowed + warning     created as it is
//	no policy, its file is broken             503, Retry-After: 1   created after a retry, or as it is
//	(policy_invalid)
//	no memory left for a large body, or it    503, Retry-After: 1   created after a retry, or as it is
//	does not arrive by the deadline
//	body is no review, or UID unknown, or     400                   created as it is
//	something follows the review
//	namespace is not a DNS label              400                   (no API server sends that)
//	body cannot be read to its end            400                   created as it is
//	body above the limit                      413                   created as it is
//	content type is not JSON                  415                   created as it is
//	method is not POST                        405                   created as it is
//
// A denial, and a patch that does not apply, reject the pod even under
// Ignore: the failure policy covers only calls that fail.

// reviewTimeout bounds a review where the request names no timeout.
const reviewTimeout = 2 * time.Second

// Namespaces reads a namespace. It returns within the context's deadline; ok is
// false where the namespace cannot be had. It must be safe for concurrent use, and
// what it returns is not changed afterwards.
type Namespaces interface {
	Get(ctx context.Context, name string) (namespace policy.Namespace, ok bool)
}

// Options holds what a Handler needs. All fields are required but Gates,
// Discovered and Advice.
type Options struct {
	// Policy returns the policy in force, nil while there is none because its file
	// has been broken since the start.
	Policy     func() *policy.Compiled
	Namespaces Namespaces
	// Gates returns the health gates as they are. Defaults to none.
	Gates func() *policy.Gates
	// Discovered returns what is known of the cluster's DNS. Defaults to
	// nothing.
	Discovered func() *policy.Discovered
	// Advice returns the advice in force. Defaults to none.
	Advice  func() *policy.Advice
	Metrics *metrics.Metrics
	Log     logr.Logger
}

// Handler answers AdmissionReviews of pods. It keeps no state between reviews
// and is safe for concurrent use.
type Handler struct {
	Options
	bodies *bodies
	// underWay is how many requests are being read or answered.
	underWay atomic.Int64
	// decoding holds one entry for each body above simpleBody that is being decoded.
	decoding chan struct{}
	// Limits for the log lines that anybody who reaches the port can cause.
	refusals, undecodable, panics, stacks *loglimit.Limiter
}

// New returns a Handler.
func New(o Options) *Handler {
	if o.Gates == nil {
		o.Gates = func() *policy.Gates { return nil }
	}
	if o.Discovered == nil {
		o.Discovered = func() *policy.Discovered { return nil }
	}
	if o.Advice == nil {
		o.Advice = func() *policy.Advice { return nil }
	}
	return &Handler{
		Options: o, bodies: newBodies(newBudget()), decoding: make(chan struct{}, 2*runtime.GOMAXPROCS(0)),
		refusals: loglimit.New(), undecodable: loglimit.New(), panics: loglimit.New(),
		stacks: loglimit.NewWith(1.0/60, 1), // they are long, and one is enough
	}
}

// ServeHTTP answers one review. See the table at the top of this file.
func (h *Handler) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	started := time.Now()
	h.Metrics.ReviewBegan()
	defer func() { h.Metrics.ReviewEnded(time.Since(started)) }()
	compiled, gates := policy.InForce(h.Policy, h.Gates)
	if compiled == nil {
		h.refuse(w, http.StatusServiceUnavailable, metrics.StagePolicyInvalid, errPolicyInvalid)
		return
	}
	many := h.underWay.Add(1) > manyRequests
	defer h.underWay.Add(-1)
	deadline := started.Add(timeoutOf(req))
	if status, err := checkRequest(w, req, many); err != nil {
		h.refuse(w, status, metrics.StageRequest, err)
		return
	}
	b, reusable := h.bodies.get(), true
	defer func() {
		if reusable {
			h.bodies.put(b)
		} else {
			b.grant.release()
		}
	}()
	if status, err := readBody(w, req, deadline, b); err != nil {
		h.refuse(w, status, metrics.StageRequest, err)
		return
	}
	growStack(0) // not earlier: thousands of requests may wait for their bodies, each with its own stack
	// A review that has begun is finished even if the client disconnects or the
	// server is told to end meanwhile.
	ctx, cancel := context.WithDeadline(context.WithoutCancel(req.Context()), deadline)
	defer cancel()
	answer, status, err := h.review(ctx, compiled, gates, req, b)
	if err != nil {
		h.refuse(w, status, metrics.StageRequest, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// The answer holds copies of what it took from the body, so it can be
	// written over the body.
	if _, err := w.Write(answer.appendTo(b.data[:0])); err != nil {
		reusable = false // of a failed write HTTP/2 may still be sending a part
		h.Log.V(1).Info("client left before the answer", "uid", loglimit.Quote(answer.uid, quotedUID), "error", loglimit.Quote(err.Error(), quotedError))
	}
}

// growStack makes the goroutine's stack as large as a review needs while there is
// little on it to copy. net/http serves every HTTP/2 request on a new goroutine,
// whose stack would otherwise be copied at each doubling, deep within the decision.
// That would take a twentieth of a review's time (make bench-against).
//
//go:noinline
func growStack(i int) byte {
	var room [10 << 10]byte
	return room[i]
}

var errPolicyInvalid = errors.New("policy_invalid: no policy is in force, because its file is broken")

// refuse answers what is not a review, or cannot be reviewed now.
func (h *Handler) refuse(w http.ResponseWriter, status int, stage metrics.Stage, err error) {
	if errors.Is(err, errBusy) {
		stage = metrics.StageBusy
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	h.Metrics.Error(stage)
	h.complain(h.refusals, "refused a request", "status", status, "stage", string(stage), "error", loglimit.Quote(err.Error(), quotedError))
	http.Error(w, err.Error(), status)
}

// complain logs something that anybody who reaches the port can cause. The caller
// quotes and shortens the values, so that a line has less than 300 bytes. The
// number of lines is limited, except at the debug level, where every review is
// logged anyway.
func (h *Handler) complain(limit *loglimit.Limiter, message string, fields ...any) {
	leftOut, ok := int64(0), h.Log.V(1).Enabled()
	if !ok {
		leftOut, ok = limit.Allow()
	}
	if ok {
		h.Log.Info(message, loglimit.With(fields, leftOut)...)
	}
}

// How much of a value a log line repeats, in bytes as JSON has it: a quote and a
// backslash take two (loglimit.Quote). UIDs of API servers have 36.
const (
	quotedUID       = 36
	quotedNamespace = 40
	quotedName      = 63 // a generated name is shorter, and the beginning of a longer one is enough to find a pod
	quotedError     = 120
)

// timeoutOf is how long a review may take: four fifths of the time that the API
// server waits, which the query of its request names, and reviewTimeout at most or
// where the query names none.
func timeoutOf(req *http.Request) time.Duration {
	const longQuery = 256 // bytes; no API server sends as much, and parsing it is not worth the work
	if len(req.URL.RawQuery) > longQuery {
		return reviewTimeout
	}
	text, isOnlyParameter := strings.CutPrefix(req.URL.RawQuery, "timeout=") // as API servers write it
	if !isOnlyParameter || strings.ContainsAny(text, "&;%+") {
		text = req.URL.Query().Get("timeout")
	}
	if waits, err := time.ParseDuration(text); err == nil && waits > 0 {
		return min(reviewTimeout, waits/5*4)
	}
	return reviewTimeout
}

// review decides on one body. An error, with its HTTP status, means that the body
// is not a review that can be answered now; all other failures become answers.
func (h *Handler) review(ctx context.Context, compiled *policy.Compiled, gates *policy.Gates, req *http.Request, b *body) (result *answer, status int, err error) {
	var r review
	defer func() {
		// The stack is logged, the pod is not: it may hold secrets.
		if p := recover(); p != nil {
			h.panicked(p, r.Request.UID)
			result, status, err = h.fail(compiled, &r, metrics.StagePanic, "internal error"), 0, nil
			if r.Request.UID == "" { // nothing that could be answered
				result, status, err = nil, http.StatusBadRequest, errors.New("internal error")
			}
		}
	}()
	decodeErr := h.decode(ctx, b, &r)
	if errors.Is(decodeErr, errBusy) {
		return nil, http.StatusServiceUnavailable, decodeErr
	}
	if decodeErr != nil {
		r.lenient(b.data)
	}
	if b.cut {
		b.free()
		if status, err := skipRest(req, b); err != nil {
			return nil, status, err
		}
	}
	if err := r.check(decodeErr); err != nil {
		return nil, http.StatusBadRequest, err
	}
	if decodeErr == nil {
		decodeErr = r.Request.missing(b)
	}
	if decodeErr != nil && !r.Request.isOther() {
		h.complain(h.undecodable, "cannot decode a pod", "uid", loglimit.Quote(r.Request.UID, quotedUID),
			"namespace", loglimit.Quote(r.Request.Namespace, quotedNamespace), "error", loglimit.Quote(decodeErr.Error(), quotedError))
		return h.fail(compiled, &r, metrics.StageObject, "the pod cannot be decoded"), 0, nil
	}
	return h.decide(ctx, compiled, gates, &r, b), 0, nil
}

// panicked logs a panic, which is a bug of ours, and once a minute at most its stack.
func (h *Handler) panicked(p any, uid string) {
	leftOut, ok := h.panics.Allow()
	if !ok && !h.Log.V(1).Enabled() {
		return
	}
	fields := loglimit.With([]any{"uid", loglimit.Quote(uid, quotedUID)}, leftOut)
	if _, ok := h.stacks.Allow(); ok {
		fields = append(fields, "stack", string(debug.Stack()))
	}
	h.Log.Error(errors.New(loglimit.Quote(fmt.Sprintf("panic: %v", p), quotedError)), "bug in Shorthop; please report it", fields...)
}

// decide reviews a pod.
func (h *Handler) decide(ctx context.Context, compiled *policy.Compiled, gates *policy.Gates, r *review, b *body) *answer {
	operation, namespace := r.Request.policyOperation(), r.Request.Namespace
	var of policy.Namespace
	known := true
	if needsNamespace(compiled, operation, namespace) {
		of, known = h.Namespaces.Get(ctx, namespace)
	}
	result := mutate.Review(compiled, policy.Request{
		Operation:       operation,
		Namespace:       namespace,
		NamespaceLabels: of.Labels, NamespaceAnnotations: of.Annotations,
		NamespaceKnown: known,
		Pod:            &r.Request.Object,
		OldPod:         r.Request.OldObject.pod(),
		ObjectSize:     b.size - r.Request.OldObject.bytes(),
		Gates:          gates,
		Discovered:     h.Discovered(),
		Advice:         h.Advice(),
	})
	warnings := result.Decision.Warnings
	if !r.Request.isPod() {
		warnings = append(warnings, fmt.Sprintf("shorthop: reviews pods only, was asked about %s; check the webhook configuration", loglimit.Quote(r.Request.Resource.String(), quotedError)))
	}
	if !known {
		h.Metrics.Error(metrics.StageNamespace)
		warnings = append(warnings, fmt.Sprintf("shorthop: the labels of namespace %s could not be read, so the pod is left as it is", namespace))
	}
	var patch []byte
	if len(result.Operations) > 0 && !result.DryRun() {
		var err error
		if patch, err = mutate.AppendJSON(b.patch[:0], result.Operations); err != nil {
			h.complain(h.undecodable, "cannot encode a patch", "uid", loglimit.Quote(r.Request.UID, quotedUID), "namespace", namespace, "error", loglimit.Quote(err.Error(), quotedError))
			return h.fail(compiled, r, metrics.StagePatch, "the patch cannot be encoded")
		}
		if cap(patch) <= freeBody {
			b.patch = patch // the answer is written before another review has it
		}
	}
	h.record(r, &result)
	return &answer{
		apiVersion: r.APIVersion, uid: r.Request.UID, allowed: true,
		patch: patch, warnings: warnings, audit: auditOf(&result),
	}
}

// needsNamespace reports whether a decision depends on the namespace's labels.
// Reading them may take a request to the API server, and a pod that is left alone
// in any case, above all under the kill switch, must not wait for that.
func needsNamespace(compiled *policy.Compiled, operation policy.Operation, namespace string) bool {
	return operation != policy.OperationOther && !compiled.Excludes(namespace) &&
		compiled.Document().Spec.Mode != policy.ModeOff
}

// record counts and logs what was decided.
func (h *Handler) record(r *review, result *mutate.Result) {
	d := &result.Decision
	h.Metrics.Decision(policy.FeatureServiceHost, d.ServiceHost.Action, d.ServiceHost.Reason)
	h.Metrics.Decision(policy.FeatureDNS, d.DNS.Action, d.DNS.Reason)
	h.Metrics.Decision(policy.FeatureFallthrough, d.Fallthrough.Action, d.Fallthrough.Reason)
	h.Metrics.Decision(policy.FeatureAdvice, d.Advice.Action, d.Advice.Reason)
	if result.RecordReason != "" {
		h.Metrics.Decision(policy.FeatureRecord, policy.ActionSkip, result.RecordReason)
	}
	log := h.Log.V(1)
	if result.DryRun() && (d.ServiceHost.Injects() || d.DNS.Injects() || d.Fallthrough.Injects() || len(result.Operations) > 0) {
		// A dry run leaves nothing on the pod, so only the log shows the outcome for
		// each pod. The number of these lines is therefore not limited, and they have
		// the namespace in full: a line may be longer than those of complain, but has
		// less than 600 bytes besides the rule's name, which comes from the policy.
		log = h.Log
	}
	if log.Enabled() {
		log.Info("reviewed", "uid", loglimit.Quote(r.Request.UID, quotedUID), "namespace", r.Request.Namespace, "name", podName(&r.Request.Object),
			"rule", d.Rule, "operations", len(result.Operations),
			"serviceHostAction", string(d.ServiceHost.Action), "serviceHostReason", string(d.ServiceHost.Reason),
			"dnsAction", string(d.DNS.Action), "dnsReason", string(d.DNS.Reason),
			"fallthroughAction", string(d.Fallthrough.Action), "fallthroughReason", string(d.Fallthrough.Reason),
			"adviceAction", string(d.Advice.Action), "adviceReason", string(d.Advice.Reason))
	}
}

// fail answers a review that could not be decided, as the policy's onError says.
// In an excluded namespace nothing is ever denied, provided that the review was
// read far enough to know its namespace.
func (h *Handler) fail(compiled *policy.Compiled, r *review, stage metrics.Stage, problem string) *answer {
	h.Metrics.Error(stage)
	failed := &answer{apiVersion: r.APIVersion, uid: r.Request.UID, audit: []auditAnnotation{{"error", string(stage)}}}
	if compiled.OnError() == policy.OnErrorDeny && !compiled.Excludes(r.Request.Namespace) {
		failed.message = "shorthop: " + problem + "; the policy says onError: Deny"
		return failed
	}
	failed.allowed = true
	failed.warnings = []string{"shorthop: " + problem + ", so the pod is left as it is"}
	return failed
}
