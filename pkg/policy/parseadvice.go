package policy

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// MaxAdviceSize is how many bytes a document of advice can have, or all parts of
	// one together: several times what 10,000 workloads take.
	MaxAdviceSize = 16 << 20
	// maxAdvised is the highest ndots that advice names: what kubelet writes by itself.
	maxAdvised = kubeletNdots
	// maxReferences of a workload.
	maxReferences = 64
)

func adviceForm() *form {
	return &form{
		kind: KindAdvice, a: "an", what: "advice", document: reflect.TypeFor[DNSAdvice](), spec: reflect.TypeFor[AdviceSpec](),
		noSpec: "must be an object; {workloads: []} is advice about nothing", limit: MaxAdviceSize, large: true,
	}
}

// ParseAdvice decodes and validates a document of advice in JSON or YAML, or a
// part of one, as strictly as Parse does a policy. The error joins everything
// that is wrong, one line each.
func ParseAdvice(data []byte) (*DNSAdvice, error) { return parseAdvice(data) }

// ParseAdviceToDecide is ParseAdvice for those who decide by a document and merge
// nothing into it: covered is checked like all else, and may be left out of the result,
// which is a third of the work.
func ParseAdviceToDecide(data []byte) (*DNSAdvice, error) {
	return parseAdvice(data, json.WithUnmarshalers(json.UnmarshalFromFunc(checkCovered)))
}

func parseAdvice(data []byte, options ...json.Options) (*DNSAdvice, error) {
	a, faults := readAdvice(data, options...)
	if a == nil {
		return nil, faults.join()
	}
	if a.APIVersion != APIVersion || a.Kind != KindAdvice {
		faults.typeErrors(&a.TypeMeta)
		return nil, faults.join()
	}
	setDefault(&a.Metadata.Name, "default")
	for _, e := range validateAdvice(a) {
		if !faults.covers(e.Field) {
			faults.errs = append(faults.errs, e)
		}
	}
	if len(faults.errs) > 0 {
		return nil, faults.join()
	}
	a.sum = sha256.Sum256(data)
	return a, nil
}

// readAdvice reads JSON that programs write in one pass. What that pass does not
// take, or cannot tell from a mistake, is read as a policy is.
func readAdvice(data []byte, options ...json.Options) (*DNSAdvice, *faults) {
	// null may stand for a value, and the first byte of characters that turn the
	// direction of text is this one.
	if plain := len(data) <= MaxAdviceSize && !bytes.Contains(data, []byte("null")) && bytes.IndexByte(data, 0xe2) < 0; plain {
		var a DNSAdvice
		if json.Unmarshal(data, &a, append(options, json.RejectUnknownMembers(true))...) == nil && a.Spec.Workloads != nil {
			return &a, &faults{form: adviceForm()}
		}
	}
	return readAs[DNSAdvice](data, adviceForm())
}

// errNotPlain makes readAdvice read again, which finds out what is wrong, if anything is.
var errNotPlain = errors.New("not plain")

// checkCovered reads covered and keeps nothing.
func checkCovered(d *jsontext.Decoder, _ *map[Confidence]map[Date]int32) error {
	return members(d, func(confidence []byte) error {
		if string(confidence) != string(ConfidenceMedium) && string(confidence) != string(ConfidenceHigh) {
			return errNotPlain
		}
		return members(d, func(day []byte) error {
			number, err := d.ReadValue()
			if err != nil {
				return err
			}
			minutes := 0
			for _, c := range number[:min(len(number), 5)] {
				if c < '0' || c > '9' {
					return errNotPlain
				}
				minutes = 10*minutes + int(c-'0')
			}
			if minutes < 1 || minutes > 24*60 || !isPlainDay(day) && !Date(day).isValid() {
				return errNotPlain
			}
			return nil
		})
	})
}

// members goes through an object. each is called with a name, and reads the value.
func members(d *jsontext.Decoder, each func(name []byte) error) error {
	if begin, err := d.ReadToken(); err != nil || begin.Kind() != '{' {
		return cmp.Or(err, errNotPlain)
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadValue()
		if err != nil {
			return err
		}
		if bytes.IndexByte(name, '\\') >= 0 {
			return errNotPlain
		}
		if err := each(name[1 : len(name)-1]); err != nil {
			return err
		}
	}
	_, err := d.ReadToken() // the end, or what is wrong
	return err
}

func validateAdvice(a *DNSAdvice) field.ErrorList {
	var errs field.ErrorList
	for _, message := range validation.IsDNS1123Subdomain(a.Metadata.Name) {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), a.Metadata.Name, message))
	}
	at := field.NewPath("spec")
	if p := &a.Spec.Part; *p != (AdvicePart{}) {
		at := at.Child("part")
		errs = append(errs, validateRange(int(p.Of), 1, maxAdviceParts, at.Child("of"))...)
		errs = append(errs, validateRange(int(p.Number), 1, max(1, int(p.Of)), at.Child("number"))...)
		if p.Document == "" {
			errs = append(errs, field.Required(at.Child("document"), "parts are known by it"))
		}
	}
	seen := make(map[adviceKey]bool, len(a.Spec.Workloads))
	for i := range a.Spec.Workloads {
		w := &a.Spec.Workloads[i]
		if !w.isPlain() { // they are many, and nearly all of them plain
			errs = append(errs, w.validate(at.Child("workloads").Index(i))...)
		}
		if seen[w.key()] {
			errs = append(errs, field.Duplicate(at.Child("workloads").Index(i), w.key().String()))
		}
		seen[w.key()] = true
	}
	return errs
}

// maxAdviceParts is how many ConfigMaps one document can take.
const maxAdviceParts = 16

// isPlain reports whether validate has nothing to say, of most for which it has not:
// without a path and without an allocation.
func (w *AdvisedWorkload) isPlain() bool {
	valued := w.Ndots != nil || w.Fallthrough != nil
	if !isPlainName(w.Namespace) || !isPlainName(w.Name) || !isPlainKind(w.Kind) || len(w.References) > maxReferences ||
		!arePlainNeeds(w.Ndots, w.Needed) || !arePlainNeeds(w.Fallthrough, w.FallthroughNeeded) ||
		!w.Confidence.isValid() && (valued || w.Confidence != "") {
		return false
	}
	for i := range w.References {
		if !w.References[i].isValid() {
			return false
		}
	}
	for confidence, days := range w.Covered {
		if !confidence.isValid() || !areDays(days) {
			return false
		}
	}
	return true
}

// arePlainNeeds is for a value and what is known to be needed of it.
func arePlainNeeds(value *int32, needed map[string]Date) bool {
	least := int32(1)
	for key, day := range needed {
		if len(key) != 1 || key[0] < '2' || key[0] > '0'+maxAdvised || !day.isValid() {
			return false
		}
		least = max(least, int32(key[0]-'0'))
	}
	return value == nil || *value >= least && *value <= maxAdvised
}

// isPlainKind reports whether a text is the kind of an object.
func isPlainKind(text string) bool {
	for i := range len(text) {
		c := text[i]
		if (c < 'A' || c > 'Z') && (i == 0 || (c < 'a' || c > 'z') && (c < '0' || c > '9')) {
			return false
		}
	}
	return text != "" && len(text) <= maxKind
}

func (w *AdvisedWorkload) validate(at *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, message := range validation.IsDNS1123Label(w.Namespace) {
		errs = append(errs, field.Invalid(at.Child("namespace"), w.Namespace, message))
	}
	if len(w.Kind) > maxKind || !kindSyntax.MatchString(w.Kind) {
		errs = append(errs, field.Invalid(at.Child("kind"), w.Kind, "must be the kind of an object"))
	}
	for _, message := range validation.IsDNS1123Subdomain(w.Name) {
		errs = append(errs, field.Invalid(at.Child("name"), w.Name, message))
	}
	errs = append(errs, validateAdvised(w.Ndots, w.Needed, at, "ndots", "needed")...)
	errs = append(errs, validateAdvised(w.Fallthrough, w.FallthroughNeeded, at, "fallthrough", "fallthroughNeeded")...)
	switch {
	case w.Confidence != "":
		errs = append(errs, oneOf(at.Child("confidence"), w.Confidence, ConfidenceMedium, ConfidenceHigh)...)
	case w.Ndots != nil || w.Fallthrough != nil:
		errs = append(errs, field.Required(at.Child("confidence"), "a value is used by it: medium or high"))
	}
	errs = append(errs, validateAtMost(len(w.References), maxReferences, at.Child("references"))...)
	for i := range w.References {
		if r := &w.References[i]; !r.isValid() { // they are many
			errs = append(errs, r.validate(at.Child("references").Index(i))...)
		}
	}
	for _, confidence := range slices.Sorted(maps.Keys(w.Covered)) {
		at := at.Child("covered").Key(string(confidence))
		errs = append(errs, oneOf(at, confidence, ConfidenceMedium, ConfidenceHigh)...)
		for _, day := range slices.Sorted(maps.Keys(w.Covered[confidence])) {
			errs = append(errs, day.validate(at.Key(string(day)))...)
			errs = append(errs, validateRange(int(w.Covered[confidence][day]), 1, 24*60, at.Key(string(day)))...)
		}
	}
	return errs
}

// validateAdvised checks a value and what is known to be needed of it.
func validateAdvised(value *int32, needed map[string]Date, at *field.Path, name, neededName string) field.ErrorList {
	var errs field.ErrorList
	if value != nil {
		errs = append(errs, validateRange(int(*value), 1, maxAdvised, at.Child(name))...)
	}
	for _, key := range slices.Sorted(maps.Keys(needed)) {
		at := at.Child(neededName).Key(key)
		if n, ok := smallNumber(key); !ok || n < 2 || n > maxAdvised || strconv.Itoa(int(n)) != key {
			errs = append(errs, field.Invalid(at, key, fmt.Sprintf("must be a number from 2 to %d", maxAdvised)))
			continue
		}
		errs = append(errs, needed[key].validate(at)...)
	}
	if least := highest(needed); value != nil && *value < least && *value >= 1 {
		errs = append(errs, field.Invalid(at.Child(name), *value, fmt.Sprintf("is below what a name needs (%d)", least)))
	}
	return errs
}

// highest is the highest number that is needed, 0 for none.
func highest(needed map[string]Date) int32 {
	var most int32
	for key := range needed {
		if n, ok := smallNumber(key); ok && n <= maxAdvised {
			most = max(most, n)
		}
	}
	return most
}

// isDigest is for a digest, in the form of CommandLine.
func isDigest(text string) bool {
	return len(text) == 16 && strings.Trim(text, "0123456789abcdef") == ""
}

func (r *AdviceReference) isValid() bool {
	return IsImage(r.Image) && (r.Command == "" || isDigest(r.Command)) && (r.Seen == "" || r.Seen.isValid())
}

func (r *AdviceReference) validate(at *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(r.Image) > maxImagePattern {
		errs = append(errs, field.TooLong(at.Child("image"), r.Image, maxImagePattern))
	} else if !IsImage(r.Image) {
		errs = append(errs, field.Invalid(at.Child("image"), r.Image, "must be an image, as pods name it"))
	}
	if r.Command != "" && !isDigest(r.Command) {
		errs = append(errs, field.Invalid(at.Child("command"), r.Command, "must be a digest of 16 hex digits"))
	}
	if r.Seen != "" {
		errs = append(errs, r.Seen.validate(at.Child("seen"))...)
	}
	return errs
}

// IsImage reports whether a text can be an image as a pod names it.
func IsImage(text string) bool {
	for i := range len(text) {
		c := text[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		mark := c == '-' || c == '.' || c == '_' || c == '+' || c == '/' || c == ':' || c == '@'
		if !letter && (i == 0 || !mark) {
			return false
		}
	}
	return text != "" && len(text) <= maxImagePattern
}

// isValid takes most days without parsing them.
func (d Date) isValid() bool {
	if isPlainDay(d) {
		return true
	}
	_, err := time.Parse(time.DateOnly, string(d))
	return err == nil
}

// isPlainDay reports whether a text is a day that every month has.
func isPlainDay[T ~string | ~[]byte](d T) bool {
	if len(d) != len(time.DateOnly) || d[4] != '-' || d[7] != '-' {
		return false
	}
	for _, i := range [...]int{0, 1, 2, 3, 5, 6, 8, 9} {
		if d[i] < '0' || d[i] > '9' {
			return false
		}
	}
	month, day := 10*(d[5]-'0')+d[6]-'0', 10*(d[8]-'0')+d[9]-'0'
	return 1 <= month && month <= 12 && 1 <= day && day <= 28
}

// areDays reports whether all of them are, with minutes that a day has.
func areDays(minutes map[Date]int32) bool {
	for day, n := range minutes {
		if n < 1 || n > 24*60 || !day.isValid() {
			return false
		}
	}
	return true
}

func (c Confidence) isValid() bool { return c == ConfidenceMedium || c == ConfidenceHigh }

// isPlainName reports whether a text is a DNS label. Some that it does not take are, too.
func isPlainName(text string) bool {
	for i := range len(text) {
		c := text[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && (c != '-' || i == 0 || i == len(text)-1) {
			return false
		}
	}
	return text != "" && len(text) <= validation.DNS1123LabelMaxLength
}

func (d Date) validate(at *field.Path) field.ErrorList {
	if !d.isValid() {
		return field.ErrorList{field.Invalid(at, string(d), "must be a day, as in 2026-11-29")}
	}
	return nil
}
