package policy

import (
	"reflect"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// withoutEffect warns of what the policy's own fields say in vain. Rules take over
// the policy's cache, so that it has an effect where one of them uses it.
func (l *linter) withoutEffect(at *field.Path) {
	if o := &l.written.PodOverrides; (o.Ndots.Min != nil || o.Ndots.Max != nil) && !l.spec.Allows(OverrideNdots) {
		l.warn(at.Child("podOverrides", "ndots"), "has no effect: podOverrides.allowed does not have ndots")
	}
	used := l.spec.Allows(OverrideMode)
	for e := range l.spec.Effective() {
		used = used || e.pinsToCache()
	}
	if l.written.DNS != nil {
		l.nodeLocal(&l.written.DNS.NodeLocal, used, at.Child("dns", "nodeLocal"))
	}
}

// nodeLocal warns of a block that nothing uses.
func (l *linter) nodeLocal(n *NodeLocal, used bool, at *field.Path) {
	switch {
	case reflect.ValueOf(*n).IsZero():
	case !used:
		l.warn(at, "has no effect: no mode is NodeLocal, and podOverrides.allowed does not have mode, so that no annotation can choose it")
	case n.MaxUnavailable != nil && n.DaemonSet != nil && *n.DaemonSet == "":
		l.warn(at.Child("maxUnavailable"), "has no effect: an empty daemonSet means that there is no gate")
	}
}

// probe warns of what nothing is probed for.
func (l *linter) probe(p *Probe, at *field.Path) {
	if p.Enabled != nil && !*p.Enabled && (p.Interval != nil || p.FailureThreshold != nil) {
		l.warn(at, "interval and failureThreshold have no effect: enabled is false")
	}
}
