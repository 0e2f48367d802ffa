package doctor

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"github.com/shorthop/shorthop/internal/webhookconfig"
	"github.com/shorthop/shorthop/pkg/policy"
)

// longTimeout is where the timeout is worth a warning: every pod waits that
// long while no replica answers.
const longTimeout = 5

const (
	doInstall = "install the chart, or apply what `kubectl shorthop webhook-config` prints"
	doReapply = "apply what `kubectl shorthop webhook-config` prints for this policy, or upgrade the chart"
	doCompare = "look at who changed the webhook configuration since it was installed"
)

// judgeWebhookConfiguration compares everything but the filters.
func judgeWebhookConfiguration(f *Facts, known *knownPolicy) *judgement {
	if f.webhook.err != nil {
		return unknown(f.webhook.err)
	}
	config := f.webhook.value
	j := passed("")
	if config == nil {
		j.fail(doInstall+"; under another name, name it with --webhook-configuration", "there is no webhook configuration %s: no pod is changed", f.webhookName)
		return j
	}
	wanted := webhookconfig.Entries()
	if known != nil && known.document.Spec.NamespaceOptOut == policy.NamespaceOptOutFinal {
		wanted = slices.DeleteFunc(wanted, func(name string) bool { return name == webhookconfig.ClosedEntry })
	}
	var timeouts []string
	for i := range config.Webhooks {
		entry := &config.Webhooks[i]
		if !slices.Contains(webhookconfig.Entries(), entry.Name) {
			j.warn(doCompare, "entry %s is not one of Shorthop's", entry.Name)
			continue
		}
		if at := slices.Index(wanted, entry.Name); at >= 0 {
			wanted = slices.Delete(wanted, at, at+1)
		} else {
			j.warn(doReapply, "entry %s is there although the policy's namespaceOptOut is Final", entry.Name)
		}
		judgeEntry(j, entry)
		if timeout := fmt.Sprintf("%d s", valueOf(entry.TimeoutSeconds)); !slices.Contains(timeouts, timeout) {
			timeouts = append(timeouts, timeout)
		}
	}
	for _, name := range wanted {
		j.fail(doReapply, "entry %s is missing", name)
	}
	if j.status == Pass {
		j.found = fmt.Sprintf("%s: %s, failurePolicy Ignore, timeout %s", config.Name, plural(len(config.Webhooks), "entry", "entries"), strings.Join(timeouts, ", "))
	}
	return j
}

func judgeEntry(j *judgement, entry *admissionv1.MutatingWebhook) {
	if got := valueOf(entry.FailurePolicy); got != admissionv1.Ignore {
		j.fail("set failurePolicy to Ignore", "%s: failurePolicy is %s: while no replica answers, no pod can be created", entry.Name, got)
	}
	if got := valueOf(entry.SideEffects); got != admissionv1.SideEffectClassNone {
		j.fail("set sideEffects to None", "%s: sideEffects is %s: the API server rejects dry runs", entry.Name, got)
	}
	if got := valueOf(entry.TimeoutSeconds); got > longTimeout {
		j.warn("set timeoutSeconds to 2", "%s: timeoutSeconds is %d: every new pod waits that long while no replica answers", entry.Name, got)
	}
	if got := valueOf(entry.ReinvocationPolicy); got != admissionv1.IfNeededReinvocationPolicy {
		j.warn("set reinvocationPolicy to IfNeeded", "%s: reinvocationPolicy is %s: containers that other webhooks add later are missed", entry.Name, got)
	}
	if got := valueOf(entry.MatchPolicy); got != admissionv1.Equivalent {
		j.warn("set matchPolicy to Equivalent", "%s: matchPolicy is %s", entry.Name, got)
	}
	if !webhookconfig.CalledFor(entry.Rules, admissionv1.Create, "pods") {
		j.fail("set its rules to what `kubectl shorthop webhook-config` prints", "%s is not called for new pods", entry.Name)
	}
	if !webhookconfig.CalledFor(entry.Rules, admissionv1.Update, "pods/ephemeralcontainers") {
		j.warn("set its rules to what `kubectl shorthop webhook-config` prints", "%s is not called for ephemeral containers: those of kubectl debug get no service host", entry.Name)
	}
	if service := entry.ClientConfig.Service; service != nil {
		if path := valueOf(service.Path); path != webhookconfig.Path {
			j.fail("set clientConfig.service.path to "+webhookconfig.Path, "%s calls the path %q, where no review is answered", entry.Name, path)
		}
	} else if url := valueOf(entry.ClientConfig.URL); !strings.HasSuffix(url, webhookconfig.Path) {
		j.fail("end clientConfig.url with "+webhookconfig.Path, "%s calls %s, where no review is answered", entry.Name, url)
	}
}

// judgeWebhookFilter compares what the API server filters by with what the
// policy in force wants.
func judgeWebhookFilter(f *Facts, known *knownPolicy) *judgement {
	config, err := f.configuration()
	if err != nil {
		return unknown(err)
	}
	var document *policy.InjectionPolicy
	if known != nil {
		document = known.document
	}
	j := passed("selectors and conditions are those of the policy in force")
	for _, e := range webhookconfig.Validate(config, f.excludedNamespace(), document) {
		// A rule for UPDATE is no matter of selectors, and just as dangerous.
		j.fail(doReapply, "%s: %s", e.Field, e.Detail)
	}
	if known == nil {
		j.lacks(f.noPolicy())
		return j
	}
	if got, want := webhookconfig.FilterHashes(config.Annotations, document); got != want {
		if got == "" {
			got = "missing"
		}
		j.fail(doReapply, "made for other aliases, excluded namespaces, namespaceOptOut or kill switch (mode Off) than the policy in force has (%s is %s, want %s)",
			webhookconfig.AnnotationFilterHash, got, want)
		return j // that the filters differ follows
	}
	ideal := webhookconfig.New(document, webhookconfig.Options{Name: f.webhookName, OwnNamespace: f.excludedNamespace()})
	for i := range config.Webhooks {
		entry := &config.Webhooks[i]
		at := slices.IndexFunc(ideal.Webhooks, func(w admissionv1.MutatingWebhook) bool { return w.Name == entry.Name })
		if at < 0 {
			continue
		}
		for _, difference := range webhookconfig.CompareFilters(entry, &ideal.Webhooks[at]) {
			switch difference.Effect {
			case webhookconfig.LeavesOutMore:
				j.tell("%s: %s", entry.Name, difference.Text)
			case webhookconfig.TakesOnly:
				j.warn("leave it where only these pods are to be changed; else "+doCompare, "%s: %s", entry.Name, difference.Text)
			default:
				j.warn(doReapply, "%s: %s", entry.Name, difference.Text)
			}
		}
	}
	if j.status == Pass && len(j.items) > 0 {
		j.found += ", and leave out more, as platforms and operators have it"
	}
	return j
}

func valueOf[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}
