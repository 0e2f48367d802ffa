package advisorrun

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/shorthop/shorthop/internal/advicefile"
	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/policy"
)

const (
	// adviceKey is where a ConfigMap has its part.
	adviceKey = "advice.json.gz"
	// maxPart is the most that is put into one ConfigMap, of the 1 MiB that it may have.
	maxPart = 900 << 10
	// maxParts is how many ConfigMaps are looked for.
	maxParts = 16
	// fieldManager writes them.
	fieldManager = "shorthop-advisor"
)

// Maps are the ConfigMaps of one document: NAME, NAME-2 and so on, and NAME-report.
type Maps struct {
	client kubernetes.Interface
	maps   typedcorev1.ConfigMapInterface
	// Namespace and Name are those of the first.
	Namespace, Name string

	found  []*corev1.ConfigMap
	report *corev1.ConfigMap // nil where there is none
	run    advicefile.Run
}

// NewMaps returns those of a name.
func NewMaps(client kubernetes.Interface, namespace, name string) *Maps {
	return &Maps{client: client, maps: client.CoreV1().ConfigMaps(namespace), Namespace: namespace, Name: name}
}

// Get reads NAME, which must be there, and NAME-2 and so on up to the first that is
// not, or that may not be read.
func (m *Maps) Get(ctx context.Context) error {
	m.found = nil
	for n := 1; n <= maxParts; n++ {
		name := m.Name
		if n > 1 {
			name = fmt.Sprintf("%s-%d", m.Name, n)
		}
		found, err := m.maps.Get(ctx, name, metav1.GetOptions{})
		switch {
		case err == nil:
			m.found = append(m.found, found)
		case n == 1:
			return fmt.Errorf("cannot read the ConfigMap: %w", err)
		case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
			return nil
		default: // a part that is not read must not be taken for one that is not there
			return fmt.Errorf("cannot read the ConfigMap %s: %w", name, err)
		}
	}
	return nil
}

// Document is what is in them, nil for nothing.
func (m *Maps) Document() (*policy.DNSAdvice, error) {
	var files []advicefile.File
	for _, found := range m.found {
		data := found.BinaryData[adviceKey]
		if len(data) == 0 { // as a repository makes it of what was printed
			data = []byte(found.Data[adviceKey])
		}
		if len(data) > 0 {
			files = append(files, advicefile.File{Name: "ConfigMap " + found.Name, Data: data})
		}
	}
	parts, err := advicefile.Parse(files)
	if err != nil || len(parts) == 0 {
		return nil, err
	}
	if _, err := policy.CompileAdvice(parts...); err != nil { // which puts them in order
		return nil, err
	}
	whole := *parts[0]
	whole.Spec = policy.AdviceSpec{Workloads: []policy.AdvisedWorkload{}}
	for _, part := range parts {
		whole.Spec.Workloads = append(whole.Spec.Workloads, part.Spec.Workloads...)
	}
	return &whole, nil
}

// Put writes a document in as few parts as it needs, and empties ConfigMaps that are
// not needed. It returns the number of parts. Somebody who has written one meanwhile
// makes it an error. Servers use a document once all of its parts are there.
func (m *Maps) Put(ctx context.Context, document *policy.DNSAdvice) (int, error) {
	parts, err := split(document, len(m.found))
	if err != nil {
		return 0, err
	}
	for i, found := range m.found {
		switch {
		case i < len(parts):
			found.BinaryData, found.Data = map[string][]byte{adviceKey: parts[i]}, nil
		case len(found.BinaryData)+len(found.Data) == 0:
			continue
		default:
			found.BinaryData, found.Data = nil, nil
		}
		if _, err := m.maps.Update(ctx, found, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
			return 0, fmt.Errorf("cannot write the ConfigMap %s: %w", found.Name, err)
		}
	}
	return len(parts), nil
}

// split encodes a document in as few parts as it needs, and no more than there is
// room for.
func split(document *policy.DNSAdvice, room int) (parts [][]byte, err error) {
	var whole bytes.Buffer
	if err := advisor.WriteAdvice(&whole, document); err != nil {
		return nil, err
	}
	all := document.Spec.Workloads
	for n := 1; n <= room; n++ {
		parts, fits := make([][]byte, 0, n), true
		for i := range n {
			part := *document
			part.Spec.Workloads = all[len(all)*i/n : len(all)*(i+1)/n]
			if n > 1 {
				part.Spec.Part = policy.AdvicePart{Number: int32(i + 1), Of: int32(n), Document: policy.TextHash(whole.Bytes())}
			}
			if i > 0 {
				part.Status = policy.AdviceStatus{}
			}
			var text bytes.Buffer
			if err := advisor.WriteAdvice(&text, &part); err != nil {
				return nil, err
			}
			data, err := zipped(text.Bytes())
			if err != nil {
				return nil, err
			}
			fits = fits && len(data) <= maxPart
			parts = append(parts, data)
		}
		if fits {
			return parts, nil
		}
	}
	maps := "one ConfigMap"
	if room > 1 {
		maps = fmt.Sprintf("%d ConfigMaps", room)
	}
	return nil, fmt.Errorf("advice about %d workloads does not fit into %s of 1 MiB: the one that is there stays", len(all), maps)
}

func zipped(text []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
