package manifest

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Remark is something to know about what was read: an object that was left out,
// or a field that is not known.
type Remark struct {
	// Place of the first object that it is about, and how many there are.
	Place
	Count int `json:"count"`
	// APIVersion and Kind of these objects.
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Finding
}

func (r Remark) String() string {
	text := r.Place.String() + ": " + r.Finding.String()
	if r.Count > 1 {
		text += fmt.Sprintf(" (and %d more)", r.Count-1)
	}
	return text
}

// Reader collects the pods of files.
type Reader struct {
	Pods []Pod
	// Remarks has one for each kind that is not read, and one for each field of
	// a kind that is not known.
	Remarks  []Remark
	Problems []Problem

	remarked map[remarkKey]int // indexes of Remarks
}

type remarkKey struct {
	schema.GroupKind
	Finding
}

// Read reads a file, after those before. file is what messages call it.
func (r *Reader) Read(file string, data []byte) {
	documents, problems := Documents(file, data)
	before := len(r.Problems)
	r.Problems = append(r.Problems, problems...)
	for i := range documents {
		r.read(&documents[i])
	}
	slices.SortStableFunc(r.Problems[before:], func(a, b Problem) int { return cmp.Compare(a.Document, b.Document) })
}

func (r *Reader) read(d *Document) {
	k, known := kindOf(d)
	if !known {
		r.leaveOut(d)
		return
	}
	if k.goType == nil && child(d.Object, k.template...) == nil { // a Rollout with a workloadRef
		r.remark(d, Finding{Message: fmt.Sprintf("%s without a pod template of its own: left out", d.groupKind())})
		return
	}
	p, unknown, problems := d.pod(k)
	if k.guessed && len(problems) > 0 {
		problems[0].Message += ": left out, as no pod template"
		r.remark(d, problems[0].Finding)
		return
	}
	if len(problems) > 0 {
		r.Problems = append(r.Problems, problems...)
		return
	}
	if d.Twice != "" {
		r.remark(d, Finding{Message: d.Twice + ": the last one counts"})
	}
	for _, f := range unknown {
		f.Message += ": kept as it is"
		r.remark(d, f)
	}
	r.Pods = append(r.Pods, p)
}

// leaveOut passes over an object of a kind that is not read.
func (r *Reader) leaveOut(d *Document) {
	if meant, ok := probablyMeant(d); ok {
		version := meant.GroupVersion().String()
		if d.Kind != meant.Kind {
			r.Problems = append(r.Problems, d.problem(d.At.Child("kind"), "got %q, want %s", d.Kind, meant.Kind))
		}
		if d.groupKind().Group != meant.Group {
			r.Problems = append(r.Problems, d.problem(d.At.Child("apiVersion"), "got %q, want %s for kind %s", d.APIVersion, version, meant.Kind))
		}
		return
	}
	message := fmt.Sprintf("%s is not a kind that explain reads: left out", d.groupKind())
	if hint := hints[d.groupKind()]; hint != "" {
		message += "; " + hint
	}
	r.remark(d, Finding{Message: message})
}

// remark adds to the remark that says the same of the kind, if there is one.
func (r *Reader) remark(d *Document, f Finding) {
	key := remarkKey{d.groupKind(), f}
	if i, found := r.remarked[key]; found {
		r.Remarks[i].Count++
		return
	}
	if r.remarked == nil {
		r.remarked = map[remarkKey]int{}
	}
	if f.Field == "" && d.At != nil {
		f.Field = d.At.String()
	}
	r.remarked[key] = len(r.Remarks)
	r.Remarks = append(r.Remarks, Remark{Place: d.Place, Count: 1, APIVersion: d.APIVersion, Kind: d.Kind, Finding: f})
}
