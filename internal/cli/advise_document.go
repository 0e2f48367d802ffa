package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/shorthop/shorthop/internal/advicefile"
	"github.com/shorthop/shorthop/internal/advisorrun"
	"github.com/shorthop/shorthop/pkg/advisor"
	"github.com/shorthop/shorthop/pkg/policy"
)

// adviceFlags are those of advise that make a document of advice.
type adviceFlags struct {
	merge, write string
	print        bool
	memory       memoryFlag
}

func (o *adviceFlags) add(command *cobra.Command) {
	o.memory = memoryFlag(70 * 24 * time.Hour)
	flags := command.Flags()
	flags.StringVar(&o.merge, "merge", "", "with -o advice: file with the earlier document, plain or gzipped, to which what the logs show is added")
	completeFile(command, "merge", "json", "gz")
	flags.Var(&o.memory, "memory", "how long advice remembers what a name needs, 35d at least: what runs monthly must have been seen")
	complete(command, "memory", cobra.FixedCompletions([]string{"35d", "70d"}, cobra.ShellCompDirectiveNoFileComp))
	flags.StringVar(&o.write, "write", "", "NAMESPACE/NAME of the ConfigMap with the advice in force: adds what the logs show to it, and to NAME-2 and so on where it is large. All must be there. NAME-report, where it is there, gets the report and how the run ended, and Events tell of what was raised")
	complete(command, "write", cobra.NoFileCompletions)
	flags.BoolVar(&o.print, "print", false, "with --write: print the document in place of writing it, for a repository that makes these ConfigMaps")
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
	case o.advice.print && o.advice.write == "":
		return failure("--print needs --write, of what there is")
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
		Memory: time.Duration(o.advice.memory), MinConfidence: advisor.Confidence(o.minConfidence), At: at, Workloads: a.ofCluster,
		Floor: int(*a.policy.document.Spec.Advice.Floor),
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

// adviceRun is a run that keeps its document in ConfigMaps.
type adviceRun struct {
	maps    *advisorrun.Maps
	outcome advisorrun.Outcome
}

// newAdviceRun reads what is there. It is nil where nothing is written.
func (o *adviseOptions) newAdviceRun(ctx context.Context, source *adviseSource) (*adviceRun, error) {
	if o.advice.write == "" {
		return nil, nil
	}
	namespace, name, _ := strings.Cut(o.advice.write, "/")
	run := &adviceRun{maps: advisorrun.NewMaps(source.client, namespace, name)}
	if err := run.maps.GetReport(ctx); err != nil {
		return nil, failure("--write %s: %v", o.advice.write, err)
	}
	return run, nil
}

// end leaves how the run ended. What cannot be left makes it one that failed.
func (r *adviceRun) end(ctx context.Context, s *Streams, err error) error {
	if r == nil {
		return err
	}
	if err != nil {
		r.outcome.Err = errors.New(strings.TrimPrefix(err.Error(), programName+": "))
	}
	// Also where the run was told to end, of which somebody has to know.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if left := r.maps.Leave(ctx, &r.outcome, time.Now()); left != nil {
		if err == nil {
			return failure("%v", left)
		}
		s.remark("%v", left)
	}
	return err
}

// write merges what a report has into the document in ConfigMaps. The exit code is 0
// where it is written or printed, and where nothing changes.
func (r *adviceRun) write(ctx context.Context, o *adviseOptions, s *Streams, a *advice) error {
	if err := r.maps.Get(ctx); err != nil {
		if !o.advice.print || !apierrors.IsNotFound(err) {
			return failure("--write %s: %v", o.advice.write, err)
		}
		s.remark("%s is not there: the document begins with nothing", o.advice.write)
	}
	old, err := r.maps.Document()
	if err != nil {
		return failure("--write %s: cannot read the advice that is there, which stays (take its data away to begin anew): %v", o.advice.write, err)
	}
	document, changed := o.document(a, old, time.Now())
	if !changed && old != nil {
		s.remark("%s is unchanged: %s", o.advice.write, count(len(document.Spec.Workloads), "workload"))
	} else {
		r.outcome.Changes = document.Status.Changes
	}
	if o.advice.print {
		var b bytes.Buffer
		if err := advisor.WriteAdvice(&b, document); err != nil {
			return failure("cannot write the %s: %v", outputAdvice, err)
		}
		return s.write(b.Bytes())
	}
	if !changed {
		return nil
	}
	parts, err := r.maps.Put(ctx, document)
	if err != nil {
		return failure("--write %s: %v", o.advice.write, err)
	}
	s.remark("%s is written: %s in %s, %s", o.advice.write, count(len(document.Spec.Workloads), "workload"), count(parts, "part"),
		count(len(document.Status.Changes)+int(document.Status.MoreChanges), "change"))
	return nil
}

// behind is the node whose caches were read last.
func (r *adviceRun) behind() string {
	if r == nil {
		return ""
	}
	return r.maps.LastRun().Next
}

// found notes what was read, whatever comes of it.
func (r *adviceRun) found(a *advice, f *followed) {
	if r == nil {
		return
	}
	r.outcome.Report, r.outcome.Workloads = a.Report, a.ofCluster
	r.outcome.Logs = a.Source.Logs
	r.outcome.Of = a.Source.Logs
	if f != nil {
		r.outcome.Logs, r.outcome.Of, r.outcome.Next = len(f.logs), f.of, f.next
	}
}
