// Package webhookconfig makes the MutatingWebhookConfiguration that fits a
// policy, and finds faults in one that does not.
//
// An opt-out takes effect in the API server's own filter first: for pods that it
// keeps from us it does not matter whether we are up. The filter lets through a
// superset of the pods that our server would change; the server decides for itself.
package webhookconfig

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/pkg/policy"
)

// AnnotationFilterHash is on the webhook configuration: the hash of the parts
// of the policy that its filters were made from.
const AnnotationFilterHash = "shorthop.dev/filter-hash"

// AnnotationEnforcerDisabled with the value "true" keeps the admissions enforcer of
// AKS from adding to the selectors of a configuration (FAQ of Azure Kubernetes
// Service; a label of that name does the same). Without it, the next server-side
// apply of the configuration meets a conflict. What the enforcer adds keeps AKS's own
// namespaces out: the policy can do that.
const AnnotationEnforcerDisabled = "admissions.enforcer/disabled"

// Path is where the server answers reviews of pods.
const Path = "/mutate-v1-pod"

// Names of the entries. At most one of them selects a pod. They show up in the
// API server's metrics and audit log.
//
//	entry      namespace                   pod                         passes if it has a label that
//	open       not labelled off            shorthop.dev/inject not off (always)
//	opted-out  not labelled off            shorthop.dev/inject off     enables one feature
//	closed     shorthop.dev/inject off     any                         enables one feature, or both
//
// Off is one of policy.DisablingValues; under namespaceOptOut Final there
// is no entry for closed namespaces. Own and excluded namespaces are in none.
//
// Nearly all pods are selected by the first entry. So that entry has selectors only,
// unless the policy excludes namespaces by prefix: for a match condition, the API
// server turns every pod into a CEL object.
const (
	OpenEntry     = "open.pods.shorthop.dev"
	OptedOutEntry = "opted-out.pods.shorthop.dev"
	ClosedEntry   = "closed.pods.shorthop.dev"
)

// Entries are the names of all entries that a configuration of ours may have.
func Entries() []string { return []string{OpenEntry, OptedOutEntry, ClosedEntry} }

// ConditionMode is the match condition, in every entry, that lets nothing pass
// while the policy's mode is Off. So the kill switch takes effect at once, and
// neither waits for replicas to read the policy nor depends on them being up.
// The entries and their caBundle stay, for injection to be back at once as well.
const ConditionMode = "mode-is-not-off"

// ConditionExcluded is the match condition, in every entry, that keeps out the
// namespaces whose names begin like a prefix of the policy's excludedNamespaces.
// It is there while the policy has one: no selector can say a prefix. Names stay
// in the selectors.
const ConditionExcluded = "namespace-is-not-excluded"

// timeoutSeconds is how long the creation of a pod waits for us at most. A review
// takes well under a millisecond, and half a second more at most where the namespace
// is not in the cache.
const timeoutSeconds = 2

// Options says where the server is.
type Options struct {
	// Name of the configuration. Defaults to "shorthop".
	Name string
	// OwnNamespace is where Shorthop runs. It is never selected.
	OwnNamespace string
	// Service in OwnNamespace that the API server calls on port 443.
	Service string
	// URL is the alternative to Service, for a server outside the cluster:
	// scheme, host and port.
	URL string
	// CABundle, PEM, verifies the server's certificate.
	CABundle []byte
}

// New makes the configuration for a defaulted policy.
func New(p *policy.InjectionPolicy, o Options) *admissionv1.MutatingWebhookConfiguration {
	if o.Name == "" {
		o.Name = "shorthop"
	}
	config := &admissionv1.MutatingWebhookConfiguration{
		TypeMeta: metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingWebhookConfiguration"},
		ObjectMeta: metav1.ObjectMeta{
			Name:        o.Name,
			Labels:      map[string]string{"app.kubernetes.io/name": "shorthop"},
			Annotations: map[string]string{AnnotationFilterHash: FilterHash(p), AnnotationEnforcerDisabled: "true"},
		},
	}
	features := append([]string{policy.LabelServiceHost, policy.LabelDNS}, enablingAliases(p)...)
	on, off := metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpIn
	config.Webhooks = []admissionv1.MutatingWebhook{
		entry(p, o, OpenEntry, injectLabel(on), injectLabel(on)),
		entry(p, o, OptedOutEntry, injectLabel(on), injectLabel(off), anyEnabled(features)),
	}
	if p.Spec.NamespaceOptOut != policy.NamespaceOptOutFinal {
		config.Webhooks = append(config.Webhooks,
			entry(p, o, ClosedEntry, injectLabel(off), nil, anyEnabled(append([]string{policy.LabelInject}, features...))))
	}
	return config
}

// FilterHash hashes what the filters depend on. The Helm chart computes the same
// in a template, hence a text that needs no encoder: names and label keys have
// neither spaces nor line breaks.
func FilterHash(p *policy.InjectionPolicy) string {
	var text strings.Builder
	if p.Spec.Mode == policy.ModeOff {
		// If the mode were changed back in the policy only, ConditionMode would be left
		// in the configuration and keep out every pod. The hash shows that.
		text.WriteString("mode Off\n")
	}
	fmt.Fprintf(&text, "namespaceOptOut %s\n", p.Spec.NamespaceOptOut)
	for _, namespace := range p.Spec.ExcludedNamespaces {
		fmt.Fprintf(&text, "excludedNamespace %s\n", namespace)
	}
	for _, alias := range p.Spec.LabelAliases {
		fmt.Fprintf(&text, "labelAlias %s %s %t\n", alias.Label, alias.Feature, alias.DisableOnly)
	}
	sum := sha256.Sum256([]byte(text.String()))
	return hex.EncodeToString(sum[:6])
}

// entry makes an entry that selects by a label of the namespace and by one of the pod
// (pod nil: any pod), and lets pass the pods that meet all conditions in asks.
func entry(p *policy.InjectionPolicy, o Options, name string, namespace, pod *metav1.LabelSelectorRequirement, asks ...admissionv1.MatchCondition) admissionv1.MutatingWebhook {
	all := policy.NewExcluded(p.Spec.ExcludedNamespaces)
	excluded := slices.Clone(all.Names)
	if o.OwnNamespace != "" && !slices.Contains(excluded, o.OwnNamespace) {
		excluded = append(excluded, o.OwnNamespace)
	}
	namespaces := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{*namespace}}
	if len(excluded) > 0 {
		namespaces.MatchExpressions = append(namespaces.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: metadataName, Operator: metav1.LabelSelectorOpNotIn, Values: excluded,
		})
	}
	var pods *metav1.LabelSelector
	if pod != nil {
		pods = &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{*pod}}
	}
	var conditions []admissionv1.MatchCondition
	if p.Spec.Mode == policy.ModeOff {
		conditions = append(conditions, admissionv1.MatchCondition{Name: ConditionMode, Expression: "false"})
	}
	if len(all.Prefixes) > 0 {
		conditions = append(conditions, notExcluded(all.Prefixes))
	}
	return admissionv1.MutatingWebhook{
		Name:         name,
		ClientConfig: clientConfig(o),
		Rules: []admissionv1.RuleWithOperations{
			rule(admissionv1.Create, "pods"),
			rule(admissionv1.Update, "pods/ephemeralcontainers"),
		},
		NamespaceSelector:       namespaces,
		ObjectSelector:          pods,
		MatchConditions:         append(conditions, asks...),
		MatchPolicy:             new(admissionv1.Equivalent),
		FailurePolicy:           new(admissionv1.Ignore),
		SideEffects:             new(admissionv1.SideEffectClassNone),
		ReinvocationPolicy:      new(admissionv1.IfNeededReinvocationPolicy),
		TimeoutSeconds:          new(int32(timeoutSeconds)),
		AdmissionReviewVersions: []string{"v1"},
	}
}

// injectLabel requires that shorthop.dev/inject is (In) or is not (NotIn) off.
func injectLabel(operator metav1.LabelSelectorOperator) *metav1.LabelSelectorRequirement {
	return &metav1.LabelSelectorRequirement{Key: policy.LabelInject, Operator: operator, Values: policy.DisablingValues()}
}

func rule(operation admissionv1.OperationType, resource string) admissionv1.RuleWithOperations {
	return admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{operation},
		Rule: admissionv1.Rule{
			APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{resource},
			Scope: new(admissionv1.NamespacedScope),
		},
	}
}

func clientConfig(o Options) admissionv1.WebhookClientConfig {
	if o.URL != "" {
		return admissionv1.WebhookClientConfig{URL: new(strings.TrimSuffix(o.URL, "/") + Path), CABundle: o.CABundle}
	}
	return admissionv1.WebhookClientConfig{
		Service:  &admissionv1.ServiceReference{Namespace: o.OwnNamespace, Name: o.Service, Path: new(Path), Port: new(int32(443))},
		CABundle: o.CABundle,
	}
}

// enablingAliases are the aliases with which a pod can ask for a feature.
func enablingAliases(p *policy.InjectionPolicy) []string {
	var labels []string
	for _, alias := range p.Spec.LabelAliases {
		if !alias.DisableOnly {
			labels = append(labels, alias.Label)
		}
	}
	return labels
}

// notExcluded is the condition that the namespace begins like none of the
// prefixes. request.namespace is there for every namespaced object.
func notExcluded(prefixes []string) admissionv1.MatchCondition {
	terms := make([]string, len(prefixes))
	for i, prefix := range prefixes {
		terms[i] = "!request.namespace.startsWith(" + quote(prefix) + ")"
	}
	return admissionv1.MatchCondition{Name: ConditionExcluded, Expression: strings.Join(terms, " && ")}
}

// anyEnabled is the condition that one of these labels of the pod enables something.
// It reads labels as optionals only: labels['k'] is an error for a pod without that
// label, and under failurePolicy Ignore an error silently skips the webhook.
func anyEnabled(labels []string) admissionv1.MatchCondition {
	return admissionv1.MatchCondition{
		Name:       "asks-for-injection",
		Expression: fmt.Sprintf("%s.exists(k, object.metadata.?labels[?k].orValue('') in %s)", list(labels), list(policy.EnablingValues())),
	}
}

func list(values []string) string {
	quoted := make([]string, len(values))
	for i, value := range values {
		quoted[i] = quote(value)
	}
	return "[" + strings.Join(quoted, ",") + "]"
}

// quote makes a CEL string of a label key or value or of a prefix, which has no
// quotes or backslashes (the policy is validated).
func quote(s string) string { return "'" + s + "'" }
