package cli

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/shorthop/shorthop/internal/advicefile"
	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/policy"
)

// adviceFlags are those of advise that make a document of advice.
type adviceFlags struct {
	merge, write string
	memory       memoryFlag
}

func (o *adviceFlags) add(command *cobra.Command) {
	o.memory = memoryFlag(70 * 24 * time.Hour)
	flags := command.Flags()
	flags.StringVar(&o.merge, "merge", "", "with -o advice: file with the earlier document, plain or gzipped, to which what the logs show is added")
	completeFile(command, "merge", "json", "gz")
	flags.Var(&o.memory, "memory", "how long advice remembers what a name needs, 35d at least: what runs monthly must have been seen")
	complete(command, "memory", cobra.FixedCompletions([]string{"35d", "70d"}, cobra.ShellCompDirectiveNoFileComp))
	flags.StringVar(&o.write, "write", "", "NAMESPACE/NAME of the ConfigMap with the advice in force: adds what the logs show to it, and to NAME-2 and so on where it is large. All must be there")
	complete(command, "write", cobra.NoFileCompletions)
}

// memoryFlag is a duration that may be in days.
type memoryFlag time.Duration

func (m *memoryFlag) Type() string { return "duration" }

func (m *memoryFlag) String() string {
	return strconv.Itoa(int(time.Duration(*m)/(24*time.Hour))) + "d"
}

func (m *memoryFlag) Set(text string) error {
	d, err := time.ParseDuration(text)
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		var n int
		if n, err = strconv.Atoi(days); n > 3650 {
			err = fmt.Errorf("more than ten years")
		}
		d = time.Duration(n) * 24 * time.Hour
	}
	switch {
	case err != nil:
		return fmt.Errorf("must be a number of days, as in 70d")
	case d < advisor.LeastMemory:
		return fmt.Errorf("must be 35d or more: months have 31 days")
	}
	*m = memoryFlag(d)
	return nil
}

// makesAdvice reports whether a document is made.
func (o *adviseOptions) makesAdvice() bool {
	return o.output.value == outputAdvice || o.advice.write != ""
}

func (o *adviseOptions) validateAdvice() error {
	switch {
	case o.advice.merge != "" && o.output.value != outputAdvice:
		return failure("--merge needs -o %s", outputAdvice)
	case o.advice.write == "":
		return nil
	case o.advice.merge != "":
		return failure("--write merges with what the ConfigMap has: leave out --merge")
	}
	namespace, name, found := strings.Cut(o.advice.write, "/")
	if !found || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
		return failure("--write %q: must be NAMESPACE/NAME of a ConfigMap", o.advice.write)
	}
	return nil
}

// document merges what a report has into an earlier document, which may be nil.
func (o *adviseOptions) document(a *advice, old *policy.DNSAdvice, now time.Time) (*policy.DNSAdvice, bool) {
	at := a.Source.To
	if at.IsZero() || at.After(now) { // without times, or by a clock that is ahead
		at = now
	}
	return advisor.Advise(old, a.Report, advisor.AdviceOptions{
		Memory: time.Duration(o.advice.memory), MinConfidence: advisor.Confidence(o.minConfidence), At: at, Workloads: len(a.workloads),
	})
}

// printAdvice prints the merged document, or the earlier one as it was where nothing
// changes.
func (o *adviseOptions) printAdvice(s *Streams, a *advice, b *bytes.Buffer) error {
	var old *policy.DNSAdvice
	var text []byte
	if o.advice.merge != "" {
		var err error
		if text, err = s.read(o.advice.merge); err != nil {
			return err
		}
		parts, err := advicefile.Parse([]advicefile.File{{Name: displayName(o.advice.merge), Data: text}})
		if err != nil {
			return failure("cannot merge: %v", err)
		}
		old = parts[0]
	}
	document, changed := o.document(a, old, time.Now())
	if !changed && !isGzip(text) {
		b.Write(text)
		return nil
	}
	return advisor.WriteAdvice(b, document)
}

func isGzip(data []byte) bool { return bytes.HasPrefix(data, []byte{0x1f, 0x8b}) }

const (
	// adviceKey is where a ConfigMap has its part.
	adviceKey = "advice.json.gz"
	// maxPart is the most that is put into one ConfigMap, of the 1 MiB that it may have.
	maxPart = 900 << 10
	// maxParts is how many ConfigMaps are looked for.
	maxParts = 16
)

// writeAdvice merges what a report has into the document in ConfigMaps. The exit code
// is 0 where it is written, and where nothing changes.
func (o *adviseOptions) writeAdvice(ctx context.Context, s *Streams, source *adviseSource, a *advice) error {
	namespace, name, _ := strings.Cut(o.advice.write, "/")
	maps := adviceMaps{client: source.client.CoreV1().ConfigMaps(namespace), name: name}
	if err := maps.get(ctx); err != nil {
		return failure("--write %s: %v", o.advice.write, err)
	}
	old, err := maps.document()
	if err != nil {
		return failure("--write %s: cannot read the advice that is there, which stays (take its data away to begin anew): %v", o.advice.write, err)
	}
	document, changed := o.document(a, old, time.Now())
	if !changed {
		s.remark("%s is unchanged: %s", o.advice.write, count(len(document.Spec.Workloads), "workload"))
		return nil
	}
	parts, err := split(document, len(maps.found))
	if err != nil {
		return failure("--write %s: %v", o.advice.write, err)
	}
	if err := maps.put(ctx, parts); err != nil {
		return failure("--write %s: %v", o.advice.write, err)
	}
	s.remark("%s is written: %s in %s, %s", o.advice.write, count(len(document.Spec.Workloads), "workload"), count(len(parts), "part"),
		count(len(document.Status.Changes)+int(document.Status.MoreChanges), "change"))
	return nil
}

// adviceMaps are the ConfigMaps of one document.
type adviceMaps struct {
	client typedcorev1.ConfigMapInterface
	name   string
	found  []*corev1.ConfigMap
}

// get reads NAME, which must be there, and NAME-2 and so on up to the first that is
// not, or that may not be read.
func (m *adviceMaps) get(ctx context.Context) error {
	for n := 1; n <= maxParts; n++ {
		name := m.name
		if n > 1 {
			name = fmt.Sprintf("%s-%d", m.name, n)
		}
		found, err := m.client.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			if n > 1 {
				return nil
			}
			return fmt.Errorf("cannot read the ConfigMap: %w", err)
		}
		m.found = append(m.found, found)
	}
	return nil
}

// document is what is in them, nil for nothing.
func (m *adviceMaps) document() (*policy.DNSAdvice, error) {
	var files []advicefile.File
	for _, found := range m.found {
		if data := found.BinaryData[adviceKey]; len(data) > 0 {
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
			data, err := zipped(&part)
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
	return nil, fmt.Errorf("advice about %d workloads does not fit into %s of 1 MiB: the one that is there stays", len(all), count(room, "ConfigMap"))
}

func zipped(document *policy.DNSAdvice) ([]byte, error) {
	var text, b bytes.Buffer
	if err := advisor.WriteAdvice(&text, document); err != nil {
		return nil, err
	}
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text.Bytes()); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// put writes parts, and empties ConfigMaps that are not needed. Somebody who has
// written one meanwhile makes it an error. Servers use a document once all of its
// parts are there.
func (m *adviceMaps) put(ctx context.Context, parts [][]byte) error {
	for i, found := range m.found {
		switch {
		case i < len(parts):
			found.BinaryData = map[string][]byte{adviceKey: parts[i]}
		case len(found.BinaryData) == 0:
			continue
		default:
			found.BinaryData = nil
		}
		if _, err := m.client.Update(ctx, found, metav1.UpdateOptions{FieldManager: "shorthop-advisor"}); err != nil {
			return fmt.Errorf("cannot write the ConfigMap %s: %w", found.Name, err)
		}
	}
	return nil
}
