package doctor

import (
	"errors"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/shorthop/shorthop/internal/cabundle"
	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/printable"
)

// injectAnnotations are those by which cert-manager's cainjector writes a
// caBundle.
var injectAnnotations = []string{
	"cert-manager.io/inject-ca-from", "cert-manager.io/inject-ca-from-secret", "cert-manager.io/inject-apiserver-ca",
}

// serverFlags returns the flags of the server, or why they are not known.
func (f *Facts) serverFlags() (*serverFlags, error) {
	switch {
	case f.flags != nil:
		return f.flags, nil
	case f.replicas.err != nil:
		return nil, f.replicas.err
	}
	return nil, errors.New("there is no pod of the server, so its flags are not known")
}

// judgeCABundleWriters goes by who owns the field: two that both write it undo
// each other's change, and no new replica becomes ready.
func judgeCABundleWriters(f *Facts, _ *knownPolicy) *judgement {
	config, err := f.configuration()
	if err != nil {
		return unknown(err)
	}
	writers := cabundle.Writers(config.ManagedFields)
	flags, err := f.serverFlags()
	if err != nil && len(writers) > 1 {
		return unknown(err)
	}
	const doStop = "let one of them write it: take the annotation, or the field in the other's manifest, away; GitOps must ignore webhooks[].clientConfig.caBundle"
	j := passed("nobody has written it")
	var names []string
	for _, w := range writers {
		if !slices.Contains(names, printable.Name(w.Manager)) {
			names = append(names, printable.Name(w.Manager))
		}
	}
	if len(names) > 0 {
		j.found = names[0] + " alone writes it"
	}
	if flags == nil || !flags.selfManaged {
		if len(names) > 1 {
			j.warn(doStop, "field managers %s write the caBundle", strings.Join(names, ", "))
		}
		return j
	}
	for _, w := range writers {
		if !w.Ours {
			j.warn(doStop, "field manager %s writes the caBundle too, last %s; the server keeps its own CA there (--cert-source=self-managed)", printable.Name(w.Manager), at(w.At))
		}
	}
	for _, annotation := range injectAnnotations {
		if value, found := config.Annotations[annotation]; found {
			j.warn(doStop, "the webhook configuration has the annotation %s=%s, so that cert-manager writes the caBundle too; the server keeps its own CA there (--cert-source=self-managed)", annotation, printable.Name(value))
		}
	}
	return j
}

func at(t time.Time) string {
	if t.IsZero() {
		return "at a time that is not known"
	}
	return "at " + t.UTC().Format(time.RFC3339)
}

// judgeCASecret: the server may fill that Secret, and not create it.
func judgeCASecret(f *Facts, _ *knownPolicy) *judgement {
	flags, err := f.serverFlags()
	switch {
	case err != nil:
		return unknown(err)
	case !flags.selfManaged:
		return passed("the server does not sign its own certificate")
	case f.caSecret.err != nil:
		return unknown(f.caSecret.err)
	}
	name := f.ownNamespace + "/" + flags.caSecret
	j := passed("Secret %s is there", printable.Name(name))
	if !f.caSecret.value {
		j.fail("run helm upgrade with certificates.mode=self-managed (auto would move to cert-manager where that is installed), which creates it empty; the server fills it. Replicas that run go on until their certificate expires, new ones are never ready",
			"there is no Secret %s, in which the server keeps its CA", printable.Name(name))
	}
	return j
}

// leaseIsOld is how long the Lease has not been renewed when nobody scans: the
// server renews it every half minute.
const leaseIsOld = 10 * time.Minute

// judgeDetector goes by the Lease of who looks for missed pods.
func judgeDetector(f *Facts, _ *knownPolicy) *judgement {
	flags, err := f.serverFlags()
	switch {
	case err != nil:
		return unknown(err)
	case !flags.detects:
		return passed("nobody looks for missed pods: it is switched off")
	case f.lease.err != nil:
		return unknown(f.lease.err)
	}
	name := printable.Name(f.ownNamespace + "/" + flags.lease)
	lease := f.lease.value
	if lease == nil {
		j := passed("")
		j.warn("let the server's Role get, update and create leases, as the chart's does (helm upgrade); the log of the replicas says what is refused",
			"there is no Lease %s: nobody looks for missed pods", name)
		return j
	}
	j := passed("%s looks for missed pods", printable.Name(leaseHolder(lease)))
	const doLook = "look at the log of the replicas for \"leaderelection\" and \"detector\""
	switch renewed := lease.Spec.RenewTime; {
	case leaseHolder(lease) == "":
		j.warn(doLook, "nobody holds Lease %s: nobody looks for missed pods", name)
	case renewed == nil || f.now.Sub(renewed.Time) > leaseIsOld:
		var last time.Time
		if renewed != nil {
			last = renewed.Time
		}
		j.warn(doLook, "Lease %s was renewed last %s: nobody looks for missed pods", name, at(last))
	}
	return j
}

// judgeOtherInstallations looks for a second release: each would rewrite the
// pods of the other.
func judgeOtherInstallations(f *Facts, _ *knownPolicy) *judgement {
	if f.configurations.err != nil {
		return unknown(f.configurations.err)
	}
	own, err := f.configuration()
	if err != nil {
		own = nil // another one counts all the more
	}
	j := passed("no other webhook configuration is one of Shorthop's")
	for i := range f.configurations.value {
		other := &f.configurations.value[i]
		if other.Name == f.webhookName || !isShorthop(other) {
			continue
		}
		const harmless = "webhook configuration %s is one of Shorthop's too, and selects "
		switch {
		case own != nil && apart(own, other):
			j.tell(harmless+"other pods", printable.Name(other.Name))
			continue
		case f.selectNothingInCommon(own, other):
			j.tell(harmless+"no namespace that is there and that this one selects", printable.Name(other.Name))
			continue
		}
		j.fail("uninstall one of the two, or let them select different namespaces: kubectl get mutatingwebhookconfiguration "+other.Name+" -o yaml",
			"webhook configuration %s is one of Shorthop's too, and calls %s: the pods that both select are rewritten by each in turn", printable.Name(other.Name), called(other))
	}
	if j.status == Pass && len(j.items) > 0 { // none of them is in the way
		j.found, j.items = j.items[0], j.items[1:]
	}
	return j
}

// selectNothingInCommon reports whether no namespace that is there has pods for
// which both are called, or the other one where the first is not known.
func (f *Facts) selectNothingInCommon(own, other *admissionv1.MutatingWebhookConfiguration) bool {
	if f.namespaces.err != nil || len(f.namespaces.value) == 0 {
		return false
	}
	all := []*admissionv1.MutatingWebhookConfiguration{other}
	if own != nil {
		all = append(all, own)
	}
	var filters []*webhookconfig.Filter
	for _, config := range all {
		filter, err := webhookconfig.FilterOf(config)
		if err != nil {
			return false
		}
		filters = append(filters, filter)
	}
	return !slices.ContainsFunc(f.namespaces.value, func(n corev1.Namespace) bool {
		return !slices.ContainsFunc(filters, func(filter *webhookconfig.Filter) bool { return !filter.CallsIn(n.Labels) })
	})
}

// isShorthop goes by what no other webhook has. The path is not: many have it.
func isShorthop(config *admissionv1.MutatingWebhookConfiguration) bool {
	if _, found := config.Annotations[webhookconfig.AnnotationFilterHash]; found {
		return true
	}
	return slices.ContainsFunc(config.Webhooks, func(w admissionv1.MutatingWebhook) bool {
		return slices.Contains(webhookconfig.Entries(), w.Name)
	})
}

// apart reports whether a namespace cannot be selected by an entry of each:
// both need a value of the same label, and have none in common. Pods are not
// compared.
func apart(a, b *admissionv1.MutatingWebhookConfiguration) bool {
	for i := range a.Webhooks {
		for k := range b.Webhooks {
			if !disjoint(a.Webhooks[i].NamespaceSelector, b.Webhooks[k].NamespaceSelector) {
				return false
			}
		}
	}
	return true
}

func disjoint(a, b *metav1.LabelSelector) bool {
	needsA, needsB := neededValues(a), neededValues(b)
	for key, values := range needsA {
		others, both := needsB[key]
		if both && !slices.ContainsFunc(values, func(v string) bool { return slices.Contains(others, v) }) {
			return true
		}
	}
	return false
}

// neededValues are the values of labels of which one is needed.
func neededValues(s *metav1.LabelSelector) map[string][]string {
	needed := map[string][]string{}
	if s == nil {
		return needed
	}
	for _, r := range s.MatchExpressions {
		if r.Operator == metav1.LabelSelectorOpIn {
			needed[r.Key] = r.Values
		}
	}
	for key, value := range s.MatchLabels {
		needed[key] = []string{value}
	}
	return needed
}

// called is where a configuration's reviews go.
func called(config *admissionv1.MutatingWebhookConfiguration) string {
	if url := calledByURL(config); url != "" {
		return printable.Name(url)
	}
	for i := range config.Webhooks {
		if s := config.Webhooks[i].ClientConfig.Service; s != nil {
			return "Service " + printable.Name(s.Namespace+"/"+s.Name)
		}
	}
	return "nothing"
}
