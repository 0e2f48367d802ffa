package admission

import (
	"encoding/base64"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/shorthop/shorthop/pkg/mutate"
)

// answer is the response to one review.
type answer struct {
	apiVersion string
	uid        string
	allowed    bool
	// message says why a pod is denied.
	message  string
	patch    []byte
	warnings []string
	audit    []auditAnnotation // every answer has some
}

// auditAnnotation ends up in the API server's audit log, under
// "<name of the webhook>/<key>".
type auditAnnotation struct{ key, value string }

// appendTo appends the AdmissionReview, in the version of the one it answers.
func (a *answer) appendTo(dst []byte) []byte {
	dst = append(dst, `{"kind":"AdmissionReview","apiVersion":`...)
	dst = appendString(dst, a.apiVersion)
	dst = append(dst, `,"response":{"uid":`...)
	dst = appendString(dst, a.uid)
	if a.allowed {
		dst = append(dst, `,"allowed":true`...)
	} else {
		dst = append(dst, `,"allowed":false,"status":{"status":"Failure","code":500,"message":`...)
		dst = appendString(dst, a.message)
		dst = append(dst, '}')
	}
	if len(a.patch) > 0 {
		dst = append(dst, `,"patchType":"JSONPatch","patch":"`...)
		dst = base64.StdEncoding.AppendEncode(dst, a.patch)
		dst = append(dst, '"')
	}
	dst = append(dst, `,"auditAnnotations":{`...)
	for i, annotation := range a.audit {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, annotation.key)
		dst = append(dst, ':')
		dst = appendString(dst, annotation.value)
	}
	dst = append(dst, '}')
	if len(a.warnings) > 0 {
		dst = append(dst, `,"warnings":[`...)
		for i, warning := range a.warnings {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendString(dst, warning)
		}
		dst = append(dst, ']')
	}
	return append(dst, "}}"...)
}

// appendString appends a JSON string. Bytes that are not UTF-8 are replaced.
func appendString(dst []byte, s string) []byte {
	// AppendQuote reports invalid UTF-8 and has replaced it by then.
	dst, _ = jsontext.AppendQuote(dst, s)
	return dst
}

// auditOf says what was decided, in the codes that metrics and logs use.
func auditOf(r *mutate.Result) []auditAnnotation {
	d := &r.Decision
	audit := make([]auditAnnotation, 0, 6)
	if d.Rule != "" {
		audit = append(audit, auditAnnotation{"rule", d.Rule})
	}
	audit = append(audit,
		auditAnnotation{"service_host", string(d.ServiceHost.Action) + " " + string(d.ServiceHost.Reason)},
		auditAnnotation{"dns", string(d.DNS.Action) + " " + string(d.DNS.Reason)},
		auditAnnotation{"fallthrough", string(d.Fallthrough.Action) + " " + string(d.Fallthrough.Reason)},
		auditAnnotation{"advice", string(d.Advice.Action) + " " + string(d.Advice.Reason)})
	if r.RecordReason != "" {
		audit = append(audit, auditAnnotation{"record", "skip " + string(r.RecordReason)})
	}
	return audit
}
